"""C structures of the protocol, declared once as a dataclass, parsed and built by construct.

A structure is a frozen dataclass whose annotations carry the field's form on the wire::

    @dataclass(frozen=True, slots=True)
    class OutHeader:
        len: U32
        error: I32
        unique: U64

    OUT_HEADER = Layout("fuse_out_header", OutHeader)

A field is named as in the kernel, and its padding is declared as the kernel declares it, so that offsets are C's.
All integers are little-endian: so are the machines that FUSE over io_uring is traced on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Annotated, Any, Generic, TypeAlias, TypeVar, get_args, get_type_hints

from construct import (
    Array,
    Bytes,
    ConstructError,
    ExprAdapter,
    Int16ul,
    Int32sl,
    Int32ul,
    Int64ul,
    Struct,
)

from furtrace.wire.errors import DecodeError

T = TypeVar("T")

Buffer: TypeAlias = bytes | bytearray | memoryview

U16 = Annotated[int, Int16ul]
U32 = Annotated[int, Int32ul]
U64 = Annotated[int, Int64ul]
I32 = Annotated[int, Int32sl]
Bytes6 = Annotated[bytes, Bytes(6)]
Bytes128 = Annotated[bytes, Bytes(128)]


def _array(count: int, form: Any) -> Any:
    """Return the format of a C array as a tuple, since a frozen dataclass has no lists."""
    return ExprAdapter(Array(count, form), lambda items, _: tuple(items), lambda items, _: items)


U16x11 = Annotated[tuple[int, ...], _array(11, Int16ul)]
U32x11 = Annotated[tuple[int, ...], _array(11, Int32ul)]


@dataclass(frozen=True, slots=True)
class Field:
    """Where one field lies.

    Attributes:
        name: the kernel's name, dotted for a field of a structure within (``ring_ent_in_out.flags``).
        offset: bytes from the start of the outermost structure.
        size: bytes.

    """

    name: str
    offset: int
    size: int


class Layout(Generic[T]):
    """The wire form of the dataclass ``T``.

    Attributes:
        name: the structure's name in C, without ``struct``.
        size: bytes from its first field to the end of its last; C's ``sizeof`` may add padding after that.
        fields: its fields in order, those of inner structures instead of the inner structure itself.

    """

    def __init__(self, name: str, result: type[T]) -> None:
        self.name = name
        self._format = _format(result)
        self.size: int = self._format.sizeof()
        self.fields = tuple(_fields(result))

    def parse(self, data: Buffer) -> T:
        """Read one structure from the start of ``data``; what follows it is ignored.

        Raises:
            DecodeError: ``data`` is shorter than the structure; the message says where it ends.

        """
        given = bytes(data)
        if len(given) < self.size:
            raise DecodeError(f"{self.name}: {self.size} bytes needed, {len(given)} given, {self._end(len(given))}")
        parsed: T = self._format.parse(given)
        return parsed

    def build(self, value: T) -> bytes:
        """Return the structure's ``size`` bytes.

        Raises:
            ValueError: a value does not fit its field.

        """
        try:
            built: bytes = self._format.build(value)
        except ConstructError as error:
            raise ValueError(f"{self.name}: {error}") from error
        return built

    def _end(self, length: int) -> str:
        missing = next(field for field in self.fields if field.offset + field.size > length)
        return f"{'inside' if length > missing.offset else 'before'} {missing.name}"


def _wire_types(result: type[Any]) -> Iterator[tuple[str, Any, type[Any] | None]]:
    """Yield name, construct format and, for a structure within, its dataclass."""
    hints = get_type_hints(result, include_extras=True)
    for field in fields(result):
        hint = hints[field.name]
        if is_dataclass(hint):
            assert isinstance(hint, type)
            yield field.name, _format(hint), hint
        else:
            yield field.name, get_args(hint)[1], None


def _format(result: type[Any]) -> Any:
    formats = {name: form for name, form, _ in _wire_types(result)}
    return ExprAdapter(
        Struct(*(name / form for name, form in formats.items())),
        _decoder(result, tuple(formats)),
        partial(_encode, tuple(formats)),
    )


def _decoder(result: type[T], names: tuple[str, ...]) -> Callable[[Any, Any], T]:
    return lambda container, _: result(**{name: container[name] for name in names})


def _encode(names: tuple[str, ...], value: object, _: object) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}


def _fields(result: type[Any], prefix: str = "", offset: int = 0) -> Iterator[Field]:
    for name, form, inner in _wire_types(result):
        if inner is None:
            yield Field(prefix + name, offset, form.sizeof())
        else:
            yield from _fields(inner, f"{prefix}{name}.", offset)
        offset += form.sizeof()

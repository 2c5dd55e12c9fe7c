"""C structures of the protocol, declared once as a dataclass, parsed and built by construct.

A structure is a frozen dataclass whose annotations carry the field's form on the wire::

    @dataclass(frozen=True, slots=True)
    class OutHeader:
        len: U32
        error: I32
        unique: U64

    OUT_HEADER = Layout("fuse_out_header", OutHeader)

A field is named as in the kernel, and its padding is declared as the kernel declares it, so that offsets are C's.
Only what C calls ``__reserved`` is ``reserved_`` here, since Python gives two underscores a sense of its own.
All integers are little-endian: so are the machines that FUSE over io_uring is traced on.

What a field's value says to a reader, such as the names of its flags, stands with the field as well::

    flags: Annotated[U32, flags(InitFlag)]
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property, partial
from struct import Struct as Packed
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeAlias, TypeVar, get_args, get_type_hints

from construct import (
    Array,
    Bytes,
    ConstructError,
    ExprAdapter,
    Int8ul,
    Int16ul,
    Int32sl,
    Int32ul,
    Int64sl,
    Int64ul,
    Struct,
)

from furtrace.wire.errors import DecodeError

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

Buffer: TypeAlias = bytes | bytearray | memoryview

Meaning: TypeAlias = Callable[[Any, Any], str]
"""What a field says, from its value and the structure that it stands in; empty where the number says it all."""

U8 = Annotated[int, Int8ul]
U16 = Annotated[int, Int16ul]
U32 = Annotated[int, Int32ul]
U64 = Annotated[int, Int64ul]
I32 = Annotated[int, Int32sl]
I64 = Annotated[int, Int64sl]
Bytes6 = Annotated[bytes, Bytes(6)]
Bytes128 = Annotated[bytes, Bytes(128)]


def _array(count: int, form: Any) -> Any:
    """Return the format of a C array as a tuple, since a frozen dataclass has no lists."""
    return ExprAdapter(Array(count, form), lambda items, _: tuple(items), lambda items, _: items)


U16x1 = Annotated[tuple[int, ...], _array(1, Int16ul)]
U16x11 = Annotated[tuple[int, ...], _array(11, Int16ul)]
U32x6 = Annotated[tuple[int, ...], _array(6, Int32ul)]
U32x10 = Annotated[tuple[int, ...], _array(10, Int32ul)]
U32x11 = Annotated[tuple[int, ...], _array(11, Int32ul)]
U64x2 = Annotated[tuple[int, ...], _array(2, Int64ul)]
U64x14 = Annotated[tuple[int, ...], _array(14, Int64ul)]


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


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a structure, which may be a structure itself.

    Attributes:
        name: the kernel's name.
        offset: bytes from the start of the structure that it stands in.
        size: bytes.
        meaning: what its value says; None where a number is all that it is.
        members: those of a structure within, offsets counted from its start; empty for a plain field.

    """

    name: str
    offset: int
    size: int
    meaning: Meaning | None = field(default=None, compare=False)
    members: tuple["Member", ...] = ()

    @property
    def attribute(self) -> str:
        """Its name in the dataclass."""
        return f"{self.name[2:]}_" if self.name.startswith("__") else self.name


class Layout(Generic[T]):
    """The wire form of the dataclass ``T``.

    Attributes:
        name: the structure's name in C, without ``struct``.
        size: bytes from its first field to the end of its last; C's ``sizeof`` may add padding after that.
        members: its members in order.
        fields: the same, with those of inner structures instead of the inner structure itself.

    """

    def __init__(self, name: str, result: type[T]) -> None:
        self.name = name
        self._format = _format(result)
        self._result = result
        self.size: int = self._format.sizeof()
        self._packed = Packed("<" + _codes(result))
        self._assemble: Callable[[tuple[Any, ...]], T] = _assembler(result)
        self.members = tuple(_members(result))
        self.fields = tuple(_fields(self.members))

    @cached_property
    def dtype(self) -> "np.dtype[np.void]":
        """The structure as numpy sees it: for many of them at once, of which construct would take one by one.

        A structure within is a structured field, an array of C a subarray, characters are raw bytes.
        """
        return _dtype(self._result)

    def parse(self, data: Buffer) -> T:
        """Read one structure from the start of ``data``; what follows it is ignored.

        Raises:
            DecodeError: ``data`` is shorter than the structure; the message says where it ends.

        """
        given = bytes(data)
        if len(given) < self.size:
            raise DecodeError(self.lack(len(given)))
        parsed: T = self._format.parse(given)
        return parsed

    def unpack(self, data: Buffer, offset: int = 0) -> T:
        """As :meth:`parse`, but from any offset and many times as fast, by Python's ``struct``.

        Raises:
            DecodeError: ``data`` ends within the structure.

        """
        if len(data) - offset < self.size:
            raise DecodeError(self.lack(max(0, len(data) - offset)))
        return self._assemble(self._packed.unpack_from(data, offset))

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

    def lack(self, length: int) -> str:
        """Say what ``length`` bytes, too few for the structure, lack of it."""
        missing = next(field for field in self.fields if field.offset + field.size > length)
        where = "inside" if length > missing.offset else "before"
        return f"{self.name}: {self.size} bytes needed, {length} given, {where} {missing.name}"


def _wire_types(result: type[Any]) -> Iterator[tuple[str, Any, Meaning | None, type[Any] | None]]:
    """Yield name, construct format, meaning and, for a structure within, its dataclass."""
    hints = get_type_hints(result, include_extras=True)
    for member in fields(result):
        hint = hints[member.name]
        if is_dataclass(hint):
            assert isinstance(hint, type)
            yield member.name, _format(hint), None, hint
        else:
            _, form, *meaning = get_args(hint)
            yield member.name, form, meaning[0] if meaning else None, None


def _format(result: type[Any]) -> Any:
    formats = {name: form for name, form, _, _ in _wire_types(result)}
    return ExprAdapter(
        Struct(*(name / form for name, form in formats.items())),
        _decoder(result, tuple(formats)),
        partial(_encode, tuple(formats)),
    )


def _decoder(result: type[T], names: tuple[str, ...]) -> Callable[[Any, Any], T]:
    return lambda container, _: result(**{name: container[name] for name in names})


def _encode(names: tuple[str, ...], value: object, _: object) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}


def _codes(result: type[Any]) -> str:
    """Return the structure's fields as ``struct`` writes them, those of a structure within in its place."""
    return "".join(_codes(inner) if inner else _code(form) for _, form, _, inner in _wire_types(result))


def _code(form: Any) -> str:
    if isinstance(form, ExprAdapter):
        return f"{form.subcon.count}{_code(form.subcon.subcon)}"
    if isinstance(form, Bytes):
        return f"{form.length}s"
    code = {1: "b", 2: "h", 4: "i", 8: "q"}[form.sizeof()]
    return code if form.fmtstr[-1].islower() else code.upper()


def _assembler(result: type[T]) -> Callable[[tuple[Any, ...]], T]:
    """Return what makes the dataclass of the flat row of values that ``struct`` gives."""
    steps: list[tuple[int, Callable[[tuple[Any, ...]], Any] | None]] = []
    for _, form, _, inner in _wire_types(result):
        if inner:
            steps.append((_width(inner), _assembler(inner)))
        elif isinstance(form, ExprAdapter):
            steps.append((form.subcon.count, tuple))
        else:
            steps.append((1, None))
    if all(make is None for _, make in steps):
        return lambda row: result(*row)

    def assemble(row: tuple[Any, ...]) -> T:
        values, at = [], 0
        for width, make in steps:
            values.append(make(row[at : at + width]) if make else row[at])
            at += width
        return result(*values)

    return assemble


def _width(result: type[Any]) -> int:
    return sum(
        _width(inner) if inner else form.subcon.count if isinstance(form, ExprAdapter) else 1
        for _, form, _, inner in _wire_types(result)
    )


def _members(result: type[Any]) -> Iterator[Member]:
    offset = 0
    for name, form, meaning, inner in _wire_types(result):
        size = form.sizeof()
        name_in_c = f"__{name[:-1]}" if name.endswith("_") else name
        yield Member(name_in_c, offset, size, meaning, tuple(_members(inner)) if inner else ())
        offset += size


def _fields(members: tuple[Member, ...], prefix: str = "", start: int = 0) -> Iterator[Field]:
    for member in members:
        if member.members:
            yield from _fields(member.members, f"{prefix}{member.name}.", start + member.offset)
        else:
            yield Field(prefix + member.name, start + member.offset, member.size)


def _dtype(result: type[Any]) -> "np.dtype[np.void]":
    # Imported here, since only traces need it, and decoding a few bytes need not wait for it.
    import numpy as np  # noqa: PLC0415 - see above

    return np.dtype([(name, _dtype(inner) if inner else _scalar(form)) for name, form, _, inner in _wire_types(result)])


def _scalar(form: Any) -> Any:
    """Return numpy's type of one construct format, of those that annotations name here."""
    if isinstance(form, ExprAdapter):
        return _scalar(form.subcon.subcon), (form.subcon.count,)
    if isinstance(form, Bytes):
        return f"V{form.length}"
    return f"<{'i' if form.fmtstr[-1].islower() else 'u'}{form.sizeof()}"

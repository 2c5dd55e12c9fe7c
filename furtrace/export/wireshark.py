"""The dissector of recordings for Wireshark and tshark: Lua, of which the tables are made from :mod:`furtrace.wire`.

``furtrace.lua`` beside this file is written by hand; what it knows of the protocol (structures, flags, names of
numbers, the record's members) comes before it as one table, ``T``, when it is installed.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from furtrace.trace.record import (
    ARGUMENT_OFFSET,
    EXTRA_SIZE,
    HEADER_SIZE,
    INIT_SIZE,
    NO_CPU,
    NO_QUEUE,
    NOT_COUNTED,
    OPERATION_OFFSET,
    PART_SIZE,
    RECORD,
    Flag,
    Kind,
    Step,
    Transport,
)
from furtrace.wire import meaning, vfs
from furtrace.wire.bodies import NO_REPLY, REPLIES, REQUESTS, Body
from furtrace.wire.commands import CMD_REQ
from furtrace.wire.dialect import Dialect
from furtrace.wire.errnos import Errno
from furtrace.wire.flags import InitFlag, QueueFlag, macros
from furtrace.wire.headers import IN_HEADER
from furtrace.wire.init import INIT_IN, INIT_OUT
from furtrace.wire.layout import Layout, Meaning, Member
from furtrace.wire.opcodes import FixedIo, HeaderPart, Opcode, UringCommand, name_roles
from furtrace.wire.protocol import common_structures, structures

if TYPE_CHECKING:
    import numpy as np

NAME: Final = "furtrace.lua"
_MARK: Final = (
    "-- furtrace's dissector for Wireshark: made by `furtrace export --wireshark-plugin`, which replaces it.\n"
)
_SOURCE: Final = Path(__file__).with_name(NAME)
_PREFIX: Final = "fuse_"
_ADD_QUEUE: Final = "uring_cmd_req_add_queue"


def install(folder: Path) -> Path:
    """Put the dissector into a folder, which is made if it is not there, and return where it is.

    What is there under its name is replaced if it is an earlier dissector of furtrace.

    Raises:
        FileExistsError: there is something else of that name.
        OSError: it can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    if os.path.lexists(path) and not _is_ours(path):
        raise FileExistsError(17, "there is a file furtrace.lua that is not furtrace's", str(path))
    descriptor, made = tempfile.mkstemp(prefix=f".{NAME}.", dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(dissector())
        Path(made).chmod(0o644)  # other users' Wireshark reads it where a folder is shared
        Path(made).replace(path)
    except BaseException:
        Path(made).unlink(missing_ok=True)
        raise
    return path


def _is_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MARK)) == _MARK.encode()


def dissector() -> str:
    """The whole of it, Lua for all versions from 5.2 to 5.4."""
    return f"{_MARK}local T = {_lua(tables())}\n\n{_SOURCE.read_text(encoding='utf-8')}"


# ---- tables ----


def tables() -> dict[str, Any]:
    """What the hand-written part has to know of record and protocol."""
    members = _Members()
    forms = _forms()
    made = {name: {"size": layout.size, "members": members.of(layout)} for name, layout in forms.items()}
    made[_ADD_QUEUE] = {"size": CMD_REQ.size, "members": members.of(CMD_REQ, {"flags": QueueFlag})}
    by_layout = {id(layout): name for name, layout in forms.items()}
    return {
        "record": _record(),
        "flags": _bits(Flag, prefixed=False),
        "kinds": _names(Kind),
        "steps": {int(step): step.function for step in Step if step is not Step.NONE},
        "transports": {Transport.UNKNOWN: "not chosen yet", Transport.URING: "io_uring", Transport.DEV: "/dev/fuse"},
        "opcodes": _names(Opcode),
        "commands": _names(UringCommand),
        "fixed": _names(FixedIo),
        "parts": _names(HeaderPart),
        "errnos": _names(Errno),
        "bits": dict(sorted(members.bits.items())),
        "enums": dict(sorted(members.enums.items())),
        "structures": made,
        "requests": {code: _bodies(body, by_layout) for code, body in REQUESTS.items() if body.structures},
        "replies": {code: _bodies(body, by_layout) for code, body in REPLIES.items() if body.structures},
        "roles": {code: list(name_roles(code)) for code in Opcode if name_roles(code)},
        "unanswered": {int(code): True for code in sorted(NO_REPLY)},
        "sizes": {
            "record": RECORD.itemsize,
            "header": HEADER_SIZE,
            "extra": EXTRA_SIZE,
            "part": PART_SIZE,
            "operation": OPERATION_OFFSET,
            "argument": ARGUMENT_OFFSET,
            "init": INIT_SIZE,
            "no_queue": NO_QUEUE,
            "no_cpu": NO_CPU,
            "not_counted": NOT_COUNTED,
        },
        "init_flags2": _offset(INIT_IN, "flags2"),
        "init_out_flags2": _offset(INIT_OUT, "flags2"),
        "init_ext": InitFlag.INIT_EXT,
        "init_bufpool": InitFlag.HAS_IO_URING_BUFPOOL >> 32,
        "kind": {kind.name: int(kind) for kind in Kind},
        "flag": {flag.name: int(flag) for flag in Flag},
        "step": {step.name: int(step) for step in Step},
        "op": {code.name: int(code) for code in Opcode},
        "command": {code.name: int(code) for code in UringCommand},
    }


def _offset(layout: Layout[Any], member: str) -> int:
    return next(one.offset for one in layout.members if one.name == member)


def _record() -> list[dict[str, Any]]:
    made = []
    for name, (dtype, offset, *_) in (RECORD.fields or {}).items():
        made.append({"name": name, "offset": offset, "size": dtype.itemsize, "type": _type(dtype)})
    return made


def _names(kind: type[IntEnum]) -> dict[int, str]:
    return {int(one): one.name for one in kind}


def _bits(kind: type[IntFlag], *, prefixed: bool = True) -> list[dict[str, Any]]:
    """Names and bits of flags, the lowest bit first; not what has more bits than one."""
    single = [(name, int(flag)) for name, flag in kind.__members__.items() if int(flag).bit_count() == 1]
    made = []
    for name, bit in sorted(single, key=lambda one: one[1]):
        made.append({"name": name.lower(), "bit": bit, "text": macros(bit, kind)[0] if prefixed else name})
    return made


def _bodies(body: Body, by_layout: Mapping[int, str]) -> list[str]:
    """The first structure of a message, then its shorter forms."""
    return [by_layout[id(layout)] for layout in (body.structures[0], *body.shorter)]


def _forms() -> dict[str, Layout[Any]]:
    """Every structure by a name of its own: that in C without ``fuse_``, with what tells forms of one name apart."""
    forms: dict[str, Layout[Any]] = {}
    for layout in sorted(common_structures(), key=lambda one: -one.size):
        _add(forms, layout, str(layout.size))
    for dialect in Dialect:
        for layout in structures(dialect):
            if layout not in forms.values() and layout.name != "fuse_uring_req_header":
                _add(forms, layout, f"{dialect}_{layout.size}")
    return forms


def _add(forms: dict[str, Layout[Any]], layout: Layout[Any], distinction: str) -> None:
    name = layout.name.removeprefix(_PREFIX)
    forms[f"{name}_{distinction}" if name in forms else name] = layout


class _Members:
    """Members of structures as Lua takes them; fields of one name in several forms of a structure are one field.

    Attributes:
        bits: the sets of flags that members have.
        enums: their enumerations.
    """

    def __init__(self) -> None:
        self.bits: dict[str, list[dict[str, Any]]] = {}
        self.enums: dict[str, dict[int, str]] = {}
        self._types: dict[str, tuple[Any, ...]] = {}

    def of(self, layout: Layout[Any], flags: Mapping[str, type[IntFlag]] | None = None) -> list[dict[str, Any]]:
        """The members of a structure, those of one within in its place.

        Args:
            layout: the structure.
            flags: sets of flags that its declaration does not tell, by member.
        """
        stem = layout.name.removeprefix(_PREFIX)
        made = list(self._flat(layout.members, layout.dtype, stem, ""))
        told: dict[str, dict[str, Any]] = {}
        for name, kind in flags.items() if flags else ():
            told[name] = self._flags(kind.__name__, _bits(kind))
        return [member | told.get(member["name"], {}) for member in made]

    def _flat(
        self, members: Iterable[Member], dtype: "np.dtype[np.void]", stem: str, inside: str, start: int = 0
    ) -> Iterator[dict[str, Any]]:
        assert dtype.fields is not None
        for member in members:
            inner, *_ = dtype.fields[member.attribute]
            if member.members:
                within = f"{inside}{member.name}."
                yield from self._flat(member.members, inner, stem, within, start + member.offset)
                continue
            made = {"name": inside + member.name, "offset": start + member.offset, "size": member.size}
            made |= {"type": _type(inner)} | self._said(member)
            yield made | {"field": self._field(f"{stem}.{inside}{member.attribute.rstrip('_')}", made)}

    def _field(self, name: str, made: dict[str, Any]) -> str:
        """The field's name; one that has another type in another form of the structure gets its type into its name."""
        what = (made["type"], made["size"])
        while self._types.setdefault(name, what) != what:
            name = f"{name}_{what[0]}{what[1] if what[0] == 'bytes' else ''}"
        return name

    def _said(self, member: Member) -> dict[str, Any]:
        """What a member's value means, as far as Wireshark can be told."""
        if member.name == "flags2":
            return self._flags("InitFlag2", [each | {"bit": each["bit"] >> 32} for each in _UPPER])
        said = _innermost(member.meaning)
        if member == IN_HEADER.members[1]:
            said = meaning.NumberOf(Opcode)
        return self._named(said, member) or dict(_FORMS.get(said, {}))

    def _named(self, said: Meaning | None, member: Member) -> dict[str, Any]:
        """Flags and numbers that have names; empty: it is neither."""
        if isinstance(said, meaning.Flags):
            bits = [each for each in _bits(said.kind) if each["bit"] < 1 << 8 * member.size]
            return self._flags(said.kind.__name__, bits)
        if isinstance(said, meaning.NumberOf):
            self.enums[said.kind.__name__] = _names(said.kind)
            return {"enum": said.kind.__name__}
        if said is meaning.open_flags:
            return self._flags("OpenFlag", _bits(vfs.OpenFlag))
        return {"base": "HEX"} if said is None and member.name == "flags" else {}

    def _flags(self, name: str, bits: list[dict[str, Any]]) -> dict[str, Any]:
        if not bits:
            return {"base": "HEX"}
        self.bits[name] = bits
        return {"base": "HEX", "bits": name}


def _innermost(said: Meaning | None) -> Meaning | None:
    """What a value means where it counts."""
    while isinstance(said, meaning.OnlyIf | meaning.Either):
        said = said.then if isinstance(said, meaning.OnlyIf) else said.otherwise
    return said


_UPPER: Final = [each for each in _bits(InitFlag) if each["bit"] >> 32]
_FORMS: Final[dict[Meaning | None, dict[str, Any]]] = {
    meaning.mode: {"base": "OCT"},
    meaning.octal: {"base": "OCT"},
    meaning.hexadecimal: {"base": "HEX"},
}


def _type(dtype: "np.dtype[Any]") -> str:
    """The name of a ProtoField's constructor."""
    if dtype.kind == "V":
        return "bytes"
    return f"{'int' if dtype.kind == 'i' else 'uint'}{8 * dtype.itemsize}"


# ---- Lua ----


def _lua(value: Any, depth: int = 0) -> str:
    """A value as Lua writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    items = [f"{_key(key)} = " for key in value] if isinstance(value, dict) else [""] * len(value)
    values = value.values() if isinstance(value, dict) else value
    inside = [key + _lua(one, depth + 1) for key, one in zip(items, values, strict=True)]
    if depth > 1:
        return "{" + ", ".join(inside) + "}"
    return "{\n" + "".join(f"{'  ' * (depth + 1)}{one},\n" for one in inside) + "  " * depth + "}"


def _key(key: Any) -> str:
    return f"[{int(key)}]" if isinstance(key, int) else f'["{key}"]'

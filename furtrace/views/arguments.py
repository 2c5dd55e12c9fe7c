"""What a request asks and what came of it, in the words of a line: ``off=65536 len=4096 flags=O_DIRECT`` → ``4096``.

Tens of thousands of requests a second pass here, so an operation's fields are taken out of all its requests at once, by
the numpy form of its structure (:attr:`furtrace.wire.layout.Layout.dtype`).
"""

from collections.abc import Callable
from enum import IntEnum, IntFlag
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from furtrace.model.requests import MOVERS, Requests_
from furtrace.wire import attributes, files, inodes, xattrs
from furtrace.wire.bodies import NO_REPLY
from furtrace.wire.errnos import error_text
from furtrace.wire.flags import (
    FsyncFlag,
    IoctlFlag,
    LockFlag,
    OpenReplyFlag,
    ReleaseFlag,
    SetattrValid,
    WriteFlag,
    flag_names,
)
from furtrace.wire.layout import Layout
from furtrace.wire.meaning import point_in_time
from furtrace.wire.opcodes import Opcode
from furtrace.wire.vfs import (
    AccessMask,
    FallocateFlag,
    LockType,
    OpenFlag,
    PollEvent,
    RenameFlag,
    StatxMask,
    Whence,
    XattrFlag,
    open_flag_names,
)

NAMED_BESIDES: Final = (Opcode.SETXATTR, Opcode.GETXATTR, Opcode.REMOVEXATTR, Opcode.SYMLINK)
"""Operations that bring a name which is no part of a path: an attribute's, or a link's target."""

Say = Callable[[int], str]
"""Words for a field's value; empty: leave the field out."""


class _Argument(NamedTuple):
    """A field of an operation's structure, dotted within an inner one, and what a line calls it."""

    label: str
    field: str
    say: Say = str


_remembered = lru_cache(maxsize=1024)
"""Of the values that a field can have, few are ever seen."""


def _flags(kind: type[IntFlag]) -> Say:
    return _remembered(lambda value: "|".join(flag_names(value, kind)))


def _one_of(kind: type[IntEnum]) -> Say:
    names = {int(one): one.name for one in kind}
    return lambda value: names.get(value, str(value))


@_remembered
def _data_flags(value: int) -> str:
    """Flags of the open file that READ and WRITE repeat, without the access mode and O_LARGEFILE: they tell nothing."""
    return "|".join(name for name in open_flag_names(value)[1:] if name != OpenFlag.O_LARGEFILE.name)


@_remembered
def _open_flags(value: int) -> str:
    """Flags of open(2), without O_LARGEFILE, which the kernel always sets on 64 bits."""
    return "|".join(name for name in open_flag_names(value) if name != OpenFlag.O_LARGEFILE.name)


def _access(mask: int) -> str:
    return "|".join(flag_names(mask, AccessMask)) or "F_OK"


def _octal(value: int) -> str:
    return f"0{value:o}"


def _nonzero(value: int) -> str:
    return str(value) if value else ""


_READ: Final = (_Argument("off", "offset"), _Argument("len", "size"), _Argument("flags", "flags", _data_flags))
_OFFSET_MAX: Final = (1 << 63) - 1
_LOCK: Final = (
    _Argument("type", "lk.type", _one_of(LockType)),
    _Argument("start", "lk.start"),
    _Argument("end", "lk.end", lambda value: "EOF" if value == _OFFSET_MAX else str(value)),
    _Argument("pid", "lk.pid"),
    _Argument("flags", "lk_flags", _flags(LockFlag)),
)
_COPY: Final = (_Argument("off_in", "off_in"), _Argument("off_out", "off_out"), _Argument("len", "len"))
_RELEASE: Final = (
    _Argument("fh", "fh"),
    _Argument("flags", "flags", _open_flags),
    _Argument("release_flags", "release_flags", _flags(ReleaseFlag)),
)
_OPEN: Final = (_Argument("flags", "flags", _open_flags),)
_CREATE: Final = (*_OPEN, _Argument("mode", "mode", _octal))
_FSYNC: Final = (_Argument("flags", "fsync_flags", _flags(FsyncFlag)),)

_ARGUMENTS: Final[dict[int, tuple[Layout[Any], tuple[_Argument, ...]]]] = {
    Opcode.READ: (files.READ_IN, _READ),
    Opcode.READDIR: (files.READ_IN, _READ[:2]),
    Opcode.READDIRPLUS: (files.READ_IN, _READ[:2]),
    Opcode.WRITE: (files.WRITE_IN, (*_READ, _Argument("write_flags", "write_flags", _flags(WriteFlag)))),
    Opcode.FORGET: (inodes.FORGET_IN, (_Argument("nlookup", "nlookup"),)),
    Opcode.BATCH_FORGET: (inodes.BATCH_FORGET_IN, (_Argument("count", "count"),)),
    Opcode.INTERRUPT: (inodes.INTERRUPT_IN, (_Argument("unique", "unique"),)),
    Opcode.MKNOD: (inodes.MKNOD_IN, (_Argument("mode", "mode", _octal), _Argument("rdev", "rdev", _nonzero))),
    Opcode.MKDIR: (inodes.MKDIR_IN, (_Argument("mode", "mode", _octal),)),
    Opcode.RENAME2: (inodes.RENAME2_IN, (_Argument("flags", "flags", _flags(RenameFlag)),)),
    Opcode.OPEN: (files.OPEN_IN, _OPEN),
    Opcode.OPENDIR: (files.OPEN_IN, _OPEN),
    Opcode.CREATE: (files.CREATE_IN, _CREATE),
    Opcode.TMPFILE: (files.CREATE_IN, _CREATE),
    Opcode.RELEASE: (files.RELEASE_IN, _RELEASE),
    Opcode.RELEASEDIR: (files.RELEASE_IN, _RELEASE[:1]),
    Opcode.FLUSH: (files.FLUSH_IN, (_Argument("fh", "fh"),)),
    Opcode.FSYNC: (files.FSYNC_IN, _FSYNC),
    Opcode.FSYNCDIR: (files.FSYNC_IN, _FSYNC),
    Opcode.SETXATTR: (
        xattrs.SETXATTR_IN_COMPAT,
        (_Argument("size", "size"), _Argument("flags", "flags", _flags(XattrFlag))),
    ),
    Opcode.GETXATTR: (xattrs.GETXATTR_IN, (_Argument("size", "size"),)),
    Opcode.LISTXATTR: (xattrs.GETXATTR_IN, (_Argument("size", "size"),)),
    Opcode.GETLK: (files.LK_IN, _LOCK),
    Opcode.SETLK: (files.LK_IN, _LOCK),
    Opcode.SETLKW: (files.LK_IN, _LOCK),
    Opcode.ACCESS: (inodes.ACCESS_IN, (_Argument("mask", "mask", _access),)),
    Opcode.BMAP: (files.BMAP_IN, (_Argument("block", "block"), _Argument("blocksize", "blocksize"))),
    Opcode.IOCTL: (
        files.IOCTL_IN,
        (
            _Argument("cmd", "cmd", hex),
            _Argument("arg", "arg", hex),
            _Argument("in_size", "in_size"),
            _Argument("out_size", "out_size"),
            _Argument("flags", "flags", _flags(IoctlFlag)),
        ),
    ),
    Opcode.POLL: (files.POLL_IN, (_Argument("events", "events", _flags(PollEvent)),)),
    Opcode.FALLOCATE: (
        files.FALLOCATE_IN,
        (
            _Argument("off", "offset"),
            _Argument("len", "length"),
            _Argument("mode", "mode", _flags(FallocateFlag)),
        ),
    ),
    Opcode.LSEEK: (files.LSEEK_IN, (_Argument("off", "offset"), _Argument("whence", "whence", _one_of(Whence)))),
    Opcode.COPY_FILE_RANGE: (files.COPY_FILE_RANGE_IN, _COPY),
    Opcode.COPY_FILE_RANGE_64: (files.COPY_FILE_RANGE_IN, _COPY),
    Opcode.STATX: (attributes.STATX_IN, (_Argument("mask", "sx_mask", _flags(StatxMask)),)),
}
"""What a line shows of an operation's structure; of SETATTR see :func:`_setattr`."""


def arguments(opcodes: npt.NDArray[np.uint32], sizes: npt.NDArray[np.uint16], heads: npt.NDArray[np.void]) -> list[str]:
    """Return ``" off=0 len=4096"`` and the like for each request; empty where there is nothing to say.

    Args:
        opcodes: of the requests.
        sizes: how many bytes of each operation's structure are known.
        heads: the structures, 128 bytes each.
    """
    texts = [""] * len(opcodes)
    for opcode in np.unique(opcodes).tolist():
        at = np.flatnonzero(opcodes == opcode)
        if opcode == Opcode.SETATTR:
            for index in at[sizes[at] >= attributes.SETATTR_IN.size].tolist():
                texts[index] = _setattr(heads[index].tobytes())
        elif opcode in _ARGUMENTS:
            layout, shown = _ARGUMENTS[opcode]
            at = at[sizes[at] >= layout.size]
            form = "".join(f" {argument.label}=%d" if argument.say is str else "%s" for argument in shown)
            columns = _columns(heads[at], layout, shown)
            for index, text in zip(at.tolist(), map(form.__mod__, zip(*columns, strict=True)), strict=True):
                texts[index] = text
    return texts


def _columns(heads: npt.NDArray[np.void], layout: Layout[Any], shown: tuple[_Argument, ...]) -> list[list[Any]]:
    """Each shown field, a list a field: numbers where they are all that is said, else the text with its label."""
    whole = np.ascontiguousarray(heads).view(np.uint8).reshape(len(heads), heads.dtype.itemsize)
    structures = np.ascontiguousarray(whole[:, : layout.size]).view(layout.dtype)[:, 0]
    return [_column(structures, argument) for argument in shown]


def _column(structures: npt.NDArray[Any], argument: _Argument) -> list[Any]:
    values = structures
    for name in argument.field.split("."):
        values = values[name]
    if argument.say is str:
        plain: list[Any] = values.tolist()
        return plain
    label, said = f" {argument.label}=", {}
    for value in np.unique(values).tolist():  # few are different
        text = argument.say(value)
        said[value] = label + text if text else ""
    return list(map(said.__getitem__, values.tolist()))


def _setattr(head: bytes) -> str:
    """Of SETATTR what ``valid`` selects."""
    asked = attributes.SETATTR_IN.unpack(head)
    return "".join([f" {say(asked)}" for flag, say in _SELECTED if asked.valid & flag])


_SELECTED: Final[tuple[tuple[int, Callable[[attributes.SetattrIn], str]], ...]] = (
    (int(SetattrValid.MODE), lambda asked: f"mode={_octal(asked.mode)}"),
    (int(SetattrValid.UID), lambda asked: f"uid={asked.uid}"),
    (int(SetattrValid.GID), lambda asked: f"gid={asked.gid}"),
    (int(SetattrValid.SIZE), lambda asked: f"size={asked.size}"),
    (
        int(SetattrValid.ATIME),
        lambda asked: f"atime={_time(asked.valid, SetattrValid.ATIME_NOW, asked.atime, asked.atimensec)}",
    ),
    (
        int(SetattrValid.MTIME),
        lambda asked: f"mtime={_time(asked.valid, SetattrValid.MTIME_NOW, asked.mtime, asked.mtimensec)}",
    ),
    (int(SetattrValid.CTIME), lambda asked: f"ctime={point_in_time(asked.ctime, asked.ctimensec)}"),
    (int(SetattrValid.FH), lambda asked: f"fh={asked.fh}"),
    (int(SetattrValid.KILL_SUIDGID), lambda _: "KILL_SUIDGID"),
)
"""What each flag of ``valid`` selects, in words."""


def _time(valid: int, now: SetattrValid, seconds: int, nanoseconds: int) -> str:
    return "now" if valid & now else point_in_time(seconds, nanoseconds)


# ---- results ----


def _word(size: int, offset: int = 0, *, signed: bool = False) -> Callable[[bytes], int]:
    return lambda answer: int.from_bytes(answer[offset : offset + size], "little", signed=signed)


_FIRST_32: Final = _word(4)
_FIRST_64: Final = _word(8)


def _node(answer: bytes) -> str:
    """``fuse_entry_out``: the node id; 0 says that there is no such file."""
    return f"#{_FIRST_64(answer)}" if _FIRST_64(answer) else "absent"


def _opened(answer: bytes) -> str:
    """``fuse_open_out``: u64 fh, u32 open_flags."""
    flags = "|".join(flag_names(_word(4, 8)(answer), OpenReplyFlag))
    return f"fh={_FIRST_64(answer)}" + (f" {flags}" if flags else "")


def _poll(answer: bytes) -> str:
    return "|".join(flag_names(_FIRST_32(answer), PollEvent)) or "0"


_RESULTS: Final[dict[int, tuple[int, Callable[[bytes], str]]]] = {
    **dict.fromkeys(
        (Opcode.LOOKUP, Opcode.MKNOD, Opcode.MKDIR, Opcode.SYMLINK, Opcode.LINK, Opcode.CREATE, Opcode.TMPFILE),
        (8, _node),
    ),
    Opcode.OPEN: (12, _opened),
    Opcode.OPENDIR: (12, _opened),
    Opcode.LSEEK: (8, lambda answer: str(_FIRST_64(answer))),
    Opcode.BMAP: (8, lambda answer: str(_FIRST_64(answer))),
    Opcode.IOCTL: (4, lambda answer: str(_word(4, signed=True)(answer))),
    Opcode.POLL: (4, _poll),
}
"""How many bytes of a reply's first structure tell the result, and how."""


def results(rows: Requests_) -> list[str]:
    """Return what came of each request: bytes moved, a node id, a file handle, an error; ``?`` if it is not known."""
    texts = [str(size) if size >= 0 else "0" for size in rows["moved"].tolist()]
    opcodes = rows["opcode"]
    for index in np.flatnonzero((rows["moved"] < 0) & np.isin(opcodes, MOVERS)).tolist():
        texts[index] = "?"
    for opcode in np.unique(opcodes).tolist():
        if opcode in NO_REPLY:
            for index in np.flatnonzero(opcodes == opcode).tolist():
                texts[index] = "no reply"
        elif opcode in _RESULTS:
            needed, say = _RESULTS[opcode]
            at = np.flatnonzero(opcodes == opcode)
            answers = zip(at.tolist(), rows["answer_size"][at].tolist(), rows["answer"][at].tolist(), strict=True)
            for index, size, answer in answers:
                texts[index] = say(answer) if size >= needed else "?"
        elif opcode in _SIZERS:
            at = np.flatnonzero(opcodes == opcode)
            columns = (rows[name][at].tolist() for name in _SIZED)
            for index, text in zip(at.tolist(), map(_size, *columns), strict=True):
                texts[index] = text
    for index in np.flatnonzero(rows["error"]).tolist():
        texts[index] = error_text(int(rows["error"][index]))
    return texts


_SIZERS: Final = frozenset({Opcode.GETXATTR, Opcode.LISTXATTR})


_SIZED: Final = ("operation", "operation_size", "answer", "answer_size", "reply_size")


def _size(operation: bytes, operation_size: int, answer: bytes, answer_size: int, reply_size: int) -> str:
    """GETXATTR and LISTXATTR bring the size if 0 bytes were asked for, else so many bytes."""
    if operation_size < xattrs.GETXATTR_IN.size:
        return "?"
    if not xattrs.GETXATTR_IN.unpack(operation).size:
        return str(_FIRST_32(answer)) if answer_size >= 4 else "?"
    return str(reply_size) if reply_size >= 0 else "?"

"""Recordings as tables: the columns of requests and of events, for CSV and Parquet.

A row tells of its boot alone: connections and times are those of the machine that it was recorded on, also where
several recordings are read together. Columns are taken out of a batch as arrays.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from furtrace.export.codes import FUNCTIONS, KINDS, TIMES, TRANSPORTS
from furtrace.model.inodes import Path
from furtrace.model.operations import phase_ns
from furtrace.model.paths import Subject
from furtrace.model.requests import Requests_, first_seen
from furtrace.model.zerocopy import CopiedBecause, copied_because
from furtrace.trace.reading import FOREIGN_CONNECTIONS, Origin
from furtrace.trace.record import NO_CPU, NO_QUEUE, NOT_COUNTED, Flag, Kind, Records, Step, comm, names_cut
from furtrace.wire.errnos import errno_name
from furtrace.wire.opcodes import (
    Opcode,
    command_name,
    fixed_io_name,
    header_part_name,
    name_roles,
    opcode_name,
)
from furtrace.wire.text import printable

_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Numbers:
    """A number a row; ``known``: where there is one, None: everywhere."""

    values: npt.NDArray[Any]
    known: _Mask | None = None


@dataclass(frozen=True)
class Words:
    """One of a few texts a row: its place in ``texts``, -1: none."""

    texts: list[str]
    places: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Texts:
    """A text a row."""

    values: list[str | None]


@dataclass(frozen=True)
class Times:
    """A point in time a row, in nanoseconds since 1970; ``known`` as in :class:`Numbers`."""

    values: npt.NDArray[np.int64]
    known: _Mask | None = None


@dataclass(frozen=True)
class Blobs:
    """Bytes a row."""

    values: list[bytes | None]


Values: TypeAlias = Numbers | Words | Texts | Times | Blobs

WORD: Final = "word"
TEXT: Final = "text"
TIME: Final = "time"
BLOB: Final = "bytes"
BOOL: Final = "bool"


@dataclass(frozen=True)
class Part:
    """Some rows.

    Attributes:
        rows: requests, or events.
        subjects: what requests are about; of events none.
        mounts: mount points by connection.
        origins: the boots that records are of.

    """

    rows: Requests_ | Records
    subjects: Sequence[Subject]
    mounts: dict[int, str]
    origins: list[Origin]

    @cached_property
    def boots(self) -> npt.NDArray[np.intp]:
        """Of which boot each row is, by its number."""
        numbers: npt.NDArray[np.intp] = self.rows["connection"].astype(np.intp) // FOREIGN_CONNECTIONS
        return numbers

    @cached_property
    def shifts(self) -> npt.NDArray[np.int64]:
        """What was added to the times of each row, in nanoseconds."""
        return np.array([origin.ns for origin in self.origins], np.int64)[self.boots]

    @property
    def realtime_offset_ns(self) -> int:
        """From the rows' CLOCK_MONOTONIC to CLOCK_REALTIME: the first boot's, whose clock all rows have."""
        return self.origins[0].info.realtime_offset_ns

    @cached_property
    def operation(self) -> npt.NDArray[np.uint8]:
        """The operations' structures, a line of bytes each."""
        whole = np.ascontiguousarray(self.rows["operation"])
        return whole.view(np.uint8).reshape(len(whole), whole.dtype.itemsize)

    @cached_property
    def other_names(self) -> list[tuple[bytes, bool] | None]:
        """The name of each request that is no part of a path, and whether it was cut off."""
        rows = self.rows
        found: list[tuple[bytes, bool] | None] = [None] * len(rows)
        named = np.flatnonzero((rows["name_size"] != 0) & np.isin(rows["opcode"], _NAMED_BESIDES))
        members = (rows[member][named].tolist() for member in ("name", "name_size", "second", "flags"))
        for at, name, size, second, flags in zip(named.tolist(), *members, strict=True):
            found[at] = names_cut(name, size, second, cut=bool(flags & _NAME_CUT))[-1]
        return found


_NAMED_BESIDES: Final = [int(one) for one in Opcode if {"attribute", "target"} & set(name_roles(one))]
_NAME_CUT: Final = int(Flag.NAME_CUT)


@dataclass(frozen=True)
class Column:
    """A column: its name, the type of its values, and how it is taken.

    ``type``: a number's, as numpy names it (``int64``, ``uint32``), ``bool``, or one of :data:`WORD`, :data:`TEXT`,
    :data:`TIME`, :data:`BLOB`.
    """

    name: str
    type: str
    take: Callable[[Part], Values]


# ---- making values ----


def _words(codes: npt.NDArray[Any], text: Callable[[int], str | None], known: _Mask | None = None) -> Words:
    """The text of each code; None, and what is not ``known``: no text."""
    numbers, places = np.unique(codes, return_inverse=True)
    texts = [text(number) for number in numbers.tolist()]
    there = np.array([one is not None for one in texts], bool)
    new = np.where(there, np.cumsum(there) - 1, -1).astype(np.int32)[places]
    if known is not None:
        new[~known] = -1
    return Words([one for one in texts if one is not None], new)


def _words_by(keys: Iterable[Hashable], text: Callable[[Any], str]) -> Words:
    """As :func:`_words`, by keys of any kind; an empty text is none."""
    known: dict[Hashable, int] = {}
    texts: list[str] = []
    places = []
    for key in keys:
        place = known.get(key)
        if place is None:
            new = text(key)
            place = known[key] = len(texts) if new else -1
            texts += [new] if new else []
        places.append(place)
    return Words(texts, np.array(places, np.int32))


def _number(name: str, type_: str, unknown: int | None = None, *, member: str = "") -> Column:
    """A member as it is; ``unknown``: the value that says that there is none."""
    member = member or name

    def take(part: Part) -> Values:
        values = part.rows[member]
        return Numbers(values, None if unknown is None else values != unknown)

    return Column(name, type_, take)


def _boolean(name: str, take: Callable[[Part], _Mask]) -> Column:
    return Column(name, BOOL, lambda part: Numbers(take(part)))


def _flag(name: str, flag: Flag) -> Column:
    return _boolean(name, lambda part: (part.rows["flags"] & flag) != 0)


def _moment(name: str) -> Column:
    """A time by CLOCK_MONOTONIC."""

    def take(part: Part) -> Values:
        values = part.rows[name]
        return Numbers(values.astype(np.int64) - part.shifts, values != 0)

    return Column(name, "int64", take)


def _comm(name: str) -> Column:
    return Column(name, WORD, lambda part: _words_by(part.rows[name].tolist(), lambda field: printable(comm(field))))


def _origin(name: str) -> Column:
    """What is known of the boot."""

    def take(part: Part) -> Values:
        told = [getattr(origin.info, name) for origin in part.origins]
        return _words(part.boots, lambda number: told[number] or None)

    return Column(name, WORD, take)


def _mount_text(mount: str | None) -> str | None:
    return None if mount is None else printable(mount.encode("utf-8", "surrogateescape"))


_OPERATION: Final = Column("op", WORD, lambda part: _words(part.rows["opcode"], opcode_name))
_PLACE: Final = (
    _origin("host"),
    _origin("boot"),
    Column("mount", WORD, lambda part: _words(part.rows["connection"], lambda one: _mount_text(part.mounts.get(one)))),
    Column("connection", "uint32", lambda part: Numbers(part.rows["connection"] % np.uint32(FOREIGN_CONNECTIONS))),
)
_TRANSPORT: Final = Column("transport", WORD, lambda part: _words(part.rows["transport"], TRANSPORTS.get))


# ---- requests ----


def _path_texts(paths: Iterable[Path | None]) -> Texts:
    """Paths that are known, escaped; they repeat, so each is escaped once."""
    known: dict[bytes, str] = {}
    texts: list[str | None] = []
    for path in paths:
        if path is None or not path.known:
            texts.append(None)
            continue
        text = known.get(path.raw)
        if text is None:
            text = known[path.raw] = printable(path.raw)
        texts.append(text)
    return Texts(texts)


def _names(part: Part) -> Values:
    return Texts([None if found is None else printable(found[0]) for found in part.other_names])


def _names_cut(part: Part) -> Values:
    found = part.other_names
    return Numbers(
        np.array([one is not None and one[1] for one in found], bool),
        np.array([one is not None for one in found], bool),
    )


def _argument(name: str, type_: str, offset: int) -> Column:
    """A member of ``fuse_read_in``, which ``fuse_write_in`` begins with, too."""

    def take(part: Part) -> Values:
        size = np.dtype(type_).itemsize
        values = np.ascontiguousarray(part.operation[:, offset : offset + size]).view(f"<u{size}")[:, 0]
        return Numbers(values, np.isin(part.rows["opcode"], _READERS) & (part.rows["operation_size"] >= offset + size))

    return Column(name, type_, take)


_READERS: Final = (Opcode.READ, Opcode.WRITE, Opcode.READDIR, Opcode.READDIRPLUS)


def _begin(part: Part) -> Values:
    return Times(first_seen(part.rows).astype(np.int64) + part.realtime_offset_ns)


def _end(part: Part) -> Values:
    ended = part.rows["ended_ns"]
    return Times(ended.astype(np.int64) + part.realtime_offset_ns, ended != 0)


def _error(part: Part) -> Values:
    return Numbers(part.rows["error"], part.rows["ended_ns"] != 0)


def _error_names(rows: Requests_ | Records, known: _Mask) -> Values:
    """The errors' names; none: it was no error, or there is no answer (yet)."""
    return _words(rows["error"], lambda error: errno_name(error) if error else None, known)


def _zero_copied(part: Part) -> Values:
    reasons = copied_because(part.rows)
    return Numbers(reasons == CopiedBecause.ZERO_COPIED, reasons != CopiedBecause.UNKNOWN)


def _copied(part: Part) -> Values:
    return _words(copied_because(part.rows), _REASONS.get)


_NO_REASONS: Final = (CopiedBecause.NOT_APPLICABLE, CopiedBecause.ZERO_COPIED, CopiedBecause.UNKNOWN)
_REASONS: Final = {int(reason): reason.name.lower() for reason in CopiedBecause if reason not in _NO_REASONS}


def _phase(phase: str) -> Column:
    def take(part: Part) -> Values:
        durations = phase_ns(part.rows, phase)
        return Numbers(durations, durations >= 0)

    return Column(f"phase_{phase}_ns", "int64", take)


def _buffer_wait(part: Part) -> Values:
    begin, end = part.rows["dry_ns"].astype(np.int64), part.rows["selected_ns"].astype(np.int64)
    return Numbers(end - begin, (begin != 0) & (end >= begin))


REQUEST_COLUMNS: Final = (
    *_PLACE,
    _number("unique", "uint64"),
    Column("time", TIME, _begin),
    Column("end_time", TIME, _end),
    _OPERATION,
    _number("opcode", "uint32"),
    Column("error", "int32", _error),
    Column("error_name", WORD, lambda part: _error_names(part.rows, part.rows["ended_ns"] != 0)),
    Column("path", TEXT, lambda part: _path_texts(subject.path for subject in part.subjects)),
    _boolean("path_sure", lambda part: np.array([subject.path.sure for subject in part.subjects], bool)),
    _boolean("path_deleted", lambda part: np.array([subject.path.deleted for subject in part.subjects], bool)),
    Column("other_path", TEXT, lambda part: _path_texts(subject.other for subject in part.subjects)),
    Column("name", TEXT, _names),
    Column("name_cut", BOOL, _names_cut),
    _argument("fh", "uint64", 0),
    _argument("offset", "uint64", 8),
    _argument("size", "uint32", 16),
    _number("moved", "int64", -1),
    _number("reply_size", "int64", -1),
    _TRANSPORT,
    _number("queue", "uint32", NO_QUEUE),
    _number("entry", "int32", -1, member="entry_index"),
    _number("commit_id", "uint64", 0),
    _number("node_id", "uint64"),
    _flag("background", Flag.BACKGROUND),
    _number("client_pid", "uint32", 0),
    _number("client_tid", "uint32", 0),
    _comm("client_comm"),
    _number("server_pid", "uint32", 0),
    _number("server_tid", "uint32", 0),
    _comm("server_comm"),
    _number("buffer", "int32", -1, member="buffer_id"),
    Column("buffer_offset", "uint32", lambda part: Numbers(part.rows["pool_offset"], part.rows["buffer_id"] >= 0)),
    _number("buffer_waits", "uint16"),
    _number("slot", "int32", -1),
    Column("zero_copied", BOOL, _zero_copied),
    Column("copied_because", WORD, _copied),
    _number("page_bytes", "int64", -1),
    _number("segments", "uint32", 0),
    _number("fixed_bytes", "int64", -1),
    _number("fixed_ios", "uint16"),
    *map(_moment, TIMES),
    _phase("queue"),
    _phase("delivery"),
    _phase("wait"),
    Column("phase_buffer_ns", "int64", _buffer_wait),
    _phase("server"),
    _phase("commit"),
    _phase("total"),
    _boolean("uncertain", lambda part: part.rows["uncertain"]),
)
"""A row a request; all rows of a recording of requests have these columns in this order."""


# ---- events ----


def _only_of(kinds: tuple[Kind, ...], member: str, text: Callable[[int], str]) -> Callable[[Part], Values]:
    """What a member says in events of some kinds; 0 says nothing."""

    def take(part: Part) -> Values:
        values = part.rows[member]
        return _words(values, text, np.isin(part.rows["kind"], kinds) & (values != 0))

    return take


def _is_copy(part: Part) -> _Mask:
    """Steps whose ``command_op`` is a part of the header."""
    copies: _Mask = (part.rows["kind"] == Kind.STEP) & (part.rows["step"] == Step.COPY_HEADER_TO_RING)
    return copies


def _command(part: Part) -> Values:
    codes = part.rows["command_op"]
    return _words(codes, command_name, (codes != 0) & (part.rows["kind"] != Kind.FIXED_IO) & ~_is_copy(part))


def _header_part(part: Part) -> Values:
    return _words(part.rows["command_op"], header_part_name, _is_copy(part))


def _io(part: Part) -> Values:
    return _words(part.rows["command_op"], fixed_io_name, part.rows["kind"] == Kind.FIXED_IO)


def _steps(part: Part) -> Values:
    return _words(part.rows["step"], FUNCTIONS.get, part.rows["kind"] == Kind.STEP)


def _has(part: Part, flag: Flag) -> _Mask:
    there: _Mask = (part.rows["flags"] & flag) != 0
    return there


def _flagged(name: str, type_: str, member: str, flag: Flag) -> Column:
    """A member that is meant where a flag is set."""
    return Column(name, type_, lambda part: Numbers(part.rows[member], _has(part, flag)))


def _event_offset(part: Part) -> Values:
    rows = part.rows
    fixed = (rows["kind"] == Kind.FIXED_IO) & (rows["payload_size"] != 0)
    return Numbers(rows["pool_offset"], _has(part, Flag.HAS_BUFFER) | fixed)


def _free(part: Part) -> Values:
    free = part.rows["buffers_free"]
    return Numbers(free, (part.rows["buffers"] != 0) & (free != NOT_COUNTED))


def _event_slot(part: Part) -> Values:
    return Numbers(part.rows["slot"], (part.rows["kind"] == Kind.FIXED_IO) | _has(part, Flag.HAS_SLOT))


def _event_segments(part: Part) -> Values:
    return Numbers(part.rows["segments"], (part.rows["kind"] == Kind.PAGES_REGISTERED) & (part.rows["segments"] != 0))


def _access(name: str, flag: Flag) -> Column:
    """What the pages of a PAGES_REGISTERED may be used for."""
    return Column(name, BOOL, lambda part: Numbers(_has(part, flag), part.rows["kind"] == Kind.PAGES_REGISTERED))


def _event_bytes(part: Part) -> Values:
    return Numbers(part.rows["length"], np.isin(part.rows["kind"], (Kind.FIXED_IO, Kind.PAGES_REGISTERED)))


def _asked(part: Part) -> Values:
    sizes = part.rows["payload_size"]
    return Numbers(sizes, (part.rows["kind"] == Kind.FIXED_IO) & (sizes != 0))


def _lost(part: Part) -> Values:
    return Numbers(part.rows["length"], part.rows["kind"] == Kind.LOST)


def _lost_until(part: Part) -> Values:
    return Numbers(part.rows["user_data"].astype(np.int64) - part.shifts, part.rows["kind"] == Kind.LOST)


def _bytes(name: str, most: int) -> Column:
    def take(part: Part) -> Values:
        pairs = zip(part.rows[name].tolist(), part.rows[f"{name}_size"].tolist(), strict=True)
        return Blobs([whole[: min(size, most)] if size else None for whole, size in pairs])

    return Column(name, BLOB, take)


EVENT_COLUMNS: Final = (
    *_PLACE,
    Column("time", TIME, lambda part: Times(part.rows["ns"].astype(np.int64) + part.realtime_offset_ns)),
    _moment("ns"),
    Column("event", WORD, lambda part: _words(part.rows["kind"], KINDS.get)),
    _TRANSPORT,
    _number("queue", "uint32", NO_QUEUE),
    _number("unique", "uint64", 0),
    _number("commit_id", "uint64", 0),
    Column("op", WORD, lambda part: _words(part.rows["opcode"], lambda code: opcode_name(code) if code else None)),
    _number("opcode", "uint32", 0),
    Column("command", WORD, _command),
    _flagged("error", "int32", "error", Flag.HAS_ERROR),
    Column("error_name", WORD, lambda part: _error_names(part.rows, _has(part, Flag.HAS_ERROR))),
    Column("step", WORD, _steps),
    Column("header_part", WORD, _header_part),
    _number("entry", "uint64", 0),
    _flagged("buffer", "uint32", "buffer_id", Flag.HAS_BUFFER),
    Column("offset", "uint32", _event_offset),
    _number("buffers", "uint32", 0),
    Column("buffers_free", "uint32", _free),
    Column("slot", "uint16", _event_slot),
    Column("segments", "uint32", _event_segments),
    _access("readable", Flag.PAGES_READABLE),
    _access("writable", Flag.PAGES_WRITABLE),
    Column("io", WORD, _io),
    Column("bytes", "uint32", _event_bytes),
    Column("asked", "uint32", _asked),
    _number("pid", "uint32"),
    _number("tid", "uint32"),
    _comm("comm"),
    _number("cpu", "uint16", NO_CPU),
    _flag("cqe_overflow", Flag.CQE_OVERFLOW),
    Column("lost", "uint32", _lost),
    Column("lost_until_ns", "int64", _lost_until),
    _bytes("header", 288),
    _bytes("extra", 192),
)
"""A row an event, losses among them."""

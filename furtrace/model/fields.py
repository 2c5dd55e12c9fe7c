"""What a display filter may ask of requests, by name.

Values are arrays over many requests at once. Where a value is not known, a mask says so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from furtrace.model.inodes import NO_INODE, Path
from furtrace.model.operations import PHASES, phase_ns
from furtrace.model.paths import Subject
from furtrace.model.requests import REQUEST, Requests_, first_seen
from furtrace.model.zerocopy import CopiedBecause, copied_because
from furtrace.trace.record import NO_QUEUE, Flag, Transport, comm, names
from furtrace.wire.bodies import REQUESTS
from furtrace.wire.errnos import Errno, errno_name
from furtrace.wire.opcodes import Opcode, opcode_name

Mask = npt.NDArray[np.bool_]


class Sort(Enum):
    """What a field's values are, and so what they can be compared with.

    NUMBER: numbers, also of bytes. DURATION: nanoseconds. CODE: numbers that have names. TEXT: what a process or a
    user chose.
    """

    NUMBER = "a number"
    DURATION = "a duration"
    CODE = "one of a set of names"
    TEXT = "text"


@dataclass
class Sample:
    """Requests that a filter is asked about.

    ``subjects``: what each is about. ``mounts``: mount points by connection. ``began_ns``: when the trace began.
    """

    rows: Requests_
    subjects: Callable[[], Sequence[Subject]]
    mounts: Mapping[int, str]
    began_ns: int

    @cached_property
    def about(self) -> Sequence[Subject]:
        """What each request is about; made once, and only where it is asked for."""
        return self.subjects()


@dataclass(frozen=True)
class Numbers:
    """A number for each request; ``known``: where it is one."""

    values: npt.NDArray[Any]
    known: Mask

    def distinct(self, say: Callable[[int], str]) -> "Texts":
        """The same as text: few of them are different."""
        values, at = np.unique(self.values, return_inverse=True)
        return Texts([say(int(value)) for value in values.tolist()], at, self.known)


@dataclass(frozen=True)
class Texts:
    """A text for each request, by its place in a list; ``known``: where it has one."""

    distinct: Sequence[str]
    at: npt.NDArray[np.intp]
    known: Mask

    def where(self, wanted: Callable[[str], bool]) -> Mask:
        """Where the text is as it is wanted; each is asked once, however many have it."""
        answers = np.array([wanted(text) for text in self.distinct], np.bool_)
        found: Mask = self.known & answers[self.at] if len(answers) else np.zeros(len(self.at), np.bool_)
        return found


@dataclass(frozen=True)
class Field:
    """A field of requests.

    Attributes:
        name: in a filter.
        sort: of its values.
        read: gives them: :class:`Texts` of TEXT, else :class:`Numbers`.
        codes: of CODE, numbers by name.
        say: of CODE, the name of a number.
        flag: it is true or false.

    """

    name: str
    sort: Sort
    read: Callable[[Sample], Numbers | Texts]
    codes: Mapping[str, int] = field(default_factory=dict)
    say: Callable[[int], str] = str
    flag: bool = False


def _everywhere(sample: Sample) -> Mask:
    return np.ones(len(sample.rows), np.bool_)


def _number(column: str, unknown: int | None, sample: Sample) -> Numbers:
    """A column of the requests; ``unknown``: the value that stands for what is not known."""
    values = sample.rows[column]
    return Numbers(values, _everywhere(sample) if unknown is None else values != unknown)


def _of_buffer(column: str, sample: Sample) -> Numbers:
    return Numbers(sample.rows[column], sample.rows["buffer_id"] >= 0)


def _error(sample: Sample) -> Numbers:
    return Numbers(sample.rows["error"], sample.rows["ended_ns"] != 0)


def _phase(phase: str, sample: Sample) -> Numbers:
    durations = phase_ns(sample.rows, phase)
    return Numbers(durations, durations >= 0)


def _since_start(times: npt.NDArray[np.uint64], sample: Sample) -> Numbers:
    return Numbers(times.astype(np.int64) - sample.began_ns, times != 0)


def _began(sample: Sample) -> Numbers:
    return _since_start(first_seen(sample.rows), sample)


def _ended(sample: Sample) -> Numbers:
    return _since_start(sample.rows["ended_ns"], sample)


def _flag(flag: Flag, sample: Sample) -> Numbers:
    return Numbers((sample.rows["flags"] & np.uint16(flag)) != 0, _everywhere(sample))


def _unfinished(sample: Sample) -> Numbers:
    return Numbers(sample.rows["ended_ns"] == 0, _everywhere(sample))


def _zero_copied(sample: Sample) -> Numbers:
    reasons = copied_because(sample.rows)
    return Numbers(reasons == CopiedBecause.ZERO_COPIED, reasons != CopiedBecause.UNKNOWN)


def _copied_because(sample: Sample) -> Numbers:
    reasons = copied_because(sample.rows)
    return Numbers(reasons, np.isin(reasons, list(_REASONS.values())))


def _argument(name: str, sample: Sample) -> Numbers:
    """A member of the operation's structure, where the operation has it."""
    rows, opcodes = sample.rows, sample.rows["opcode"]
    values, known = np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.bool_)
    for opcode in np.unique(opcodes).tolist():
        place = _ARGUMENTS[name].get(opcode)
        if place is None:
            continue
        offset, size = place
        at = np.flatnonzero((opcodes == opcode) & (rows["operation_size"] >= offset + size))
        whole = np.ascontiguousarray(rows["operation"][at]).view(np.uint8).reshape(len(at), _OPERATION)
        part = np.ascontiguousarray(whole[:, offset : offset + size])
        values[at], known[at] = part.view(f"<u{size}")[:, 0], True
    return Numbers(values, known)


_CONDITIONAL: Final = (Opcode.SETATTR, Opcode.GETATTR)
"""Operations whose structure says by a flag whether a member of it is meant."""


def _arguments_named(name: str) -> dict[int, tuple[int, int]]:
    """By operation, offset and size of the member of this name in its structure."""
    return {
        int(opcode): (member.offset, member.size)
        for opcode, body in REQUESTS.items()
        if opcode not in _CONDITIONAL
        for member in (body.structures[0].members if body.structures else ())
        if member.name == name
    }


_OPERATION: Final = REQUEST["operation"].itemsize
_ARGUMENTS: Final = {name: _arguments_named(name) for name in ("fh", "offset", "size")}


def _text(data: bytes) -> str:
    """Bytes that are not UTF-8 become lone surrogates, as they do in the arguments of a command."""
    return data.decode("utf-8", "surrogateescape")


def _comm(column: str, sample: Sample) -> Texts:
    fields = np.ascontiguousarray(sample.rows[column]).view("S16")  # an array of V16 can't be sorted
    distinct, at = np.unique(fields, return_inverse=True)
    texts = [_text(comm(name)) for name in distinct.tolist()]
    there = np.array([bool(text) for text in texts], np.bool_)
    return Texts(texts, at, there[at] if len(there) else _everywhere(sample))


def _mount(sample: Sample) -> Texts:
    connections, at = np.unique(sample.rows["connection"], return_inverse=True)
    mounts = [sample.mounts.get(connection) for connection in connections.tolist()]
    there = np.array([mount is not None for mount in mounts], np.bool_)
    return Texts([mount or "" for mount in mounts], at, there[at] if len(there) else _everywhere(sample))


def _path(sample: Sample) -> Texts:
    return _paths([subject.path for subject in sample.about])


def _other_path(sample: Sample) -> Texts:
    return _paths([subject.other for subject in sample.about])


def _paths(paths: Sequence[Path | None]) -> Texts:
    numbers: dict[bytes, int] = {}
    at = [numbers.setdefault(path.raw if path else b"", len(numbers)) for path in paths]
    known = [path is not None and path is not NO_INODE for path in paths]
    return Texts([_text(raw) for raw in numbers], np.array(at, np.intp), np.array(known, np.bool_))


def _name(sample: Sample) -> Texts:
    """The last of a request's names."""
    rows = sample.rows
    sizes = rows["name_size"].astype(np.int64) << 8 | rows["second"]
    fields = np.ascontiguousarray(rows["name"]).view("S192")
    distinct, of_field = np.unique(fields, return_inverse=True)
    pairs, at = np.unique(of_field << 24 | sizes, return_inverse=True)
    texts = []
    for pair in pairs.tolist():
        whole = distinct[pair >> 24].ljust(192, b"\0")
        texts.append(_text([b"", *names(whole, pair >> 8 & 0xFFFF, pair & 0xFF)][-1]))
    return Texts(texts, at, rows["name_size"] != 0)


_REASONS: Final = {
    reason.name: int(reason)
    for reason in CopiedBecause
    if reason not in (CopiedBecause.NOT_APPLICABLE, CopiedBecause.UNKNOWN, CopiedBecause.ZERO_COPIED)
}
_BOOLEANS: Final = {"TRUE": 1, "FALSE": 0}
_TRANSPORTS: Final = {"URING": int(Transport.URING), "DEV": int(Transport.DEV)}
_OPERATIONS: Final = {code.name: int(code) for code in Opcode}
_ERRORS: Final = {error.name: -int(error) for error in Errno}


def _says(codes: Mapping[str, int]) -> Callable[[int], str]:
    by_number = {number: name.lower() for name, number in codes.items()}
    return lambda number: by_number.get(number, str(number))


def _numbers(*columns: tuple[str, str, int | None]) -> list[Field]:
    return [Field(name, Sort.NUMBER, partial(_number, column, unknown)) for name, column, unknown in columns]


def _flags(**reads: Callable[[Sample], Numbers]) -> list[Field]:
    return [Field(name, Sort.CODE, read, _BOOLEANS, _says(_BOOLEANS), flag=True) for name, read in reads.items()]


def _phases(taken: Sequence[str]) -> list[Field]:
    """The phases by their names, or ``queue_time`` where another field has the name; the whole is the latency."""
    named = {phase: f"{phase}_time" if phase in taken else phase for phase in PHASES} | {"total": "latency"}
    return [Field(name, Sort.DURATION, partial(_phase, phase)) for phase, name in named.items()]


def _operation(name: str) -> Field:
    return Field(name, Sort.CODE, partial(_number, "opcode", None), _OPERATIONS, opcode_name)


def _error_name(error: int) -> str:
    return errno_name(error) if error else "0"


_OTHERS: Final = [
    *_numbers(
        *(("unique", "unique", None), ("commit_id", "commit_id", 0), ("node", "node_id", 0)),
        *(("connection", "connection", None), ("queue", "queue", NO_QUEUE), ("entry", "entry_index", -1)),
        ("cpu", "expected_queue", NO_QUEUE),
        *(("client_pid", "client_pid", 0), ("client_tid", "client_tid", 0)),
        *(("server_pid", "server_pid", 0), ("server_tid", "server_tid", 0)),
        *(("reply_size", "reply_size", -1), ("moved", "moved", -1)),
        *(("buffer", "buffer_id", -1), ("buffer_waits", "buffer_waits", None), ("slot", "slot", -1)),
        *(("page_bytes", "page_bytes", -1), ("segments", "segments", 0)),
        *(("fixed_bytes", "fixed_bytes", -1), ("fixed_ios", "fixed_ios", None)),
    ),
    Field("buffer_offset", Sort.NUMBER, partial(_of_buffer, "pool_offset")),
    *(Field(name, Sort.NUMBER, partial(_argument, name)) for name in _ARGUMENTS),
    *(_operation(name) for name in ("op", "opcode")),
    Field("error", Sort.CODE, _error, _ERRORS, _error_name),
    Field("transport", Sort.CODE, partial(_number, "transport", 0), _TRANSPORTS, _says(_TRANSPORTS)),
    Field("copied_because", Sort.CODE, _copied_because, _REASONS, _says(_REASONS)),
    *_flags(
        background=partial(_flag, Flag.BACKGROUND),
        uncertain=partial(_number, "uncertain", None),
        unfinished=_unfinished,
        zero_copied=_zero_copied,
    ),
    Field("time", Sort.DURATION, _began),
    Field("end", Sort.DURATION, _ended),
    Field("path", Sort.TEXT, _path),
    Field("other_path", Sort.TEXT, _other_path),
    Field("name", Sort.TEXT, _name),
    Field("mount", Sort.TEXT, _mount),
    Field("client_comm", Sort.TEXT, partial(_comm, "client_comm")),
    Field("server_comm", Sort.TEXT, partial(_comm, "server_comm")),
]
_ALIASES: Final = {"inode": "node", "node_id": "node"}


def _by_name() -> dict[str, Field]:
    found = {one.name: one for one in [*_OTHERS, *_phases([one.name for one in _OTHERS])]}
    return found | {alias: found[name] for alias, name in _ALIASES.items()}


FIELDS: Final = _by_name()
"""All fields by name; some have two."""
OF_PATHS: Final = frozenset({"path", "other_path"})
"""Names of fields that need what requests are about."""

"""What a line says of each operation's structure, and of what came of it."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from furtrace.model.requests import Requests
from furtrace.trace.record import NO_QUEUE, Records, Transport
from furtrace.views.arguments import arguments, results
from furtrace.wire.errnos import error_text
from furtrace.wire.opcodes import Opcode
from furtrace.wire.vfs import open_flag_names
from tests.unit.events import batch, committed, delivered, ended, entry_out, operation_header, queued, whole


def _flag(name: str) -> int:
    """A flag of open(2) as this machine numbers it."""
    return next(1 << bit for bit in range(2, 32) if name in open_flag_names(1 << bit))


_LARGEFILE, _DIRECT, _DIRECTORY = map(_flag, ("O_LARGEFILE", "O_DIRECT", "O_DIRECTORY"))


def _shown(opcode: int, operation: bytes, size: int | None = None) -> str:
    """``size``: how much of the structure is known."""
    known = np.array([len(operation) if size is None else size], np.uint16)
    head = np.frombuffer(operation[:128].ljust(128, b"\xee"), "V128")
    (text,) = arguments(np.array([opcode], np.uint32), known, head)
    return text


def _read(flags: int = 0, read_flags: int = 0) -> bytes:
    return struct.pack("<QQIIQII", 3, 65536, 4096, read_flags, 9, flags, 0)


def _write(flags: int = 0, write_flags: int = 0) -> bytes:
    return struct.pack("<QQIIQII", 3, 1 << 40, 512, write_flags, 9, flags, 0)


def _lock(kind: int, end: int, flags: int) -> bytes:
    return struct.pack("<QQQQIIII", 3, 9, 100, end, kind, 42, flags, 0)


_ARGUMENTS: tuple[tuple[int, bytes, str], ...] = (
    (Opcode.READ, _read(), "off=65536 len=4096"),
    (Opcode.READ, _read(_DIRECT | _LARGEFILE | 2), "off=65536 len=4096 flags=O_DIRECT"),
    (Opcode.READ, _read(_LARGEFILE | 1, read_flags=2), "off=65536 len=4096"),
    (Opcode.READDIR, _read(_DIRECTORY), "off=65536 len=4096"),
    (Opcode.READDIRPLUS, _read(_DIRECTORY), "off=65536 len=4096"),
    (Opcode.WRITE, _write(), "off=1099511627776 len=512"),
    (Opcode.WRITE, _write(_DIRECT | 0o2001, 1), "off=1099511627776 len=512 flags=O_APPEND|O_DIRECT write_flags=CACHE"),
    (Opcode.WRITE, _write(0, 6), "off=1099511627776 len=512 write_flags=LOCKOWNER|KILL_SUIDGID"),
    (Opcode.FORGET, struct.pack("<Q", 7), "nlookup=7"),
    (Opcode.BATCH_FORGET, struct.pack("<II", 12, 0), "count=12"),
    (Opcode.INTERRUPT, struct.pack("<Q", 1234), "unique=1234"),
    (Opcode.MKNOD, struct.pack("<IIII", 0o100644, 0, 0o22, 0), "mode=0100644"),
    (Opcode.MKNOD, struct.pack("<IIII", 0o20600, 0x103, 0o22, 0), "mode=020600 rdev=259"),
    (Opcode.MKDIR, struct.pack("<II", 0o755, 0o22), "mode=0755"),
    (Opcode.RENAME2, struct.pack("<QII", 1, 0, 0), ""),
    (Opcode.RENAME2, struct.pack("<QII", 1, 1, 0), "flags=NOREPLACE"),
    (Opcode.RENAME2, struct.pack("<QII", 1, 6, 0), "flags=EXCHANGE|WHITEOUT"),
    (Opcode.OPEN, struct.pack("<II", _LARGEFILE, 0), "flags=O_RDONLY"),
    (Opcode.OPEN, struct.pack("<II", _DIRECT | _LARGEFILE | 1, 0), "flags=O_WRONLY|O_DIRECT"),
    (Opcode.OPENDIR, struct.pack("<II", _DIRECTORY, 0), "flags=O_RDONLY|O_DIRECTORY"),
    (
        Opcode.CREATE,
        struct.pack("<IIII", 0o1302, 0o100640, 0o22, 0),
        "flags=O_RDWR|O_CREAT|O_EXCL|O_TRUNC mode=0100640",
    ),
    (Opcode.TMPFILE, struct.pack("<IIII", 2, 0o100600, 0o22, 0), "flags=O_RDWR mode=0100600"),
    (Opcode.RELEASE, struct.pack("<QIIQ", 3, 2, 0, 9), "fh=3 flags=O_RDWR"),
    (Opcode.RELEASE, struct.pack("<QIIQ", 3, 0, 3, 9), "fh=3 flags=O_RDONLY release_flags=FLUSH|FLOCK_UNLOCK"),
    (Opcode.RELEASEDIR, struct.pack("<QIIQ", 3, 0, 0, 9), "fh=3"),
    (Opcode.FLUSH, struct.pack("<QIIQ", 3, 0, 0, 9), "fh=3"),
    (Opcode.FSYNC, struct.pack("<QII", 3, 0, 0), ""),
    (Opcode.FSYNC, struct.pack("<QII", 3, 1, 0), "flags=FDATASYNC"),
    (Opcode.FSYNCDIR, struct.pack("<QII", 3, 1, 0), "flags=FDATASYNC"),
    (Opcode.SETXATTR, struct.pack("<II", 5, 0), "size=5"),
    (Opcode.SETXATTR, struct.pack("<IIII", 5, 2, 0, 0), "size=5 flags=REPLACE"),
    (Opcode.GETXATTR, struct.pack("<II", 0, 0), "size=0"),
    (Opcode.LISTXATTR, struct.pack("<II", 256, 0), "size=256"),
    (Opcode.GETLK, _lock(0, 199, 0), "type=F_RDLCK start=100 end=199 pid=42"),
    (Opcode.SETLK, _lock(1, (1 << 63) - 1, 0), "type=F_WRLCK start=100 end=EOF pid=42"),
    (Opcode.SETLKW, _lock(2, 199, 1), "type=F_UNLCK start=100 end=199 pid=42 flags=FLOCK"),
    (Opcode.SETLK, _lock(9, 199, 0), "type=9 start=100 end=199 pid=42"),
    (Opcode.ACCESS, struct.pack("<II", 0, 0), "mask=F_OK"),
    (Opcode.ACCESS, struct.pack("<II", 5, 0), "mask=X_OK|R_OK"),
    (Opcode.BMAP, struct.pack("<QII", 8, 512, 0), "block=8 blocksize=512"),
    (
        Opcode.IOCTL,
        struct.pack("<QIIQII", 3, 0, 0x5413, 0x7FFF0000, 0, 8),
        "cmd=0x5413 arg=0x7fff0000 in_size=0 out_size=8",
    ),
    (Opcode.IOCTL, struct.pack("<QIIQII", 3, 16, 1, 0, 4, 0), "cmd=0x1 arg=0x0 in_size=4 out_size=0 flags=DIR"),
    (Opcode.POLL, struct.pack("<QQII", 3, 4, 1, 0x5), "events=POLLIN|POLLOUT"),
    (Opcode.FALLOCATE, struct.pack("<QQQII", 3, 10, 20, 3, 0), "off=10 len=20 mode=KEEP_SIZE|PUNCH_HOLE"),
    (Opcode.FALLOCATE, struct.pack("<QQQII", 3, 10, 20, 0, 0), "off=10 len=20"),
    (Opcode.LSEEK, struct.pack("<QQII", 3, 10, 3, 0), "off=10 whence=SEEK_DATA"),
    (Opcode.LSEEK, struct.pack("<QQII", 3, 10, 77, 0), "off=10 whence=77"),
    (Opcode.COPY_FILE_RANGE, struct.pack("<7Q", 3, 1, 5, 4, 2, 99, 0), "off_in=1 off_out=2 len=99"),
    (Opcode.COPY_FILE_RANGE_64, struct.pack("<7Q", 3, 1, 5, 4, 2, 99, 0), "off_in=1 off_out=2 len=99"),
    (Opcode.STATX, struct.pack("<IIQII", 0, 0, 0, 0, 0x801), "mask=TYPE|BTIME"),
)


@pytest.mark.parametrize(("opcode", "operation", "shown"), _ARGUMENTS)
def test_arguments(opcode: int, operation: bytes, shown: str) -> None:
    assert _shown(opcode, operation) == (f" {shown}" if shown else "")


@pytest.mark.parametrize(("opcode", "operation", "shown"), _ARGUMENTS)
def test_of_a_structure_that_is_not_whole_nothing_is_shown(opcode: int, operation: bytes, shown: str) -> None:
    shortest = 8 if opcode == Opcode.SETXATTR else len(operation)
    assert _shown(opcode, operation, shortest - 1) == ""
    assert _shown(opcode, operation, 0) == ""
    assert _shown(opcode, operation, shortest) == (f" {shown}" if shown else "")


@pytest.mark.parametrize(
    "opcode",
    [
        *(Opcode.LOOKUP, Opcode.GETATTR, Opcode.READLINK, Opcode.SYMLINK, Opcode.UNLINK, Opcode.RMDIR, Opcode.RENAME),
        *(Opcode.LINK, Opcode.STATFS, Opcode.REMOVEXATTR, Opcode.INIT, Opcode.DESTROY, 0, 99, (1 << 32) - 1),
    ],
)
def test_operations_of_which_there_is_nothing_to_say(opcode: int) -> None:
    assert _shown(opcode, bytes(128)) == ""


def test_flags_without_a_name_are_numbers() -> None:
    assert _shown(Opcode.FSYNC, struct.pack("<QII", 3, 1 << 31 | 1, 0)) == " flags=FDATASYNC|0x80000000"


def test_many_requests_keep_their_own() -> None:
    """Of several operations, in any order, some of them not whole."""
    rows = [_ARGUMENTS[number * 7 % len(_ARGUMENTS)] for number in range(200)]
    sizes = [0 if number % 5 == 0 else len(operation) for number, (_, operation, _) in enumerate(rows)]
    heads = np.frombuffer(b"".join(operation.ljust(128, b"\0") for _, operation, _ in rows), "V128")
    opcodes = np.array([opcode for opcode, _, _ in rows], np.uint32)
    expected = [f" {shown}" if shown and size else "" for (_, _, shown), size in zip(rows, sizes, strict=True)]
    assert arguments(opcodes, np.array(sizes, np.uint16), heads) == expected


def test_no_requests() -> None:
    assert arguments(np.empty(0, np.uint32), np.empty(0, np.uint16), np.empty(0, "V128")) == []


# ---- SETATTR ----


def _setattr(valid: int, **changes: int) -> str:
    names = (
        *("valid", "padding", "fh", "size", "lock_owner", "atime", "mtime", "ctime"),
        *("atimensec", "mtimensec", "ctimensec", "mode", "unused4", "uid", "gid", "unused5"),
    )
    values = dict.fromkeys(names, 0) | {"valid": valid} | changes
    return _shown(Opcode.SETATTR, struct.pack("<II6Q8I", *(values[name] for name in names)))


@pytest.mark.parametrize(
    ("valid", "shown"),
    [
        (0, ""),
        (1 << 0, " mode=0100600"),
        (1 << 1, " uid=7"),
        (1 << 2, " gid=8"),
        (1 << 3, " size=1099511627776"),
        (1 << 4, " atime=2001-09-09T01:46:40.000000001Z"),
        (1 << 5, " mtime=2001-09-09T01:46:41.000000002Z"),
        (1 << 6, " fh=3"),
        (1 << 4 | 1 << 7, " atime=now"),
        (1 << 5 | 1 << 8, " mtime=now"),
        (1 << 4 | 1 << 5 | 1 << 7, " atime=now mtime=2001-09-09T01:46:41.000000002Z"),
        (1 << 4 | 1 << 5 | 1 << 8, " atime=2001-09-09T01:46:40.000000001Z mtime=now"),
        (1 << 7 | 1 << 8 | 1 << 9, ""),
        (1 << 10, " ctime=2001-09-09T01:46:42.000000003Z"),
        (1 << 11, " KILL_SUIDGID"),
        (0b111, " mode=0100600 uid=7 gid=8"),
    ],
)
def test_of_setattr_what_is_meant(valid: int, shown: str) -> None:
    times = {"atime": 10**9, "mtime": 10**9 + 1, "ctime": 10**9 + 2, "atimensec": 1, "mtimensec": 2, "ctimensec": 3}
    assert _setattr(valid, mode=0o100600, uid=7, gid=8, size=1 << 40, fh=3, **times) == shown


def test_setattr_that_is_not_whole() -> None:
    whole_ = b"\xff" * 88
    assert _shown(Opcode.SETATTR, whole_, 87) == ""
    assert "out of the calendar" not in _shown(Opcode.SETATTR, whole_)
    assert " atime=now mtime=now" in _shown(Opcode.SETATTR, whole_)


def test_times_that_no_calendar_has() -> None:
    assert _setattr(1 << 4, atime=1 << 62) == " atime=out of the calendar"


@given(st.integers(0, 60), st.binary(min_size=128, max_size=128), st.integers(0, 128))
def test_whatever_a_structure_holds_it_is_shown_in_a_line(opcode: int, operation: bytes, size: int) -> None:
    text = _shown(opcode, operation, size)
    assert text.isprintable()
    assert text == "" or text[0] == " "


# ---- results ----


def _result(*parts: Records) -> str:
    (text,) = results(Requests().feed(batch(*parts)))
    return text


def _answered(opcode: int, answer: bytes, error: int = 0, **members: Any) -> str:
    return _result(queued(10, 1, opcode), ended(10, 2, opcode, error, header=operation_header(answer), **members))


_ENTRIES = (
    *(Opcode.LOOKUP, Opcode.MKNOD, Opcode.MKDIR, Opcode.SYMLINK, Opcode.LINK, Opcode.CREATE),
    Opcode.TMPFILE,
)
_RESULTS: tuple[tuple[int, bytes, int, str], ...] = (
    *((opcode, entry_out(9), 8, "#9") for opcode in _ENTRIES),
    *((opcode, entry_out(0), 8, "absent") for opcode in _ENTRIES),
    (Opcode.LOOKUP, entry_out((1 << 64) - 1), 8, f"#{(1 << 64) - 1}"),
    *((opcode, struct.pack("<QIi", 3, 0, 0), 12, "fh=3") for opcode in (Opcode.OPEN, Opcode.OPENDIR)),
    (Opcode.OPEN, struct.pack("<QIi", 3, 3, 0), 12, "fh=3 DIRECT_IO|KEEP_CACHE"),
    (Opcode.OPENDIR, struct.pack("<QIi", 3, 8, 0), 12, "fh=3 CACHE_DIR"),
    (Opcode.LSEEK, struct.pack("<Q", 1 << 40), 8, str(1 << 40)),
    (Opcode.BMAP, struct.pack("<Q", 77), 8, "77"),
    (Opcode.IOCTL, struct.pack("<iIII", -25, 0, 0, 0), 4, "-25"),
    (Opcode.IOCTL, struct.pack("<iIII", 7, 9, 0, 0), 4, "7"),
    (Opcode.POLL, struct.pack("<II", 0x41, 0), 4, "POLLIN|POLLRDNORM"),
    (Opcode.POLL, struct.pack("<II", 0, 0), 4, "0"),
    (Opcode.WRITE, struct.pack("<II", 512, 0), 4, "512"),
    (Opcode.WRITE, struct.pack("<II", 0, 0), 4, "0"),
    (Opcode.COPY_FILE_RANGE, struct.pack("<II", 99, 0), 4, "99"),
    (Opcode.COPY_FILE_RANGE_64, struct.pack("<Q", 1 << 40), 8, str(1 << 40)),
)


@pytest.mark.parametrize(("opcode", "answer", "needed", "shown"), _RESULTS)
def test_results(opcode: int, answer: bytes, needed: int, shown: str) -> None:
    assert _answered(opcode, answer) == shown
    assert _answered(opcode, answer[:needed]) == shown
    assert _answered(opcode, answer[: needed - 1]) == _answered(opcode, b"") == "?"
    assert _answered(opcode, answer, error=-13) == "-EACCES"


@pytest.mark.parametrize("opcode", [Opcode.GETATTR, Opcode.UNLINK, Opcode.RELEASE, Opcode.RENAME2, Opcode.FSYNC, 99])
def test_operations_that_bring_nothing(opcode: int) -> None:
    assert _answered(opcode, b"\1" * 16) == _answered(opcode, b"") == "0"


@pytest.mark.parametrize("opcode", [Opcode.READ, Opcode.READDIR, Opcode.READDIRPLUS, Opcode.READLINK])
def test_bytes_that_were_brought(opcode: int) -> None:
    assert _result(queued(10, 1, opcode), committed(10, 2, opcode, 4096), ended(10, 3, opcode)) == "4096"
    by_dev = ended(10, 3, opcode, transport=Transport.DEV, queue=NO_QUEUE, length=16 + 7)
    assert _result(queued(10, 1, opcode), by_dev) == "7"
    assert _result(queued(10, 1, opcode), ended(10, 3, opcode)) == "?"


@pytest.mark.parametrize("opcode", [Opcode.GETXATTR, Opcode.LISTXATTR])
def test_sizes_of_attributes(opcode: int) -> None:
    def result(asked: int, answer: bytes, **reply: Any) -> str:
        header = operation_header(struct.pack("<II", asked, 0))
        done = ended(10, 9, opcode, header=operation_header(answer), **reply)
        return _result(queued(10, 1, opcode, header=header), committed(10, 3, opcode, 33), done)

    assert result(0, struct.pack("<II", 44, 0)) == "44"
    assert result(0, b"") == "?"
    assert result(64, b"") == "33"
    assert result(64, b"", error=-34) == "-ERANGE"
    sized = operation_header(struct.pack("<II", 64, 0))
    assert _result(queued(10, 1, opcode, header=sized), ended(10, 3, opcode)) == "?"
    assert _result(queued(10, 1, opcode), committed(10, 2, opcode, 33), ended(10, 3, opcode)) == "?"


@pytest.mark.parametrize("opcode", [Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT])
def test_requests_without_a_reply(opcode: int) -> None:
    asked = delivered(10, 1, opcode, transport=Transport.DEV, entry=0, header=operation_header(bytes(8)))
    assert _result(asked) == "no reply"


def test_results_keep_to_their_requests() -> None:
    requests = Requests().feed(
        batch(
            *(part for number in range(9) for part in whole(10 + 2 * number, 1000 * number, Opcode.FLUSH)),
            ended(40, 20_000, Opcode.LOOKUP, header=operation_header(entry_out(9))),
            ended(42, 20_001, Opcode.LOOKUP, -2),
            ended(44, 20_002, Opcode.WRITE, header=operation_header(struct.pack("<II", 5, 0))),
            ended(46, 20_003, Opcode.LOOKUP, header=operation_header(entry_out(8))),
            ended(48, 20_004, Opcode.READ),
        )
    )
    assert results(requests) == ["0"] * 9 + ["#9", "-ENOENT", "5", "#8", "?"]


@pytest.mark.parametrize(("error", "text"), [(-2, "-ENOENT"), (-4000, "-4000"), (5, "5"), (0, "0")])
def test_errors(error: int, text: str) -> None:
    assert error_text(error) == text

"""Lines for a log, word for word."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from furtrace.model.requests import Requests
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import EXTRA_SIZE, NO_QUEUE, Flag, Kind, Records, Transport
from furtrace.views.lines import EventLines, RequestLines, place
from furtrace.views.units import Clock
from furtrace.wire.opcodes import Opcode
from tests.unit.events import (
    SERVER,
    batch,
    committed,
    delivered,
    ended,
    event,
    one_name,
    operation_header,
    queued,
    read_in,
    two_names,
    whole,
)

# 22:13:20 UTC plus the nanoseconds of an event
INFO = TraceInfo("7.3.0", "bufpool", "tracepoint", 1_700_000_000_000_000_000)
DEV_END: dict[str, Any] = {"transport": Transport.DEV, "queue": NO_QUEUE}


pytestmark = pytest.mark.usefixtures("_utc")


def _lines(*parts: Records) -> list[str]:
    return list(RequestLines(INFO).ended(Requests().feed(batch(*parts))))


def _line(*parts: Records) -> str:
    (line,) = _lines(*parts)
    return line


def _unfinished(now_ns: int, *parts: Records, lost: int = 0) -> list[str]:
    model = Requests()
    model.feed(batch(*parts), lost)
    return list(RequestLines(INFO).unfinished(model.under_way, now_ns))


def _arguments(line: str) -> str:
    return line.partition("(")[2].rpartition(") = ")[0]


def _result(line: str) -> str:
    return line.rpartition(") = ")[2].partition(" <")[0]


# ---- requests ----


def test_a_read() -> None:
    assert (
        _line(
            queued(10, 123_456_000, Opcode.READ, header=read_in(65536, 4096)),
            delivered(10, 123_459_800, Opcode.READ),
            committed(10, 123_499_500, Opcode.READ, 4096),
            ended(10, 123_501_100, Opcode.READ),
        )
        == "22:13:20.123456 7:3.0 client[40] READ(5, 4096@65536) = 4096 <45.1us: wait 3.8, server 39.7, commit 1.6>"
    )


def test_a_write() -> None:
    reply = operation_header((512).to_bytes(4, "little") + bytes(4))
    line = _line(
        queued(10, 1000, Opcode.WRITE, header=read_in(0, 512)),
        delivered(10, 2000, Opcode.WRITE),
        committed(10, 3000, Opcode.WRITE, 8),
        ended(10, 4000, Opcode.WRITE, header=reply),
    )
    assert line == "22:13:20.000001 7:3.0 client[40] WRITE(5, 512@0) = 512 <3.0us: wait 1.0, server 1.0, commit 1.0>"


def test_lines_keep_to_their_requests() -> None:
    """One batch with every kind of argument and result: none slips to a neighbour."""
    lines = _lines(
        *whole(10, 1_000, Opcode.LOOKUP, error=-2)[1:],
        queued(12, 2_000, Opcode.READ, header=read_in(8, 16), node_id=6),
        queued(14, 3_000, Opcode.CREATE, node_id=7, **one_name(b"n")),
        queued(16, 4_000, Opcode.GETATTR, node_id=8, comm=b"other", pid=50),
        committed(12, 5_000, Opcode.READ, 9, entry=0xE1, node_id=6),
        ended(12, 6_000, Opcode.READ, node_id=6),
        ended(14, 7_000, Opcode.CREATE, -13, node_id=7),
        ended(16, 8_000, Opcode.GETATTR, node_id=8),
    )
    assert lines == [
        "22:13:20.000001 7:3.0 ?[41] LOOKUP(5) = -ENOENT <?: wait ?, server 0.1, commit 0.0>",
        "22:13:20.000002 7:3.1 client[40] READ(6, 16@8) = 9 <4.0us: wait ?, server ?, commit 1.0>",
        '22:13:20.000003 7:3 client[40] CREATE(7, "n") = -EACCES <4.0us>',
        "22:13:20.000004 7:3 other[50] GETATTR(8) = 0 <4.0us>",
    ]


def test_by_dev() -> None:
    line = _line(queued(10, 1000, Opcode.READ), ended(10, 3000, Opcode.READ, length=116, **DEV_END))
    assert line == "22:13:20.000001 7:dev client[40] READ(5) = 100 <2.0us>"


def test_nothing_is_known_but_the_end() -> None:
    line = _line(ended(10, 5000, Opcode.READ, queue=NO_QUEUE, client_tid=0))
    assert line == "22:13:20.000005 7:? ?[?] READ(5) = ? <?>"


def test_the_thread_where_the_process_is_not_known() -> None:
    assert " ?[55] " in _line(queued(10, 1, flags=0, client_tid=55), ended(10, 2))


@pytest.mark.parametrize(
    "opcode", [Opcode.READ, Opcode.READDIR, Opcode.READDIRPLUS, Opcode.READLINK, Opcode.WRITE, Opcode.COPY_FILE_RANGE]
)
def test_bytes_that_are_not_known_are_not_0(opcode: Opcode) -> None:
    assert _result(_line(queued(10, 1, opcode), ended(10, 2, opcode))) == "?"
    assert _result(_line(queued(10, 1, opcode), ended(10, 2, opcode, -5))) == "-EIO"


def test_no_bytes_are_0() -> None:
    parts = queued(10, 1, Opcode.READ), committed(10, 2, Opcode.READ, 0), ended(10, 3, Opcode.READ)
    assert _result(_line(*parts)) == "0"
    assert _result(_line(queued(10, 1, Opcode.OPEN), ended(10, 2, Opcode.OPEN))) == "0"


@pytest.mark.parametrize(
    ("error", "name"), [(-2, "-ENOENT"), (-11, "-EAGAIN"), (-512, "-ERESTARTSYS"), (-4000, "-4000"), (5, "5")]
)
def test_errors_by_name(error: int, name: str) -> None:
    assert _result(_line(queued(10, 1), ended(10, 2, error=error))) == name


def test_operations_that_are_not_known() -> None:
    assert " OP_99(5) = 0 <" in _line(queued(10, 1, 99), ended(10, 2, 99))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"a b", '"a b"'),
        (b"\x1b]0;title\x07", r'"\x1b]0;title\x07"'),
        (b"two\nlines", r'"two\nlines"'),
        (b'say "x" <y> = 0', r'"say \"x\" <y> = 0"'),
        (b"[red]", '"[red]"'),
        (b"%s%d{}", '"%s%d{}"'),
        (b"\xff\xfe", r'"\xff\xfe"'),
        ("ü".encode(), '"ü"'),
    ],
)
def test_names_are_escaped(name: bytes, shown: str) -> None:
    asked = queued(10, 1, Opcode.LOOKUP, **one_name(name))
    assert _arguments(_line(asked, ended(10, 2, Opcode.LOOKUP))) == f"5, {shown}"
    assert f"LOOKUP(5, {shown})" in _events(asked)[0]


@pytest.mark.parametrize(
    ("comm", "shown"),
    [(b"\x1b[2J", r"\x1b[2J"), (b"a\nb", r"a\nb"), (b"[red]", "[red]"), (b"\xff", r"\xff"), (b"", "?")],
)
def test_task_names_are_escaped(comm: bytes, shown: str) -> None:
    asked = queued(10, 1, comm=comm)
    assert f" {shown}[40] GETATTR" in _line(asked, ended(10, 2))
    assert _events(asked)[0].endswith(f" {shown}[41]")


def test_two_names() -> None:
    asked = queued(10, 1, Opcode.RENAME2, **two_names(b"old", b"new"))
    assert _arguments(_line(asked, ended(10, 2, Opcode.RENAME2))) == '5, "old", "new"'
    assert 'RENAME2(5, "old", "new")' in _events(asked)[0]


def test_cut_names() -> None:
    cut = {"flags": Flag.NAME_CUT | Flag.CURRENT_IS_CLIENT}
    asked = queued(10, 1, Opcode.LOOKUP, extra=b"n" * EXTRA_SIZE, **cut)
    shown = f'5, "{"n" * EXTRA_SIZE}"...'
    assert _arguments(_line(asked, ended(10, 2, Opcode.LOOKUP))) == shown
    assert f"LOOKUP({shown})" in _events(asked)[0]


def test_of_two_names_the_cut_one_shows_it() -> None:
    both = {"extra": b"old\0".ljust(96, b"\0") + b"n" * 96, "second": 96}
    asked = queued(10, 1, Opcode.SYMLINK, flags=Flag.NAME_CUT, **both)
    shown = f'5, "old", "{"n" * 96}"...'
    assert _arguments(_line(asked, ended(10, 2, Opcode.SYMLINK))) == shown
    assert f"SYMLINK({shown})" in _events(asked)[0]


def test_an_operation_header_that_is_too_short_for_its_arguments() -> None:
    short = operation_header(bytes(19))
    assert _arguments(_line(queued(10, 1, Opcode.READ, header=short), ended(10, 2, Opcode.READ))) == "5"


def test_large_offsets() -> None:
    asked = queued(10, 1, Opcode.READ, header=read_in((1 << 64) - 1, (1 << 32) - 1))
    assert _arguments(_line(asked, ended(10, 2, Opcode.READ))) == f"5, {(1 << 32) - 1}@{(1 << 64) - 1}"


def test_no_requests_no_lines() -> None:
    assert _lines() == []
    assert _unfinished(5) == []


def test_unfinished() -> None:
    lines = _unfinished(
        5_000_000,
        queued(10, 1_000, Opcode.LOOKUP, **one_name(b"x")),
        *whole(12, 2_000, Opcode.READ)[:2],
        *whole(14, 3_000, Opcode.WRITE)[:3],
    )
    assert lines == [
        '22:13:20.000001 7:? client[40] LOOKUP(5, "x") <unfinished: queued, 4999.0us>',
        "22:13:20.000002 7:3.0 client[40] READ(5) <unfinished: in the server, 4998.0us>",
        "22:13:20.000003 7:3.0 client[40] WRITE(5) <unfinished: in the kernel, committed, 4997.0us>",
    ]


def test_unfinished_after_loss() -> None:
    (line,) = _unfinished(2_000, queued(10, 1_000), lost=1)
    assert line == "22:13:20.000001 7:? client[40] GETATTR(5) <unfinished: unknown, events were lost, 1.0us>"


@given(
    st.binary(max_size=16),
    st.binary(max_size=EXTRA_SIZE),
    st.integers(0, EXTRA_SIZE),
    st.integers(0, 255),
    st.integers(0, 1 << 32),
    st.integers(-(1 << 31), (1 << 31) - 1),
)
def test_whatever_a_process_says_a_line_is_a_line(
    comm: bytes, extra: bytes, second: int, flags: int, opcode: int, error: int
) -> None:
    asked = queued(10, 1, opcode % (1 << 32), comm=comm, extra=extra, second=second, flags=flags)
    done = ended(10, 2, opcode % (1 << 32), error)
    for line in [*_lines(asked, done), *_unfinished(5, asked), *_events(batch(asked, done))]:
        assert line.isprintable()


# ---- set-up and trouble ----


def _area(flags: int = 0) -> bytes:
    return struct.pack("<QQH", flags, 0, 3).ljust(80, b"\0")


def test_noted() -> None:
    init = struct.pack("<IIII", 7, 45, 0, 0).ljust(64, b"\0") + struct.pack("<II", 7, 41).ljust(64, b"\0")
    noted = RequestLines(INFO).noted(
        batch(
            queued(10, 500),
            event(Kind.INIT, 1000, unique=2, extra=init, transport=Transport.DEV, tid=9, comm=b"srv"),
            event(Kind.ADD_QUEUE, 2000, command_op=3, extra=_area(1), queue=3, **SERVER),
            event(Kind.REGISTER, 3000, command_op=1, extra=_area(), queue=3, **SERVER),
            event(Kind.REFUSED, 4000, command_op=2, commit_id=88, error=-22, queue=3, **SERVER),
            event(Kind.STOPPED, 5000, command_op=1, error=-107, queue=3, **SERVER),
            event(Kind.REFUSED, 6000, command_op=9, error=-4000, **SERVER),
            *whole(12, 7000),
        )
    )
    assert list(noted) == [
        "22:13:20.000001 7:dev INIT kernel 7.45, server 7.41 max_write=0 max_background=0 max_pages=0 flags=0 srv[9]",
        "22:13:20.000002 7:3 ADD_QUEUE qid=3 flags=ZERO_COPY server[901]",
        "22:13:20.000003 7:3 REGISTER qid=3 flags=0 server[901]",
        "22:13:20.000004 7:3 REFUSED COMMIT_AND_FETCH commit_id=88 = -EINVAL server[901]",
        "22:13:20.000005 7:3 STOPPED REGISTER = -ENOTCONN server[901]",
        "22:13:20.000006 7:? REFUSED CMD_9 = -4000 server[901]",
    ]


# ---- events ----


def _events(events: Records) -> list[str]:
    model = Requests()
    model.feed(events)
    return list(EventLines(INFO, model).lines(events))


def test_events_of_a_request() -> None:
    assert _events(
        batch(
            queued(10, 1000, Opcode.LOOKUP, **one_name(b"x")),
            delivered(10, 2000, Opcode.LOOKUP, header=bytes(272) + (2).to_bytes(4, "little") + bytes(12)),
            committed(10, 3000, Opcode.LOOKUP, 128, error=-2, flags=Flag.HAS_ERROR),
            ended(10, 4000, Opcode.LOOKUP, -2),
        )
    ) == [
        '22:13:20.000001 7:? QUEUED unique=10 LOOKUP(5, "x") client[41]',
        "22:13:20.000002 7:3.0 DELIVERED unique=10 LOOKUP(5) commit_id=10 payload_sz=2 server[901]",
        "22:13:20.000003 7:3.0 COMMITTED unique=10 LOOKUP(5) commit_id=10 payload_sz=128 error=-ENOENT server[901]",
        "22:13:20.000004 7:3 ENDED unique=10 LOOKUP(5) error=-ENOENT server[901]",
    ]


def test_a_commit_whose_request_is_not_known() -> None:
    (line,) = _events(event(Kind.COMMITTED, 1000, commit_id=77, transport=Transport.URING, queue=3, **SERVER))
    assert line == "22:13:20.000001 7:3 COMMITTED unique=0 ?(0) commit_id=77 server[901]"


def test_a_delivery_by_dev_has_no_commit_id() -> None:
    (line,) = _events(delivered(10, 1000, transport=Transport.DEV, entry=0, header=bytes(40)))
    assert line == "22:13:20.000001 7:dev DELIVERED unique=10 GETATTR(5) server[901]"


def test_errors_that_a_server_may_not_commit() -> None:
    for error, shown in ((5, "5"), (-99999, "-99999"), (0, "0")):
        (line,) = _events(committed(10, 1, flags=Flag.HAS_ERROR, error=error))
        assert f" error={shown} server" in line
    assert "error" not in _events(committed(10, 1, flags=0, error=5))[0]


def test_overflow_is_told() -> None:
    (line,) = _events(delivered(10, 1000, flags=Flag.CQE_OVERFLOW))
    assert line.endswith(" server[901] (the completion queue overflowed)")


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_a_line(kind: Kind) -> None:
    (line,) = _events(event(kind, 1000, unique=10, opcode=Opcode.GETATTR, error=-5, command_op=1, extra=_area()))
    assert line.startswith(f"22:13:20.000001 7:? {kind.name} ")


# ---- parts ----


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ((39, 1, 3, Transport.URING), "39:1.3"),
        ((39, 1, None, Transport.URING), "39:1"),
        ((39, 1, -1, Transport.URING), "39:1"),
        ((39, 0, 0, Transport.UNKNOWN), "39:0.0"),
        ((39, NO_QUEUE, None, Transport.UNKNOWN), "39:?"),
        ((39, NO_QUEUE, None, Transport.DEV), "39:dev"),
    ],
)
def test_place(where: tuple[int, int, int | None, int], shown: str) -> None:
    assert place(*where) == shown


def test_clock_goes_on_within_and_over_seconds() -> None:
    clock = Clock(1_700_000_000_000_000_000)
    times = [999_999_999, 1_000_000_000, 1_000_001_999, 999_999_000, 3_600_000_000_000]
    assert [clock(ns) for ns in times] == [
        "22:13:20.999999",
        "22:13:21.000000",
        "22:13:21.000001",
        "22:13:20.999999",
        "23:13:20.000000",
    ]


def test_many_clients_and_places_do_not_mix() -> None:
    parts = [part for n in range(50) for part in (queued(2 * n + 2, n + 1, pid=1000 + n % 7, comm=b"c%d" % (n % 3)),)]
    parts += [ended(2 * n + 2, 1000 + n, queue=n % 4) for n in range(50)]
    lines = _lines(*parts)
    clients = [line.split()[2] for line in lines]
    assert clients == [f"c{n % 3}[{1000 + n % 7}]" for n in range(50)]
    assert [line.split()[1] for line in lines] == [f"7:{n % 4}" for n in range(50)]

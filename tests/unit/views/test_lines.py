"""Lines for a log, word for word."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from furtrace.model.conversation import Conversation
from furtrace.model.paths import Paths
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import (
    EVENTS,
    EXTRA_SIZE,
    HINTS,
    NO_BUFFER,
    NO_QUEUE,
    NOT_COUNTED,
    Flag,
    Kind,
    Records,
    Step,
    Transport,
    lost_record,
)
from furtrace.views.event_lines import EventLines, place
from furtrace.views.lines import RequestLines
from furtrace.views.units import Clock
from furtrace.wire.opcodes import Opcode
from tests.unit.events import (
    SERVER,
    after_loss,
    batch,
    committed,
    delivered,
    ended,
    event,
    found,
    one_name,
    operation_header,
    queued,
    read_in,
    removed,
    renamed,
    two_names,
    whole,
)
from tests.unit.model.histories import History, histories

# 22:13:20 UTC plus the nanoseconds of an event
INFO = TraceInfo("7.3.0", "bufpool", "tracepoint", 1_700_000_000_000_000_000)
DEV_END: dict[str, Any] = {"transport": Transport.DEV, "queue": NO_QUEUE}


pytestmark = pytest.mark.usefixtures("_utc")


def _lines(*parts: Records, ascii_only: bool = False) -> list[str]:
    conversation = Conversation()
    finished = conversation.feed(batch(*parts))
    return list(RequestLines(INFO, conversation.paths, ascii_only=ascii_only).ended(finished))


def _line(*parts: Records) -> str:
    (line,) = _lines(*parts)
    return line


def _unfinished(now_ns: int, *parts: Records, lost: int = 0) -> list[str]:
    conversation = Conversation()
    conversation.feed(after_loss(batch(*parts), lost))
    return list(RequestLines(INFO, conversation.paths).unfinished(conversation.requests.under_way, now_ns))


def _asked(line: str) -> str:
    """What stands between the operation and the arrow: path and arguments."""
    return line.rpartition(" → ")[0].split(" ", 4)[4]


def _result(line: str) -> str:
    return line.rpartition(" → ")[2].partition(" <")[0]


# ---- requests ----


def test_a_read() -> None:
    assert (
        _line(
            queued(10, 123_456_000, Opcode.READ, header=read_in(65536, 4096)),
            delivered(10, 123_459_800, Opcode.READ),
            committed(10, 123_499_500, Opcode.READ, 4096),
            ended(10, 123_501_100, Opcode.READ),
        )
        == "22:13:20.123456 7:3.0 client[40] READ #5 off=65536 len=4096 → 4096 "
        "<45.1us: wait 3.8, server 39.7, commit 1.6>"
    )


def test_a_write() -> None:
    reply = operation_header((512).to_bytes(4, "little") + bytes(4))
    line = _line(
        queued(10, 1000, Opcode.WRITE, header=read_in(0, 512)),
        delivered(10, 2000, Opcode.WRITE),
        committed(10, 3000, Opcode.WRITE, 8),
        ended(10, 4000, Opcode.WRITE, header=reply),
    )
    assert (
        line
        == "22:13:20.000001 7:3.0 client[40] WRITE #5 off=0 len=512 → 512 <3.0us: wait 1.0, server 1.0, commit 1.0>"
    )


def test_lines_keep_to_their_requests() -> None:
    """One batch with every kind of argument and result: none slips to a neighbour."""
    lines = _lines(
        found(8, 900, Opcode.MKDIR, 1, b"d", 7, client_tid=0),
        *whole(10, 1_000, Opcode.LOOKUP, error=-2)[1:],
        queued(12, 2_000, Opcode.READ, header=read_in(8, 16), node_id=6),
        queued(14, 3_000, Opcode.CREATE, node_id=7, **one_name(b"n")),
        queued(16, 4_000, Opcode.GETATTR, node_id=8, comm=b"other", pid=50),
        committed(12, 5_000, Opcode.READ, 9, entry=0xE1, node_id=6),
        ended(12, 6_000, Opcode.READ, node_id=6),
        ended(14, 7_000, Opcode.CREATE, -13, node_id=7),
        ended(16, 8_000, Opcode.GETATTR, node_id=1),
    )
    assert lines == [
        "22:13:20.000000 7:3 ?[?] MKDIR /? → #7 <?>",
        "22:13:20.000001 7:3.0 ?[41] LOOKUP #5/? → -ENOENT <?: wait ?, server 0.1, commit 0.0>",
        "22:13:20.000002 7:3.1 client[40] READ #6 off=8 len=16 → 9 <4.0us: wait ?, server ?, commit 1.0>",
        "22:13:20.000003 7:3 client[40] CREATE /d/n → -EACCES <4.0us>",
        "22:13:20.000004 7:3 other[50] GETATTR / → 0 <4.0us>",
    ]


def test_by_dev() -> None:
    line = _line(queued(10, 1000, Opcode.READ), ended(10, 3000, Opcode.READ, length=116, **DEV_END))
    assert line == "22:13:20.000001 7:dev client[40] READ #5 → 100 <2.0us>"


def test_nothing_is_known_but_the_end() -> None:
    line = _line(ended(10, 5000, Opcode.READ, queue=NO_QUEUE, client_tid=0))
    assert line == "22:13:20.000005 7:? ?[?] READ #5 → ? <?>"


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
    assert _result(_line(queued(10, 1, Opcode.FLUSH), ended(10, 2, Opcode.FLUSH))) == "0"


@pytest.mark.parametrize(
    ("error", "name"), [(-2, "-ENOENT"), (-11, "-EAGAIN"), (-512, "-ERESTARTSYS"), (-4000, "-4000"), (5, "5")]
)
def test_errors_by_name(error: int, name: str) -> None:
    assert _result(_line(queued(10, 1), ended(10, 2, error=error))) == name


def test_operations_that_are_not_known() -> None:
    assert " OP_99 #5 → 0 <" in _line(queued(10, 1, 99), ended(10, 2, 99))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"a b", '"/d/a b"'),
        (b"\x1b]0;title\x07", r"/d/\x1b]0;title\x07"),
        (b"two\nlines", r"/d/two\nlines"),
        (b"back\\slash", r"/d/back\\slash"),
        (b'say "x" <y> = 0', r'"/d/say \"x\" <y> = 0"'),
        (b"sure?", '"/d/sure?"'),
        (b"?", '"/d/?"'),
        (b"f (deleted)", '"/d/f (deleted)"'),
        (b"\xe2\x86\x92", "/d/→"),
        (b"[red]", "/d/[red]"),
        (b"%s%d{}", "/d/%s%d{}"),
        (b"\xff\xfe", r"/d/\xff\xfe"),
        ("ü".encode(), "/d/ü"),
    ],
)
def test_names_are_escaped(name: bytes, shown: str) -> None:
    directory = found(2, 1, Opcode.MKDIR, 1, b"d", 5)
    asked = queued(10, 2, Opcode.LOOKUP, **one_name(name))
    assert _asked(_lines(directory, asked, ended(10, 3, Opcode.LOOKUP))[1]) == shown
    assert f" LOOKUP {shown} client[41]" in _events(batch(directory, asked))[1]


@pytest.mark.parametrize(
    ("name", "shown"), [(b"user.a", '"user.a"'), (b'"', r'"\""'), (b"\x1b[2J", r'"\x1b[2J"'), (b"\xff", r'"\xff"')]
)
def test_attributes_names_stand_behind_the_path(name: bytes, shown: str) -> None:
    size = operation_header(struct.pack("<II", 64, 0))
    for opcode in (Opcode.GETXATTR, Opcode.SETXATTR):
        asked = queued(10, 1, opcode, **one_name(name), header=size)
        assert _asked(_line(asked, ended(10, 2, opcode))) == f"#5 {shown} size=64"
        assert f" {opcode.name} #5 {shown} size=64 client[41]" in _events(asked)[0]
    asked = queued(10, 1, Opcode.REMOVEXATTR, **one_name(name))
    assert _asked(_line(asked, ended(10, 2, Opcode.REMOVEXATTR))) == f"#5 {shown}"
    assert _unfinished(5, asked)[0].split(" ", 3)[3].startswith(f"REMOVEXATTR #5 {shown} <unfinished")


def test_a_target_stands_behind_the_path() -> None:
    asked = queued(10, 1, Opcode.SYMLINK, **two_names(b"link", b"../to here"))
    assert _asked(_line(asked, ended(10, 2, Opcode.SYMLINK))) == '#5/link "../to here"'
    assert ' SYMLINK #5/link "../to here" client[41]' in _events(asked)[0]


def test_without_unicode() -> None:
    (line,) = _lines(queued(10, 1, Opcode.STATFS), ended(10, 2, Opcode.STATFS), ascii_only=True)
    assert line == "22:13:20.000000 7:3 client[40] STATFS #5 -> 0 <0.0us>"


def test_paths_hold_at_the_end_of_their_request() -> None:
    """One inode through one batch: unknown, found, moved, removed, and its number given to another."""
    lines = _lines(
        ended(4, 10),
        found(6, 11, Opcode.LOOKUP, 1, b"f", 5),
        ended(8, 12),
        renamed(10, 13, (1, b"f"), (1, b"g")),
        ended(12, 14),
        removed(14, 15, 1, b"g"),
        ended(16, 16),
        event(Kind.NAMED, 17, opcode=Opcode.FORGET, node_id=5, header=operation_header((1).to_bytes(8, "little"))),
        ended(18, 18),
        found(20, 19, Opcode.CREATE, 1, b"new", 5),
        ended(22, 20),
    )
    assert [_asked(line) for line in lines if " GETATTR " in line] == [
        "#5",
        "/f",
        "/g",
        "/g (deleted)",
        "#5",
        "/new",
    ]


def test_what_was_learnt_before_a_loss_is_not_sure() -> None:
    conversation = Conversation()
    conversation.feed(found(6, 1, Opcode.LOOKUP, 1, b"a b", 5))
    lines = RequestLines(INFO, conversation.paths)
    assert [_asked(line) for line in lines.ended(conversation.feed(after_loss(ended(8, 2), 1)))] == ['"/a b"?']
    assert [_asked(line) for line in lines.ended(conversation.feed(ended(8, 3)))] == ['"/a b"?']
    conversation.feed(found(6, 4, Opcode.LOOKUP, 1, b"a b", 5))
    assert [_asked(line) for line in lines.ended(conversation.feed(ended(8, 5)))] == ['"/a b"']


def test_requests_without_an_inode() -> None:
    interrupt = operation_header((7).to_bytes(8, "little"))
    line = _line(delivered(11, 1, Opcode.INTERRUPT, node_id=0, header=interrupt, transport=Transport.DEV, entry=0))
    assert line == "22:13:20.000000 7:dev ?[41] INTERRUPT - unique=7 → no reply <?>"


@pytest.mark.parametrize(
    ("comm", "shown"),
    [(b"\x1b[2J", r"\x1b[2J"), (b"a\nb", r"a\nb"), (b"[red]", "[red]"), (b"\xff", r"\xff"), (b"", "?")],
)
def test_task_names_are_escaped(comm: bytes, shown: str) -> None:
    asked = queued(10, 1, comm=comm)
    assert f" {shown}[40] GETATTR" in _line(asked, ended(10, 2))
    assert _events(asked)[0].endswith(f" {shown}[41]")


def test_two_names() -> None:
    to_root = operation_header(struct.pack("<QII", 1, 1, 0))
    asked = queued(10, 1, Opcode.RENAME2, **two_names(b"old", b"a new"), header=to_root)
    shown = '#5/old to="/a new" flags=NOREPLACE'
    assert _asked(_line(asked, ended(10, 2, Opcode.RENAME2))) == shown
    assert f" RENAME2 {shown} client" in _events(asked)[0]
    asked = queued(10, 1, Opcode.LINK, **one_name(b"new"), header=operation_header((9).to_bytes(8, "little")))
    assert _asked(_line(asked, ended(10, 2, Opcode.LINK))) == "#5/new from=#9"
    assert " LINK #5/new from=#9 client" in _events(asked)[0]
    asked = queued(10, 1, Opcode.RENAME, **two_names(b"old", b"new"))
    assert _asked(_line(asked, ended(10, 2, Opcode.RENAME))) == "#5/old to=?"


def test_cut_names() -> None:
    cut = {"flags": Flag.NAME_CUT | Flag.CURRENT_IS_CLIENT}
    asked = queued(10, 1, Opcode.LOOKUP, extra=b"n" * EXTRA_SIZE, **cut)
    shown = f"#5/{'n' * EXTRA_SIZE}..."
    assert _asked(_line(asked, ended(10, 2, Opcode.LOOKUP))) == shown
    assert f" LOOKUP {shown} client" in _events(asked)[0]


def test_of_two_names_the_cut_one_shows_it() -> None:
    both = {"extra": b"old\0".ljust(96, b"\0") + b"n" * 96, "second": 96}
    asked = queued(10, 1, Opcode.SYMLINK, flags=Flag.NAME_CUT, **both)
    shown = f'#5/old "{"n" * 96}"...'
    assert _asked(_line(asked, ended(10, 2, Opcode.SYMLINK))) == shown
    assert f" SYMLINK {shown} client" in _events(asked)[0]
    header = operation_header((1).to_bytes(8, "little"))
    asked = queued(10, 1, Opcode.RENAME, flags=Flag.NAME_CUT, header=header, **both)
    assert _asked(_line(asked, ended(10, 2, Opcode.RENAME))) == f"#5/old to=/{'n' * 96}..."


def test_an_operation_header_that_is_too_short_for_its_arguments() -> None:
    short = operation_header(bytes(39))
    assert _asked(_line(queued(10, 1, Opcode.READ, header=short), ended(10, 2, Opcode.READ))) == "#5"


def test_large_offsets() -> None:
    asked = queued(10, 1, Opcode.READ, header=read_in((1 << 64) - 1, (1 << 32) - 1))
    assert _asked(_line(asked, ended(10, 2, Opcode.READ))) == f"#5 off={(1 << 64) - 1} len={(1 << 32) - 1}"


def test_no_requests_no_lines() -> None:
    assert _lines() == []
    assert _unfinished(5) == []


def test_unfinished() -> None:
    lines = _unfinished(
        5_000_000,
        queued(10, 1_000, Opcode.LOOKUP, **one_name(b"x")),
        queued(12, 2_000, Opcode.READ, header=read_in(1, 2)),
        delivered(12, 2_010, Opcode.READ),
        *whole(14, 3_000, Opcode.WRITE)[:3],
    )
    assert lines == [
        "22:13:20.000001 7:? client[40] LOOKUP #5/x <unfinished: queued, 4999.0us>",
        "22:13:20.000002 7:3.0 client[40] READ #5 off=1 len=2 <unfinished: in the server, 4998.0us>",
        "22:13:20.000003 7:3.0 client[40] WRITE #5 <unfinished: in the kernel, committed, 4997.0us>",
    ]


def test_unfinished_after_loss() -> None:
    (line,) = _unfinished(2_000, queued(10, 1_000), lost=1)
    assert line == "22:13:20.000001 7:? client[40] GETATTR #5 <unfinished: unknown, events were lost, 1.0us>"


@settings(deadline=None)
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


def _shown_of(batches: list[Records]) -> list[str]:
    """All that is said of batches as they come: lines of events, and of requests that end."""
    conversation = Conversation()
    events = EventLines(INFO, conversation.requests, conversation.paths)
    requests = RequestLines(INFO, conversation.paths)
    said = []
    for each in batches:
        for part in conversation.cut(each):
            finished = conversation.feed(part)
            said += [*requests.ended(finished), *events.lines(part)]
    # Of a part the requests come first, so that their order, which is no matter here, depends on the cutting.
    return sorted(said)


@settings(deadline=None, max_examples=100)
@given(histories(), st.lists(st.tuples(st.integers(0, 80), st.integers(0, 40)), max_size=2))
def test_what_is_said_does_not_depend_on_the_cutting(history: History, losses: list[tuple[int, int]]) -> None:
    every, cuts = history.events, history.cuts
    for at, length in losses:
        if at < len(every):
            begin = int(every["ns"][at])
            every = batch(every[:at], lost_record(begin, begin + length, 3, cpu=0), every[at:])
    assert _shown_of(np.split(every, cuts)) == _shown_of([every])


# ---- requests with buffers and with zero-copy ----

_BUFFER: dict[str, Any] = {"buffer_id": 3, "pool_offset": 98304, "queue": 3, "entry": 0xE0}
_POOLED = Flag.POOL | Flag.HAS_BUFFER
_ASKED = Flag.POOL | Flag.QUEUE_ZERO_COPY | Flag.HAS_PAGES
_SLOT: dict[str, Any] = {"slot": 2, "queue": 3, "entry": 0xE0}


def _went(*parts: Records) -> str:
    """What stands between the result and the times."""
    return _line(*parts).rpartition(" → ")[2].partition(" ")[2].partition("<")[0].rstrip()


def test_a_plain_request_says_nothing_of_buffers() -> None:
    assert _went(*whole(10, 1)) == ""
    assert _went(*whole(10, 1, flags=Flag.POOL, buffer_id=NO_BUFFER)) == ""


def test_a_request_with_a_buffer() -> None:
    assert _went(*whole(10, 1, flags=_POOLED, **_BUFFER)) == "buf=3@98304"
    assert _went(*whole(10, 1, flags=_POOLED, buffer_id=0)) == "buf=0@0"


def test_a_request_that_waited_for_its_buffer() -> None:
    dry = event(Kind.SELECTED, 2_000, unique=10, error=-105, queue=3, flags=Flag.HAS_ERROR)
    taken = event(Kind.SELECTED, 5_500, unique=10, flags=Flag.HAS_BUFFER, **_BUFFER)
    place = _BUFFER | {"flags": _POOLED}
    rest = delivered(10, 6_000, **place), committed(10, 7_000, **place), ended(10, 8_000)
    assert _went(queued(10, 1_000), dry, taken, *rest) == "buf=3@98304, waited 3.5us for a buffer"
    assert _went(queued(10, 1_000), dry, *rest) == "buf=3@98304, waited 4.0us for a buffer"
    assert _went(queued(10, 1_000), dry, ended(10, 9_000, error=-103)) == "waited for a buffer"
    (line,) = _unfinished(9_000, queued(10, 1_000), dry)
    assert line.endswith(" GETATTR #5 waits for a buffer <unfinished: queued, 8.0us>")


def test_zero_copied_requests() -> None:
    place = _SLOT | {"flags": _ASKED | Flag.FILE_ZERO_COPY | Flag.ZERO_COPIED | Flag.HAS_SLOT, "buffer_id": NO_BUFFER}
    registered = event(Kind.PAGES_REGISTERED, 2, unique=10, length=65536, flags=Flag.HAS_SLOT, **_SLOT)
    assert _went(registered, *whole(10, 3, Opcode.READ, **place)[1:]) == "slot=2 zero-copied 65536B"
    assert _went(*whole(10, 3, Opcode.READ, **place)) == "slot=2 zero-copied"
    place |= _BUFFER | {"flags": place["flags"] | Flag.HAS_BUFFER}
    assert _went(*whole(10, 3, Opcode.WRITE, **place)) == "buf=3@98304, slot=2 zero-copied"


@pytest.mark.parametrize(
    ("opcode", "flags", "reason"),
    [
        (Opcode.READ, _ASKED, "copied: file not opened for zero-copy"),
        (Opcode.WRITE, Flag.FILE_ZERO_COPY | Flag.HAS_PAGES, "copied: queue not made for zero-copy"),
        (Opcode.READDIR, _ASKED, "copied: neither READ nor WRITE"),
        (Opcode.READ, Flag.QUEUE_ZERO_COPY, "copied: no data in pages"),
        (Opcode.GETATTR, Flag.QUEUE_ZERO_COPY, ""),
    ],
)
def test_why_data_was_copied(opcode: Opcode, flags: int, reason: str) -> None:
    assert _went(*whole(10, 1, opcode, flags=flags)) == reason


# ---- set-up and trouble ----


def _area(flags: int = 0) -> bytes:
    return struct.pack("<QQH", flags, 0, 3).ljust(80, b"\0")


def test_noted() -> None:
    init = struct.pack("<IIII", 7, 45, 0, 0).ljust(64, b"\0") + struct.pack("<II", 7, 41).ljust(64, b"\0")
    noted = RequestLines(INFO, Paths()).noted(
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
    conversation = Conversation()
    conversation.feed(events)
    return list(EventLines(INFO, conversation.requests, conversation.paths).lines(events))


def test_events_of_a_request() -> None:
    assert _events(
        batch(
            queued(10, 1000, Opcode.LOOKUP, **one_name(b"x")),
            delivered(10, 2000, Opcode.LOOKUP, header=bytes(272) + (2).to_bytes(4, "little") + bytes(12)),
            committed(10, 3000, Opcode.LOOKUP, 128, error=-2, flags=Flag.HAS_ERROR),
            ended(10, 4000, Opcode.LOOKUP, -2),
        )
    ) == [
        "22:13:20.000001 7:? QUEUED unique=10 LOOKUP #5/x client[41]",
        "22:13:20.000002 7:3.0 DELIVERED unique=10 LOOKUP #5 commit_id=10 payload_sz=2 server[901]",
        "22:13:20.000003 7:3.0 COMMITTED unique=10 LOOKUP #5 commit_id=10 payload_sz=128 error=-ENOENT server[901]",
        "22:13:20.000004 7:3 ENDED unique=10 LOOKUP #5 error=-ENOENT server[901]",
    ]


def _said(kind: Kind, **members: Any) -> str:
    """What stands between place and task."""
    (line,) = _events(event(kind, 1000, **({"unique": 12, "opcode": Opcode.READ, "node_id": 1} | members | SERVER)))
    return line.removeprefix("22:13:20.000001 7:").partition(" ")[2].removesuffix(" server[901]")


@pytest.mark.parametrize(
    ("kind", "members", "said"),
    [
        (Kind.SELECTED, _BUFFER | {"flags": Flag.HAS_BUFFER | Flag.HAS_ERROR, "buffers": 8, "buffers_free": 4},
         "unique=12 READ / buffer=3 offset=98304 free=4/8"),
        (Kind.SELECTED, _BUFFER | {"flags": Flag.HAS_BUFFER, "buffers": 8, "buffers_free": NOT_COUNTED},
         "unique=12 READ / buffer=3 offset=98304 free=?/8"),
        (Kind.SELECTED, {"flags": Flag.HAS_ERROR, "error": -105, "buffers": 8},
         "unique=12 READ / = -ENOBUFS (the pool is dry, it waits)"),
        (Kind.RECYCLED, _BUFFER | {"flags": Flag.HAS_BUFFER, "buffers": 8, "buffers_free": 8, "unique": 0},
         "buffer=3 offset=98304 free=8/8"),
        (Kind.RECYCLED, _BUFFER | {"flags": Flag.HAS_BUFFER, "opcode": 0}, "unique=12 ? / buffer=3 offset=98304"),
        (Kind.PAGES_REGISTERED, {"flags": Flag.HAS_SLOT | Flag.PAGES_READABLE, "slot": 2, "segments": 3, "length": 9},
         "unique=12 READ / slot=2 segments=3 bytes=9 for reading"),
        (Kind.PAGES_REGISTERED, {"flags": Flag.PAGES_READABLE | Flag.PAGES_WRITABLE, "segments": 1, "length": 9},
         "unique=12 READ / segments=1 bytes=9 for reading and writing"),
        (Kind.PAGES_REGISTERED, {"flags": Flag.HAS_SLOT | Flag.HAS_ERROR, "slot": 2, "error": -16, "segments": 1},
         "unique=12 READ / slot=2 segments=1 bytes=0 = -EBUSY (the slot is taken)"),
        (Kind.PAGES_UNREGISTERED, {"flags": Flag.HAS_SLOT | Flag.HAS_ERROR, "slot": 2}, "unique=12 READ / slot=2"),
        (Kind.PAGES_UNREGISTERED, {"flags": Flag.HAS_SLOT | Flag.HAS_ERROR, "slot": 2, "error": -22, "unique": 0},
         "slot=2 = -EINVAL"),
        (Kind.PAGES_RELEASED, {"flags": Flag.HAS_SLOT, "slot": 0}, "unique=12 READ / slot=0"),
        (Kind.FIXED_IO, {"command_op": 5, "slot": 2, "length": 4096}, "unique=12 READ / WRITE_FIXED slot=2 4096 bytes"),
        (Kind.FIXED_IO, {"command_op": 60, "slot": 2, "length": 10, "payload_size": 20, "pool_offset": 5},
         "unique=12 READ / READV_FIXED slot=2 offset=5 10 of 20 bytes"),
        (Kind.FIXED_IO, {"command_op": 4, "unique": 0, "error": -14, "flags": Flag.HAS_ERROR},
         "READ_FIXED slot=0 = -EFAULT"),
        (Kind.COPIED, {"flags": Flag.HAS_ERROR}, "unique=12 READ / = 0"),
        (Kind.RETURNED, {"flags": Flag.HAS_ERROR, "error": -14}, "unique=12 READ / = -EFAULT"),
        (Kind.COPIED, {}, "unique=12 READ /"),
        (Kind.READY, {"unique": 0}, "io_uring is in use from now on"),
        (Kind.STEP, {"step": Step.COPY_HEADER_TO_RING, "command_op": 0, "flags": Flag.HAS_ERROR},
         "copy_header_to_ring() IN_OUT unique=12 READ / = 0"),
        (Kind.STEP, {"step": Step.COPY_HEADER_TO_RING, "command_op": 2},
         "copy_header_to_ring() RING_ENT unique=12 READ /"),
        (Kind.STEP, {"step": Step.CMD, "command_op": 2, "unique": 0, "flags": Flag.HAS_ERROR, "error": -529},
         "fuse_uring_cmd() COMMIT_AND_FETCH = EIOCBQUEUED"),
        (Kind.STEP, {"step": Step.SEND}, "fuse_uring_send() unique=12 READ /"),
        (Kind.STEP, {"step": 99, "unique": 0}, "step 99"),
        (Kind.DELIVERED, _BUFFER | {"flags": Flag.HAS_BUFFER | Flag.HAS_SLOT, "slot": 2, "transport": Transport.URING},
         "unique=12 READ / commit_id=0 buffer=3 offset=98304 slot=2"),
    ],
)  # fmt: skip
def test_events_of_buffers_slots_and_steps(kind: Kind, members: dict[str, Any], said: str) -> None:
    assert _said(kind, **members) == f"{kind.name} {said}"


def test_a_commit_whose_request_is_not_known() -> None:
    (line,) = _events(event(Kind.COMMITTED, 1000, commit_id=77, transport=Transport.URING, queue=3, **SERVER))
    assert line == "22:13:20.000001 7:3 COMMITTED unique=0 ? commit_id=77 server[901]"


def test_a_delivery_by_dev_has_no_commit_id() -> None:
    (line,) = _events(delivered(10, 1000, transport=Transport.DEV, entry=0, header=bytes(40)))
    assert line == "22:13:20.000001 7:dev DELIVERED unique=10 GETATTR #5 server[901]"


def test_errors_that_a_server_may_not_commit() -> None:
    for error, shown in ((5, "5"), (-99999, "-99999"), (0, "0")):
        (line,) = _events(committed(10, 1, flags=Flag.HAS_ERROR, error=error))
        assert f" error={shown} server" in line
    assert "error" not in _events(committed(10, 1, flags=0, error=5))[0]


def test_overflow_is_told() -> None:
    (line,) = _events(delivered(10, 1000, flags=Flag.CQE_OVERFLOW))
    assert line.endswith(" server[901] (the completion queue overflowed)")


def test_paths_of_events_hold_at_their_time() -> None:
    lines = _events(
        batch(
            queued(4, 1),
            found(6, 2, Opcode.LOOKUP, 1, b"f", 5),
            delivered(4, 3),
            renamed(8, 4, (1, b"f"), (1, b"g")),
            ended(4, 5),
            queued(10, 6, Opcode.UNLINK, node_id=1, **one_name(b"g")),
            removed(10, 7, 1, b"g"),
            ended(12, 8),
        )
    )
    shown = [line.partition(" unique=")[2].split(" ", 1)[1] for line in lines]
    assert [text.partition(" client[")[0].partition(" server[")[0] for text in shown] == [
        "GETATTR #5",
        "LOOKUP / error=0",
        "GETATTR /f commit_id=4",
        "RENAME / error=0",
        "GETATTR /g error=0",
        "UNLINK /g",
        "UNLINK / error=0",
        "GETATTR /g (deleted) error=0",
    ]


def test_hints_are_no_lines() -> None:
    hints = [event(kind, 1, unique=10, opcode=Opcode.READDIRPLUS) for kind in HINTS]
    assert _events(batch(*hints)) == []
    assert len(_events(batch(*hints, queued(10, 2)))) == 1
    assert list(RequestLines(INFO, Paths()).noted(batch(*hints))) == []
    assert _lines(*hints) == []


@pytest.mark.parametrize("kind", EVENTS)
def test_every_kind_has_a_line(kind: Kind) -> None:
    (line,) = _events(event(kind, 1000, unique=10, opcode=Opcode.GETATTR, error=-5, command_op=1, extra=_area()))
    where = "" if kind is Kind.LOST else "7:? "
    assert line.startswith(f"22:13:20.000001 {where}{kind.name} ")


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


def test_losses_have_their_lines() -> None:
    """Where they were, in lines of requests and of events alike."""
    events = batch(lost_record(1_000_000_000, 1_500_000_000, 17, cpu=3), lost_record(2_000_000_000, 2_250_000_000, 1))
    conversation = Conversation()
    conversation.feed(events)
    of_requests = list(RequestLines(INFO, conversation.paths).noted(events))
    of_events = list(EventLines(INFO, conversation.requests, conversation.paths).lines(events))
    assert of_requests == of_events
    assert [line.partition(" ")[2] for line in of_requests] == [
        "LOST 17 events until 22:13:21.500000, on CPU 3",
        "LOST 1 event until 22:13:22.250000, as the kernel ran no probe",
    ]
    assert [line.partition(" ")[0] for line in of_requests] == ["22:13:21.000000", "22:13:22.000000"]

"""The state of a connection as people see it."""

import re
from dataclasses import replace
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from furtrace.checks.standing import Seen, verdicts
from furtrace.model.moves import moves
from furtrace.model.slots import Reply
from furtrace.model.snapshot import Connected, InList, Pool, Snapshot
from furtrace.trace.tasks import Task
from furtrace.views.inspected import InspectedView
from tests.unit.states import WELL, asked, entry, queue, seen

CLIENT = Task(
    4711, 4710, b"tar", b"tar xf \x1b[31mlong-name-of-an-archive-which-is-cut.tar -C /mnt", "D", ("fuse_get_req",)
)
SERVER = Task(42, 42, b"ser\tver", b"server /mnt", "T", ("do_signal_stop", "get_signal"))


def shown(state: Seen, width: int = 100, earlier: Snapshot | None = None, *, memory: bool = False) -> str:
    """What is printed, without blanks at the ends of lines."""
    moved = None if earlier is None else moves(earlier, state.snapshot)
    out = StringIO()
    console = Console(file=out, width=width, no_color=True)
    console.print(InspectedView(state, {4711: CLIENT}, verdicts(state), moved, memory=memory))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def hung() -> Seen:
    """One request with the server, which has made its answer; one that waits for its buffer."""
    busy = replace(
        entry(InList.USERSPACE, asked(4, InList.USERSPACE)), buffer=0, payload=0x7000, slot=3, zero_copied=True
    )
    pool = Pool(0x7000, 4096, 2, frozenset(), 5)
    idle = replace(entry(InList.AVAILABLE), headers=0x2000, buffer=1, payload=0x8000, thread=42)
    made = queue(busy, idle, waiting=(asked(6, InList.QUEUED),), pool=pool)
    made.zero_copy = True
    made.lengths[InList.QUEUED] = 1
    state = seen(made)
    state.snapshot.mountpoints, state.snapshot.bits = ("/mnt/a\nb",), ("async_read", "no_open")
    state.threads, state.replies[4] = [SERVER], Reply(-5, 16, 0)
    return state


@pytest.mark.parametrize("width", [60, 80, 160])
@pytest.mark.parametrize("memory", [True, False])
def test_it_fits(width: int, *, memory: bool) -> None:
    state = hung()
    assert max(map(cell_len, shown(state, width, state.snapshot, memory=memory).splitlines())) <= width


def test_all_of_it_is_told() -> None:
    lines = shown(hung(), 120).splitlines()
    assert lines[0] == "Connection 7 on /mnt/a\\nb, served by server[42]"
    assert "  set in fuse_conn: async_read, no_open" in lines
    table = lines.index(next(line for line in lines if line.startswith("queue")))
    row = "0      2        1     0     1       0       1       0   0 of 2        zero-copy, pool is registered buffer 5"
    assert " ".join(lines[table + 1].split()) == " ".join(row.split())
    text = " ".join(" ".join(lines).split())
    assert "10.0s 4 READ 0 server tar xf \\x1b[31mlong-name-of-an-archive-~[4711] D fuse_get_req" in text
    assert "ser\\tver[42] T 0 do_signal_stop < get_signal" in text
    assert "WARNING unanswered: READ, unique 4, 10.0 s old, is in the hands of server[42], by queue 0; a reply" in text
    assert "The server is stopped: kill -CONT lets it go on." in text
    assert "WARNING no-buffer: READ, unique 6, 10.0 s old, waits in queue 0: none of its 2 buffers is free." in text


def test_memory() -> None:
    text = shown(hung(), memory=True)
    for part in (
        *(
            "header 0x1000",
            "READ unique=4",
            "pages in slot 3",
            "reply, error -5, not committed",
            "header 0x2000",
            "free",
        ),
        *("Payload buffer pool: 2 buffers of 4096 bytes at 0x7000", "buf 0", "kept by an idle entry"),
    ):
        assert part in text
    none = seen(queue(entry(InList.AVAILABLE)))
    assert "pool" not in shown(none, memory=True)


def test_more_buffers_and_requests_than_are_shown() -> None:
    pool = Pool(0, 4096, 100, frozenset(range(100)), None)
    waiting = tuple(asked(at, InList.QUEUED, age=1.0) for at in range(60))
    text = shown(seen(queue(entry(InList.AVAILABLE), waiting=waiting, pool=pool)), memory=True)
    assert "and 36 more buffers, which --json has." in text
    assert "and 10 more requests, which --json has." in text


def test_more_that_is_wrong_than_is_shown() -> None:
    """The oldest are shown."""
    requests = tuple(asked(at, InList.PENDING, age=10.0 + at) for at in range(12))
    lines = [line for line in shown(seen(requests=requests)).splitlines() if "not-fetched" in line]
    assert [re.findall(r"unique (\d+)", line) for line in lines] == [[str(at)] for at in (11, 10, 9, 8, 7)] + [[]]
    assert lines[-1] == "and 7 more of the rule not-fetched, which --json has."


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (seen(flags=WELL & ~Connected.CONNECTED), "The connection has ended"),
        (seen(), "no request waits for 5 s or longer."),
        (
            seen(requests=(asked(4, InList.PENDING, 1.5),)),
            "no request waits for 5 s or longer; the oldest is 1.5s old.",
        ),
        (seen(requests=(asked(4, InList.PENDING, None),)), "this kernel does not keep: --watch tells which stay."),
    ],
)
def test_nothing_is_wrong(state: Seen, said: str) -> None:
    assert said in shown(state, 200).splitlines()[-1]


def test_an_age_that_is_a_least_one() -> None:
    request = replace(asked(4, InList.PROCESSING), at_least=True)
    assert ">10.0s  4" in shown(seen(requests=(request,)))


def test_what_moved() -> None:
    state = seen(requests=(asked(4, InList.PENDING, 1.0),))
    earlier = replace(state.snapshot, ns=-1_000_000_000)
    assert "In 1.0 s nothing moved: the one request is where it was." in shown(state, earlier=earlier)
    earlier = replace(earlier, requests=[asked(2, InList.PENDING, 1.0)])
    assert "1 ended, 1 came and wait, 0 moved on, 0 stayed." in shown(state, earlier=earlier)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (Connected.CONNECTED, "connected, INIT is not answered; protocol"),
        (Connected.CONNECTED | Connected.INITIALIZED | Connected.BLOCKED, "connected, new requests are held back;"),
        (Connected.ABORTED, "not connected any more, aborted, INIT"),
        (WELL & ~Connected.HAS_RING, "io_uring: agreed in INIT, and nothing is registered"),
        (Connected.CONNECTED, "io_uring: not used"),
        (WELL & ~Connected.READY, "io_uring: not ready, 1 queues"),
    ],
)
def test_how_the_connection_is(flags: Connected, said: str) -> None:
    assert said in shown(seen(flags=flags))

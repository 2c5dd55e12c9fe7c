"""Setting up a connection."""

import errno
import struct
from typing import Any

import pytest

from furtrace.trace.record import Flag, Kind, Records, Transport
from furtrace.wire.opcodes import UringCommand
from tests.unit.checks.judging import CPUS, SECOND, judged, refused, rules
from tests.unit.events import after_loss, batch, delivered, ended, event, queued

INIT_EXT, OVER_IO_URING, MAX_PAGES = 1 << 30, 1 << 9, 1 << 22
INVALID = -errno.EINVAL


def init(ns: int, *, offered: bool = True, asked: bool = True, max_write: int = 131072) -> Records:
    """INIT, in which the kernel offers io_uring or does not, and the server asks for it or does not."""
    question = struct.pack("<IIIII", 7, 45, 131072, INIT_EXT | 1, OVER_IO_URING * offered).ljust(64, b"\0")
    flags2 = OVER_IO_URING * asked
    reply = struct.pack("<IIIIHHIIHHIIH", 7, 45, 0, INIT_EXT | MAX_PAGES, 12, 9, max_write, 1, 32, 0, flags2, 0, 0)
    return event(Kind.INIT, ns, extra=question + reply.ljust(64, b"\0"), unique=1, transport=Transport.DEV)


def register(ns: int, queue: int, **members: Any) -> Records:
    """A REGISTER as it should be."""
    known: dict[str, Any] = {
        "queue": queue,
        "headers": 0x1000,
        "length": 288,
        "payload": 0x9000,
        "payload_size": 131072,
    }
    known |= {"command": 0xC0, "user_data": 5, "command_op": UringCommand.REGISTER, "extra": bytes(80)}
    return event(Kind.REGISTER, ns, **(known | members))


@pytest.mark.parametrize("missing", [{3}, {0, 2}, set(range(CPUS))])
def test_a_ring_that_does_not_get_ready(missing: set[int]) -> None:
    registers = [register(2000 + queue, queue) for queue in set(range(CPUS)) - missing]
    (finding,) = judged(init(1000), *registers, until=9 * SECOND)
    assert finding.rule.id == "ring-not-ready"
    told = {"queue 3 lacks" if missing == {3} else "queues 0 and 2 lack" if len(missing) == 2 else "no queue has"}
    assert told.pop() in finding.sentence


def test_a_ring_that_gets_ready_is_not_blamed() -> None:
    registers = [register(2000 + queue, queue) for queue in range(CPUS)]
    assert rules(init(1000), *registers, until=9 * SECOND) == []
    ready = event(Kind.READY, 3000)
    assert rules(init(1000), ready, until=9 * SECOND) == []  # tracing has missed the REGISTERs
    served = [queued(2, 4000), delivered(2, 4010)]
    assert "ring-not-ready" not in rules(init(1000), *served, until=9 * SECOND)


def test_a_ring_that_was_given_up_holds_nobody_up() -> None:
    """As on Linux 7.3, once a REGISTER was refused."""
    refusal = refused(2010, UringCommand.REGISTER, INVALID)
    events = [init(1000), register(2000, 3, length=8), refusal]
    by_device = [queued(4, 3000, transport=Transport.DEV), ended(4, 3050, transport=Transport.DEV)]
    assert rules(*events, *by_device, until=9 * SECOND) == ["headers-too-short"]
    given_up = [queued(4, 3000, transport=Transport.DEV), ended(4, 3050, error=-errno.EINTR, transport=Transport.DEV)]
    assert rules(*events, *given_up, until=9 * SECOND) == ["headers-too-short", "ring-not-ready"]
    assert rules(*events, until=9 * SECOND, dialect="bufpool") == ["headers-too-short"]


def test_one_that_has_not_had_the_time_is_not_blamed() -> None:
    assert rules(init(1000), until=SECOND) == []


def test_what_was_not_seen_is_not_missing() -> None:
    assert rules(after_loss(batch(init(1000)), 1), until=9 * SECOND) == []
    assert rules(init(1000), until=9 * SECOND, filters="--queue 1") == []


def test_a_server_that_does_not_want_the_ring() -> None:
    assert rules(init(1000, asked=False), until=9 * SECOND) == []


def test_one_that_wants_what_is_not_offered() -> None:
    assert rules(init(1000, offered=False), until=9 * SECOND) == ["uring-off"]


@pytest.mark.parametrize(
    ("members", "rule"),
    [
        ({"length": 287}, "headers-too-short"),
        ({"payload_size": 131071}, "payload-too-short"),
        ({"headers": 0, "length": 0, "payload": 0, "payload_size": 0}, "iovecs-missing"),
        ({"queue": CPUS}, "queue-out-of-range"),
        ({"extra": bytes(16)}, "sqe-too-small"),
        ({}, "setup-refused"),
        ({"length": 0}, "setup-refused"),  # an old recording, which does not tell it
    ],
)
def test_a_register_that_is_refused(members: dict[str, Any], rule: str) -> None:
    queue = members.get("queue", 3)
    events = [init(1000), register(2000, **({"queue": 3} | members))]
    (finding,) = judged(*events, refused(2010, UringCommand.REGISTER, INVALID, queue=queue))
    assert finding.rule.id == rule
    assert [int(one["kind"]) for one in finding.events] == [Kind.REGISTER, Kind.REFUSED]


def test_a_payload_buffer_of_a_pool_is_elsewhere() -> None:
    pool = event(Kind.ADD_BUFPOOL, 1500, queue=3, command=0xC1, user_data=6, command_op=UringCommand.ADD_BUFPOOL)
    events = [init(1000), pool, register(2000, 3, payload=0, payload_size=0)]
    assert rules(*events, refused(2010, UringCommand.REGISTER, INVALID)) == ["setup-refused"]


@pytest.mark.parametrize(
    ("error", "rule"), [(-errno.EAGAIN, "setup-too-early"), (-errno.EOPNOTSUPP, "setup-not-enabled")]
)
def test_a_register_that_comes_at_the_wrong_time(error: int, rule: str) -> None:
    assert rules(register(2000, 3), refused(2010, UringCommand.REGISTER, error)) == [rule]


def test_a_refusal_whose_command_was_not_seen() -> None:
    assert rules(refused(2010, UringCommand.ADD_QUEUE, INVALID)) == ["setup-refused"]


def test_one_of_several_entries_that_is_refused() -> None:
    """The queue has the others."""
    registers = [register(2000 + queue, queue) for queue in range(CPUS)]
    again = register(2100, 0, command=0xC9, length=4)
    events = [init(1000), *registers, again, refused(2110, UringCommand.REGISTER, INVALID, queue=0, command=0xC9)]
    assert rules(*events, until=9 * SECOND) == ["headers-too-short"]


def command(kind: Kind, ns: int, area: bytes = b"", **members: Any) -> Records:
    """A command for queue 3, and its number by what it is."""
    op = UringCommand[kind.name]
    known = {"queue": 3, "command": 0xC0 + op, "user_data": 5, "command_op": op, "extra": area.ljust(80, b"\0")}
    return event(kind, ns, **(known | members))


def pool(size: int) -> bytes:
    return struct.pack("<QQH6xQI", 0, 0, 3, 0x1000, size)


def turned_down(op: UringCommand, error: int = INVALID) -> Records:
    return refused(5000, op, error, command=0xC0 + op)


@pytest.mark.parametrize(
    ("events", "last", "rule", "said"),
    [
        ([(Kind.ADD_BUFPOOL, pool(1 << 20))], INVALID, "setup-order", "no ADD_QUEUE"),
        ([(Kind.ADD_QUEUE, b""), (Kind.ADD_QUEUE, b"")], -errno.EEXIST, "setup-order", "there already"),
        (
            [(Kind.ADD_QUEUE, b""), (Kind.ADD_BUFPOOL, pool(1 << 20)), (Kind.ADD_BUFPOOL, pool(1 << 20))],
            INVALID,
            "setup-order",
            "a pool already",
        ),
        ([(Kind.ADD_QUEUE, b""), (Kind.ADD_BUFPOOL, pool(4096))], INVALID, "pool-too-small", "one buffer takes 131072"),
        ([(Kind.ADD_QUEUE, b"\x02")], INVALID, "setup-flags", "no flag 0x2"),
        ([(Kind.ADD_QUEUE, b"\x01")], -errno.EPERM, "zero-copy-privilege", "-EPERM"),
        ([(Kind.ADD_QUEUE, b"\x01")], INVALID, "setup-refused", ""),
        ([(Kind.ADD_QUEUE, b"\x01"), (Kind.REGISTER, b"")], INVALID, "zero-copy-no-pool", "no ADD_BUFPOOL"),
        ([(Kind.ADD_QUEUE, b""), (Kind.REGISTER, b"")], INVALID, "payload-too-short", "131072 are needed"),
    ],
)
def test_the_commands_of_pools(events: list[tuple[Kind, bytes]], last: int, rule: str, said: str) -> None:
    made = [command(kind, 2000 + at, area, length=288) for at, (kind, area) in enumerate(events)]
    (finding,) = judged(init(1000), *made, turned_down(UringCommand[events[-1][0].name], last))
    assert finding.rule.id == rule
    assert said in finding.sentence


def test_an_order_that_was_not_seen_is_not_blamed() -> None:
    unseen = [command(Kind.ADD_BUFPOOL, 2000, pool(1 << 20)), turned_down(UringCommand.ADD_BUFPOOL)]
    assert rules(*unseen) == ["setup-refused"]


def fixed(kind: Kind, ns: int, index: int, area: bytes = b"", **members: Any) -> Records:
    """A command that names a registered buffer."""
    return command(kind, ns, area, flags=Flag.FIXED, segments=index, **members)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "it lacks IORING_URING_CMD_FIXED, and the queue's pool is registered buffer 2"),
        ({"flags": Flag.FIXED, "segments": 1}, "it names registered buffer 1, the queue's pool is 2"),
    ],
)
def test_a_register_that_does_not_name_the_pool(members: dict[str, Any], said: str) -> None:
    made = [command(Kind.ADD_QUEUE, 2000), fixed(Kind.ADD_BUFPOOL, 2001, 2, pool(1 << 20))]
    events = [init(1000), *made, command(Kind.REGISTER, 2002, length=288, **members)]
    (finding,) = judged(*events, turned_down(UringCommand.REGISTER))
    assert finding.rule.id == "pool-not-named"
    assert said in finding.sentence


def test_one_that_names_it_is_refused_for_something_else() -> None:
    made = [command(Kind.ADD_QUEUE, 2000), fixed(Kind.ADD_BUFPOOL, 2001, 2, pool(1 << 20))]
    events = [init(1000), *made, fixed(Kind.REGISTER, 2002, 2, length=288)]
    assert rules(*events, turned_down(UringCommand.REGISTER)) == ["setup-refused"]


def test_a_payload_buffer_beside_a_pool() -> None:
    made = [command(Kind.ADD_QUEUE, 2000), command(Kind.ADD_BUFPOOL, 2001, pool(1 << 20))]
    entry = command(Kind.REGISTER, 2002, length=288, payload=0x9000, payload_size=4096)
    (finding,) = judged(init(1000), *made, entry, turned_down(UringCommand.REGISTER))
    assert finding.rule.id == "payload-beside-pool"
    assert "of 4096 bytes, and the queue has a pool" in finding.sentence


def slotted(slot: int) -> bytes:
    return struct.pack("<QQH6xH", 0, 0, 3, slot)


@pytest.mark.parametrize(
    ("queue_flags", "slot", "dialect", "rule"),
    [
        (0, 2, "bufpool", "slot-not-zero-copy"),
        (0, 0, "bufpool", "setup-refused"),
        (1, 2, "bufpool", "setup-refused"),
        (0, 2, "plain", "setup-refused"),  # where there is no such member
    ],
)
def test_a_slot_on_a_queue_without_zero_copy(queue_flags: int, slot: int, dialect: str, rule: str) -> None:
    made = [command(Kind.ADD_QUEUE, 2000, bytes([queue_flags])), command(Kind.ADD_BUFPOOL, 2001, pool(1 << 20))]
    entry = command(Kind.REGISTER, 2002, slotted(slot), length=288)
    assert rules(init(1000), *made, entry, turned_down(UringCommand.REGISTER), dialect=dialect) == [rule]


def test_flags_of_register_mean_nothing() -> None:
    """The kernel does not look at them."""
    entry = register(2000, 3, extra=b"\xff" * 8 + bytes(72))
    assert rules(init(1000), entry, refused(2010, UringCommand.REGISTER, INVALID)) == ["setup-refused"]


def test_a_pool_whose_reserved_member_is_set() -> None:
    area = struct.pack("<QQH6xQII", 0, 0, 3, 0x1000, 1 << 20, 5)
    made = [command(Kind.ADD_QUEUE, 2000), command(Kind.ADD_BUFPOOL, 2001, area)]
    (finding,) = judged(init(1000), *made, turned_down(UringCommand.ADD_BUFPOOL))
    assert (finding.rule.id, "reserved member is 5" in finding.sentence) == ("setup-flags", True)


def test_a_pool_that_was_refused_is_none() -> None:
    refusal = refused(2002, UringCommand.ADD_BUFPOOL, INVALID, command=0xC4)
    made = [command(Kind.ADD_QUEUE, 2000), fixed(Kind.ADD_BUFPOOL, 2001, 2, pool(4096), command=0xC4), refusal]
    again = command(Kind.ADD_BUFPOOL, 2003, pool(1 << 20))
    events = [init(1000), *made, again, command(Kind.REGISTER, 2004, length=288)]
    assert rules(*events, turned_down(UringCommand.REGISTER)) == ["pool-too-small", "setup-refused"]

"""What a trace came to, in a line or two."""

from typing import Any

from furtrace.cli.outputs import summary
from furtrace.model.conversation import Conversation
from furtrace.trace.record import Flag, Kind, Records
from furtrace.wire.opcodes import Opcode
from tests.unit.events import after_loss, batch, ended, event, whole

_ZERO_COPY = Flag.POOL | Flag.QUEUE_ZERO_COPY | Flag.HAS_PAGES


def _summary(*parts: Records, lost: int = 0) -> list[str]:
    conversation = Conversation()
    conversation.feed(after_loss(batch(*parts), lost))
    return summary(conversation, 1_500_000_000)


def _selected(unique: int, ns: int, free: int, **members: Any) -> Records:
    known = {"unique": unique, "queue": 3, "entry": 0xE0, "buffer_id": 2, "flags": Flag.HAS_BUFFER}
    return event(Kind.SELECTED, ns, **(known | {"buffers": 4, "buffers_free": free} | members))


def test_a_plain_server_has_one_line() -> None:
    assert _summary(*whole(10, 100), *whole(12, 300, error=-2)) == [
        "2 requests (1 with an error), 0 unfinished, 8 events in 1.5s, 0 lost"
    ]


def test_pools() -> None:
    dry = _selected(12, 2, 0, error=-105)
    assert _summary(_selected(10, 1, 1), dry, _selected(14, 3, 2, queue=4))[1:] == [
        "Buffer pools of 2 queues: 8 buffers, 4 of one pool in use at a time; taken: 2, none free: 1"
    ]
    assert _summary(*whole(10, 1, flags=Flag.POOL | Flag.HAS_BUFFER)[:2])[1:] == [
        "Buffer pools of 1 queue, at least 1 of one pool in use at a time"
    ]


def test_zero_copy() -> None:
    copied = whole(10, 100, Opcode.READ, flags=_ZERO_COPY)
    done = [part.copy() for part in whole(12, 300, Opcode.READ, flags=_ZERO_COPY | Flag.ZERO_COPIED)]
    done[2]["flags"] |= int(Flag.HEADER_FROM_SERVER)
    done[2]["header"] = bytes(272) + (4096).to_bytes(4, "little") + bytes(12)
    failed = event(Kind.PAGES_REGISTERED, 500, unique=14, queue=3, error=-16), ended(14, 501, Opcode.READ, -16)
    nothing_to_copy = whole(16, 600, flags=Flag.POOL | Flag.QUEUE_ZERO_COPY)
    assert _summary(*copied, *done, *failed, *nothing_to_copy)[2:] == [
        "Zero-copy: 1 request, 4096 bytes, 1 failed; copied: 1 (file not opened for zero-copy)"
    ]

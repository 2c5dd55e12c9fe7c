"""Replies that are not as the kernel wants them."""

import errno
import struct

import pytest

from furtrace.wire.opcodes import Opcode
from tests.unit.checks.judging import SECOND, conversation, judged, replied, rules
from tests.unit.events import after_loss, batch, delivered, ended, operation_header, queued, read_in

ATTR_OUT = 104
INVALID = -errno.EINVAL
READ = read_in(0, 4096)


@pytest.mark.parametrize(
    ("opcode", "asked", "size"),
    [
        (Opcode.GETATTR, b"", ATTR_OUT),
        (Opcode.READ, READ, 0),
        (Opcode.READ, READ, 4096),
        (Opcode.WRITE, READ, 8),
        (Opcode.LOOKUP, b"", 128),
        (Opcode.CREATE, b"", 144),
        (Opcode.FLUSH, b"", 0),
        (Opcode.READLINK, b"", 300),
        (Opcode.GETXATTR, operation_header(struct.pack("<II", 0, 0)), 8),
        (Opcode.GETXATTR, operation_header(struct.pack("<II", 64, 0)), 5),
        (Opcode.IOCTL, operation_header(struct.pack("<QIIQII", 1, 0, 7, 0, 0, 20)), 36),
        (9999, b"", 12),
    ],
)
def test_a_reply_that_is_right(opcode: int, asked: bytes, size: int) -> None:
    assert rules(*conversation(2, 1000, opcode, asked=asked, size=size)) == []


def test_a_failure_that_is_said_so() -> None:
    assert rules(*conversation(2, 1000, Opcode.LOOKUP, error=-2, end=-2)) == []


@pytest.mark.parametrize(
    ("opcode", "asked", "size", "rule", "said"),
    [
        (Opcode.GETATTR, b"", ATTR_OUT - 1, "reply-too-short", "has 103 bytes; 104 are right."),
        (Opcode.GETATTR, b"", ATTR_OUT + 1, "reply-too-long", "has 105 bytes; 104 are right."),
        (Opcode.READ, READ, 4097, "reply-too-long", "has 4097 bytes; 0 to 4096 are right."),
        (Opcode.FLUSH, b"", 1, "reply-too-long", "has 1 bytes; 0 are right."),
        (Opcode.GETXATTR, operation_header(struct.pack("<II", 64, 0)), 65, "reply-too-long", "0 to 64"),
        (Opcode.GETXATTR, operation_header(struct.pack("<II", 0, 0)), 0, "reply-too-short", "8 are right"),
        (Opcode.IOCTL, operation_header(struct.pack("<QIIQII", 1, 0, 7, 0, 0, 20)), 37, "reply-too-long", "16 to 36"),
    ],
)
def test_a_size_that_is_wrong(opcode: int, asked: bytes, size: int, rule: str, said: str) -> None:
    (finding,) = judged(*conversation(2, 1000, opcode, asked=asked, size=size, end=INVALID))
    assert finding.rule.id == rule
    assert said in finding.sentence
    assert finding.sentence.endswith("The kernel ended the request with -EINVAL.")
    assert (finding.unique, finding.connection, finding.queue, finding.ns) == (2, 7, 3, 1100)
    assert [int(event["unique"]) for event in finding.events] == [2]


def test_a_size_that_the_kernel_took() -> None:
    """It knows better."""
    assert rules(*conversation(2, 1000, Opcode.GETATTR, size=88)) == []


def test_nobody_knows_how_much_was_asked_for() -> None:
    """QUEUED was not seen."""
    unasked = conversation(2, 1000, Opcode.READ, size=70_000)[1:]
    assert rules(*unasked) == []


@pytest.mark.parametrize("given", [0, 4])
def test_a_unique_that_is_wrong(given: int) -> None:
    (finding,) = judged(*conversation(2, 1000, Opcode.GETATTR, given=given, size=ATTR_OUT, end=-errno.ENOENT))
    assert finding.rule.id == "reply-unique"
    assert f"has unique {given}. The kernel ended the request with -ENOENT." in finding.sentence


def test_a_wrong_unique_that_the_kernel_does_not_mind() -> None:
    (finding,) = judged(*conversation(2, 1000, Opcode.GETATTR, given=4, error=-5, end=-5))
    assert finding.sentence.endswith("The request failed anyway.")


@pytest.mark.parametrize(("error", "wrong"), [(-1, False), (-511, False), (-512, True), (1, True), (-100_000, True)])
def test_an_error_that_is_none(error: int, wrong: bool) -> None:
    found = rules(*conversation(2, 1000, Opcode.GETATTR, error=error, end=INVALID if wrong else error))
    assert found == (["reply-error"] if wrong else [])


def test_a_reply_that_was_not_taken() -> None:
    (finding,) = judged(*conversation(2, 1000, Opcode.GETATTR, size=ATTR_OUT, end=-errno.EFAULT))
    assert finding.rule.id == "reply-not-taken"
    assert finding.sentence.endswith("has error 0. The kernel ended the request with -EFAULT.")


@pytest.mark.parametrize("end", [-errno.ECONNABORTED, -errno.ENOTCONN, -errno.EINTR])
def test_a_connection_that_ended_first(end: int) -> None:
    assert "reply-not-taken" not in rules(*conversation(2, 1000, Opcode.GETATTR, size=1, end=end))


def test_the_end_comes_later() -> None:
    """The reply is judged when its request has ended, whatever comes between."""
    first, second = conversation(2, 1000, Opcode.GETATTR, size=1, end=INVALID), conversation(4, 1000, Opcode.FLUSH)
    last = ended(2, 9 * SECOND, Opcode.GETATTR, INVALID)
    (finding,) = [one for one in judged(*first[:3], *second, last) if one.rule.id.startswith("reply")]
    assert (finding.rule.id, finding.unique) == ("reply-too-short", 2)


def test_of_a_reply_that_was_lost_nothing_is_said() -> None:
    queue, deliver, _, end = conversation(2, 1000, Opcode.GETATTR, end=INVALID)
    assert rules(after_loss(batch(queue, deliver, end), 1)) == []


def test_connections_are_not_mixed_up() -> None:
    wrong = [queued(2, 1000, connection=8), delivered(2, 1010, connection=8)]
    wrong += [replied(2, 1100, size=1, connection=8), ended(2, 1110, error=INVALID, connection=8)]
    right = conversation(2, 1001, Opcode.GETATTR, size=ATTR_OUT)
    events = sorted([*wrong, *right], key=lambda one: int(one["ns"][0]))
    (finding,) = judged(*events)
    assert finding.connection == 8

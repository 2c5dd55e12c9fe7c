"""Commits that the kernel refuses."""

import errno
from typing import Any

import pytest

from furtrace.trace.record import NO_QUEUE, Flag, Kind
from furtrace.wire.opcodes import Opcode, UringCommand
from tests.unit.checks.judging import CPUS, conversation, judged, refused, rules
from tests.unit.events import after_loss, batch, delivered, event, queued

COMMIT = UringCommand.COMMIT_AND_FETCH
GONE = -errno.ENOENT


def test_an_id_that_nobody_has() -> None:
    (finding,) = judged(*conversation(2, 1000, Opcode.FLUSH), refused(2000, COMMIT, GONE, commit_id=77))
    assert finding.rule.id == "commit-unknown"
    assert "id 77, which no request has" in finding.sentence
    assert (finding.queue, finding.unique) == (3, None)


def test_an_id_of_another_queue() -> None:
    events = [queued(2, 1000), delivered(2, 1010), refused(2000, COMMIT, GONE, commit_id=2, queue=1)]
    (finding,) = judged(*events)
    assert finding.rule.id == "commit-wrong-queue"
    assert finding.unique == 2
    assert "on queue 1" in finding.sentence
    assert "by queue 3" in finding.sentence


def test_the_right_commit_may_have_come_in_the_same_breath() -> None:
    """Both were submitted at once; the refusal is told last."""
    (finding,) = judged(*conversation(2, 1000, Opcode.FLUSH), refused(2000, COMMIT, GONE, commit_id=2, queue=1))
    assert finding.rule.id == "commit-wrong-queue"
    assert "on queue 1 names FLUSH, unique 2, which came by queue 3" in finding.sentence


def test_a_queue_that_there_is_not() -> None:
    events = [queued(2, 1000), delivered(2, 1010), refused(2000, COMMIT, -errno.EINVAL, commit_id=2, queue=CPUS)]
    (finding,) = judged(*events)
    assert finding.rule.id == "commit-wrong-queue"
    assert "on queue 4, id 2: there is none, the last one is 3. Refused with -EINVAL." in finding.sentence


def test_an_id_that_was_committed() -> None:
    (finding,) = judged(*conversation(2, 1000, Opcode.FLUSH), refused(2100, COMMIT, GONE, commit_id=2))
    assert finding.rule.id == "commit-twice"
    assert "answers FLUSH, unique 2, again, 1.0 us after" in finding.sentence


def test_one_of_another_connection_was_not() -> None:
    events = [*conversation(2, 1000, Opcode.FLUSH), refused(2100, COMMIT, GONE, commit_id=2, connection=8)]
    assert rules(*events) == ["commit-unknown"]


def test_one_of_the_connection_that_had_the_number_before_was_not() -> None:
    before = conversation(2, 1000, Opcode.FLUSH)
    assert rules(*before, event(Kind.INIT, 2000), refused(2100, COMMIT, GONE, commit_id=2)) == ["commit-unknown"]
    other = event(Kind.INIT, 2000, connection=8)
    assert rules(*before, other, refused(2100, COMMIT, GONE, commit_id=2)) == ["commit-twice"]


def test_where_events_were_lost_it_is_not_sure() -> None:
    (finding,) = judged(after_loss(batch(refused(2100, COMMIT, GONE, commit_id=2)), 3))
    assert finding.rule.id == "commit-unknown"
    assert "it may have been answered before" in finding.sentence


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({}, "it lacks IORING_URING_CMD_FIXED, and the queue's pool is registered buffer 2"),
        ({"flags": Flag.FIXED, "segments": 5}, "it names registered buffer 5, the queue's pool is 2"),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_a_commit_that_does_not_name_the_pool(named: dict[str, Any], said: str, *, apart: bool) -> None:
    """The kernel looks at that first of all; the refusal may come with the next part of a trace."""
    known = {"queue": 3, "command": 0xC4, "user_data": 5}
    pool = event(Kind.ADD_BUFPOOL, 900, command_op=UringCommand.ADD_BUFPOOL, flags=Flag.FIXED, segments=2, **known)
    commit = event(
        Kind.COMMITTED, 1100, unique=2, opcode=Opcode.READ, command_op=COMMIT, commit_id=2, **(known | named)
    )
    refusal = refused(600_000_000 if apart else 1101, COMMIT, -errno.EINVAL, commit_id=2, command=0xC4)
    events = [pool, queued(2, 1000, Opcode.READ), delivered(2, 1010, Opcode.READ), commit, refusal]
    found = [one for one in judged(*events) if one.rule.id != "unanswered"]
    (finding,) = found
    assert finding.rule.id == "pool-not-named"
    assert f"The commit of READ, unique 2, on queue 3 was refused with -EINVAL: {said}." in finding.sentence


def test_a_pool_of_another_queue_is_not_meant() -> None:
    known = {"command": 0xC4, "user_data": 5}
    pool = event(Kind.ADD_BUFPOOL, 900, queue=1, flags=Flag.FIXED, segments=2, **known)
    commit = event(Kind.COMMITTED, 1100, queue=3, command_op=COMMIT, commit_id=2, **known)
    assert rules(pool, commit, refused(1101, COMMIT, -errno.EINVAL, command=0xC4)) == ["commit-refused"]


def test_a_commit_that_was_not_seen() -> None:
    """Nothing is known of it, not even its id."""
    events = [*conversation(2, 1000, Opcode.FLUSH), refused(2100, COMMIT, GONE, queue=NO_QUEUE)]
    (finding,) = judged(*events)
    assert (finding.rule.id, finding.sentence) == ("commit-refused", "A commit was refused with -ENOENT.")


def test_another_error() -> None:
    (finding,) = judged(refused(2100, COMMIT, -errno.EOPNOTSUPP, commit_id=2))
    assert (finding.rule.id, "-EOPNOTSUPP" in finding.sentence) == ("commit-refused", True)


def test_the_connection_s_end_is_no_fault_of_a_commit() -> None:
    assert rules(refused(2100, COMMIT, -errno.ENOTCONN, commit_id=2)) == []
    assert rules(refused(2100, UringCommand.REGISTER, -errno.ENOTCONN)) == []

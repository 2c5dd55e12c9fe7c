"""The state of a connection as JSON, which its manual page lays out."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from furtrace.checks.standing import Seen, verdicts
from furtrace.export.inspected import connection_object, moves_object
from furtrace.model.moves import moves
from furtrace.model.slots import Reply
from furtrace.model.snapshot import Names, decode
from furtrace.probe.snapshot import ROW
from furtrace.trace.tasks import Task
from tests.unit.checks.test_standing import HELD
from tests.unit.model.test_snapshot import FLAGS, REAL
from tests.unit.states import queue, seen

PAGE = Path(__file__).parents[3] / "man" / "furtrace-inspect.1"
CLIENT = Task(4711, 4710, b"cat", b"cat /mnt/\xff", "D", ("request_wait_answer",))


def names(value: Any) -> Iterator[str]:
    """Names of members, at any depth, but for lists' lengths, whose names are those of lists."""
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from names(part)
    if isinstance(value, dict):
        yield from value


def test_every_member_is_explained() -> None:
    state = seen(queue(HELD))
    state.replies[4] = Reply(0, 16, 0)
    state.threads = [CLIENT]
    objects = [connection_object(state, {4711: CLIENT}, verdicts(state))]
    real = decode(np.frombuffer(REAL.read_bytes(), ROW), Names(FLAGS, has_modes=True))
    objects += [connection_object(Seen(one), {}, []) for one in real]
    objects.append(moves_object(moves(state.snapshot, state.snapshot)))
    text = PAGE.read_text()
    section = text[text.index(".Ss JSON lines") : text.index(".Sh EXIT STATUS")]
    explained = set(re.findall(r"[a-z_]+", section))
    assert set(names(objects)) <= explained


def test_bytes_are_text() -> None:
    state = seen(queue(HELD))
    told = json.loads(json.dumps(connection_object(state, {4711: CLIENT}, verdicts(state))))
    assert told["requests"][0]["client"]["command"] == "cat /mnt/\\xff"
    assert [one["rule"] for one in told["findings"]] == ["unanswered"]
    assert told["queues"][0]["entries"][0]["unique"] == 4

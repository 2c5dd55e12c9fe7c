"""The model against a plain one, over histories at random; and how events are cut into batches does not matter."""

import numpy as np
from hypothesis import given, settings

from furtrace.model.conversation import Conversation
from furtrace.model.operations import PHASES
from furtrace.model.requests import Requests
from tests.unit.model.histories import History, histories
from tests.unit.model.reference import Reference, Row, row_of


def _under_way(requests: Requests) -> dict[tuple[int, int], Row]:
    rows = map(row_of, requests.under_way)
    return {(row["connection"], row["unique"]): row for row in rows}


@settings(deadline=None, max_examples=150)
@given(histories())
def test_equals_the_plain_model(history: History) -> None:
    model, plain = Requests(), Reference()
    assert [row_of(row) for row in model.feed(history.events)] == plain.feed(history.events)
    assert _under_way(model) == plain.under_way


@settings(deadline=None, max_examples=150)
@given(histories())
def test_cutting_does_not_matter(history: History) -> None:
    plain = Reference()
    model = Requests()
    finished = [row_of(row) for batch in history.batches for row in model.feed(batch)]
    assert finished == plain.feed(history.events)
    assert _under_way(model) == plain.under_way


@settings(deadline=None, max_examples=100)
@given(histories())
def test_sums_do_not_depend_on_the_cutting(history: History) -> None:
    once, often = Conversation(), Conversation()
    finished = once.feed(history.events)
    for batch in history.batches:
        often.feed(batch)
    expected = len(history.events), len(finished), int((finished["error"] != 0).sum())
    assert (once.events, once.ended, once.errors) == expected
    for name in ("events", "ended", "errors", "lost", "refused", "stopped", "overflows", "by_transport"):
        assert getattr(once, name) == getattr(often, name)
    # Deepest is left out: within a batch it is reckoned from fewer facts than at its end.
    states = ("connection", "queue", "entries", "registered", "in_server", "in_kernel", "backlog", "delivered")
    tables = [[tuple(getattr(queue, name) for name in states) for queue in c.queues.table()] for c in (once, often)]
    assert tables[0] == tables[1]
    for mine, theirs in zip(once.operations.table(), often.operations.table(), strict=True):
        assert (mine.opcode, mine.count, mine.errors) == (theirs.opcode, theirs.count, theirs.errors)
        for phase in PHASES:
            assert np.array_equal(mine.latency[phase].counts, theirs.latency[phase].counts)

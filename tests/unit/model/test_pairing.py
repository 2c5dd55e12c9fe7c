"""Requests for statistics, against the model that keeps all of a request."""

import numpy as np
from hypothesis import given, settings

from furtrace.model.briefs import Briefs
from furtrace.model.pairing import PAIRED, Pairing, Rows
from furtrace.model.requests import Requests, cut_at_inits
from furtrace.trace.record import Records
from tests.unit.model.histories import History, histories

ROW = [name for name in PAIRED.names or () if name not in ("reply_size", "node_id")]
"""What both tell alike; in histories, each event of a request has another node."""
Used = dict[tuple[int, int], int]


def finished(model: Pairing, part: Records, *, lost: bool = False) -> Rows:
    """Feed events of which an INIT can only be the first."""
    events = Briefs([part]).events
    model.begin(events, lost)
    return model.feed(events, lost).finished


def compare(history: History, lossy: "list[bool]") -> None:
    """Feed both models the same, batch by batch; ``lossy``: in which of them events are missing, over and over."""
    model, whole = Pairing(), Requests()
    most: Used = {}
    for number, batch in enumerate(history.batches):
        lost = lossy[number % len(lossy)]
        for part in cut_at_inits(batch):
            assert finished(model, part, lost=lost)[ROW].tolist() == whole.feed(part, lost)[ROW].tolist()
            both = (np.sort(each.under_way[ROW], order=["connection", "unique"]).tolist() for each in (model, whole))
            assert next(both) == next(both)
            most |= {place: max(count, most.get(place, 0)) for place, count in whole.entries().items()}
    assert model.entries() == most


@settings(deadline=None, max_examples=150)
@given(histories())
def test_equals_the_whole_model(history: History) -> None:
    compare(history, [False])


@settings(deadline=None, max_examples=100)
@given(histories())
def test_equals_the_whole_model_where_events_were_lost(history: History) -> None:
    compare(history, [False, True, False])


@settings(deadline=None, max_examples=100)
@given(histories())
def test_batches_do_not_matter(history: History) -> None:
    parts, one = Pairing(), Pairing()
    ended = [row for batch in history.batches for part in cut_at_inits(batch) for row in finished(parts, part).tolist()]
    # What ends in one batch is in the order of its time, also where events came in another one.
    assert ended == [row for part in cut_at_inits(history.events) for row in finished(one, part).tolist()]

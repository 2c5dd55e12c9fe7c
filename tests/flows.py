"""Flows of recorded requests, and what is wrong with how they are drawn."""

import itertools
from collections.abc import Iterator

from furtrace.model.flows import Flow, Gathering
from furtrace.model.requests import Requests
from furtrace.trace.record import Records
from furtrace.views.flow import rows_of
from furtrace.wire.dialect import Dialect

_BESIDES = ("FIXED_IO", "PAGES_RELEASED")


def flows_of(records: Records, most: int | None = None) -> list[Flow]:
    """The requests that ended in these records, or the first of them."""
    rows = Requests().feed(records)
    gathering = Gathering(rows[:most] if most else rows)
    for start in range(0, len(records), 1000):
        gathering.feed(records[start : start + 1000])
    return gathering.flows()


def complaints(flow: Flow, dialect: Dialect) -> Iterator[str]:
    """What is not as it has to be: each event of the request is drawn once, at a step, and steps are in order.

    The server's own I/O goes on beside what the kernel does, so it has no place in that order, nor has it that pages
    which such I/O still had are let go.
    """
    rows = rows_of(flow, dialect)
    drawn = [row.event.tobytes() for row in rows if row.event is not None and flow.is_own(row.event)]
    own = [event.tobytes() for event in flow.events if flow.is_own(event)]
    if sorted(drawn) != sorted(own):
        yield f"unique={flow.unique}: {len(own)} events, {len(drawn)} drawn"
    for row in rows:
        if row.event is not None and not row.step.sign:
            yield f"unique={flow.unique}: {row.step.text} is no step of its way"
    times = [(row.ns, row.step.text) for row in rows if row.ns is not None and row.step.sign not in _BESIDES]
    for (before, text), (after, next_text) in itertools.pairwise(times):
        if after < before:
            yield f"unique={flow.unique}: {next_text} was {before - after} ns before {text}"

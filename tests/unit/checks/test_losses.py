"""Where events were lost, nothing is said that rests on them."""

from pathlib import Path

import numpy as np
import pytest

from furtrace.checks.checker import Checker
from furtrace.model.conversation import Conversation
from furtrace.trace.info import TraceInfo
from furtrace.trace.merging import Recordings
from furtrace.trace.record import Records, lost_record
from tests.unit.checks.judging import SECOND
from tests.unit.export.reckoning import SHIPPED


def recorded(path: Path) -> tuple[TraceInfo, Records]:
    with Recordings([str(path)]) as recordings:
        return recordings.info, np.concatenate([batch.copy() for batch in recordings.batches()])


def without_some(records: Records, first: int, step: int) -> Records:
    """Every so manieth event is gone, and a count of it stands in its place."""
    parts, start = [], 0
    for at in range(first, len(records), step):
        begin, end = (int(records["ns"][max(0, min(one, len(records) - 1))]) for one in (at - 1, at + 1))
        parts += [records[start:at], lost_record(min(begin, end), max(begin, end), 1, cpu=0)]
        start = at + 1
    return np.concatenate([*parts, records[start:]])


@pytest.mark.parametrize("first", [0, 17, 33])
@pytest.mark.parametrize("recording", sorted(SHIPPED.iterdir()), ids=lambda path: path.name)
def test_nobody_is_accused_for_what_was_lost(recording: Path, first: int) -> None:
    info, records = recorded(recording)
    checker = Checker(info, Conversation())
    found = list(checker.feed(without_some(records, first, 50)))
    found += checker.tick(checker.now_ns + 60 * SECOND)
    # That pools ran dry in two of the recordings is seen all the same.
    assert {finding.rule.id for finding in found} <= {"pool-dry"}

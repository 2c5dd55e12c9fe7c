"""A recording, given out piece by piece: nothing is lost, nothing comes twice, nothing too early."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from furtrace.trace.record import Records, is_event, mounted_record, no_records
from furtrace.trace.tape import Tape, not_later, split
from tests.unit.events import batch, queued


def _records(times: list[int], hints: list[int]) -> Records:
    """Events at times; a hint stands before those that are numbered so."""
    parts = []
    for number, ns in enumerate(times):
        parts += [mounted_record(ns, 7, b"/a")] if number in hints else []
        parts.append(queued(number, ns))
    return batch(*parts)


_TIMES = st.lists(st.integers(1, 30), max_size=20)
_CUTS = st.lists(st.integers(0, 25), max_size=4).map(sorted)


def _cut(records: Records, cuts: list[int]) -> list[Records]:
    return np.split(records, [cut for cut in cuts if cut <= len(records)])


@given(_TIMES, st.lists(st.integers(0, 20)), _CUTS, st.lists(st.one_of(st.none(), st.integers(0, 31)), max_size=30))
def test_all_in_order_and_none_too_early(
    times: list[int], hints: list[int], cuts: list[int], asked: list[int | None]
) -> None:
    records = _records(times, hints)
    tape, given_out = Tape(iter(_cut(records, cuts))), [no_records()]
    for ns in asked:
        if ns is None:
            part = tape.event()
            assert is_event(part).sum() <= 1
            assert not is_event(part[:-1]).any()
        else:
            part = tape.until(ns)
            assert (part["ns"] <= ns).all()
        given_out.append(part)
        so_far = np.concatenate(given_out)
        assert so_far.tobytes() == records[: len(so_far)].tobytes()
        assert tape.position_ns == max(so_far["ns"].tolist(), default=0)
        if ns is not None and not len(part):
            assert len(so_far) == len(records) or records["ns"][len(so_far)] > ns
    while not tape.ended:
        given_out.append(tape.until())
    assert np.concatenate(given_out).tobytes() == records.tobytes()
    assert len(tape.until()) == len(tape.event()) == 0


@given(_TIMES, _CUTS, st.integers(1, 5))
def test_not_more_than_are_asked_for(times: list[int], cuts: list[int], most: int) -> None:
    tape, given_out = Tape(iter(_cut(_records(times, []), cuts))), [no_records()]
    while not tape.ended:
        given_out.append(tape.until(None, most))
        assert len(given_out[-1]) <= most
    assert np.concatenate(given_out).tobytes() == _records(times, []).tobytes()


@given(_TIMES, st.integers(0, 31))
def test_splitting_by_time(times: list[int], ns: int) -> None:
    records = _records(times, [])
    early, late = split(records, ns)
    assert early["ns"].tolist() == [time for time in times if time < ns]
    assert late["ns"].tolist() == [time for time in times if time >= ns]
    assert not_later(records, ns)["ns"].tolist() == [time for time in times if time <= ns]

"""Several recordings read as one."""

from pathlib import Path

import numpy as np
import pytest

from furtrace.trace.errors import RecordingError
from furtrace.trace.files import SingleFile
from furtrace.trace.info import TraceInfo
from furtrace.trace.merging import Recordings
from tests.unit.events import batch, queued

_INFO = TraceInfo("7.3.0", "plain", "tracepoints", 0, boot="a")


def _write(path: Path, times: list[int]) -> str:
    file = SingleFile(str(path), _INFO)
    file.write(batch(*(queued(ns, ns) for ns in times)))
    file.close()
    return str(path)


def _read(*paths: str) -> list[int]:
    with Recordings(paths) as recordings:
        return [int(ns) for part in recordings.batches() for ns in part["ns"]]


def test_times_that_go_back_within_a_recording_end_all_the_same(tmp_path: Path) -> None:
    one = _write(tmp_path / "one.pcapng", [10, 20, 15])
    other = _write(tmp_path / "other.pcapng", [12, 30, 25])
    assert sorted(_read(one, other)) == [10, 12, 15, 20, 25, 30]
    assert _read(one) == [10, 20, 15]


def test_merged_by_time(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    times = [sorted(random.integers(1, 1000, 50).tolist()) for _ in range(3)]
    paths = [_write(tmp_path / f"{number}.pcapng", each) for number, each in enumerate(times)]
    assert _read(*paths) == sorted(ns for each in times for ns in each)


def test_the_one_that_is_no_recording_is_named(tmp_path: Path) -> None:
    one, other = _write(tmp_path / "one.pcapng", [1]), tmp_path / "other"
    other.write_bytes(b"something else")
    with pytest.raises(RecordingError) as caught, Recordings([one, str(other)]):
        pass
    assert caught.value.args[0] == str(other)

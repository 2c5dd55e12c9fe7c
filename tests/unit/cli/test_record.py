"""`furtrace record` where nothing is traced yet: options that exclude each other, and files that can't be made."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from furtrace.cli.errors import WriteError
from furtrace.cli.keeping import Keeper, closing, kept, writing
from furtrace.cli.record import command
from furtrace.trace.errors import RecordingError
from furtrace.trace.files import SingleFile
from furtrace.trace.info import TraceInfo
from furtrace.trace.merging import Recordings
from furtrace.trace.record import lost_record
from tests.unit.events import batch, whole

INFO = TraceInfo("6.18", "plain", "tracepoints", 1_700_000_000_000_000_000)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Missing option '-o' / '--output'"),
        (["-o", "f", "--steps", "kernel", "--vantage", "tracepoint"], "--steps kernel needs the kernel's functions"),
        (["-o", "-", "--ring", "2x1M"], "--ring makes files; give --output the name of one."),
        (["-o", "f", "--ring", "2x1M", "--max-size", "3M"], "--ring keeps recording, and --max-size ends it"),
        (["-o", "f", "--duration", "nan"], "--duration"),
        (["-o", "f", "--payload", "70000"], "--payload"),
        (["-o", "f", "--count", "0"], "--count"),
        (["-o", "f", "--connection", "1", "--pid", "2"], "choose the connection in different ways"),
    ],
)
def test_misuse(options: list[str], said: str) -> None:
    result = CliRunner().invoke(command, options)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_a_kept_trace(tmp_path: Path) -> None:
    file = str(tmp_path / "trace.pcapng")
    with kept(file, INFO) as keeper:
        assert keeper is not None
        keeper.write(batch(lost_record(1, 2, 5, cpu=0), *whole(10, 100)))
        keeper.write(batch())
        assert (keeper.events, keeper.files.lost) == (4, 5)
    with Recordings([file]) as recordings:
        kinds = [int(kind) for one in recordings.batches() for kind in one["kind"]]
    assert kinds == [20, 6, 10, 12, 17]
    assert (recordings.damages, recordings.noted.dropped) == ({}, 5)


def test_a_trace_that_is_not_kept() -> None:
    with kept(None, INFO) as keeper:
        assert keeper is None


def test_the_file_is_ended_whatever_happens(tmp_path: Path) -> None:
    file = str(tmp_path / "trace.pcapng")
    keeper = Keeper(SingleFile(file, INFO))
    keeper.write(batch(*whole(10, 100)))
    with pytest.raises(KeyError), closing(keeper):
        raise KeyError
    with Recordings([file]) as recordings:
        assert sum(len(one) for one in recordings.batches()) == 4
    assert recordings.damages == {}


def test_sentences() -> None:
    full = r"^a\\nb can't be written: No space left on device; it holds the 7 events until then\.$"
    with pytest.raises(WriteError, match=full), writing("a\nb", lambda: 7):
        raise OSError(28, os.strerror(28))
    with pytest.raises(WriteError, match=r"^Standard output can't be made: it is odd\.$"), writing("-"):
        raise RecordingError("it is odd")
    with pytest.raises(WriteError, match=r"^The reader of the recording is gone, so it has ended\.$"), writing("f"):
        raise BrokenPipeError(32, os.strerror(32))

"""The tools that everybody has for captures: they take recordings, and recordings come back from them the same."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from furtrace.trace.files import SingleFile
from furtrace.trace.record import Records
from tests.unit.trace.pcapng_file import INFO, Found, random_records, write

_OFFSET = INFO.realtime_offset_ns
_SECOND = 1_000_000_000
ENDINGS = (".pcapng", ".pcapng.zst")


def _run(program: str, *arguments: object) -> str:
    """What a program says; nobody sees the warning that tshark has for root."""
    if shutil.which(program) is None:
        pytest.skip(f"There is no {program} here.")
    run = subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, text=True, timeout=60)
    assert not [line for line in run.stderr.splitlines() if not line.startswith("Running as user")]
    return run.stdout


def _spread(count: int, seed: int) -> Records:
    """Records of which each comes a quarter of a second after the one before."""
    records = random_records(count, seed)
    records["ns"] = _SECOND + np.arange(count, dtype=np.uint64) * np.uint64(_SECOND // 4)
    return records


def _date(ns: int) -> str:
    """A time of CLOCK_REALTIME as editcap takes it."""
    return f"{ns // _SECOND}.{ns % _SECOND:09}"


@pytest.mark.parametrize("ending", ENDINGS)
def test_capinfos(tmp_path: Path, ending: str) -> None:
    records = _spread(41, seed=1)
    path = write(tmp_path / f"one{ending}", records, pieces=3, lost=7)
    said = _run("capinfos", "-M", "-S", path)
    told = dict(re.findall(r"^([A-Z][\w /.]+?): +(.+)$", said, re.MULTILINE))
    assert told["Number of packets"] == "41"
    assert told["File encapsulation"].lower().replace(" ", "") == "user0"
    assert told["File timestamp precision"] == "nanoseconds (9)"
    assert told["Capture duration"].startswith("10.000000000")
    assert told["First packet time"] == _date(_OFFSET + _SECOND)
    assert told["Last packet time"] == _date(_OFFSET + 11 * _SECOND)
    assert "Interface #0 info" in said
    comment = re.search(r"Comment = (\{.*\})", said)
    assert comment
    assert json.loads(comment[1]) == json.loads(INFO.to_json())
    assert re.search(r"Number of stat entries = 1\b", said)


@pytest.mark.parametrize("ending", ENDINGS)
def test_editcap_takes_some_packets(tmp_path: Path, ending: str) -> None:
    records = _spread(40, seed=2)
    path, made = write(tmp_path / f"one{ending}", records, pieces=3), tmp_path / "made.pcapng"
    _run("editcap", "-r", path, made, "3-7", "20", "39-40")
    found = Found(made)
    assert found.same_as(records[[2, 3, 4, 5, 6, 19, 38, 39]])
    assert not found.damages
    assert (found.noted.foreign, found.noted.short) == (0, 0)
    assert found.info.to_json() == INFO.to_json()


@pytest.mark.parametrize(("begin", "end"), [(0, 5), (4, 20), (39, 40)])
def test_editcap_takes_a_window_of_time(tmp_path: Path, begin: int, end: int) -> None:
    records = _spread(40, seed=3)
    path, made = write(tmp_path / "one.pcapng", records), tmp_path / "made.pcapng"
    # Up to before a quarter of a second that a packet begins.
    window = [_date(_OFFSET + _SECOND + at * _SECOND // 4) for at in (begin, end)]
    _run("editcap", "-A", window[0], "-B", window[1], path, made)
    found = Found(made)
    assert found.same_as(records[begin:end])
    assert not found.damages


def test_editcap_splits(tmp_path: Path) -> None:
    records = _spread(40, seed=4)
    _run("editcap", "-c", 15, write(tmp_path / "one.pcapng", records, pieces=2), tmp_path / "part.pcapng")
    parts = sorted(tmp_path.glob("part_*.pcapng"))
    assert len(parts) == 3
    found = Found(*parts)
    assert found.same_as(records)
    assert not found.damages


def _interleaved(tmp_path: Path, ending: str) -> tuple[Records, list[Path]]:
    """Records of which one recording has those with even numbers, another the others."""
    records = _spread(60, seed=5)
    paths = [write(tmp_path / f"{part}{ending}", records[part::2], pieces=2) for part in range(2)]
    return records, paths


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("mode", ["none", "all", "any"])
def test_mergecap_by_time(tmp_path: Path, ending: str, mode: str) -> None:
    records, paths = _interleaved(tmp_path, ending)
    made = tmp_path / "made.pcapng"
    _run("mergecap", "-I", mode, "-w", made, *paths)
    found = Found(made)
    assert found.same_as(records)
    assert not found.damages
    assert found.noted.foreign == 0


@pytest.mark.parametrize("ending", ENDINGS)
def test_mergecap_one_behind_the_other(tmp_path: Path, ending: str) -> None:
    records, paths = _interleaved(tmp_path, ending)
    made = tmp_path / "made.pcapng"
    _run("mergecap", "-a", "-w", made, *paths)
    found = Found(made)
    assert found.same_as(np.concatenate([records[::2], records[1::2]]))
    assert not found.damages


@pytest.mark.parametrize("ending", ENDINGS)
def test_tshark_writes_what_it_has_filtered(tmp_path: Path, ending: str) -> None:
    records = _spread(40, seed=6)
    path, made = write(tmp_path / f"one{ending}", records, pieces=4), tmp_path / "made.pcapng"
    _run("tshark", "-r", path, "-Y", "frame.number % 3 == 0" if _has_arithmetic() else "frame.number >= 30", "-w", made)
    found = Found(made)
    assert found.same_as(records[2::3] if _has_arithmetic() else records[29:])
    assert not found.damages


def _has_arithmetic() -> bool:
    """Wireshark 4 has learnt to reckon."""
    version = re.search(r"\b(\d+)\.\d+\.\d+", _run("tshark", "--version"))
    assert version
    return int(version[1]) >= 4


def test_back_and_forth(tmp_path: Path) -> None:
    records, paths = _interleaved(tmp_path, ".pcapng.zst")
    merged, filtered, again = (tmp_path / f"{name}.pcapng" for name in ("merged", "filtered", "again"))
    _run("mergecap", "-w", merged, *paths)
    _run("tshark", "-r", merged, "-Y", "frame.number <= 50", "-w", filtered)
    _run("editcap", "-r", filtered, again, "11-50")
    assert Found(again).same_as(records[10:50])
    assert not Found(again).damages


@pytest.mark.parametrize("ending", ENDINGS)
def test_tshark_sees_each_packet_with_its_time(tmp_path: Path, ending: str) -> None:
    records = random_records(300, seed=7)
    path = write(tmp_path / f"one{ending}", records, pieces=5)
    fields = ("frame.time_epoch", "frame.len", "frame.cap_len", "frame.encap_type")
    said = _run("tshark", "-r", path, "-T", "fields", *(word for field in fields for word in ("-e", field)))
    rows = [line.split("\t") for line in said.splitlines()]
    times = [_date(_OFFSET + ns) for ns in records["ns"].tolist()]
    assert [row[0] for row in rows] == times
    assert {tuple(row[1:]) for row in rows} == {("648", "648", rows[0][3])}


def test_tshark_reads_a_long_compressed_recording_written_with_flushes(tmp_path: Path) -> None:
    """Each flush ends a block of zstd, not the frame: tshark sees all that there is at any time."""
    records = random_records(1000, seed=8)
    file = SingleFile(str(tmp_path / "one.pcapng.zst"), INFO)
    for number in range(52):
        file.write(records)
        if number % 3 == 0:
            file.flush()
        if number == 24:
            file.flush()
            assert _count(Path(file.path)) == 25_000
    file.close()
    assert _count(Path(file.path)) == 52_000
    assert len(Found(Path(file.path)).records) == 52_000


def _count(path: Path) -> int:
    return len(_run("tshark", "-r", path, "-T", "fields", "-e", "frame.number").splitlines())


@pytest.mark.parametrize(
    ("change", "kept"),
    [(lambda whole: whole[: len(whole) // 2], 20), (lambda whole: whole[:-20], 40)],
    ids=["half", "nearly whole"],
)
def test_editcap_reads_what_is_there_of_one_that_was_cut(
    tmp_path: Path, change: Callable[[bytes], bytes], kept: int
) -> None:
    """It complains; what it wrote is read as far as it goes."""
    records = _spread(40, seed=9)
    path, made = write(tmp_path / "one.pcapng", records), tmp_path / "made.pcapng"
    path.write_bytes(change(path.read_bytes()))
    if shutil.which("editcap") is None:
        pytest.skip("There is no editcap here.")
    subprocess.run(["editcap", path, made], check=False, capture_output=True, timeout=60)
    found = Found(made)
    assert abs(len(found.records) - kept) <= 1
    assert found.same_as(records[: len(found.records)])

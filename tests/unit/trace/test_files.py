"""The file of a recording: never another's, never through a link, for the owner alone; and rings of files."""

import os
import pty
import re
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from furtrace.trace import files
from furtrace.trace.errors import RecordingError
from furtrace.trace.files import RingOfFiles, SingleFile, check, create, numbered
from furtrace.trace.record import Kind, Records, is_event
from tests.unit.events import event
from tests.unit.trace.pcapng_file import INFO, Found, random_records


def test_mode_0600_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        os.close(create(str(tmp_path / "one")))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("target", ["there", "dangling"])
def test_never_through_a_symbolic_link(tmp_path: Path, target: str, force: bool) -> None:
    (tmp_path / "there").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / target)
    for act in (check, create):
        with pytest.raises(RecordingError, match="symbolic link"):
            act(str(tmp_path / "link"), force=force)
    assert (tmp_path / "there").read_text() == "kept"
    assert not (tmp_path / "dangling").exists()


def test_never_over_an_existing_file_but_by_force(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("kept")
    with path.open() as opened:
        for act in (check, create):
            with pytest.raises(RecordingError, match="--force"):
                act(str(path))
        assert path.read_text() == "kept"
        os.close(create(str(path), force=True))
        assert not path.read_text()
        assert opened.read() == "kept"  # who has it open keeps it


@pytest.mark.parametrize("force", [False, True])
def test_never_what_is_no_file(tmp_path: Path, force: bool) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(RecordingError, match="something else than a file"):
            create(str(path), force=force)


def test_where_there_is_no_folder(tmp_path: Path) -> None:
    for act in (check, create):
        with pytest.raises(FileNotFoundError):
            act(str(tmp_path / "no" / "one"))


def test_standard_output_but_no_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb"), os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        with pytest.raises(RecordingError, match="terminal"):
            create("-")
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        descriptor = create("-")
        os.write(descriptor, b"some")
        os.close(descriptor)
        assert not out.closed
    assert (tmp_path / "out").read_text() == "some"


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("a/b.pcapng", r"a/b_00012_\d{14}\.pcapng"),
        ("b.pcapng.zst", r"b_00012_\d{14}\.pcapng\.zst"),
        ("b.c.zst", r"b\.c_00012_\d{14}\.zst"),
        ("b", r"b_00012_\d{14}"),
    ],
)
def test_names_of_a_ring(path: str, pattern: str) -> None:
    assert re.fullmatch(pattern, numbered(path, 12))


def _ring(folder: Path, records: Records, count: int, size: int, ending: str = ".pcapng") -> RingOfFiles:
    prelude = event(Kind.NAMED, 5, unique=1 << 40)
    ring = RingOfFiles(str(folder / f"one{ending}"), INFO, count, size, prelude=lambda: prelude)
    for piece in np.array_split(records, 40):
        ring.write(piece)
        ring.flush()
    return ring


@pytest.mark.parametrize("ending", [".pcapng", ".pcapng.zst"])
def test_the_newest_files_are_kept_each_whole(tmp_path: Path, ending: str) -> None:
    records = random_records(800, seed=1)
    ring = _ring(tmp_path, records, 3, 100_000, ending)
    ring.lost = 5
    ring.close()
    paths = sorted(tmp_path.iterdir())
    assert 3 <= len(paths) <= 4
    kept = []
    for path in paths:
        found = Found(path)
        assert not found.damages
        assert found.records["unique"][0] == 1 << 40  # what each begins with
        kept.append(found.records[1:])
    joined = np.concatenate(kept)
    assert joined.tobytes() == records[-len(joined) :].tobytes()
    assert len(joined) >= 300
    assert Found(paths[-1]).noted.dropped == 5
    assert ring.written == sum(path.stat().st_size for path in paths)
    assert ring.events == int(is_event(records).sum())


def test_a_ring_that_is_not_full(tmp_path: Path) -> None:
    records = random_records(80, seed=2)
    ring = _ring(tmp_path, records, 3, 100_000_000)
    assert ring.path == str(next(tmp_path.iterdir()))
    ring.close()
    assert Found(Path(ring.path)).same_as(records)


def test_an_old_file_of_the_same_name_stops_a_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "numbered", lambda path, number: f"{path}.{number}")
    (tmp_path / "one.2").write_text("kept")
    ring = RingOfFiles(str(tmp_path / "one"), INFO, 2, 1)
    with pytest.raises(RecordingError, match="--force"):
        ring.write(random_records(1, seed=3))
    assert (tmp_path / "one.2").read_text() == "kept"


def test_a_folder_that_takes_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No such file|Permission denied|not permitted"):
        SingleFile("/proc/one.pcapng", INFO)

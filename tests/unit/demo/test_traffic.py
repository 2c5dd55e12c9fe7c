"""The traffic on an ordinary directory: repeatable, and it notices wrong data."""

import os
from pathlib import Path

import pytest

from furtrace.demo import traffic
from furtrace.demo.errors import DemoError
from furtrace.demo.profiles import PROFILES

SMALL = 0.1


@pytest.mark.parametrize("profile", ["sequential", "random", "metadata"])
def test_the_same_seed_does_the_same_and_leaves_nothing(tmp_path: Path, profile: str) -> None:
    first = traffic.run(tmp_path, profile, 7, SMALL)
    assert first.operations > 10
    assert traffic.run(tmp_path, profile, 7, SMALL) == first
    assert traffic.run(tmp_path, profile, 7, 2 * SMALL).operations > first.operations
    assert list(tmp_path.iterdir()) == []


def test_another_seed_does_something_else(tmp_path: Path) -> None:
    assert traffic.run(tmp_path, "random", 1, SMALL) != traffic.run(tmp_path, "random", 2, SMALL)


def test_wrong_data_is_noticed_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = os.pread
    monkeypatch.setattr(os, "pread", lambda *given: honest(*given)[:-1] + b"?")
    with pytest.raises(DemoError, match="is wrong at offset"):
        traffic.run(tmp_path, "random", 1, SMALL)
    assert list(tmp_path.iterdir()) == []


def test_lost_names_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: list(honest(self))[1:])
    with pytest.raises(DemoError, match="does not list the names"):
        traffic.run(tmp_path, "metadata", 1, SMALL)


def test_as_a_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert traffic.main([str(tmp_path), "--profile", "random", "--seed", "3", "--scale", "0.05"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("profile=random seed=3 operations=103 written=")
    assert traffic.main([str(tmp_path / "absent")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    for wrong in (["--profile", "none"], ["--scale", "-1"], ["--scale", "inf"], ["--seed", "x"]):
        with pytest.raises(SystemExit) as end:
            traffic.main([str(tmp_path), *wrong])
        assert end.value.code == 2


def test_unknown_profiles_are_named(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=f"there are {', '.join(PROFILES)}, mixed"):
        traffic.run(tmp_path, "none")

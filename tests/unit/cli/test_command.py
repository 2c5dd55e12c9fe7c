"""The command that a trace lasts as long as."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from furtrace.cli import command
from furtrace.cli.command import exit_status, running
from furtrace.probe.errors import ProbeError


def _wait(process: "subprocess.Popen[bytes]") -> None:
    process.wait(30)


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$", 143)]
)
def test_the_exit_status_is_passed_on(script: str, status: int) -> None:
    with running(["sh", "-c", script], quiet=False) as process:
        _wait(process)
    assert exit_status(process) == status


def test_one_that_still_runs_has_no_status_of_its_own() -> None:
    with running(["sleep", "60"], quiet=False) as process:
        assert exit_status(process) == 0


@pytest.mark.parametrize("quiet", [False, True])
def test_output_goes_to_standard_error(capfd: pytest.CaptureFixture[str], quiet: bool) -> None:
    with running(["sh", "-c", "echo out; echo err >&2"], quiet=quiet) as process:
        _wait(process)
        shown = capfd.readouterr()
        assert shown.err == ("" if quiet else "out\nerr\n")
    after = capfd.readouterr()
    assert after.err == ("out\nerr\n" if quiet else "")
    assert shown.out == after.out == ""


def test_quiet_output_is_shown_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with running(["echo", "said"], quiet=True) as process:
            _wait(process)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert capfd.readouterr().err == "said\n"


def test_no_such_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name = f"{tmp_path}/none"
    with pytest.raises(ProbeError) as problem, running([name, "x"], quiet=False):
        pass
    assert str(problem.value) == f"The command {name!r} can't be run: No such file or directory."
    assert capfd.readouterr() == ("", "")


def test_no_program(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("text")
    with pytest.raises(ProbeError, match="Permission denied"), running([str(script)], quiet=True):
        pass


def test_one_that_still_runs_is_ended() -> None:
    begun = time.monotonic()
    with running(["sleep", "60"], quiet=False) as process:
        assert process.poll() is None
    assert process.returncode == -signal.SIGTERM
    assert time.monotonic() - begun < 30


def test_one_that_does_not_end_is_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "_PATIENCE_SECONDS", 0.05)
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    command._end(process)
    assert capsys.readouterr().err == f"furtrace: process {process.pid} does not end; it is left running.\n"
    assert exit_status(process) == 0
    process.stdout.close()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)

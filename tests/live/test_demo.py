"""`furtrace demo`: it ends in order, however it ends."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from furtrace.demo.enable import is_enabled
from furtrace.probe.mounts import fuse_mounts
from tests.live.conftest import FURTRACE, run_furtrace

pytestmark = pytest.mark.live


@pytest.mark.parametrize("options", [[], ["--no-uring"], ["--profile", "metadata", "--seed", "5", "--depth", "2"]])
def test_the_trace_and_the_servers_log_agree(options: list[str]) -> None:
    before, switch = fuse_mounts(), is_enabled()
    done = run_furtrace("demo", "--scale", "0.3", "--lines", "7", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "They are the same, request by request" in done.stdout
    assert done.stdout.count("INIT kernel") == 1
    assert (fuse_mounts(), is_enabled()) == (before, switch)


@pytest.mark.parametrize("delay", [0.3, 1.0, 1.6, 2.2])
def test_a_signal_leaves_nothing_behind(delay: float, tmp_path: Path) -> None:
    before, switch = fuse_mounts(), is_enabled()
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen([*FURTRACE, "demo", "--scale", "20"], stdout=subprocess.DEVNULL, stderr=err)
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) in (0, 1, -signal.SIGTERM)
    assert "Traceback" not in (tmp_path / "err").read_text()
    assert (fuse_mounts(), is_enabled()) == (before, switch)

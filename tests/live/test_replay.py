"""What a recording shows is what the live trace showed that was recorded: the same lines, the same objects."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from furtrace.demo.enable import enable_uring
from furtrace.demo.process import DemoServer
from tests.live.conftest import FURTRACE, Trace

pytestmark = pytest.mark.live

_TRAFFIC = (FURTRACE[0], "-m", "furtrace.demo.traffic")


def _replayed(*arguments: "str | Path") -> list[str]:
    done = subprocess.run([*FURTRACE, "replay", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("how", "filters"),
    [
        (["--events"], []),
        (["--plain"], []),
        (["--json"], []),
        (["--json", "--events"], []),
        (["--plain"], ["--op", "READ,WRITE,RENAME"]),
        (["--events"], ["--queue", "1"]),
    ],
)
def test_replay_shows_what_live_showed(
    live: Callable[..., Trace], tmp_path: Path, how: list[str], filters: list[str]
) -> None:
    mount, recording = tmp_path / "mnt", tmp_path / "trace.pcapng"
    mount.mkdir()
    trace = live(*how, *filters, "--record", str(recording), "--mount", str(mount), ready="Ctrl-C")
    with enable_uring(), DemoServer(depth=4, directory=mount):
        subprocess.run([*_TRAFFIC, mount, "--scale", "0.2"], check=True, stdout=subprocess.DEVNULL)
    assert trace.process.wait(30) == 0
    shown, again = trace.lines(), _replayed(*how, recording)
    if how[0] == "--json":
        # Whose time is the clock's, and the recording's: the rest is the same.
        live_sum, its_sum = (json.loads(lines.pop()) for lines in (shown, again))
        assert live_sum | {"elapsed_ns": 0} == its_sum | {"elapsed_ns": 0}
    assert len(shown) > 50
    assert again == shown


def test_a_filter_shows_afterwards_what_it_would_have_shown_then(live: Callable[..., Trace], tmp_path: Path) -> None:
    """The kernel's filter and replay's agree about which requests of one run they choose."""
    mount, recording = tmp_path / "mnt", tmp_path / "trace.pcapng"
    mount.mkdir()
    everything = live("--json", "--record", str(recording), "--mount", str(mount), ready="Ctrl-C")
    filtered = live("--json", "--op", "READ,LOOKUP", "--mount", str(mount), ready="Ctrl-C")
    with enable_uring(), DemoServer(depth=4, directory=mount):
        subprocess.run([*_TRAFFIC, mount, "--scale", "0.2"], check=True, stdout=subprocess.DEVNULL)
    assert (everything.process.wait(30), filtered.process.wait(30)) == (0, 0)
    replayed = map(json.loads, _replayed("--json", "--op", "READ,LOOKUP", recording))
    uniques = {one["unique"] for one in replayed if one["type"] == "request"}
    assert uniques == {one["unique"] for one in filtered.requests()}
    assert len(uniques) > 50

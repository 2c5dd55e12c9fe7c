"""Load for the benchmarks of what tracing costs: fio on libfuse's passthrough_hp over io_uring, traced in turn."""

import contextlib
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from furtrace.demo.enable import enable_uring
from tests.external import libfuse
from tests.live.conftest import tracefs

Tracer = Callable[[Path], contextlib.AbstractContextManager[list[str]]]
"""Traces while its block lasts, with a folder for its files; at the end the list says what it took."""


def fio(mount: Path, seconds: int) -> float:
    """Requests a second: 4 KiB random direct reads, 2 jobs."""
    command = ["fio", "--name=bench", f"--directory={mount}", "--rw=randread", "--bs=4k", "--size=64M", "--direct=1"]
    command += ["--numjobs=2", f"--runtime={seconds}", "--time_based", "--group_reporting", "--output-format=json"]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(said.stdout)["jobs"][0]["read"]["iops"])


@contextlib.contextmanager
def untraced(_folder: Path) -> Iterator[list[str]]:
    """Nothing runs beside fio."""
    yield []


def perf(*events: str) -> Tracer:
    """`perf record` of tracepoints, on all CPUs."""

    @contextlib.contextmanager
    def tracer(folder: Path) -> Iterator[list[str]]:
        chosen = [word for event in events for word in ("-e", event)]
        process = subprocess.Popen(["perf", "record", "-q", "-a", *chosen, "-o", folder / "perf.data", "sleep", "1000"])
        time.sleep(1)
        yield from measured(process.pid, lambda: True)
        process.terminate()
        process.wait()

    return tracer


def measured(pid: int, ready: Callable[[], bool]) -> Iterator[list[str]]:
    """Wait until the tracer is ready; at the end note its share of a core and its peak of memory."""
    while not ready():
        assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None, "the tracer did not begin"
        time.sleep(0.05)
    notes: list[str] = []
    before, began = _cpu_seconds(pid), time.monotonic()
    yield notes
    share = (_cpu_seconds(pid) - before) / (time.monotonic() - began)
    notes.append(f"{share:.1%} of a core, {_peak(pid)} MiB")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak(pid: int) -> int:
    found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) // 1024 if found else 0


def compare(tracers: dict[str, Tracer], rounds: int, seconds: int) -> None:
    """Run fio under each tracer in turn, so many rounds, and print the medians, each as a ratio of the untraced one.

    A machine that gets slower and faster meanwhile spoils that; so the median of the ratios of each round, too.
    """
    rates: dict[str, list[float]] = {name: [] for name in tracers}
    notes: dict[str, list[str]] = {name: [] for name in tracers}
    with tempfile.TemporaryDirectory() as root, enable_uring(), tracefs():
        source, folder = Path(root, "source"), Path(root, "work")
        source.mkdir()
        folder.mkdir()
        with libfuse.passthrough_hp(source) as server:
            fio(server.mountpoint, 1)
            for _ in range(rounds):
                for name, tracer in tracers.items():
                    with tracer(folder) as said:
                        rates[name].append(fio(server.mountpoint, seconds))
                    notes[name] += said
    base = statistics.median(rates["untraced"])
    for name, found in rates.items():
        middle, told = statistics.median(found), "; ".join(notes[name][-1:])
        each = [one / untraced for one, untraced in zip(found, rates["untraced"], strict=True)]
        ratios, within = " ".join(f"{one:.2f}" for one in each), statistics.median(each)
        ratio = f"ratio {middle / base:.3f}, within rounds {within:.3f} ({ratios})"
        print(f"{name:24} {middle:8.0f} requests/s  {ratio}  {told}")

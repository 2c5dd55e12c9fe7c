"""What tracing costs: fio's rate with and without furtrace, in one run, interleaved.

Server: libfuse's passthrough_hp over io_uring; load: fio, 4 KiB random direct reads, 2 jobs. Each round runs fio
untraced, then under each tracer: `furtrace live --plain` into a file, the full-screen view on a terminal of 160x50, and
as the peer `perf record` of the two fuse tracepoints; where the kernel's functions can be watched, also `--plain` by
tracepoints alone, and with the steps inside the kernel. Prints the medians, and each as a ratio of the untraced one.

Usage, as root: python -m tests.bench.bench_live_overhead [ROUNDS] [SECONDS]
"""

import contextlib
import json
import os
import pty
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from furtrace.demo.enable import enable_uring
from furtrace.probe.btf import running_kernel
from furtrace.probe.vantage import Vantages
from tests.external import libfuse
from tests.live.conftest import FURTRACE, tracefs

Tracer = Callable[[Path], contextlib.AbstractContextManager[list[str]]]


def fio(mount: Path, seconds: int) -> float:
    """Requests a second."""
    command = ["fio", "--name=bench", f"--directory={mount}", "--rw=randread", "--bs=4k", "--size=64M", "--direct=1"]
    command += ["--numjobs=2", f"--runtime={seconds}", "--time_based", "--group_reporting", "--output-format=json"]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(said.stdout)["jobs"][0]["read"]["iops"])


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak(pid: int) -> int:
    found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) // 1024 if found else 0


@contextlib.contextmanager
def untraced(_folder: Path) -> Iterator[list[str]]:
    """Nothing runs beside fio."""
    yield []


def plain(*options: str) -> Tracer:
    """`furtrace live --plain > file`, with more options."""

    @contextlib.contextmanager
    def tracer(folder: Path) -> Iterator[list[str]]:
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen([*FURTRACE, "live", "--plain", *options], stdout=out, stderr=err)
            yield from _measured(process.pid, lambda: b"Tracing" in (folder / "err").read_bytes())
            process.send_signal(signal.SIGINT)
            process.wait()

    return tracer


def _tracers() -> dict[str, Tracer]:
    found = {"untraced": untraced, "live --plain": plain(), "live (screen)": screen, "perf": perf}
    if not Vantages(running_kernel()).plan().attachments:
        return found
    return found | {
        "by tracepoints": plain("--vantage", "tracepoint"),
        "--steps kernel": plain("--steps", "kernel"),
    }


@contextlib.contextmanager
def screen(_folder: Path) -> Iterator[list[str]]:
    """`furtrace live` on a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="160", LINES="50")
        os.execv(sys.executable, (*FURTRACE, "live"))
    subprocess.run(["stty", "cols", "160", "rows", "50"], stdin=terminal, check=True)
    shown: list[bytes] = []
    threading.Thread(target=_drain, args=(terminal, shown), daemon=True).start()
    yield from _measured(pid, lambda: any(b"requests/s" in piece for piece in shown))
    os.write(terminal, b"q")
    os.waitpid(pid, 0)
    os.close(terminal)


def _drain(terminal: int, shown: list[bytes]) -> None:
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 1 << 16):
            shown[:] = [*shown[-4:], piece]


def _measured(pid: int, ready: Callable[[], bool]) -> Iterator[list[str]]:
    """Wait until the tracer is ready; at the end note its share of a core and its peak of memory."""
    while not ready():
        time.sleep(0.05)
    notes: list[str] = []
    before, began = _cpu_seconds(pid), time.monotonic()
    yield notes
    share = (_cpu_seconds(pid) - before) / (time.monotonic() - began)
    notes.append(f"{share:.0%} of a core, {_peak(pid)} MiB")


@contextlib.contextmanager
def perf(folder: Path) -> Iterator[list[str]]:
    """`perf record` of fuse_request_send and fuse_request_end."""
    events = ["-e", "fuse:fuse_request_send", "-e", "fuse:fuse_request_end"]
    process = subprocess.Popen(["perf", "record", "-q", "-a", *events, "-o", folder / "perf.data", "sleep", "1000"])
    time.sleep(1)
    yield []
    process.terminate()
    process.wait()


def main() -> None:
    """Run the rounds and print the table."""
    rounds, seconds = (int(word) for word in (*sys.argv[1:], "5", "5")[:2])
    tracers = _tracers()
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
    for name, measured in rates.items():
        middle = statistics.median(measured)
        print(f"{name:14} {middle:8.0f} requests/s  ratio {middle / base:.2f}  {'; '.join(notes[name][-1:])}")


if __name__ == "__main__":
    main()

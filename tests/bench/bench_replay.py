"""How fast a recording is printed: `furtrace replay --speed max`, as lines, events and JSON.

The recording is made first: fio, 4 KiB random direct reads, 2 jobs, on libfuse's passthrough_hp over io_uring. The
peer is `tshark -r`, which prints the same file, a line a packet. All take turns; the medians are printed, and each
one's rate of events as a ratio of tshark's. A request has four events.

Usage, as root: python -m tests.bench.bench_replay [ROUNDS] [SECONDS]
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from furtrace.demo.enable import enable_uring
from furtrace.trace.merging import Recordings
from furtrace.trace.record import is_event
from tests.bench.load import fio
from tests.external import libfuse
from tests.live.conftest import FURTRACE

BOUND: Final = 60_000
"""Lines of requests a second that it is to print at least."""
_WAYS: Final = {
    "lines of requests": ("--plain",),
    "lines of events": ("--events",),
    "JSON of requests": ("--json",),
    "lines, with -Y": ("--plain", "-Y", "op == READ and latency > 0"),
}


def record(path: Path, seconds: int) -> None:
    """Record a load."""
    with tempfile.TemporaryDirectory() as root, enable_uring():
        source, said = Path(root, "source"), Path(root, "err")
        source.mkdir()
        with libfuse.passthrough_hp(source) as server, said.open("wb") as err:
            fio(server.mountpoint, 1)
            process = subprocess.Popen([*FURTRACE, "record", "-o", path], stderr=err)
            while b"Ctrl-C" not in said.read_bytes():
                time.sleep(0.05)
            fio(server.mountpoint, seconds)
            process.send_signal(signal.SIGINT)
            assert process.wait() == 0, said.read_text()


def counts(path: Path) -> int:
    """How many events it has."""
    with Recordings([str(path)]) as recordings:
        return sum(int(is_event(batch).sum()) for batch in recordings.batches())


def printed(command: "list[str | Path]") -> tuple[int, float]:
    """How many lines a command prints, and how many seconds that takes if nobody reads them."""
    lines = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout.count(b"\n")
    with open(os.devnull, "wb") as sink:  # noqa: PTH123
        began = time.monotonic()
        subprocess.run(command, stdout=sink, stderr=subprocess.DEVNULL, check=True)
        return lines, time.monotonic() - began


def main() -> None:
    """Run the rounds and print the table."""
    rounds, seconds = (int(word) for word in (*sys.argv[1:], *("3", "15")[len(sys.argv) - 1 :])[:2])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.pcapng")
        record(path, seconds)
        compare(path, rounds)


def compare(path: Path, rounds: int) -> None:
    """Print a recording in every way, and say how long that takes."""
    commands: dict[str, list[str | Path]] = {"tshark -r (the peer)": ["tshark", "-r", path]}
    commands |= {name: [*FURTRACE, "replay", "--speed", "max", *options, path] for name, options in _WAYS.items()}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    lines: dict[str, int] = {}
    for _ in range(rounds):
        for name, command in commands.items():
            lines[name], spent = printed(command)
            taken[name].append(spent)
    events = counts(path)
    peer = statistics.median(taken["tshark -r (the peer)"])
    print(f"{events} events, {path.stat().st_size / 1e6:.0f} MB; medians of {rounds}, from start to end")
    for name, times in taken.items():
        middle = statistics.median(times)
        rate = lines[name] / middle
        bound = f"  {rate / BOUND:.2f} x the bound" if name == "lines of requests" else ""
        print(f"{name:22} {rate:9.0f} lines/s  {events / middle:9.0f} events/s  {peer / middle:5.2f} x the peer{bound}")


if __name__ == "__main__":
    main()

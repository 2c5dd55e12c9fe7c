"""How fast `furtrace stats` reads a recording of millions of events, and in how much memory.

The recording is made of one that ships with furtrace, whose events are repeated with later times and other uniques, and
is read once before, so that it is in memory (680 bytes an event). The peer is `tshark -r` of a part of it, which prints
a line a packet to nowhere. They take turns; the medians are printed.

Usage: python -m tests.bench.bench_stats [MILLIONS] [ROUNDS]
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np

from furtrace.trace.files import SingleFile
from furtrace.trace.info import TraceInfo
from furtrace.trace.merging import Recordings
from furtrace.trace.record import Kind, Records, events_only
from furtrace.wire.opcodes import Opcode
from tests.live.conftest import FURTRACE

BOUND: Final = 2_000_000
"""Events a second that are to be read at least."""
MOST_MB: Final = 600
_MILLION: Final = 1_000_000
_PART: Final = 200_000
"""Events that the peer reads."""
_SOURCE: Final = "recordings/plain.pcapng.zst"


def source() -> tuple[TraceInfo, Records]:
    """A recording's requests, from its first to its last event; without its INIT, which would begin anew."""
    with Recordings([str(resources.files("furtrace.demo") / _SOURCE)]) as recordings:
        events = np.concatenate([events_only(batch).copy() for batch in recordings.batches()])
        return recordings.info, events[(events["kind"] != Kind.INIT) & (events["opcode"] != Opcode.INIT)]


def make(path: Path, count: int) -> None:
    """A recording of so many events."""
    info, events = source()
    length = np.uint64(events["ns"].max() - events["ns"].min() + 1000)
    uniques = np.uint64(events["unique"].max() + 2)
    file = SingleFile(str(path), info)
    left = count
    while left > 0:
        file.write(events[:left])
        left -= len(events)
        events["ns"] += length
        for name in ("unique", "commit_id"):
            events[name] += np.where(events[name] != 0, uniques, np.uint64(0))
    file.close()


def measured(command: "list[str | Path]") -> tuple[float, float]:
    """Seconds that a command takes, and megabytes of its largest process at most."""
    with open(os.devnull, "wb") as sink:  # noqa: PTH123
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
        _, status, usage = os.wait4(process.pid, 0)
        taken = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return taken, usage.ru_maxrss * 1024 / 1e6


def main() -> None:
    """Make the recording, run the rounds, and print what came out."""
    given = (*sys.argv[1:], *("10", "5")[len(sys.argv) - 1 :])
    events, rounds = int(float(given[0]) * _MILLION), int(given[1])
    with tempfile.TemporaryDirectory() as folder:
        whole, part = Path(folder, "whole.pcapng"), Path(folder, "part.pcapng")
        make(whole, events)
        make(part, min(_PART, events))
        compare(whole, events, part, min(_PART, events), rounds)


def compare(whole: Path, events: int, part: Path, few: int, rounds: int) -> None:
    """Read both files in turns."""
    command: list[str | Path] = [*FURTRACE, "stats", whole]
    measured(command)  # what the disk takes is not meant
    taken, peer, peak = [], [], 0.0
    for _ in range(rounds):
        seconds, memory = measured(command)
        taken.append(seconds)
        peak = max(peak, memory)
        peer.append(measured(["tshark", "-r", part])[0])
    rate, other = events / statistics.median(taken), few / statistics.median(peer)
    print(f"{events} events, {whole.stat().st_size / 1e6:.0f} MB; medians of {rounds}, from start to end")
    print(f"furtrace stats  {rate:9.0f} events/s  {rate / BOUND:.2f} x the bound  {rate / other:.1f} x the peer")
    print(f"                {peak:9.0f} MB resident at most, of {MOST_MB}")
    print(f"tshark -r       {other:9.0f} events/s, of {few} events")


if __name__ == "__main__":
    main()

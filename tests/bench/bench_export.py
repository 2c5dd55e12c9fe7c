"""How fast a recording is exported: `furtrace export --to` each form, of requests and of events.

The recording is the one of bench_replay, but shorter. The peers are `tshark -r FILE -T ek`, JSON of every packet, and
`-T fields`, two cells of each. All take turns; the medians are printed, and each one's rate of events as a ratio of
either peer's. A request has four events.

Usage, as root: python -m tests.bench.bench_export [ROUNDS] [SECONDS]
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.bench.bench_replay import counts, record
from tests.live.conftest import FURTRACE

_EK, _FIELDS = "tshark -T ek", "tshark -T fields"
_PEERS: Final = {_EK: ("-T", "ek"), _FIELDS: ("-T", "fields", "-e", "frame.time_epoch", "-e", "data")}
_FORMS: Final = {
    "json": ("--to", "json"),
    "csv": ("--to", "csv"),
    "parquet": ("--to", "parquet"),
    "perfetto": ("--to", "perfetto"),
    "json, events": ("--to", "json", "--events"),
    "csv, events": ("--to", "csv", "--events"),
    "parquet, events": ("--to", "parquet", "--events"),
}
_REPLAY: Final = "replay --json"
"""What json is not to be slower than."""


def spent(command: "list[str | Path]", out: Path) -> tuple[float, int]:
    """How many seconds a command takes, and how much it writes."""
    with out.open("wb") as file:
        began = time.monotonic()
        subprocess.run(command, stdout=file, stderr=subprocess.DEVNULL, check=True)
        return time.monotonic() - began, os.fstat(file.fileno()).st_size


def main() -> None:
    """Run the rounds and print the table."""
    rounds, seconds = (int(word) for word in (*sys.argv[1:], *("3", "5")[len(sys.argv) - 1 :])[:2])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.pcapng")
        record(path, seconds)
        compare(path, rounds, Path(folder, "out"))


def compare(path: Path, rounds: int, out: Path) -> None:
    """Export a recording in every form, and say how long that takes."""
    commands: dict[str, list[str | Path]] = {name: ["tshark", "-r", path, *options] for name, options in _PEERS.items()}
    commands[_REPLAY] = [*FURTRACE, "replay", "--speed", "max", "--json", path]
    commands |= {name: [*FURTRACE, "export", path, *options] for name, options in _FORMS.items()}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    sizes: dict[str, int] = {}
    for _ in range(rounds):
        for name, command in commands.items():
            seconds, sizes[name] = spent(command, out)
            taken[name].append(seconds)
    events = counts(path)
    middle = {name: statistics.median(times) for name, times in taken.items()}
    print(f"{events} events, {path.stat().st_size / 1e6:.0f} MB; medians of {rounds}, from start to end")
    for name, seconds in middle.items():
        ratios = f"{middle[_EK] / seconds:6.2f} x {_EK}  {middle[_FIELDS] / seconds:6.2f} x {_FIELDS}"
        print(f"{name:16} {events / seconds:9.0f} events/s  {sizes[name] / 1e6:7.1f} MB  {ratios}")
    print(f"json: {middle[_REPLAY] / middle['json']:.2f} x {_REPLAY}")


if __name__ == "__main__":
    main()

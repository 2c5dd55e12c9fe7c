"""What checks cost: `furtrace check` over a recording, and live.

The recording is made first: fio, 4 KiB random direct reads, 2 jobs, on libfuse's passthrough_hp over io_uring. The peer
is `tshark -r`, which prints the same file; both take turns, and the medians are printed. Then the live check, and as
its peer the lines of `furtrace live`, each with its share of a core while fio runs.

Usage, as root: python -m tests.bench.bench_check [ROUNDS] [SECONDS]
"""

import contextlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.bench.bench_replay import counts, record
from tests.bench.load import Tracer, compare, measured, untraced
from tests.live.conftest import FURTRACE

BOUND: Final = 300_000
"""Events of a recording a second that are to be judged at least."""


def taken(command: "list[str | Path]") -> float:
    """How many seconds a command takes."""
    began = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def recorded(rounds: int, seconds: int) -> None:
    """Print how fast a recording is judged."""
    with tempfile.TemporaryDirectory() as root:
        path = Path(root, "load.pcapng")
        record(path, seconds)
        events = counts(path)
        ways: dict[str, list[str | Path]] = {
            "tshark -r": ["tshark", "-r", path],
            "furtrace check": [*FURTRACE, "check", path, "--fail-on", "error"],
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, command in ways.items():
                times[name].append(taken(command))
        rates = {name: events / statistics.median(each) for name, each in times.items()}
        for name, rate in rates.items():
            print(f"{name:24} {rate:10.0f} events/s  ratio {rate / rates['tshark -r']:.2f}")
        print(f"bound {BOUND}: {'kept' if rates['furtrace check'] >= BOUND else 'NOT KEPT'}, {events} events")


def live(*arguments: str) -> Tracer:
    """A command of furtrace that traces until Ctrl-C."""

    @contextlib.contextmanager
    def tracer(folder: Path) -> Iterator[list[str]]:
        said = folder / "err"
        with said.open("wb") as err:
            process = subprocess.Popen([*FURTRACE, *arguments], stdout=subprocess.DEVNULL, stderr=err)
            yield from measured(process.pid, lambda: b"Ctrl-C" in said.read_bytes())
            process.send_signal(signal.SIGINT)
            assert process.wait() == 0, said.read_text()

    return tracer


def main() -> None:
    """Run both."""
    rounds, seconds = (int(word) for word in (*sys.argv[1:], "5", "10")[:2])
    recorded(rounds, seconds)
    tracers = {"untraced": untraced, "check": live("check", "--fail-on", "error"), "live": live("live", "--plain")}
    compare(tracers, rounds, 5)


if __name__ == "__main__":
    main()

"""What ``furtrace live --forgets`` costs every system call of the machine.

`perf bench syscall basic` calls getppid(2) in a loop: the cheapest call there is, and not watched. It takes turns with
no tracer, with one, and with one that has --forgets. Run it as root: ``python -m tests.bench.bench_forgets``.
"""

import contextlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROUNDS: Final = 5
LOOPS: Final = 5_000_000
WAYS: Final[dict[str, tuple[str, ...] | None]] = {"no tracer": None, "live": (), "live --forgets": ("--forgets",)}


def main() -> None:
    """Measure and print."""
    measured: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, options in WAYS.items():
            with tracing(options):
                measured[name].append(nanoseconds())
    untraced = statistics.median(measured["no tracer"])
    for name, times in measured.items():
        median = statistics.median(times)
        print(f"{name:15} {median:7.1f} ns a call, {median / untraced:5.2f} x untraced, +{median - untraced:.1f} ns")


@contextlib.contextmanager
def tracing(options: tuple[str, ...] | None) -> Iterator[None]:
    """Have `furtrace live` run meanwhile, or nothing."""
    if options is None:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "err"
        command = [sys.executable, "-m", "furtrace", "live", "--plain", *options]
        with said.open("wb") as err, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err) as process:
            while "Tracing on" not in said.read_text():
                if process.poll() is not None:
                    sys.exit(said.read_text())
                time.sleep(0.05)
            yield
            process.terminate()


def nanoseconds() -> float:
    """Return what one getppid(2) takes."""
    command = ["perf", "bench", "syscall", "basic", "--loop", str(LOOPS)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"([\d.]+) usecs/op", said)
    assert found
    return float(found[1]) * 1000


if __name__ == "__main__":
    main()

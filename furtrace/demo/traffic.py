"""Traffic for a mount: ``python -m furtrace.demo.traffic DIR --profile mixed --seed 1``.

The same seed gives the same operations. What is read is compared with what was written, and DIR is left as it was
found.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from furtrace.demo.errors import DemoError
from furtrace.demo.profiles import PROFILES
from furtrace.demo.workload import Summary, Workload

MIXED = "mixed"
"""All profiles at the same time, each in a thread and a directory of its own."""


def run(directory: Path, profile: str = MIXED, seed: int = 1, scale: float = 1.0) -> Summary:
    """Use ``directory`` as ``profile`` does, ``scale`` times as much as usual; return what was done.

    ``DemoError`` when the directory can't be used, or when it gives back something else than was put there.
    """
    if profile == MIXED:
        return _run_all(directory, seed, scale)
    if profile not in PROFILES:
        raise DemoError(f"there is no profile {profile}; there are {', '.join([*PROFILES, MIXED])}")
    root = directory / f"traffic-{profile}-{seed}"
    try:
        root.mkdir()
    except OSError as problem:
        raise DemoError(f"{root} can't be made: {problem.strerror}") from problem
    work = Workload(root, seed, scale)
    try:
        PROFILES[profile](work)
        root.rmdir()
    except OSError as problem:
        raise DemoError(f"{profile} traffic failed: {problem}") from problem
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return work.summary


def _run_all(directory: Path, seed: int, scale: float) -> Summary:
    total = Summary()
    with ThreadPoolExecutor(len(PROFILES)) as pool:
        for summary in pool.map(lambda profile: run(directory, profile, seed, scale), PROFILES):
            total.add(summary)
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program; return the exit status: 0, or 1 with one sentence on standard error."""
    parser = argparse.ArgumentParser(
        prog="furtrace.demo.traffic", description="Use a directory as programs do.", allow_abbrev=False
    )
    parser.add_argument("directory", metavar="DIR", type=Path)
    parser.add_argument("--profile", choices=[*PROFILES, MIXED], default=MIXED)
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same traffic (default 1)")
    parser.add_argument("--scale", type=_positive, default=1.0, help="how much of it (default 1.0)")
    given = parser.parse_args(arguments)
    start = time.monotonic()
    try:
        summary = run(given.directory, given.profile, given.seed, given.scale)
    except DemoError as problem:
        print(f"furtrace.demo.traffic: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(
        f"profile={given.profile} seed={given.seed} operations={summary.operations} written={summary.written} "
        f"read={summary.read} seconds={time.monotonic() - start:.3f}"
    )
    return 0


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


if __name__ == "__main__":
    sys.exit(main())

"""What recording costs: fio's rate with and without `furtrace record`, in one run, interleaved.

Each round runs fio untraced, then under `furtrace record` (plain, and compressed), and as the peer under `perf record`
of the four tracepoints that furtrace itself is attached to. The files go to the folder for temporary files. Prints the
medians, each as a ratio of the untraced one, and what each recorder lost.

Usage, as root: python -m tests.bench.bench_record [ROUNDS] [SECONDS]
"""

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.load import Tracer, compare, measured, perf, untraced
from tests.live.conftest import FURTRACE

POINTS = (
    *("fuse:fuse_request_send", "fuse:fuse_request_end"),
    *("io_uring:io_uring_submit_req", "io_uring:io_uring_complete"),
)


def record(ending: str, *options: str) -> Tracer:
    """`furtrace record -o FILE`, with a name that ends so."""

    @contextlib.contextmanager
    def tracer(folder: Path) -> Iterator[list[str]]:
        file, said = folder / f"trace{ending}", folder / "err"
        with said.open("wb") as err:
            process = subprocess.Popen([*FURTRACE, "record", "--force", "-o", file, *options], stderr=err)
            notes: list[str] = []
            for notes in measured(process.pid, lambda: b"Ctrl-C" in said.read_bytes()):
                yield notes
            process.send_signal(signal.SIGINT)
            assert process.wait() == 0, said.read_text()
        found = re.search(r"(\d+) events.* (\d+) lost; (.*) in ", said.read_text())
        assert found is not None, said.read_text()
        notes[0] += f", {found[1]} events, {found[2]} lost, {found[3]}"
        file.unlink()

    return tracer


def main() -> None:
    """Run the rounds and print the table."""
    rounds, seconds = (int(word) for word in (*sys.argv[1:], "7", "5")[:2])
    tracers = {"untraced": untraced, "record": record(".pcapng"), "perf": perf(*POINTS)}
    compare(tracers | {"record, zstd": record(".pcapng.zst")}, rounds, seconds)


if __name__ == "__main__":
    main()

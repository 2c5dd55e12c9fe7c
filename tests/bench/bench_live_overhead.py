"""What tracing costs: fio's rate with and without furtrace, in one run, interleaved.

Server: libfuse's passthrough_hp over io_uring; load: fio, 4 KiB random direct reads, 2 jobs. Each round runs fio
untraced, then under each tracer: `furtrace live --plain` into a file, the full-screen view on a terminal of 160x50, and
as the peer `perf record` of the two fuse tracepoints; where the kernel's functions can be watched, also `--plain` by
tracepoints alone, and with the steps inside the kernel. Prints the medians, and each as a ratio of the untraced one.

Usage, as root: python -m tests.bench.bench_live_overhead [ROUNDS] [SECONDS]
"""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from furtrace.probe.btf import running_kernel
from furtrace.probe.vantage import Vantages
from tests.bench.load import Tracer, compare, measured, perf, untraced
from tests.live.conftest import FURTRACE


def plain(*options: str) -> Tracer:
    """`furtrace live --plain > file`, with more options."""

    @contextlib.contextmanager
    def tracer(folder: Path) -> Iterator[list[str]]:
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen([*FURTRACE, "live", "--plain", *options], stdout=out, stderr=err)
            yield from measured(process.pid, lambda: b"Tracing" in (folder / "err").read_bytes())
            process.send_signal(signal.SIGINT)
            process.wait()

    return tracer


def _tracers() -> dict[str, Tracer]:
    found = {"untraced": untraced, "live --plain": plain(), "live (screen)": screen, "perf": PERF}
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
    yield from measured(pid, lambda: any(b"requests/s" in piece for piece in shown))
    os.write(terminal, b"q")
    os.waitpid(pid, 0)
    os.close(terminal)


def _drain(terminal: int, shown: list[bytes]) -> None:
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 1 << 16):
            shown[:] = [*shown[-4:], piece]


PERF = perf("fuse:fuse_request_send", "fuse:fuse_request_end")


def main() -> None:
    """Run the rounds and print the table."""
    rounds, seconds = (int(word) for word in (*sys.argv[1:], "5", "5")[:2])
    compare(_tracers(), rounds, seconds)


if __name__ == "__main__":
    main()

"""What a snapshot of all connections costs, and whether it is consistent under full load.

fio reads at random from libfuse's passthrough_hp over io_uring (2 jobs), while snapshots are taken one after another.
Each has to have all entries that the ring counts, each once, or to be marked as changed meanwhile. The peer is reading
the same connection's number of waiting requests from ``/sys/fs/fuse/connections``, the one thing that the kernel tells
by itself.

Usage, as root: python -m tests.bench.bench_inspect [SNAPSHOTS]
"""

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from furtrace.demo.enable import enable_uring
from furtrace.model.snapshot import Names, Snapshot, decode
from furtrace.probe.snapshot import Snapshots
from tests.bench.load import fio
from tests.external import libfuse

FIO_SECONDS = 5


def taken(work: Callable[[], object]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def told(name: str, times: list[float]) -> None:
    """Print how long something took."""
    ordered = sorted(times)
    at = ordered[int(len(ordered) * 0.99)]
    print(
        f"{name:28} median {statistics.median(times):.2f} ms, 99 of 100 below {at:.2f} ms, at most {ordered[-1]:.2f} ms"
    )


def judge(snapshot: Snapshot, counts: Counter[str]) -> None:
    """Count what a snapshot shows, and what it should not."""
    queues = snapshot.queues.values()
    counts["snapshots"] += 1
    counts["of these marked as changed meanwhile"] += bool(snapshot.moved) or any(queue.changed for queue in queues)
    addresses = Counter(entry.address for queue in queues for entry in queue.entries)
    counts["with an entry twice, and not marked"] += max(addresses.values(), default=0) > 1
    counts["with an entry too many"] += len(addresses) > snapshot.references
    counts["entries of no known state"] += sum(entry.state is None for queue in queues for entry in queue.entries)


def kernel_complaints() -> int:
    """How often the kernel has warned since it booted."""
    said = subprocess.run(["dmesg"], capture_output=True, text=True, check=False).stdout
    return said.count("[ cut here ]") + said.count("BUG:")


def main() -> None:
    """Take them."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    before, counts = kernel_complaints(), Counter[str]()
    with tempfile.TemporaryDirectory() as folder, enable_uring(), libfuse.passthrough_hp(Path(folder)) as server:
        over = threading.Event()
        rates: list[float] = []

        def load() -> None:
            while not over.is_set():
                rates.append(fio(server.mountpoint, FIO_SECONDS))

        thread = threading.Thread(target=load)
        thread.start()
        time.sleep(1)
        waiting = Path(f"/sys/fs/fuse/connections/{server.connection}/waiting")
        peer = [taken(waiting.read_text) for _ in range(1000)] if waiting.exists() else []
        with Snapshots() as snapshots:
            times = []
            for _ in range(count):
                times.append(taken(snapshots.take))
                for snapshot in decode(snapshots.rows(), Names()):
                    judge(snapshot, counts)
        over.set()
        thread.join()
    told(f"{count} snapshots", times)
    if peer:
        told("the peer: waiting", peer)
    print(f"fio meanwhile: {statistics.median(rates):.0f} requests/s")
    for what, number in sorted(counts.items()):
        print(f"{number:8} {what}")
    print(f"{kernel_complaints() - before:8} warnings in the kernel's log")


if __name__ == "__main__":
    main()

"""Traffic for the pool server, in the machine that runs it: ``python -m tests.vm.poolserver_traffic FOLDER``.

In each case, each of several threads makes a file, and writes and reads it in all ways. What comes back is compared
with what was written, and so is the backing folder. In one more, the server is stopped while threads read. A case's log
goes to ``FOLDER/CASE.log``, and what was asked of the server to ``FOLDER/CASE.json``, which is not there if it failed.
"""

import json
import mmap
import os
import random
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.vm.poolserver import PATIENCE, Mode, PoolServer

BLOCK: Final = 4096
"""What O_DIRECT wants memory, offsets and sizes to be multiples of."""
SIZE: Final = 200_001
"""Bytes of a file: two requests' worth at most, and no multiple of a page."""
ENTRIES: Final = 4
BUFFERS: Final = 2
"""Of each queue: fewer than entries, so that requests wait for a buffer while entries are idle."""
FILES: Final = 6
"""How many there are, each with a thread of its own."""
ZERO_COPY_NAMES: Final = "*.shared"


@dataclass(frozen=True)
class Case:
    """How the server is run."""

    mode: Mode
    direct: bool = False


CASES: Final = {
    "pool": Case(Mode.POOL),
    "fixed-pool": Case(Mode.FIXED_POOL),
    "zero-copy": Case(Mode.ZERO_COPY),
    "zero-copy-direct": Case(Mode.ZERO_COPY, direct=True),
}
STOPPED: Final = "stopped"
"""The case in which the server is stopped while it has work."""
READS: Final = 20
"""How often each thread has read by then."""


@dataclass
class Asked:
    """What was asked of one file.

    Attributes:
        nodeid: the file's.
        zero_copy: whether its name is among those that are opened for zero-copy.
        written: bytes in all.
        read: bytes in all; each page of the file was read once every time.
    """

    nodeid: int
    zero_copy: bool
    written: int = 0
    read: int = 0


class Worker:
    """One thread's work on a file of its own."""

    def __init__(self, path: Path, backing: Path, seed: int) -> None:
        self._path = path
        self._backing = backing
        self._content = random.Random(seed).randbytes(SIZE)
        path.touch()
        self.asked = Asked(path.stat().st_ino, path.match(ZERO_COPY_NAMES))

    def run(self) -> None:
        """Do all of it."""
        self._write_buffered()
        for read in (self._read_buffered, self._read_direct, self._read_mapped):
            self._check(read())
        self._write_direct()
        self._check(self._read_buffered())
        self._truncate(SIZE // 3)
        self._check(self._read_direct())

    def _check(self, data: bytes) -> None:
        assert data == self._content, f"{self._path} holds something else than what was written"
        assert self._backing.read_bytes() == self._content, f"{self._backing} holds something else"
        self.asked.read += len(data)

    def _write_buffered(self) -> None:
        with self._path.open("wb") as file:
            file.write(self._content)
            file.flush()
            os.fsync(file.fileno())
        self.asked.written += SIZE

    def _write_direct(self) -> None:
        """Write other blocks in place of the second to the last but one."""
        new = self._content[::-1][: SIZE // BLOCK * BLOCK - 2 * BLOCK]
        with _opened(self._path, os.O_RDWR | os.O_DIRECT) as fd, closing(mmap.mmap(-1, len(new))) as memory:
            memory[:] = new
            assert os.pwritev(fd, [memory], BLOCK) == len(new)
        self._content = self._content[:BLOCK] + new + self._content[BLOCK + len(new) :]
        self.asked.written += len(new)

    def _read_buffered(self) -> bytes:
        # The kernel drops what it has cached of the file when it is opened.
        return self._path.read_bytes()

    def _read_direct(self) -> bytes:
        room = (len(self._content) // BLOCK + 1) * BLOCK
        with _opened(self._path, os.O_RDONLY | os.O_DIRECT) as fd, closing(mmap.mmap(-1, room)) as memory:
            return memory[: os.preadv(fd, [memory], 0)]

    def _read_mapped(self) -> bytes:
        with (
            _opened(self._path, os.O_RDONLY) as fd,
            # A shared mapping would not be to be had with FOPEN_DIRECT_IO.
            closing(mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ)) as mapped,
        ):
            return mapped[:]

    def _truncate(self, size: int) -> None:
        os.truncate(self._path, size)
        self._content = self._content[:size]


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def work(mountpoint: Path, backing: Path, files: int = FILES) -> dict[str, Asked]:
    """Have a worker a file work, and see to what else a file system can do; return what was asked, by file."""
    names = [f"{number}.{'shared' if number % 2 else 'copy'}" for number in range(files)]
    workers = [Worker(mountpoint / name, backing / name, seed) for seed, name in enumerate(names)]
    with ThreadPoolExecutor(files) as pool:
        for done in [pool.submit(worker.run) for worker in workers]:
            done.result()
    _see_to_the_rest(mountpoint, backing, names)
    return {name: worker.asked for name, worker in zip(names, workers, strict=True)}


def _see_to_the_rest(mountpoint: Path, backing: Path, names: list[str]) -> None:
    assert sorted(os.listdir(mountpoint)) == sorted(os.listdir(backing)) == names  # noqa: PTH208
    for name in names:
        here, there = (mountpoint / name).stat(), (backing / name).stat()
        assert (here.st_size, here.st_mtime_ns) == (there.st_size, there.st_mtime_ns)
    assert os.statvfs(mountpoint).f_bsize == os.statvfs(backing).f_bsize
    assert os.access(mountpoint / names[0], os.R_OK)
    assert not (mountpoint / "none").exists()
    (mountpoint / names[0]).unlink()
    assert not (backing / names[0]).exists()


def run_case(case: Case, log: Path) -> dict[str, Any]:
    """Let the workers work on a server of their own."""
    with _backing() as backing:
        server = PoolServer(
            backing,
            case.mode,
            log,
            entries=ENTRIES,
            buffers=BUFFERS,
            zero_copy_names=ZERO_COPY_NAMES,
            direct=case.direct,
        )
        with server:
            return {name: asdict(asked) for name, asked in work(server.mountpoint, backing).items()}


def run_stopped(log: Path) -> dict[str, int]:
    """Stop a server while threads read; return how many reads have succeeded."""
    with _backing() as backing:
        (backing / "file.shared").write_bytes(bytes(BLOCK))
        with (
            PoolServer(backing, Mode.ZERO_COPY, log, entries=ENTRIES, buffers=BUFFERS) as server,
            ThreadPoolExecutor(FILES) as pool,
        ):
            busy = threading.Barrier(FILES + 1)
            readers = [pool.submit(_read_on, server.mountpoint / "file.shared", busy) for _ in range(FILES)]
            busy.wait(PATIENCE)
            server.stop()
            return {"reads": sum(reader.result() for reader in readers)}


def _read_on(path: Path, busy: threading.Barrier) -> int:
    """Read until that fails; return how often it did not."""
    count = 0
    # Not even closing the file succeeds when there is no server any more.
    with suppress(OSError), _opened(path, os.O_RDONLY | os.O_DIRECT) as fd, closing(mmap.mmap(-1, BLOCK)) as memory:
        while os.preadv(fd, [memory], 0) == BLOCK:
            count += 1
            if count == READS:
                busy.wait(PATIENCE)
    return count


@contextmanager
def _backing() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="furtrace-poolserver-backing-") as folder:
        yield Path(folder).resolve()


def main(folder: Path) -> int:
    """Run all cases; return the exit status."""
    runs: dict[str, Callable[[Path], dict[str, Any]]] = {name: partial(run_case, case) for name, case in CASES.items()}
    runs[STOPPED] = run_stopped
    status = 0
    for name, run in runs.items():
        try:
            asked = run(folder / f"{name}.log")
        except Exception:
            print(f"Case {name}:", file=sys.stderr)
            traceback.print_exc()
            status = 1
        else:
            (folder / f"{name}.json").write_text(json.dumps(asked))
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

"""A process that makes one system call after another on a mount, as it is told on standard input, a JSON array a line.

It answers each with a line: when it began and ended (CLOCK_MONOTONIC), the inode number that the file has for it, and
the errno if the call failed.
"""

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

_EXCHANGE: Final = 2
_AT_FDCWD: Final = -100


class _Calls:
    """Each takes what it is told as arguments, and returns an inode number or nothing. Files are named by keys."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def stat(self, path: str) -> int:
        return Path(path).stat().st_ino

    def mkdir(self, path: str) -> int:
        Path(path).mkdir()
        return Path(path).stat().st_ino

    def create(self, path: str, key: str) -> int:
        self._open[key] = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR)
        return os.fstat(self._open[key]).st_ino

    def open(self, path: str, key: str) -> int:
        self._open[key] = os.open(path, os.O_RDWR | os.O_DIRECT)
        return os.fstat(self._open[key]).st_ino

    def write(self, key: str) -> None:
        os.pwrite(self._open[key], b"x" * 4096, 0)

    def read(self, key: str) -> None:
        os.posix_fadvise(self._open[key], 0, 0, os.POSIX_FADV_DONTNEED)
        os.preadv(self._open[key], [bytearray(4096)], 0)

    def truncate(self, key: str) -> None:
        os.ftruncate(self._open[key], 0)

    def close(self, key: str) -> None:
        os.close(self._open.pop(key))

    def symlink(self, target: str, path: str) -> int:
        Path(path).symlink_to(target)
        return Path(path).lstat().st_ino

    def readlink(self, path: str) -> None:
        Path(path).readlink()

    def link(self, old: str, new: str) -> None:
        os.link(old, new)

    def rename(self, old: str, new: str) -> None:
        Path(old).rename(new)

    def exchange(self, one: str, other: str) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE):
            raise OSError(ctypes.get_errno(), "renameat2")

    def unlink(self, path: str) -> None:
        Path(path).unlink()

    def rmdir(self, path: str) -> None:
        Path(path).rmdir()

    def list(self, path: str) -> None:
        """As ``ls -l``: names, then what each is."""
        for entry in os.scandir(path):
            entry.stat(follow_symlinks=False)


def main() -> None:
    """Do as told until the end of standard input."""
    calls = _Calls()
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(_done(getattr(calls, name), arguments)), flush=True)


def _done(call: Callable[..., int | None], arguments: list[str]) -> dict[str, Any]:
    begin, inode, errno = time.monotonic_ns(), None, 0
    try:
        inode = call(*arguments)
    except OSError as error:
        errno = error.errno or -1
    return {"begin": begin, "end": time.monotonic_ns(), "ino": inode, "errno": errno}


if __name__ == "__main__":
    main()

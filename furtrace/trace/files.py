"""The file of a recording: made anew, for its owner alone, and never through a symbolic link."""

import contextlib
import os
import stat
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from furtrace.trace.errors import RecordingError
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Records, no_records
from furtrace.trace.targets import CompressedTarget, PlainTarget, Quietly, Target
from furtrace.trace.writing import RecordingWriter

STDOUT: Final = "-"
_COMPRESSED: Final = ".zst"
_ENDINGS: Final = (".pcapng.zst", ".pcapng")


def check(path: str, *, force: bool = False) -> None:
    """Say early what :func:`create` would say.

    Raises:
        RecordingError: there is something that is not to be replaced, or standard output is a terminal.
        OSError: nothing can be made there.
    """
    if path == STDOUT:
        if sys.stdout is None or sys.stdout.isatty():
            raise RecordingError("a recording is no text for a terminal; give the name of a file, or pipe it on")
        return
    Path(path).parent.stat()
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(there.st_mode):
        raise RecordingError("it is a symbolic link, which is not followed; name the file itself")
    if not stat.S_ISREG(there.st_mode):
        raise RecordingError("there is something else than a file; name another one")
    if not force:
        raise RecordingError("it is there already; name another one, or replace it with --force")


def create(path: str, *, force: bool = False) -> int:
    """Make a file that is not there yet, with mode 0600, and return its descriptor.

    Args:
        path: where; ``-``: standard output, which must be no terminal.
        force: what is there is removed first, if it is a regular file.

    Raises:
        RecordingError: there is something that is not to be replaced.
        OSError: it can't be made.
    """
    check(path, force=force)
    if path == STDOUT:
        return os.dup(sys.stdout.fileno())
    if force:
        Path(path).unlink(missing_ok=True)  # whoever has the old one open keeps it whole
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def writer(
    path: str, info: TraceInfo, *, force: bool = False, quietly: Quietly = contextlib.nullcontext
) -> RecordingWriter:
    """Begin a recording in a new file, compressed if its name ends in ``.zst``; ``quietly``: where to prepare it.

    Raises:
        RecordingError: as :func:`create`.
        OSError: it can't be written.
    """
    descriptor = create(path, force=force)
    return RecordingWriter(_target(path, descriptor, quietly), info, quietly)


def _target(path: str, descriptor: int, quietly: Quietly) -> Target:
    if path.endswith(_COMPRESSED):
        return CompressedTarget(descriptor, quietly)
    return PlainTarget(descriptor, ours=path != STDOUT)


class SingleFile:
    """A recording in one file.

    Args:
        path: its name.
        info: what is true of the trace.
        force: an old file of that name is replaced.
        quietly: where to prepare what is written.

    Raises:
        RecordingError: there is something already.
        OSError: by all methods, if it can't be written.
    """

    def __init__(
        self, path: str, info: TraceInfo, *, force: bool = False, quietly: Quietly = contextlib.nullcontext
    ) -> None:
        self._info = info
        self._writer = writer(path, info, force=force, quietly=quietly)
        self.path = path
        self.lost = 0
        """Events lost so far; whoever records adds to it."""

    @property
    def written(self) -> int:
        """Bytes in the file."""
        return self._writer.written

    @property
    def events(self) -> int:
        """Events that were written."""
        return self._writer.events

    def write(self, batch: Records) -> None:
        """Write records, and before them what has become known of mounts."""
        if len(batch):
            self._writer.note_mounts(self._info.mounts, int(batch["ns"][0]))
            self._writer.write(batch)

    def flush(self) -> None:
        """Let readers have all of it."""
        self._writer.flush()

    def close(self) -> None:
        """End it."""
        self._writer.note_mounts(self._info.mounts, time.monotonic_ns())
        self._writer.close(self.lost)


class RingOfFiles:
    """A recording in files of which only the newest are kept, each one whole in itself.

    Their names are numbered and bear the time, as tshark's do: ``trace_00001_20261125181500.pcapng``.

    Args:
        path: name without number and time.
        info: what is true of the trace.
        count: files that are kept.
        size: bytes after which the next one is begun.
        force: old files of the same names are replaced.
        prelude: what each file but the first begins with.
        quietly: where to prepare what is written.
    """

    def __init__(
        self,
        path: str,
        info: TraceInfo,
        count: int,
        size: int,
        *,
        force: bool = False,
        prelude: Callable[[], Records] = no_records,
        quietly: Quietly = contextlib.nullcontext,
    ) -> None:
        self._path, self._info, self._count, self._size, self._force = path, info, count, size, force
        self._prelude, self._quietly = prelude, quietly
        self._kept: deque[tuple[str, int]] = deque()
        self._number = 0
        self._lost_before = self._events_before = 0
        self.lost = 0
        """Events lost so far; whoever records adds to it."""
        self._begin()

    @property
    def path(self) -> str:
        """The file that is written now."""
        return self._file.path

    @property
    def written(self) -> int:
        """Bytes in files that are still there."""
        return sum(size for _, size in self._kept) + self._file.written

    @property
    def events(self) -> int:
        """Events that were written, also to files that are not there any more."""
        return self._events_before + self._file.events

    def _begin(self) -> None:
        self._number += 1
        name = numbered(self._path, self._number)
        self._file = SingleFile(name, self._info, force=self._force, quietly=self._quietly)
        if self._number > 1:
            self._file.write(self._prelude())

    def write(self, batch: Records) -> None:
        """Write records; begin the next file if this one is full."""
        self._file.write(batch)
        if self._file.written >= self._size:
            self._end_file()
            self._kept.append((self._file.path, self._file.written))
            self._events_before += self._file.events
            while len(self._kept) >= self._count:
                Path(self._kept.popleft()[0]).unlink(missing_ok=True)
            self._begin()

    def _end_file(self) -> None:
        self._file.lost, self._lost_before = self.lost - self._lost_before, self.lost
        self._file.close()

    def flush(self) -> None:
        """Let readers have all of it."""
        self._file.flush()

    def close(self) -> None:
        """End the last file."""
        self._end_file()


def numbered(path: str, number: int) -> str:
    """The name of one of several files."""
    ending = next((ending for ending in _ENDINGS if path.endswith(ending)), Path(path).suffix)
    return f"{path.removesuffix(ending)}_{number:05d}_{time.strftime('%Y%m%d%H%M%S')}{ending}"

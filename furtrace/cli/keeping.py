"""Keeping a trace in a file: the sentences for what can be wrong with it."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator

from furtrace.cli.errors import WriteError
from furtrace.trace.errors import RecordingError
from furtrace.trace.files import STDOUT, RingOfFiles, SingleFile
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Records, is_lost
from furtrace.wire.text import printable

Files = SingleFile | RingOfFiles


class Keeper:
    """Writes a trace to a file.

    Args:
        files: where to.
    """

    def __init__(self, files: Files) -> None:
        self.files = files

    @property
    def events(self) -> int:
        """Events that were written."""
        return self.files.events

    def write(self, batch: Records) -> None:
        """Write what has come.

        Raises:
            WriteError: it can't be written.
        """
        lost = is_lost(batch)
        if lost.any():
            self.files.lost += int(batch["length"][lost].sum())
        with writing(self.files.path, lambda: self.events):
            self.files.write(batch)

    def flush(self) -> None:
        """Let readers have all of it.

        Raises:
            WriteError: it can't be written.
        """
        with writing(self.files.path, lambda: self.events):
            self.files.flush()

    def close(self) -> None:
        """End the file.

        Raises:
            WriteError: it can't be written.
        """
        with writing(self.files.path, lambda: self.events):
            self.files.close()


@contextlib.contextmanager
def kept(path: str | None, info: TraceInfo, *, force: bool = False) -> Iterator[Keeper | None]:
    """Keep a trace in one file while the block lasts; None: it is not to be kept.

    Raises:
        WriteError: it can't be written.
    """
    if path is None:
        yield None
        return
    with writing(path):
        keeper = Keeper(SingleFile(path, info, force=force))
    with closing(keeper):
        yield keeper


@contextlib.contextmanager
def closing(keeper: Keeper) -> Iterator[None]:
    """End the file with the block; what went wrong before matters more than what does then."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(WriteError):
            keeper.close()
        raise
    keeper.close()


@contextlib.contextmanager
def writing(path: str, events: Callable[[], int] = int) -> Iterator[None]:
    """What goes wrong with a file becomes a sentence.

    Args:
        path: its name.
        events: tells how many are in it already.

    Raises:
        WriteError: it does.
    """
    try:
        yield
    except RecordingError as problem:
        raise WriteError(f"{shown(path)} can't be made: {problem}.") from None
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise WriteError("The reader of the recording is gone, so it has ended.") from None
        holds = f"; it holds the {events()} events until then" if events() else ""
        raise WriteError(f"{shown(path)} can't be written: {os.strerror(error.errno or 0)}{holds}.") from None


def shown(path: str) -> str:
    """A file's name as messages have it."""
    return "Standard output" if path == STDOUT else printable(os.fsencode(path))

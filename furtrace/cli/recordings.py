"""Reading recordings: the sentences for what can be wrong with them."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TypeVar

from furtrace.cli.errors import InputError
from furtrace.cli.keeping import shown as shown_file
from furtrace.trace.errors import RecordingError
from furtrace.trace.merging import Recordings
from furtrace.trace.reading import STDIN
from furtrace.trace.record import Records

Read = TypeVar("Read")


def shown(path: str) -> str:
    """A recording's name as messages have it."""
    return "Standard input" if path == STDIN else shown_file(path)


@contextlib.contextmanager
def opened(paths: Sequence[str]) -> Iterator[Recordings]:
    """Open recordings while the block lasts.

    Raises:
        InputError: one can't be read.
    """
    recordings = Recordings(paths)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(recordings)
        except RecordingError as problem:
            path, why = problem.args
            raise InputError(f"{shown(path)} can't be read: {why}.") from None
        except OSError as error:
            raise _unreadable(paths, error) from None
        yield recordings


def batches(recordings: Recordings, paths: Sequence[str]) -> Iterator[Records]:
    """Their records.

    Raises:
        InputError: they can't be read on.
    """
    return _readable(recordings.batches(), paths)


def pieces(recordings: Recordings, paths: Sequence[str]) -> Iterator[list[Records]]:
    """The same in pieces, see :meth:`~furtrace.trace.merging.Recordings.pieces`.

    Raises:
        InputError: they can't be read on.
    """
    return _readable(recordings.pieces(), paths)


def _readable(read: Iterator[Read], paths: Sequence[str]) -> Iterator[Read]:
    try:
        yield from read
    except RecordingError as problem:
        raise InputError(f"{_names(paths)} can't be read on: {problem.args[-1]}.") from None
    except OSError as error:
        raise _unreadable(paths, error) from None


def complaints(recordings: Recordings) -> list[str]:
    """What there is to say once all was read: a sentence for each that is damaged, and for what was left out."""
    damaged = [
        f"{shown(path)} is not whole: {why}. All that comes before was read."
        for path, why in recordings.damages.items()
    ]
    noted, left_out = recordings.noted, []
    if noted.foreign:
        packets = "1 packet is no event" if noted.foreign == 1 else f"{noted.foreign} packets are no events"
        left_out.append(f"{packets} that this furtrace knows; left out.")
    if noted.short:
        records = "1 record was" if noted.short == 1 else f"{noted.short} records were"
        left_out.append(f"{records} cut short by another program; left out.")
    return damaged + left_out


def _unreadable(paths: Sequence[str], error: OSError) -> InputError:
    named = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else None
    name = shown(named) if named is not None else _names(paths)
    return InputError(f"{name} can't be read: {os.strerror(error.errno or 0)}.")


def _names(paths: Sequence[str]) -> str:
    return " or ".join(map(shown, paths))

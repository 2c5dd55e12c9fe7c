"""Switching ``enable_uring`` of the kernel's fuse on for a while, and putting back what was found.

Several programs may want it at once, and it is one switch for the whole machine. All users of this module hold a
shared lock on one file; the first to come notes what it found, the last to leave puts that back. A user that is killed
loses its lock with its life, and the next one to come or leave puts back what the dead one could not.
"""

import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from furtrace.demo.errors import DemoError

PARAMETER = Path("/sys/module/fuse/parameters/enable_uring")
LOCKS = Path("/run/furtrace")

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@contextmanager
def enable_uring(parameter: Path = PARAMETER, locks: Path = LOCKS) -> Iterator[None]:
    """Let the kernel offer FUSE over io_uring to connections that are made in this context.

    A connection that has it keeps it, so it is enough to hold this until the server is ready. Signals that end the
    process leave the context orderly. ``DemoError`` where the kernel has no such switch or won't let it be changed.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        with _ending_signals_raise():
            users = _enter(parameter, locks)
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                yield
            finally:
                signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
                _leave(users, parameter, locks)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def put_back_if_abandoned(parameter: Path = PARAMETER, locks: Path = LOCKS) -> None:
    """Put back what a user that was killed could not, unless another user is still there."""
    if _note(locks).exists():
        _leave(_open(locks, "users"), parameter, locks)


def is_enabled(parameter: Path = PARAMETER) -> bool:
    """Tell whether the kernel offers FUSE over io_uring now; ``DemoError`` where it has no such switch."""
    return _read(parameter) == "Y"


@contextmanager
def _ending_signals_raise() -> Iterator[None]:
    """Turn signals that would end the process without a word into ``SystemExit``, where nobody handles them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    default = [number for number in _SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    for number in default:
        signal.signal(number, _raise_exit)
    try:
        yield
    finally:
        for number in default:
            signal.signal(number, signal.SIG_DFL)


def _raise_exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _enter(parameter: Path, locks: Path) -> int:
    found = _read(parameter)
    try:
        locks.mkdir(mode=0o700, exist_ok=True)
        users = _open(locks, "users")
    except OSError as problem:
        raise DemoError(f"{locks} can't be used for locking: {problem.strerror}") from problem
    try:
        with _mutex(locks):
            # A note that nobody holds a lock for was left by a user that was killed: it tells the older truth.
            if _is_alone(users) and not _note(locks).exists():
                _note(locks).write_text(found)
            if _read(parameter) != "Y":
                _write(parameter, "Y")
            fcntl.flock(users, fcntl.LOCK_SH)
    except BaseException:
        _leave(users, parameter, locks)
        raise
    return users


def _leave(users: int, parameter: Path, locks: Path) -> None:
    with _mutex(locks):
        note = _note(locks)
        if _is_alone(users) and note.exists():
            with suppress(DemoError):
                found = note.read_text()
                if _read(parameter) != found:
                    _write(parameter, found)
            note.unlink()
        os.close(users)


def _note(locks: Path) -> Path:
    return locks / "enable_uring.found"


@contextmanager
def _mutex(locks: Path) -> Iterator[None]:
    descriptor = _open(locks, "mutex")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open(locks: Path, name: str) -> int:
    return os.open(locks / f"enable_uring.{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_alone(users: int) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(parameter: Path) -> str:
    try:
        return parameter.read_text().strip()
    except FileNotFoundError:
        raise DemoError(f"this kernel has no FUSE over io_uring: {parameter} does not exist") from None
    except OSError as problem:
        raise DemoError(f"{parameter} can't be read: {problem.strerror}") from problem


def _write(parameter: Path, value: str) -> None:
    try:
        parameter.write_text(value)
    except OSError as problem:
        raise DemoError(f"{parameter} can't be switched: {problem.strerror}") from problem

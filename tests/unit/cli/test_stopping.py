"""Ends from outside."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from furtrace.cli.stopping import Stopping

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers_stay() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _send(number: signal.Signals, after: float = 0) -> threading.Timer:
    sender = threading.Timer(after, os.kill, (os.getpid(), number))
    sender.start()
    return sender


def _waited(stopping: Stopping, seconds: float) -> float:
    begun = time.monotonic()
    stopping.wait(seconds)
    return time.monotonic() - begun


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted(number: signal.Signals) -> None:
    with Stopping() as stopping:
        assert stopping.signal is None
        os.kill(os.getpid(), number)
        stopping.wait(10)
        assert stopping.signal is number


def test_a_signal_cuts_the_wait_short() -> None:
    with Stopping() as stopping:
        sender = _send(signal.SIGTERM, after=0.05)
        assert _waited(stopping, 20) < 10
        assert stopping.signal is signal.SIGTERM
        sender.join()


def test_no_wait_after_a_signal() -> None:
    with Stopping() as stopping:
        os.kill(os.getpid(), signal.SIGINT)
        stopping.wait(20)
        assert _waited(stopping, 20) < 10


def test_waits_as_long_as_asked() -> None:
    with Stopping() as stopping:
        assert _waited(stopping, 0.05) >= 0.05
        assert stopping.signal is None


def test_another_programs_signal_shortens_one_wait_at_most() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with Stopping() as stopping:
            os.kill(os.getpid(), signal.SIGUSR1)
            stopping.wait(5)
            assert _waited(stopping, 0.05) >= 0.05
            assert stopping.signal is None
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_last_signal_is_told() -> None:
    with Stopping() as stopping:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        stopping.wait(5)
        assert stopping.signal is signal.SIGTERM


def test_handlers_come_back() -> None:
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    mine = {number: signal.getsignal(number) for number in SIGNALS}
    with Stopping():
        assert all(signal.getsignal(number) is not mine[number] for number in SIGNALS)
    assert {number: signal.getsignal(number) for number in SIGNALS} == mine
    assert len(before) == 3


def test_handlers_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), Stopping():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_was_ignored_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Stopping() as stopping:
        os.kill(os.getpid(), signal.SIGHUP)
        stopping.wait(0)
        assert stopping.signal is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_nothing_stays_open() -> None:
    def wakeup() -> int:
        descriptor = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(descriptor)
        return descriptor

    before = wakeup(), len(list(Path("/proc/self/fd").iterdir()))
    with Stopping():
        assert wakeup() != before[0]
    assert (wakeup(), len(list(Path("/proc/self/fd").iterdir()))) == before

"""Work in the time of the CPUs that nobody else wants: the class that the kernel says the thread is in."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from furtrace.cli import spare
from furtrace.cli.spare import SpareTime


def _policy() -> int:
    return os.sched_getscheduler(0)


def _waited_for(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether it came true; this thread sleeps meanwhile, in whatever class it is."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


@pytest.fixture(autouse=True)
def class_kept() -> Iterator[None]:
    before = _policy()
    yield
    os.sched_setscheduler(0, before, os.sched_param(0))


@pytest.fixture
def time_to_spare(monkeypatch: pytest.MonkeyPatch) -> Iterator[SpareTime]:
    """However busy the machine is, for the tests' own sake."""
    monkeypatch.setattr(spare, "_WAITED", 60.0)
    with SpareTime() as made:
        if not made._works:
            pytest.skip("the kernel does not let a thread come back from SCHED_IDLE")
        yield made


def test_work_is_done_in_spare_time_and_only_that(time_to_spare: SpareTime) -> None:
    assert _policy() == os.SCHED_OTHER
    for _ in range(3):
        with time_to_spare.work():
            assert _policy() == os.SCHED_IDLE
        assert _policy() == os.SCHED_OTHER


def test_work_that_fails_ends_too(time_to_spare: SpareTime) -> None:
    with pytest.raises(ZeroDivisionError), time_to_spare.work():
        _ = 1 // 0
    assert _policy() == os.SCHED_OTHER


def test_who_waits_too_long_gets_its_own_class_back(time_to_spare: SpareTime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spare, "_WAITED", 0.02)
    with time_to_spare.work():
        began = time.monotonic()
        assert _policy() == os.SCHED_IDLE
        assert _waited_for(lambda: _policy() == os.SCHED_OTHER)
        assert time.monotonic() - began > 0.04
    with time_to_spare.work():
        assert _policy() == os.SCHED_OTHER  # there was none, so it does not wait for some again at once
    time.sleep(0.5)
    with time_to_spare.work():
        assert _policy() == os.SCHED_IDLE


def test_many_short_works_are_none_that_takes_too_long(time_to_spare: SpareTime) -> None:
    end, times = time.monotonic() + 0.3, 0
    while time.monotonic() < end:
        with time_to_spare.work():
            time.sleep(0.002)
            times += _policy() == os.SCHED_IDLE
    assert times > 20
    with time_to_spare.work():
        assert _policy() == os.SCHED_IDLE


def test_a_class_that_the_user_has_chosen_is_left_alone() -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with SpareTime() as made:
        with made.work():
            assert _policy() == os.SCHED_IDLE
        assert _policy() == os.SCHED_IDLE


def test_where_there_is_no_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_thread: int, _policy: int) -> None:
        raise PermissionError

    monkeypatch.setattr(spare, "_set_policy", refused)
    with SpareTime() as made, made.work():
        assert _policy() == os.SCHED_OTHER


def test_its_process_ends_with_it_and_with_whoever_began_it() -> None:
    with SpareTime() as made:
        if not made._works:
            pytest.skip("the kernel does not let a thread come back from SCHED_IDLE")
        pid = made._process.pid
        assert pid is not None
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        made = SpareTime().__enter__()
        os.write(write, str(made._process.pid).encode())
        signal.pause()
    watcher = int(os.read(read, 20))
    os.close(read)
    os.close(write)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert _waited_for(lambda: not _running(watcher))


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False

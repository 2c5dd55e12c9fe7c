"""The process that reads ahead."""

import os
import signal
import time
from collections.abc import Generator

import numpy as np
import numpy.typing as npt
import pytest

from furtrace.cli.ahead import Ahead
from furtrace.cli.errors import InputError

Arrays = tuple[int, npt.NDArray[np.int64]]


def _never() -> bool:
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
def test_what_is_made_comes_in_order_and_whole(size: int) -> None:
    """The largest array has no room in the shared memory; the memory is used many times over."""

    def make() -> Generator[Arrays, None, str]:
        for number in range(10):
            yield number, np.arange(size) + number
        return "all"

    with Ahead(make, _never) as made:
        found = list(made)
        assert made.result == "all"
    assert [number for number, _ in found] == list(range(10))
    for number, array in found:
        assert np.array_equal(array, np.arange(size) + number)
        assert array.flags.writeable  # it is nobody else's


def test_what_goes_wrong_there_is_raised_here() -> None:
    def make() -> Generator[int, None, None]:
        yield from range(20)
        raise InputError("gone")

    with Ahead(make, _never) as made:
        given = iter(made)
        assert [next(given) for _ in range(20)] == list(range(20))
        with pytest.raises(InputError, match="gone"):
            next(given)
        assert made.result is None


def test_it_is_another_process_which_ends_when_nobody_wants_it() -> None:
    def make() -> Generator[int, None, None]:
        while True:
            yield os.getpid()

    with Ahead(make, _never) as made:
        pid = next(iter(made))
        assert pid != os.getpid()
        assert _alive(pid)
    assert not _alive(pid)


def test_it_is_not_waited_for_when_nothing_is_wanted_any_more() -> None:
    def make() -> Generator[int, None, None]:
        yield 1
        time.sleep(600)

    began = time.monotonic()
    with Ahead(make, lambda: True) as made:
        list(made)
        assert made.result is None
    assert time.monotonic() - began < 60


def test_it_does_not_hear_of_the_terminal() -> None:
    def make() -> Generator[int, None, str]:
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
        yield 1
        return "all"

    with Ahead(make, _never) as made:
        assert list(made) == [1]
        assert made.result == "all"


def test_ended_from_outside_it_says_so() -> None:
    def make() -> Generator[int, None, None]:
        yield os.getpid()
        os.kill(os.getpid(), signal.SIGKILL)

    with Ahead(make, _never) as made, pytest.raises(InputError, match="ended from outside"):
        list(made)

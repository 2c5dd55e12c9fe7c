"""What the tests of other kernels share: machines, and the conditions under which they can be had.

A module has a fixture ``wanted``, the kernel that is meant, and perhaps one for each of several.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from tests.external import Unavailable
from tests.vm import poolserver
from tests.vm.harness import Machine
from tests.vm.machines import OLDEST, Machines

KERNELS: Final = (OLDEST, "7.2", "7.3-generic", "7.3")
"""All that are wanted, in the order in which they are booted."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have all tests of a kernel one after the other, so that it is booted once; those of machines as such last."""
    places = [place for place, item in enumerate(items) if item.get_closest_marker("vm")]
    in_turn = sorted((items[place] for place in places), key=_turn)
    for place, item in zip(places, in_turn, strict=True):
        items[place] = item


def _turn(item: pytest.Item) -> int:
    callspec = getattr(item, "callspec", None)  # of tests with parameters alone
    return KERNELS.index(callspec.params["wanted"]) if callspec and "wanted" in callspec.params else len(KERNELS)


@contextmanager
def skipping() -> Iterator[None]:
    """Skip the test where what the block needs can't be had."""
    try:
        yield
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def machines() -> Iterator[Machines]:
    """The machines that all modules share."""
    machines = Machines()
    yield machines
    machines.close()


@pytest.fixture(scope="session")
def pool_server() -> None:
    """The pool server's program is in the root directory that machines share."""
    with skipping():
        poolserver.build()


@pytest.fixture
def machine(wanted: str, machines: Machines) -> Machine:
    """A machine with the kernel that is wanted."""
    with skipping():
        return machines.get(wanted)


@pytest.fixture
def reported(machine: Machine, record_property: Callable[[str, object], None]) -> Machine:
    """The same; the test's report tells what it is, and how long it took to boot."""
    record_property("kernel", machine.kernel.release)
    record_property("boot_seconds", round(machine.boot_seconds, 1))
    return machine

"""What the tests of other kernels share: machines, and the conditions under which they can be had."""

from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.external import Unavailable
from tests.vm import poolserver
from tests.vm.harness import Machine, booted
from tests.vm.kernels import find_kernel, oldest_kernel
from tests.vm.qemu import require_machines

OLDEST: Final = "oldest"


def boot(wanted: str) -> Iterator[Machine]:
    """Yield a machine, as a fixture does, that runs the kernel which ``wanted`` means; skip where it can't be had."""
    try:
        require_machines()  # without root even the cache of packages may be closed
        kernel = oldest_kernel() if wanted == OLDEST else find_kernel(wanted)
        with booted(kernel) as machine:
            yield machine
    except Unavailable as reason:
        pytest.skip(str(reason))


def boot_with_pool_server(wanted: str) -> Iterator[Machine]:
    """As :func:`boot`; the pool server's program is in the root directory that the machine shares."""
    try:
        poolserver.build()
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield from boot(wanted)


@pytest.fixture
def reported(machine: Machine, record_property: Callable[[str, object], None]) -> Machine:
    """The module's machine; the test's report tells what it is, and how long it took to boot."""
    record_property("kernel", machine.kernel.release)
    record_property("boot_seconds", round(machine.boot_seconds, 1))
    return machine

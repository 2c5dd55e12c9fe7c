"""What furtrace says of itself, and of its own server, on other kernels; each is booted once."""

import re
from collections.abc import Iterator
from typing import Final

import pytest

from tests.vm.conftest import OLDEST, boot
from tests.vm.harness import Completed, Machine
from tests.vm.kernels import version_of

pytestmark = [pytest.mark.vm, pytest.mark.slow]

FURTRACE: Final = (".venv/bin/python", "-m", "furtrace")
BUFPOOL_SINCE: Final = (7, 3)
PROBES: Final = {
    "SELECTED": "fexit fuse_uring_select_buffer",
    "PAGES_REGISTERED": "fexit io_buffer_register_bvec",
    "COMMITTED": r"fentry fuse_uring_cmd \(cmd_op 2\)",
    "fuse_uring_send": r"kprobe fuse_uring_send\.constprop\.0",
    "fuse_uring_commit_fetch": "not seen +not there, or inlined",
}
"""What is seen of buffers, slots and answers on a kernel that has pools, and where."""


@pytest.fixture(scope="module", params=["7.3", "7.2", OLDEST])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine with each of the kernels in turn."""
    yield from boot(request.param)


def test_doctor_finds_what_it_needs(reported: Machine) -> None:
    said = _said(reported, "env", "COLUMNS=200", *FURTRACE, "doctor")
    has_pools = version_of(reported.kernel.release) >= BUFPOOL_SINCE
    dialect = "bufpool" if has_pools else "plain"
    assert re.search(rf"^ok +kernel +Linux {re.escape(reported.kernel.release)} ", said.stdout, re.MULTILINE)
    assert re.search(rf"^ok +dialect +{dialect} *$", said.stdout, re.MULTILINE), said.stdout
    assert re.search(r"^ok +probes +compile, load, and attach *$", said.stdout, re.MULTILINE), said.stdout
    for name, place in PROBES.items() if has_pools else ():
        assert re.search(rf"^{name} +{place}\s", said.stdout, re.MULTILINE), said.stdout


def test_a_trace_is_what_the_server_has_logged(reported: Machine) -> None:
    """The demo compares the two request by request, and fails where they differ."""
    said = _said(reported, *FURTRACE, "demo", "--lines", "0", "--scale", "0.01")
    counts = re.search(r"server's own log tells of (\d+) requests; the trace of (\d+)\.", said.stdout)
    assert counts, said.stdout
    assert int(counts[1]) == int(counts[2]) > 100
    assert "request by request" in said.stdout


def test_types_and_functions_of_a_module(reported: Machine) -> None:
    assert reported.run("insmod", str(reported.kernel.module("cuse"))).status == 0
    done = reported.run(".venv/bin/python", "-m", "tests.vm.split_types")
    assert done.status == 0, f"{done.stdout}\n{done.stderr}"


def test_the_kernel_complains_of_nothing(reported: Machine) -> None:
    """Last of its kernel's, after all that was traced; that it was slow at times does not count."""
    log = reported.run("dmesg").stdout
    assert "Linux version" in log
    assert "[ cut here ]" not in log, log


def _said(machine: Machine, *command: str) -> Completed:
    done = machine.run(*command)
    assert done.status == 0, f"{done.stdout}\n{done.stderr}"
    return done

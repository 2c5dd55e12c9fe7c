"""What furtrace says of itself, and of its own server, on other kernels."""

import re
from typing import Final, Protocol

import pytest

from tests.vm.harness import Machine
from tests.vm.kernels import version_of
from tests.vm.machines import OLDEST, Machines

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
def wanted(request: pytest.FixtureRequest) -> str:
    """Each of the kernels in turn."""
    return str(request.param)


class Say(Protocol):
    def __call__(self, *command: str) -> str: ...


@pytest.fixture
def say(wanted: str, machines: Machines, reported: Machine) -> Say:
    """Run a command there, which has to succeed, and return its output."""

    def run(*command: str) -> str:
        done = machines.run(wanted, *command)
        assert done.status == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def test_doctor_finds_what_it_needs(reported: Machine, say: Say) -> None:
    said = say("env", "COLUMNS=200", *FURTRACE, "doctor")
    has_pools = version_of(reported.kernel.release) >= BUFPOOL_SINCE
    dialect = "bufpool" if has_pools else "plain"
    assert re.search(rf"^ok +kernel +Linux {re.escape(reported.kernel.release)} ", said, re.MULTILINE)
    assert re.search(rf"^ok +dialect +{dialect} *$", said, re.MULTILINE), said
    assert re.search(r"^ok +probes +compile, load, and attach *$", said, re.MULTILINE), said
    for name, place in PROBES.items() if has_pools else ():
        assert re.search(rf"^{name} +{place}\s", said, re.MULTILINE), said


def test_a_trace_is_what_the_server_has_logged(say: Say) -> None:
    """The demo compares the two request by request, and fails where they differ."""
    said = say(*FURTRACE, "demo", "--lines", "0", "--scale", "0.01")
    counts = re.search(r"server's own log tells of (\d+) requests; the trace of (\d+)\.", said)
    assert counts, said
    assert int(counts[1]) == int(counts[2]) > 100
    assert "request by request" in said


def test_types_and_functions_of_a_module(reported: Machine, say: Say) -> None:
    script = 'insmod "$0" && .venv/bin/python -m tests.vm.split_types'
    say("bash", "-c", script, str(reported.kernel.module("cuse")))


def test_the_kernel_complains_of_nothing(reported: Machine) -> None:
    """Last of its kernel's, after all that was traced; that it was slow at times does not count."""
    log = reported.run("dmesg").stdout
    assert "Linux version" in log
    assert "[ cut here ]" not in log, log

"""The pool server's log is what was asked of it, to the byte."""

import errno
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from furtrace.wire.opcodes import Opcode
from tests.vm.conftest import skipping
from tests.vm.harness import RESULTS, Completed, Machine
from tests.vm.machines import Machines
from tests.vm.poolserver import Log, Mode, Request, read_log
from tests.vm.poolserver_traffic import BUFFERS, CASES, ENTRIES, STOPPED, Asked

pytestmark = [pytest.mark.vm, pytest.mark.slow]

BUFFER: Final = 128 << 10
"""Bytes of a pool's buffer: what INIT made them."""


@pytest.fixture(scope="module", params=["7.3", "7.3-generic"])
def wanted(request: pytest.FixtureRequest) -> str:
    """Each of the kernels in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def traffic(wanted: str, machines: Machines, pool_server: None) -> Completed:
    """The traffic of all cases, which has left its results."""
    with skipping():
        return machines.run(wanted, ".venv/bin/python", "-m", "tests.vm.poolserver_traffic", RESULTS)


@dataclass(frozen=True)
class Ran:
    """What came of a case."""

    mode: Mode
    log: Log
    asked: list[Asked]

    def of(self, file: Asked, opcode: Opcode) -> list[Request]:
        """Return the requests with this opcode for a file."""
        return [each for each in self.log.requests if each.nodeid == file.nodeid and each.opcode == opcode]


@pytest.fixture(params=CASES)
def ran(request: pytest.FixtureRequest, traffic: Completed, reported: Machine) -> Ran:
    """Each case in turn."""
    name = request.param
    facts = json.loads(_result(reported, traffic, name).read_text())
    log = read_log(reported.results / f"{name}.log")
    return Ran(CASES[name].mode, log, [Asked(**file) for file in facts.values()])


def _result(machine: Machine, traffic: Completed, name: str) -> Path:
    path = machine.results / f"{name}.json"
    assert path.exists(), f"{traffic.stdout}\n{traffic.stderr}"
    return path


def test_each_queue_is_set_up_once(ran: Ran) -> None:
    queues = {setup.qid for setup in ran.log.setups}
    assert queues == set(range(len(queues)))
    for qid in queues:
        queue, pool, *entries = [setup for setup in ran.log.setups if setup.qid == qid]
        assert (queue.op, queue.result) == ("ADD_QUEUE", 0)
        assert (pool.op, pool.result, pool.bytes) == ("ADD_BUFPOOL", 0, BUFFERS * BUFFER)
        assert sorted((each.op, each.entry) for each in entries) == [("REGISTER", index) for index in range(ENTRIES)]
        # An entry that never got a request is given back when the connection ends.
        assert {each.result for each in entries} <= {0, -errno.ENOTCONN}
        assert {each.buf_index is None for each in (pool, *entries)} == {ran.mode is not Mode.FIXED_POOL}
        slots = {each.slot for each in entries}
        assert slots == (set(range(1, ENTRIES + 1)) if ran.mode is Mode.ZERO_COPY else {None})


def test_all_bytes_are_in_the_log(ran: Ran) -> None:
    for file in ran.asked:
        reads, writes = ran.of(file, Opcode.READ), ran.of(file, Opcode.WRITE)
        assert {each.error for each in reads + writes} == {0}
        assert sum(each.reply_payload_sz for each in reads) == file.read
        assert sum(each.payload_sz for each in writes) == file.written
        assert {each.payload_sz for each in reads} == {0}
        assert {each.reply_payload_sz for each in writes} == {8}


def test_fixed_io_moves_what_is_zero_copied(ran: Ran) -> None:
    """All of a file that was opened for it, and nothing else."""
    slots = {(each.qid, each.entry): each.slot for each in ran.log.setups if each.op == "REGISTER"}
    for file in ran.asked:
        for opcode, size in (Opcode.READ, file.read), (Opcode.WRITE, file.written):
            requests = ran.of(file, opcode)
            moved = [each for request in requests for each in request.fixed_io]
            if ran.mode is not Mode.ZERO_COPY or not file.zero_copy:
                assert not moved
                assert not any(request.zero_copied for request in requests)
                continue
            assert all(request.zero_copied for request in requests)
            assert {each.opcode for each in moved} == {f"{opcode.name}_FIXED"}
            assert sum(each.bytes for each in moved) == size
            for request in requests:
                assert {each.slot for each in request.fixed_io} == {request.slot}
                assert request.slot == slots[request.qid, request.entry]
    assert any(file.zero_copy for file in ran.asked)
    assert not all(file.zero_copy for file in ran.asked)


def test_requests_have_buffers_of_the_pool(ran: Ran) -> None:
    requests = ran.log.requests
    assert len({each.unique for each in requests}) == len(requests)
    assert all(each.commit_id == each.unique for each in requests)
    assert {each.offset for each in requests if each.has_buffer} == {number * BUFFER for number in range(BUFFERS)}
    assert {each.offset for each in requests if not each.has_buffer} == {0}
    assert {request.has_buffer for file in ran.asked for request in ran.of(file, Opcode.WRITE)} == {True}
    for file in ran.asked:
        assert {each.has_buffer for each in ran.of(file, Opcode.READ)} == {
            not (ran.mode is Mode.ZERO_COPY and file.zero_copy)
        }


def test_a_stopped_server_has_logged_what_it_has_answered(traffic: Completed, reported: Machine) -> None:
    succeeded = json.loads(_result(reported, traffic, STOPPED).read_text())["reads"]
    log = read_log(reported.results / f"{STOPPED}.log")
    assert succeeded == sum(each.opcode == Opcode.READ for each in log.requests)


def test_the_kernel_complains_of_nothing(traffic: Completed, reported: Machine) -> None:
    """Last of its kernel's."""
    assert traffic.status == 0, f"{traffic.stdout}\n{traffic.stderr}"
    assert "[ cut here ]" not in reported.run("dmesg").stdout
    assert "poolserver" not in reported.run("cat", "/proc/mounts").stdout

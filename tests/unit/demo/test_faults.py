"""Faults without a kernel: the list, the options that go with them, the log, and what can be tried by hand."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from furtrace.cli import furtrace
from furtrace.demo import wire
from furtrace.demo.errors import DemoError
from furtrace.demo.faultlog import FaultLog
from furtrace.demo.faults import FAULTS, Fault
from furtrace.demo.faults.lives import TinyRing, ignoring_interrupts
from furtrace.demo.handlers import Handlers
from furtrace.demo.modes import Mode
from furtrace.demo.node import Owner
from furtrace.demo.options import Options, conflict, mode_of, parse
from furtrace.demo.session import Limits, Session
from furtrace.demo.tree import Tree
from furtrace.demo.wire import Request
from furtrace.wire.opcodes import Opcode

ONLY_POOLED = [name for name, fault in FAULTS.items() if Mode.PLAIN not in fault.modes]


def options(*arguments: str) -> Options:
    return parse(["/x", *arguments])


def test_the_list_tells_of_every_fault() -> None:
    done = CliRunner().invoke(furtrace, ["demo", "--list-faults"])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert [line.split()[0] for line in lines] == list(FAULTS)
    for line, fault in zip(lines, FAULTS.values(), strict=True):
        assert line.endswith(f"  {fault.sentence}")
        assert ("Linux 7.3" in line) == (fault.name in ONLY_POOLED)
    assert len(ONLY_POOLED) == 17


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_a_fault_is_one_sentence_and_has_a_mode(fault: Fault) -> None:
    assert fault.sentence.endswith(".")
    assert "\n" not in fault.sentence
    assert conflict(mode_of(None, fault), uring=True, buffers=None, fault=fault) is None
    assert fault.queue.__doc__


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_a_server_without_a_mode_has_that_of_its_fault(fault: Fault) -> None:
    found = options("--fault", fault.name)
    assert found.fault is fault
    assert found.limits.mode is fault.modes[0]
    assert found.limits.mode.pooled == (fault.name in ONLY_POOLED)
    assert found.limits.uring == (fault.name != "uring-off")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--fault", "bad-name"], "invalid choice: 'bad-name'"),
        (["--fault", "no-answer", "--no-uring"], "--fault no-answer is about io_uring and does not go with --no-uring"),
        (["--fault", "uring-off", "--no-uring"], "does not go with --no-uring"),
        (
            ["--fault", "dry-pool", "--mode", "plain"],
            "--fault dry-pool does not go with --mode plain; it needs pool or fixed-pool",
        ),
        (
            ["--fault", "slot-busy", "--mode", "pool"],
            "--fault slot-busy does not go with --mode pool; it needs zero-copy",
        ),
        (
            ["--fault", "dry-pool", "--buffers", "2"],
            "--fault dry-pool settles the number of buffers and does not go with --buffers",
        ),
        (["--log-faults", "/y"], "--log-faults is for a server with --fault"),
    ],
)
def test_what_does_not_go_together_ends_with_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        options(*arguments)
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--fault", "bad-name"], "'bad-name' is not one of 'no-answer'"),
        (["--fault", "no-answer", "--no-uring"], "does not go with --no-uring"),
        (["--fault", "not-fixed", "--mode", "zero-copy"], "it needs fixed-pool"),
        (["--fault", "dry-pool", "--buffers", "2"], "does not go with --buffers"),
    ],
)
def test_the_command_says_the_same(arguments: list[str], complaint: str) -> None:
    done = CliRunner().invoke(furtrace, ["demo", *arguments])
    assert done.exit_code == 2
    assert complaint in " ".join(done.stderr.split())


def test_a_fault_settles_the_number_of_buffers() -> None:
    size = options().limits.payload_size
    _add_queue, add_bufpool = options("--fault", "dry-pool").queue_memory().setup(0)
    assert add_bufpool.size == size
    _add_queue, add_bufpool = options("--fault", "not-fixed").queue_memory().setup(0)
    assert add_bufpool.size == 8 * size


def test_the_log_is_written_at_once_and_one_is_the_first(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = FaultLog(path, "no-answer")
    assert [log.claim(), log.claim()] == [True, False]
    log.committed("what", queue=1, unique=14, commit_id=14)
    log.committed('"that"')
    first, second = [json.loads(line) for line in path.read_text().splitlines()]
    assert 0 < first.pop("ns") <= second.pop("ns")
    assert first == {"fault": "no-answer", "queue": 1, "unique": 14, "commit_id": 14, "detail": "what"}
    assert second == {"fault": "no-answer", "queue": None, "unique": None, "commit_id": None, "detail": '"that"'}
    log.close()
    log.committed("nobody asks any more")
    assert len(path.read_text().splitlines()) == 2


def test_init_asks_for_what_was_not_offered_only_with_a_fault() -> None:
    request = Request(
        (56, Opcode.INIT, 2, 0, 0, 0, 0, 0, 0), wire.INIT_IN.pack(7, 46, 0, wire.INIT_EXT) + bytes(48), b""
    )
    for name, wanted in (("no-answer", 0), ("uring-off", wire.OVER_IO_URING)):
        session = Session(Tree(Owner(0, 0)), options("--fault", name).limits)
        fields = wire.INIT_OUT.unpack(Handlers(session).answer(request).body)
        assert (fields[3] | fields[10] << 32) & wire.OVER_IO_URING == wanted
        assert not session.offered & wire.OVER_IO_URING


def test_an_interrupt_that_is_ignored_is_written_down(tmp_path: Path) -> None:
    log = FaultLog(tmp_path / "log", "no-interrupt")
    ask = ignoring_interrupts(Handlers(Session(Tree(Owner(0, 0)), Limits())).answer, log)
    asked = [
        Request((48, opcode, 15, 0, 0, 0, 0, 0, 0), wire.U64.pack(14), b"")
        for opcode in (Opcode.INTERRUPT, Opcode.FORGET)
    ]
    assert [ask(request).error for request in asked] == [None, None]
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert (json.loads(line)["unique"], json.loads(line)["detail"]) == (14, "INTERRUPT 15 ignored")


def test_a_ring_tells_that_completions_found_no_room() -> None:
    try:
        ring = TinyRing()
    except DemoError as problem:
        pytest.skip(str(problem))
    nop = 0
    told = []
    for number in range(3):
        ring.push(nop, -1, user_data=number)
        ring.enter(0)
        told.append(ring.overflowed)
    assert told == [False, True, True]
    assert list(ring.completions()) == [(0, 0)]
    ring.enter(1)
    assert list(ring.completions()) == [(1, 0)]
    ring.enter(1)
    assert list(ring.completions()) == [(2, 0)]
    assert not ring.overflowed
    ring.close()

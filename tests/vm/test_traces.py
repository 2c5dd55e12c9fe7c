"""Traces of every mode, event by event, against what the kernel does and what servers have logged.

On each kernel everything is traced in all ways at the same time.
"""

import json
import re
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from furtrace.demo.modes import Mode
from furtrace.trace.merging import Recordings
from furtrace.wire.dialect import Dialect
from tests.flows import complaints, flows_of
from tests.live.conftest import run_furtrace
from tests.unit.export.reckoning import recorded
from tests.vm import sequences, witnesses
from tests.vm.conftest import skipping
from tests.vm.harness import RESULTS, Completed, Machine
from tests.vm.kernels import version_of
from tests.vm.machines import OLDEST, Machines
from tests.vm.sequences import WAITS, Event, Shown, by_request, name_of
from tests.vm.traced import CASES, ENTRIES, TRACERS, Facts, read_facts

pytestmark = [pytest.mark.vm, pytest.mark.slow]

BUFPOOL_SINCE: Final = (7, 3)
RUNS: Final = 3
"""Until no event was passed over, at most."""
QUEUES: Final = 2
"""As many as a machine has CPUs."""
PATIENCE: Final = 1800.0
PLAIN: Final = [name for name, case in CASES.items() if case.mode is Mode.PLAIN]
SAME: Final = (
    "event",
    "transport",
    "queue",
    "commit_id",
    "opcode",
    "command",
    "error",
    "buffer",
    "offset",
    "slot",
    "bytes",
)
"""What does not depend on where an event is seen."""


@pytest.fixture(scope="module", params=["7.3", "7.3-generic", "7.2", OLDEST])
def wanted(request: pytest.FixtureRequest) -> str:
    """Each of the kernels in turn."""
    return str(request.param)


def _has_pools(machine: Machine) -> bool:
    return version_of(machine.kernel.release) >= BUFPOOL_SINCE


@pytest.fixture(scope="module")
def traced(wanted: str, machines: Machines, pool_server: None) -> Completed:
    """The run of all cases that the kernel can serve, which has left its results."""
    with skipping():
        for attempt in range(1, RUNS):
            done = _traced(wanted, machines)
            machine = machines.get(wanted)
            if done.status or not _passed_over(machine):
                return done
            warnings.warn(f"Linux {wanted} passed over events in attempt {attempt} of {RUNS}; once more", stacklevel=1)
            for tracer in _tracers(machine):
                (machine.results / f"{tracer}.pcapng.zst").unlink()  # furtrace replaces no recording
        return _traced(wanted, machines)


def _traced(wanted: str, machines: Machines) -> Completed:
    machine = machines.get(wanted)
    names = list(CASES) if _has_pools(machine) else PLAIN
    arguments = (RESULTS, ",".join(_tracers(machine)), *names)
    return machines.run(wanted, ".venv/bin/python", "-m", "tests.vm.traced", *arguments, timeout=PATIENCE)


def _passed_over(machine: Machine) -> bool:
    """Whether a trace says that the kernel has run no probe for an event, perhaps of no interest, and nothing worse.

    That is what it is to say where tasks are preempted in a probe and in both its stand-ins, as on an emulated machine
    beside other tests; but nothing can be said of how whole such a trace is.
    """
    traces = [machine.results / f"{tracer}.jsonl" for tracer in _tracers(machine)]
    summaries = [json.loads(path.read_text().splitlines()[-1]) for path in traces]
    return any(0 < summary["lost"] == summary["passed_over"] for summary in summaries)


def _tracers(machine: Machine) -> list[str]:
    """All on one kernel; on the others two, whose events include the third one's: to begin each takes half a minute."""
    whole = _has_pools(machine) and "cloud" in machine.kernel.release
    return list(TRACERS) if whole else ["kernel", "tracepoint"]


@dataclass(frozen=True)
class Run:
    """What came of the run: its ``facts``, and the folder with its results."""

    facts: Facts
    folder: Path

    def events(self, tracer: str, case: str) -> list[Event]:
        """Return the events of a case's connection."""
        connection = self.facts.connections[case]
        return [event for event in _lines(self.folder, tracer)[:-1] if event["connection"] == connection]

    def summary(self, tracer: str) -> dict[str, Any]:
        """Return the last line of a trace."""
        return _lines(self.folder, tracer)[-1]

    def logged(self, case: str) -> dict[int, witnesses.Facts]:
        """Return what a case's server has logged."""
        read = witnesses.demo_requests if CASES[case].is_demo else witnesses.pool_server_requests
        return read(self.folder / f"{case}.log")


@cache
def _lines(folder: Path, tracer: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{tracer}.jsonl").read_text().splitlines()]


@pytest.fixture
def run(traced: Completed, reported: Machine) -> Run:
    assert traced.status == 0, f"{traced.stdout}\n{traced.stderr}"
    return Run(read_facts(reported.results), reported.results)


@pytest.fixture(params=TRACERS)
def tracer(request: pytest.FixtureRequest, machine: Machine) -> str:
    if request.param not in _tracers(machine):
        pytest.skip("not on this kernel")
    return str(request.param)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, machine: Machine) -> str:
    if request.param not in PLAIN and not _has_pools(machine):
        pytest.skip("this kernel has no buffer pools")
    return str(request.param)


def test_nothing_is_lost(run: Run, tracer: str) -> None:
    assert sequences.check_summary(run.summary(tracer)) == []


def test_each_request_s_events_are_legal(run: Run, tracer: str, case: str) -> None:
    events, shown = run.events(tracer, case), run.facts.seen.shown(tracer)
    assert sequences.check(events, shown) == []
    pooled = CASES[case].mode.pooled
    assert sequences.check_setup(events, shown, QUEUES, ENTRIES, pooled=pooled) == []


def test_a_trace_is_what_the_server_has_logged(run: Run, tracer: str, case: str) -> None:
    logged = run.logged(case)
    assert len(logged) > 40
    assert witnesses.differences(witnesses.traced_requests(run.events(tracer, case)), logged) == []


def test_a_recording_shows_what_the_trace_did(run: Run, tracer: str) -> None:
    """Line by line, whatever the kernel; replayed on this one."""
    done = run_furtrace("replay", "--json", "--events", str(run.folder / f"{tracer}.pcapng.zst"))
    assert done.returncode == 0, done.stderr
    shown = (run.folder / f"{tracer}.jsonl").read_text().splitlines()
    assert len(shown) > 400
    assert done.stdout.splitlines()[:-1] == shown[:-1]


def test_diagrams_have_each_event_at_its_step_in_order(run: Run, tracer: str) -> None:
    path = run.folder / f"{tracer}.pcapng.zst"
    with Recordings([str(path)]) as recordings:
        info = recordings.info
    found = flows_of(recorded(path))
    assert len(found) > 100
    assert [text for flow in found for text in complaints(flow, Dialect(info.dialect))] == []


def test_all_vantages_show_the_same(run: Run, tracer: str, case: str) -> None:
    """Event for event, where both show it."""
    names = ("tracepoint", tracer)
    common = frozenset.intersection(*(run.facts.seen.shown(name).events for name in names))
    theirs, ours = (_same(run.events(name, case), common) for name in names)
    assert len(theirs) > 40
    assert ours == theirs


def _same(events: list[Event], kinds: frozenset[str]) -> dict[sequences.Request, list[tuple[object, ...]]]:
    kept = [event for event in events if event["event"] in kinds]
    return {request: [tuple(event[key] for key in SAME) for event in own] for request, own in by_request(kept).items()}


def test_the_workload_is_one_that_shows_all(run: Run, machine: Machine, tracer: str) -> None:
    """Each event and each step that can be seen is there, but those of failures; and buffers have run out."""
    shown: Shown = run.facts.seen.shown(tracer)
    names = {name_of(event).split()[0] for case in run.facts.connections for event in run.events(tracer, case)}
    rare = {
        "REFUSED",
        "LOST",
        "STOPPED",
        "STEP",
        *(step for step in shown.steps if re.search("stop|abort|teardown", step)),
    }
    assert (shown.events | shown.steps) - rare <= names
    if _has_pools(machine) and "SELECTED" in shown.events:
        waits = [
            event for case in run.facts.connections for event in run.events(tracer, case) if name_of(event) == WAITS
        ]
        assert waits


def test_the_probes_that_have_names(run: Run, machine: Machine) -> None:
    """``fuse_uring_send``, ``fuse_uring_select_buffer``, ``fuse_uring_commit_fetch``, ``io_buffer_register_bvec``."""
    if not _has_pools(machine):
        pytest.skip("this kernel has no buffer pools")
    events, steps = run.facts.seen.events, run.facts.seen.steps
    assert re.fullmatch(
        r"kprobe fuse_uring_send\.constprop\.\d+|fentry fuse_uring_send", steps["fuse_uring_send"] or ""
    )
    assert events["SELECTED"] == "fexit fuse_uring_select_buffer"
    assert events["PAGES_REGISTERED"] == "fexit io_buffer_register_bvec"
    # The compiler has put it into its only caller; what it is called for is seen there.
    assert steps["fuse_uring_commit_fetch"] is None
    assert events["COMMITTED"] == "fentry fuse_uring_cmd (cmd_op 2)"


def test_the_kernel_complains_of_nothing(traced: Completed, reported: Machine) -> None:
    """Last of its kernel's, after all that was traced."""
    assert traced.status == 0, f"{traced.stdout}\n{traced.stderr}"
    log = reported.run("dmesg").stdout
    assert "Linux version" in log
    assert "[ cut here ]" not in log, log

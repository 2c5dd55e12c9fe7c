"""What `furtrace inspect` reads out of other kernels is what the server and its clients know."""

import json
from typing import Any

import pytest

from tests.vm.conftest import skipping
from tests.vm.harness import RESULTS, Completed, Machine
from tests.vm.machines import OLDEST, Machines

pytestmark = [pytest.mark.vm, pytest.mark.slow]

MODES = {OLDEST: "plain", "7.2": "plain", "7.3": "pool"}
PATIENCE = 300.0


@pytest.fixture(scope="module", params=MODES)
def wanted(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def inspected(wanted: str, machines: Machines) -> Completed:
    """The run, which has left its results."""
    with skipping():
        command = (".venv/bin/python", "-m", "tests.vm.inspected", RESULTS, MODES[wanted])
        return machines.run(wanted, *command, timeout=PATIENCE)


def test_who_has_what_and_who_waits_for_it(wanted: str, inspected: Completed, reported: Machine) -> None:
    assert inspected.status == 0, f"{inspected.stdout}\n{inspected.stderr}"
    (committed,) = [json.loads(line) for line in (reported.results / "inspected.jsonl").read_text().splitlines()]
    told: dict[str, Any] = json.loads((reported.results / "inspected.json").read_text())
    by_rule = {one["rule"]: one for one in told["findings"]}
    waits = "no-buffer" if MODES[wanted] == "pool" else "no-entry"
    assert set(by_rule) == {"unanswered", waits}
    assert by_rule["unanswered"]["unique"] == committed["unique"]
    operations = {request["unique"]: request["op"] for request in told["requests"]}
    assert operations == {committed["unique"]: "READ", by_rule[waits]["unique"]: "STATFS"}
    queue = next(one for one in told["queues"] if one["queue"] == committed["queue"])
    (holder,) = [entry for entry in queue["entries"] if entry["unique"]]
    assert (holder["unique"], holder["state"]) == (committed["unique"], "FRRS_USERSPACE")
    if MODES[wanted] == "pool":
        assert (queue["mode"], queue["pool"]["buffers"], queue["pool"]["free"]) == ("pool", 1, [])
        assert holder["buffer"] == 0
        assert all(one["pool"]["free"] == [0] for one in told["queues"] if one is not queue)
    else:
        assert (queue["mode"], queue["pool"], holder["buffer"]) in [(None, None, None), ("per_entry", None, None)]


def test_a_trace_that_begins_now_knows_it(wanted: str, inspected: Completed, reported: Machine) -> None:
    assert inspected.status == 0, f"{inspected.stdout}\n{inspected.stderr}"
    (committed,) = _lines(reported, "inspected.jsonl")
    told = _lines(reported, "inspected.json")[0]
    *requests, summary = _lines(reported, "live.jsonl")
    seen = {one["unique"]: (one["op"], one["found"], one["queue"], one["client_tid"]) for one in requests}
    known = {one["unique"]: one["client_tid"] for one in told["requests"]}
    waits = next(unique for unique in known if unique != committed["unique"])
    assert seen == {
        committed["unique"]: ("READ", "served", committed["queue"], known[committed["unique"]]),
        waits: ("STATFS", "waits", None, known[waits]),
    }
    for one in requests:  # CLOCK_MONOTONIC, as `inspect` has looked a few seconds before
        age = next(request["age"] for request in told["requests"] if request["unique"] == one["unique"])
        assert age is None or abs(one["made_ns"] - (told["ns"] - age * 1e9)) < 20_000_000
    pools = {pool["queue"]: (pool["buffers"], pool["free"], pool["in_use_counted"]) for pool in summary["pools"]}
    if MODES[wanted] == "pool":
        assert pools == {one["queue"]: (1, int(one["queue"] != committed["queue"]), True) for one in told["queues"]}
    found = {one["unique"]: one["rule"] for one in _lines(reported, "check.jsonl") if one["type"] == "finding"}
    rules = {one["unique"]: one["rule"] for one in told["findings"]}
    assert found.keys() == rules.keys()
    assert found[committed["unique"]] == "unanswered"


def _lines(machine: Machine, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (machine.results / name).read_text().splitlines()]


def test_the_kernel_complains_of_nothing(inspected: Completed, reported: Machine) -> None:
    """Last of its kernel's."""
    assert inspected.status == 0, f"{inspected.stdout}\n{inspected.stderr}"
    assert "[ cut here ]" not in reported.run("dmesg").stdout

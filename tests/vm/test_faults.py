"""The faults of pools and zero-copy (Linux 7.3) are found there, and nothing else is."""

import json
from typing import Any, Final

import pytest

from furtrace.demo.faults import FAULTS
from tests.live.demo.faultcases import CASES, OF_ANOTHER
from tests.vm.conftest import skipping
from tests.vm.harness import RESULTS, Completed, Machine
from tests.vm.machines import Machines

pytestmark = [pytest.mark.vm, pytest.mark.slow]

NAMES: Final = [name for name, fault in FAULTS.items() if fault.needs == "Linux 7.3"]
PATIENCE: Final = 900.0


@pytest.fixture(scope="module", params=["7.3"])
def wanted(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def faulted(wanted: str, machines: Machines) -> Completed:
    """The run of all faults, which has left its results."""
    with skipping():
        command = (".venv/bin/python", "-m", "tests.vm.faulted", RESULTS, *NAMES)
        return machines.run(wanted, *command, timeout=PATIENCE)


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_is_found(name: str, faulted: Completed, reported: Machine) -> None:
    folder, case = reported.results, CASES[name]
    assert (folder / f"{name}.json").exists(), f"{faulted.stdout}\n{faulted.stderr}"
    facts = json.loads((folder / f"{name}.json").read_text())
    lines = [json.loads(line) for line in (folder / "findings.jsonl").read_text().splitlines()]
    found: list[dict[str, Any]] = [
        line
        for line in lines
        if line["type"] == "finding"
        and line["connection"] == facts["connection"]
        and facts["began_ns"] <= line["ns"] <= facts["ended_ns"]
    ]
    rules = {one["rule"] for one in found}
    assert case.rule in rules
    assert rules - case.consequences == {case.rule}
    committed = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    told = {one["unique"] for one in found if one["rule"] == case.rule} - {None}
    assert told <= {line["unique"] for line in committed} or name in OF_ANOTHER


def test_the_kernel_complains_of_nothing(faulted: Completed, reported: Machine) -> None:
    """Last of its kernel's."""
    assert faulted.status == 0, f"{faulted.stdout}\n{faulted.stderr}"
    assert "[ cut here ]" not in reported.run("dmesg").stdout

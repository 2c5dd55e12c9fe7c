"""Each fault that the demo server can commit is found: by its rule, on its request, and nothing is said beside.

What the tests have seen is kept as a table, in ``.cache/faults-by-rules.md``.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from furtrace.checks.buffers import size_text
from furtrace.checks.checker import RULES
from furtrace.checks.findings import Severity
from furtrace.demo.faults import FAULTS
from furtrace.demo.options import MAX_WRITE
from tests.live.conftest import FURTRACE, PATIENCE
from tests.live.demo.conftest import Begin, Faulty, Start, eventually, witnessed
from tests.live.demo.faultcases import CASES, OF_ANOTHER, WITHOUT_A_FAULT

pytestmark = pytest.mark.live

FOUND = 3
TABLE = Path(__file__).resolve().parents[3] / ".cache" / "faults-by-rules.md"


@dataclass
class Checking:
    """A `furtrace check` that runs, and its output."""

    process: "subprocess.Popen[bytes]"
    out: Path

    def findings(self) -> list[dict[str, Any]]:
        """What it has found so far."""
        lines = self.out.read_text().splitlines(keepends=True)
        said = [json.loads(line) for line in lines if line.endswith("\n")]
        return [one for one in said if one["type"] == "finding"]

    def end(self) -> int:
        """End it, and return the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def checking(folder: Path, *options: str) -> Iterator[Checking]:
    """Run `furtrace check` on all connections."""
    out, err = folder / "findings.jsonl", folder / "check.err"
    with out.open("wb") as out_file, err.open("wb") as err_file:
        command = [*FURTRACE, "check", "--json", *options]
        process = subprocess.Popen(command, stdout=out_file, stderr=err_file)
    try:
        assert eventually(lambda: "Ctrl-C" in err.read_text(), PATIENCE), err.read_text()
        yield Checking(process, out)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def table() -> Iterator[dict[str, list[str]]]:
    """What was found of each fault; written out at the end."""
    seen: dict[str, list[str]] = {}
    yield seen
    if not seen:
        return
    rows = [f"| {name} | {', '.join(rules)} |" for name, rules in seen.items()]
    with contextlib.suppress(OSError):  # on another kernel's machine there is nothing to be written to
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text("\n".join(["| fault | what was found |", "| --- | --- |", *rows]) + "\n")


def test_every_fault_has_a_case() -> None:
    assert set(CASES) == set(FAULTS)


def test_every_rule_is_broken_by_a_fault() -> None:
    broken = {case.rule for case in CASES.values()}
    assert broken.isdisjoint(WITHOUT_A_FAULT)
    assert broken | set(WITHOUT_A_FAULT) == set(RULES)


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_found(
    faulty: Faulty, begin: Begin, faults: Path, tmp_path: Path, has_pools: bool, table: dict[str, list[str]], name: str
) -> None:
    case = CASES[name]
    if FAULTS[name].needs != "Linux 6.14" and not has_pools:
        pytest.skip("this kernel has no buffer pools (Linux 7.3 on)")
    with checking(tmp_path, *case.options) as check:
        server = faulty(name, depth=case.depth)
        connection = server.connection
        client = begin(server.mountpoint, *case.steps)
        if case.kills:
            assert client.hangs()
            client.process.kill()

        def found() -> list[dict[str, Any]]:
            return [one for one in check.findings() if one["connection"] == connection]

        assert eventually(lambda: case.rule in {one["rule"] for one in found()}, PATIENCE), check.findings()
        time.sleep(0.3)  # whatever else would be said
        status = check.end()
    rules = {one["rule"] for one in found()}
    table[name] = sorted(rules)
    assert rules - case.consequences == {case.rule}
    assert (status == FOUND) == (max(RULES[rule].severity for rule in rules) >= Severity.WARNING)
    told = {one["unique"] for one in found() if one["rule"] == case.rule} - {None}
    assert told <= {line["unique"] for line in witnessed(faults)} or name in OF_ANOTHER


LOOKUPS = """
import itertools, os, sys, time
for at in itertools.count():
    began = time.monotonic()
    os.path.exists(f"{sys.argv[1]}/none-{at}")
    took = time.monotonic() - began
    if took > 0.1:
        print(took, at, flush=True)
"""
"""Asks for names that are not there, and tells which took long."""


@contextlib.contextmanager
def lookups(mountpoint: Path, told: Path) -> Iterator[None]:
    """Have names looked up meanwhile."""
    with told.open("w") as out, subprocess.Popen([sys.executable, "-c", LOOKUPS, mountpoint], stdout=out) as client:
        try:
            yield
        finally:
            client.kill()


def test_one_that_is_slow_for_its_kind_is_found(start: Start, tmp_path: Path) -> None:
    """The server is stopped now and then, and has the request or, in other turns, has not fetched it yet."""
    with checking(tmp_path) as check:
        server = start(depth=2)

        def found() -> list[dict[str, Any]]:
            return [one for one in check.findings() if one["rule"] == "slow-for-its-kind"]

        def hold_up() -> bool:
            os.kill(server.pid, signal.SIGSTOP)
            time.sleep(0.2)
            os.kill(server.pid, signal.SIGCONT)
            time.sleep(0.7)  # what came before is judged by then
            return bool(found())

        with lookups(server.mountpoint, tmp_path / "told"):
            time.sleep(1)
            assert eventually(hold_up, PATIENCE)
        check.end()
    told = {at: float(took) for took, at in (line.split() for line in (tmp_path / "told").read_text().splitlines())}
    for finding in found():
        request = finding["request"]
        number = request["path"].rpartition("/none-")[2].rstrip('"')
        assert 0.1 < (request["committed_ns"] - request["delivered_ns"]) / 1e9 <= told[number]


def test_buffers_that_are_too_large_are_found(start: Start, tmp_path: Path) -> None:
    with checking(tmp_path) as check:
        server = start(depth=2, max_write=MAX_WRITE)
        with lookups(server.mountpoint, tmp_path / "told"):
            assert eventually(lambda: "buffers-oversized" in {one["rule"] for one in check.findings()}, PATIENCE)
        check.end()
    finding = next(one for one in check.findings() if one["rule"] == "buffers-oversized")
    assert finding["connection"] == server.connection
    assert f"into payload buffers of {size_text(MAX_WRITE)}" in finding["sentence"]

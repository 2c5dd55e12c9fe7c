"""Filters as the C preprocessor sees them."""

import itertools
import shutil
import subprocess

import pytest

from furtrace.probe.filters import Filters


def _compiled(filters: Filters, expression: str) -> str:
    """What becomes of an expression in C."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("There is no gcc here to ask.")
    asked = subprocess.run(
        [gcc, "-E", "-P", "-"], input=f"{filters.defines()}{expression}\n", check=True, capture_output=True, text=True
    )
    return asked.stdout.strip()


def test_no_limit() -> None:
    assert Filters().defines().splitlines() == [
        "#define FT_CLIENT 0",
        "#define FT_PAYLOAD_BYTES 0",
        "#define FT_OPCODES 0",
        "#define FT_OPCODE_WANTED(opcode) (1)",
        "#define FT_QUEUES 0",
        "#define FT_QUEUE_WANTED(queue) (1)",
    ]


def test_limits() -> None:
    assert Filters(42, frozenset({16, 15}), frozenset({0})).defines().splitlines() == [
        "#define FT_CLIENT 42",
        "#define FT_PAYLOAD_BYTES 0",
        "#define FT_OPCODES 1",
        "#define FT_OPCODE_WANTED(opcode) ((opcode) == 15 || (opcode) == 16)",
        "#define FT_QUEUES 1",
        "#define FT_QUEUE_WANTED(queue) ((queue) == 0)",
    ]


def test_forgets_are_no_limit() -> None:
    assert Filters(forgets=True).defines() == Filters().defines()


def test_each_limit_alone() -> None:
    for client, opcodes, queues in itertools.product(
        (None, 7), (frozenset[int](), frozenset({3})), (frozenset[int](), frozenset({0}))
    ):
        found = _compiled(Filters(client, opcodes, queues), "FT_CLIENT FT_OPCODES FT_QUEUES")
        assert found.split() == [str(client or 0), str(len(opcodes)), str(len(queues))]


def test_the_argument_may_be_an_expression() -> None:
    """Two macros of one line, negated, and over an argument with an operator of low precedence."""
    text = _compiled(Filters(None, frozenset({1, 2}), frozenset({3})), "!FT_OPCODE_WANTED(a | b) && FT_QUEUE_WANTED(q)")
    assert text == "!((a | b) == 1 || (a | b) == 2) && ((q) == 3)"

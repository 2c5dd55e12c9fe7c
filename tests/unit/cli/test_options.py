"""What users may say of what to trace."""

from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from furtrace.cli.options import NumberList, OpcodeList, What, filter_options, what


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("READ", {15}),
        ("read,Write", {15, 16}),
        ("FUSE_LOOKUP , fuse_init", {1, 26}),
        ("53,READ,15", {53, 15}),
        ("0,4294967295", {0, 4294967295}),
        ("RENAME2", {45}),
        ("COPY_FILE_RANGE_64", {53}),
    ],
)
def test_operations(text: str, codes: set[int]) -> None:
    assert OpcodeList().convert(text, None, None) == codes


@pytest.mark.parametrize(
    "text",
    ["", ",", "READ,", "REED", "-1", "1.5", "0x10", "4294967296", "9" * 5000, "\N{SUPERSCRIPT TWO}", "READ WRITE"],
)
def test_no_operations(text: str) -> None:
    with pytest.raises(click.UsageError, match="is no FUSE operation"):
        OpcodeList().convert(text, None, None)


@pytest.mark.parametrize(("text", "numbers"), [("0", {0}), ("0,1, 7", {0, 1, 7}), ("65535", {65535}), ("3,3", {3})])
def test_numbers(text: str, numbers: set[int]) -> None:
    assert NumberList().convert(text, None, None) == numbers


@pytest.mark.parametrize("text", ["", "0,", "x", "-1", "65536", "1-3", "9" * 5000, "\N{SUPERSCRIPT TWO}", "1 2"])
def test_no_numbers(text: str) -> None:
    with pytest.raises(click.UsageError, match="is no list of queue numbers"):
        NumberList().convert(text, None, None)


@pytest.mark.parametrize("kind", [OpcodeList(), NumberList()])
def test_a_default_stays(kind: OpcodeList | NumberList) -> None:
    assert kind.convert(frozenset({3}), None, None) == {3}


@given(st.text())
@example("1\N{ARABIC-INDIC DIGIT THREE}")
def test_any_text_is_taken_or_refused(text: str) -> None:
    for kind in (OpcodeList(), NumberList()):
        try:
            numbers = kind.convert(text, None, None)
        except click.UsageError:
            continue
        assert all(0 <= number < 1 << 32 for number in numbers)
        assert text.isascii()


@click.command()
@filter_options
def _command(**options: Any) -> None:
    taken = what(options)
    assert options == {}
    click.echo(repr(taken))


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(_command, arguments)
    return result.exit_code, result.output


def test_no_options() -> None:
    nothing = What(None, None, None, None, frozenset(), frozenset(), forgets=False)
    assert _run() == (0, f"{nothing!r}\n")


def test_all_options() -> None:
    taken = What(None, "/mnt", None, 4242, frozenset({15}), frozenset({0, 1}), forgets=True)
    given_ = ("--mount", "/mnt", "--client", "4242", "--op", "READ", "--queue", "0,1", "--forgets")
    assert _run(*given_) == (0, f"{taken!r}\n")
    assert "connection=39" in _run("--connection", "39")[1]
    assert " pid=1," in _run("--pid", "1")[1]


def test_a_mount_need_not_exist() -> None:
    assert "mount='/no/such/place'" in _run("--mount", "/no/such/place")[1]


_CHOICES = {"--connection": "39", "--mount": "/mnt", "--pid": "1"}


@pytest.mark.parametrize(
    "names", [("--connection", "--mount"), ("--mount", "--pid"), ("--pid", "--connection"), tuple(_CHOICES)]
)
def test_one_way_to_choose_the_connection(names: tuple[str, ...]) -> None:
    status, output = _run(*(word for name in names for word in (name, _CHOICES[name])))
    assert status == 2
    assert "--connection, --mount and --pid" in output


@pytest.mark.parametrize("name", ["--connection", "--pid", "--client"])
@pytest.mark.parametrize("value", ["0", "-1", "x", ""])
def test_numbers_from_one_on(name: str, value: str) -> None:
    assert _run(name, value)[0] == 2

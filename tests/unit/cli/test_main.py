"""The command line as a whole: misuse, help, and what an ordinary user is told."""

import errno
import os
import re
import signal
import sys
from collections.abc import Iterator

import click
import pytest

from furtrace import __version__, cli
from furtrace.cli.errors import OutputError
from furtrace.probe import bcc, privilege
from furtrace.probe.errors import ProbeError

COMMANDS = sorted(cli.furtrace.list_commands(click.Context(cli.furtrace)))


class CommandLine:
    """Runs furtrace within this process."""

    TERM = "xterm"

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str, terminal: bool = False) -> tuple[int, str, str]:
        """Return exit status, output and errors."""
        self._monkeypatch.setattr(sys, "argv", ["furtrace", *arguments])
        self._monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
        self._monkeypatch.setenv("TERM", self.TERM)
        status: object = 0
        try:
            cli.run()
        except SystemExit as end:
            status = end.code
        said = self._capsys.readouterr()
        assert isinstance(status, int)
        return status, said.out, said.err


@pytest.fixture
def furtrace(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[CommandLine]:
    before = signal.getsignal(signal.SIGINT)
    yield CommandLine(monkeypatch, capsys)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture(autouse=True)
def _without_privilege(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is to trace, whoever runs it."""
    monkeypatch.setattr(privilege, "effective_capabilities", lambda: 0)


def test_commands() -> None:
    assert {"doctor", "live"} <= set(COMMANDS)


def test_unknown_command(furtrace: CommandLine) -> None:
    status, out, err = furtrace("liev")
    assert (status, out) == (2, "")
    assert "No such command 'liev'" in err


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_option(furtrace: CommandLine, command: str) -> None:
    status, _, err = furtrace(command, "--no-such-option")
    assert status == 2
    assert "No such option" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--connection", "1", "--mount", "/"),
        ("--connection", "1", "--pid", "1"),
        ("--mount", "/", "--pid", "1"),
    ],
)
def test_exclusive_options(furtrace: CommandLine, arguments: tuple[str, ...]) -> None:
    status, out, err = furtrace("live", *arguments)
    assert (status, out) == (2, "")
    assert "give one" in err


@pytest.mark.parametrize("value", ["0", "-1", "x"])
@pytest.mark.parametrize("option", ["--count", "--duration"])
def test_limits_are_positive(furtrace: CommandLine, option: str, value: str) -> None:
    assert furtrace("live", option, value)[0] == 2


def test_a_terminal_that_can_do_nothing_gets_lines(furtrace: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--count`` is for lines, so it is no misuse there; what stops it is the missing privilege."""
    monkeypatch.setattr(CommandLine, "TERM", "dumb")
    assert furtrace("live", "--count", "3", terminal=True)[0] == 1


def test_count_on_a_full_screen(furtrace: CommandLine) -> None:
    status, _, err = furtrace("live", "--count", "3", terminal=True)
    assert status == 2
    assert "--count counts lines" in err


@pytest.mark.parametrize("lines", ["--plain", "--events", "--json"])
def test_count_of_lines_is_fine(furtrace: CommandLine, lines: str) -> None:
    assert furtrace("live", "--count", "3", lines, terminal=True)[0] == 1
    assert furtrace("live", "--count", "3", terminal=False)[0] == 1


@pytest.mark.parametrize("user", [0, 1000])
def test_an_ordinary_user_is_told_in_a_sentence(
    furtrace: CommandLine, monkeypatch: pytest.MonkeyPatch, user: int
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    status, out, err = furtrace("live", "--plain")
    assert (status, out) == (1, "")
    assert re.fullmatch(
        r"furtrace: Tracing needs CAP_BPF and CAP_PERFMON, which [^.\n]*; run furtrace as root\.\n", err
    )


def test_doctor_without_privilege(furtrace: CommandLine) -> None:
    status, out, err = furtrace("doctor")
    assert (status, err) == (1, "")
    assert "To do: Tracing needs CAP_BPF" in out


def test_doctor_without_bcc(furtrace: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ProbeError("bcc is missing.")

    monkeypatch.setattr(bcc, "load", missing)
    status, out, _ = furtrace("doctor")
    assert status == 1
    assert "To do: bcc is missing." in out


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(furtrace: CommandLine, option: str) -> None:
    status, out, _ = furtrace(option)
    assert status == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", out, re.MULTILINE)
    assert re.search(r"^    furtrace live", out, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_has_an_example(furtrace: CommandLine, command: str) -> None:
    status, out, _ = furtrace(command, "--help")
    assert status == 0
    _, found, examples = re.split(r"(\n  Examples?:\n)", out)
    assert found
    assert re.match(rf"    furtrace {command}\b", examples)
    assert not re.search(r"noqa|:class:|``", out)


def test_every_example_is_understood(furtrace: CommandLine) -> None:
    """The options of each example in live's help exist, and take the values that are shown."""
    _, out, _ = furtrace("live", "--help")
    examples = re.findall(r"^    furtrace (live.*)$", out, re.MULTILINE)
    assert examples
    for example in examples:
        words = example.partition(" > ")[0].split()
        assert furtrace(*words)[0] == 1, example


def test_version(furtrace: CommandLine) -> None:
    status, out, _ = furtrace("--version")
    assert status == 0
    assert __version__ in out


def test_a_broken_pipe_is_told() -> None:
    assert str(OutputError(BrokenPipeError(errno.EPIPE, "x"))) == (
        "The reader of the output is gone, so the trace has ended."
    )
    assert "No space left on device" in str(OutputError(OSError(errno.ENOSPC, "x")))

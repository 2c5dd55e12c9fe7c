"""What tests of several commands have in common."""

import time
from collections.abc import Iterator

import pytest

from tests.unit.cli.test_main import CommandLine


@pytest.fixture
def furtrace(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line, within this process."""
    return CommandLine(monkeypatch, capsys)


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times of the clock are those of UTC meanwhile."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()

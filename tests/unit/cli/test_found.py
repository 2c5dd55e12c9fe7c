"""What is there already as a trace begins."""

from typing import Any

import numpy as np
import pytest

from furtrace.cli import found, snapshots
from furtrace.model.conversation import Conversation
from furtrace.model.snapshot import Names, RowKind
from furtrace.probe.errors import ProbeError
from furtrace.probe.filters import Filters
from furtrace.probe.snapshot import Rows
from tests.unit.model.test_snapshot import CONNECTION, row
from tests.unit.model.test_snapshot import request as values


class Trace:
    """A trace that has one connection with two requests, or can't tell."""

    def __init__(self, filters: Filters, error: str = "") -> None:
        self.filters, self._error = filters, error

    def found(self) -> Rows:
        if self._error:
            raise ProbeError(self._error)
        waiting = [row(RowKind.REQUEST, *values(unique), list=7) for unique in (4, 6)]
        return np.concatenate([CONNECTION, *waiting])


def told(trace: Any, monkeypatch: pytest.MonkeyPatch) -> Conversation:
    monkeypatch.setattr(snapshots, "_names", Names)
    conversation = Conversation()
    found.find(trace, conversation)
    return conversation


@pytest.mark.parametrize(("opcodes", "uniques"), [((), [4, 6]), ((15,), [4, 6]), ((16,), [])])
def test_what_passes_the_filters(monkeypatch: pytest.MonkeyPatch, opcodes: tuple[int, ...], uniques: list[int]) -> None:
    conversation = told(Trace(Filters(opcodes=frozenset(opcodes))), monkeypatch)
    assert conversation.requests.under_way["unique"].tolist() == uniques


def test_a_trace_goes_on_without(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    conversation = told(Trace(Filters(), "The kernel refuses it: no."), monkeypatch)
    assert len(conversation.requests.under_way) == 0
    assert capsys.readouterr().err == "What is under way already is not known. The kernel refuses it: no.\n"

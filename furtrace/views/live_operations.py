"""The live view's table of operations, and the rates that it and the status line show."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from furtrace.model.operations import Histogram, Operation
from furtrace.views.live_table import DIM, RED, Cell, Column, Glyphs, Order, Panel
from furtrace.views.units import count, duration
from furtrace.wire.opcodes import opcode_name

_WINDOW_NS: Final = 2_000_000_000
_SHOWN_PHASES: Final = ("queue", "delivery", "wait", "server", "total")

Percentiles = tuple[float | None, float | None]


class Rates:
    """Rates of running totals, over the last two seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, dict[int | str, int]]] = deque()

    def add(self, now_ns: int, totals: dict[int | str, int]) -> None:
        """Note the totals at a time."""
        self._samples.append((now_ns, totals))
        # The newest sample that is older than the window stays, so that there is always one to compare with.
        while len(self._samples) > 2 and self._samples[1][0] <= now_ns - _WINDOW_NS:
            self._samples.popleft()

    def of(self, key: int | str) -> float | None:
        """Return how much a total grew a second; None before there is a second sample."""
        if len(self._samples) < 2:
            return None
        (since, before), (now, totals) = self._samples[0], self._samples[-1]
        if now <= since:
            return None
        return (totals.get(key, 0) - before.get(key, 0)) * 1e9 / (now - since)


def rate(value: float | None) -> str:
    """Return a rate for a table; one decimal place below ten, so that rare is not never."""
    if value is None:
        return "-"
    return f"{value:.1f}" if 0 < value < 9.95 else count(value)


@dataclass(frozen=True)
class _Shown:
    name: str
    count: int
    rate: float | None
    errors: int
    latency: dict[str, Percentiles]


_SORT_KEYS: Final[dict[str, Callable[[_Shown], float]]] = {
    "count": lambda shown: shown.count,
    "rate": lambda shown: shown.rate or 0,
    "errors": lambda shown: shown.errors,
    "server p99": lambda shown: shown.latency["server"][1] or 0,
    "total p99": lambda shown: shown.latency["total"][1] or 0,
}


class OperationsPanel(Panel):
    """Operations so far."""

    title = "Operations"
    columns = (
        Column("operation", 10, 0, grow=6),
        Column("count", 5, 1, grow=3, right=True),
        Column("rate/s", 6, 4, grow=2, right=True),
        Column("errors", 6, 3, grow=2, right=True),
        Column("queue", 13, 7, right=True),
        Column("delivery", 13, 8, right=True),
        Column("wait", 13, 6, right=True),
        Column("server", 13, 5, right=True),
        Column("total", 13, 2, right=True),
    )
    orders = (
        Order("count"),
        Order("rate"),
        Order("total p99"),
        Order("server p99"),
        Order("errors"),
        Order("name", falling=False),
    )

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(glyphs)
        self._shown: list[_Shown] = []
        self._latency: dict[int, tuple[int, dict[str, Percentiles]]] = {}

    def update(self, operations: list[Operation], rates: Rates) -> None:
        """Take in the operations as they are now."""
        self._shown = [
            _Shown(
                opcode_name(operation.opcode),
                operation.count,
                rates.of(operation.opcode),
                operation.errors,
                self._percentiles(operation),
            )
            for operation in operations
        ]

    @property
    def total(self) -> int:
        """How many operations were seen."""
        return len(self._shown)

    def rows(self, first: int, count: int) -> list[Sequence[Cell]]:
        """Make the cells of the operations that are shown."""
        order = self.order
        ordered = sorted(self._shown, key=lambda shown: shown.name)
        if order.name == "name":
            ordered = ordered[::-1] if order.falling else ordered
        else:
            ordered.sort(key=_SORT_KEYS[order.name], reverse=order.falling)
        return [_cells(shown) for shown in ordered[first : first + count]]

    def _headline(self) -> str:
        return f"{super()._headline()}, times: p50/p99"

    def _percentiles(self, operation: Operation) -> dict[str, Percentiles]:
        """Percentiles of the phases; those of an operation that had no more requests since are kept."""
        at, known = self._latency.get(operation.opcode, (0, {}))
        if at != operation.count:
            known = {phase: _pair(operation.latency[phase]) for phase in _SHOWN_PHASES}
            self._latency[operation.opcode] = operation.count, known
        return known


def _pair(histogram: Histogram) -> Percentiles:
    return histogram.percentile(0.5), histogram.percentile(0.99)


def _cells(shown: _Shown) -> Sequence[Cell]:
    return (
        shown.name,
        count(shown.count),
        rate(shown.rate),
        (count(shown.errors), RED if shown.errors else DIM),
        *(_times(shown.latency[phase]) for phase in _SHOWN_PHASES),
    )


def _times(pair: Percentiles) -> Cell:
    median, high = pair
    return "-" if median is None else f"{duration(median)}/{duration(high)}"

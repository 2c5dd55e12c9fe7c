"""Distributions drawn, and tables that fit."""

import numpy as np
import pytest

from furtrace.model.histograms import Distribution, Histograms, bins_of
from furtrace.views.distributions import axis, bars, line, spread
from furtrace.views.fitting import Fit, table
from furtrace.views.live_table import ASCII, UNICODE


def distribution(*times: int) -> Distribution:
    values = np.array(times, np.int64)
    zeros = np.zeros(len(values), np.intp)
    histograms = Histograms(1, 6)
    histograms.add(zeros, zeros, values, bins_of(values, 6))
    return histograms.of(0)[0]


def test_bars_have_all_that_there_is() -> None:
    times = distribution(*[1000] * 8, *[1600] * 4, 5000, 0)
    rows = list(bars(times, 80, ASCII))
    assert sum(int(row.split()[3]) for row in rows) == 14
    lengths = {row.split()[0]: row.count("#") for row in rows}
    assert lengths["768ns"] == max(lengths.values())
    assert lengths["768ns"] == 2 * lengths["1.54us"]
    assert lengths["4.10us"] > 0
    assert all(row.isascii() and len(row) <= 80 for row in rows)
    assert list(bars(distribution(), 80, UNICODE)) == []


@pytest.mark.parametrize("parts", [1, 2])
def test_lines_and_their_axis(parts: int) -> None:
    times = distribution(*[1024] * 100, 1_000_000)
    octaves = spread([times, distribution(0)])
    assert octaves == (10, 20)
    drawn = line(times, octaves, parts, UNICODE)
    assert drawn == "█" + " " * (10 * parts - 1 - parts) + ("▁" if parts == 1 else " ▁")
    marks = axis(octaves, parts)
    assert len(marks) == len(drawn)
    # 10 us is 2**13.3 ns
    assert marks.index("|10us") == int(3.29 * parts)
    assert line(times, octaves, parts, ASCII).isascii()


def test_tables_leave_out_what_matters_least() -> None:
    columns = [Fit("name", 0, text=True), Fit("count", 1), Fit("more", 3), Fit("most", 2)]
    rows = [["x" * 50 + "end", "1", "22", "333"], ["y", "4", "55", "666"]]
    whole = list(table(columns, rows, 80, UNICODE))
    assert [line.split() for line in whole] == [["name", "count", "more", "most"], *rows]
    narrow = list(table(columns, rows, 52, UNICODE))
    assert narrow[0].split() == ["name", "count", "more", "most"]
    assert max(map(len, narrow)) <= 52
    assert narrow[1].startswith("…xxx")
    assert "end" in narrow[1]
    assert next(table(columns, rows, 46, UNICODE)).split() == ["name", "count", "most"]
    assert "~" in list(table(columns, rows, 46, ASCII))[1]

"""Durations, counts and times as they are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from furtrace.views.units import Clock, count, duration


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0ns"),
        (1, "1ns"),
        (45.4, "45ns"),
        (999, "999ns"),
        (999.6, "1.00us"),
        (1000, "1.00us"),
        (45_100, "45.1us"),
        (9_994, "9.99us"),
        (9_996, "10.0us"),
        (99_940, "99.9us"),
        (99_960, "100us"),
        (999_400, "999us"),
        (999_600, "1.00ms"),
        (1_234_567, "1.23ms"),
        (2_500_000_000, "2.50s"),
        (90 * 1_000_000_000, "90.0s"),
        (1000 * 1_000_000_000, "1000s"),
    ],
)
def test_durations(nanoseconds: float, text: str) -> None:
    assert duration(nanoseconds) == text


def test_durations_that_are_not_known() -> None:
    assert duration(None) == duration(-1) == "-"
    assert duration(None, "?") == duration(-5, "?") == "?"


_UNITS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


@given(st.floats(1, 999e9))
def test_a_duration_is_close_and_short(nanoseconds: float) -> None:
    text = duration(nanoseconds)
    number = text.rstrip("nums")
    assert float(number) * _UNITS[text.removeprefix(number)] == pytest.approx(nanoseconds, rel=0.0051, abs=0.51)
    assert len(number.replace(".", "")) <= 3


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (1000, "1.0k"),
        (23_600, "23.6k"),
        (99_400, "99.4k"),
        (99_500, "100k"),
        (235_000, "235k"),
        (999_400, "999k"),
        (999_500, "1.0M"),
        (999_999, "1.0M"),
        (1_200_000, "1.2M"),
        (999_999_999, "1.0G"),
        (5_000_000_000, "5.0G"),
    ],
)
def test_counts(number: int, text: str) -> None:
    assert count(number) == text


@given(st.floats(0, 9e11))
def test_a_count_is_short(number: float) -> None:
    assert len(count(number).rstrip("kMG").replace(".", "")) <= 3


@pytest.mark.usefixtures("_utc")
def test_clock() -> None:
    clock = Clock(1_700_000_000_000_000_000)
    assert clock(123_456_789) == "22:13:20.123456"
    assert clock(999) == "22:13:20.000000"

"""Points in time and speeds, as users say them."""

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from furtrace.cli.moments import Moment, MomentType, Speed

SECOND = 10**9
MIDNIGHT = int(datetime(2026, 11, 25, tzinfo=UTC).timestamp()) * SECOND
OFFSET = MIDNIGHT - 500 * SECOND  # so that 500 s of the recording's clock is midnight


@pytest.fixture(autouse=True)
def _zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def ns(text: str, start: int = 0, *, last: bool = False) -> int:
    """When it is, in nanoseconds since midnight, for a recording that starts so many seconds after that."""
    moment = MomentType().convert(text, None, None)
    return moment.ns(500 * SECOND + start * SECOND, OFFSET, last=last) - 500 * SECOND


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1.5", 3 * SECOND // 2),
        ("1.000000001", SECOND + 1),
        ("123456789.123456789", 123456789123456789),
        ("1.5s", 3 * SECOND // 2),
        ("200ms", SECOND // 5),
        ("3us", 3000),
        ("7ns", 7),
        ("2min", 120 * SECOND),
        ("0.5h", 1800 * SECOND),
    ],
)
def test_since_the_start(text: str, expected: int) -> None:
    assert ns(text) == expected
    assert ns(text, 9) == expected + 9 * SECOND
    assert ns(text, last=True) == expected


HOUR = 3600


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("10:00", 9 * HOUR, 10 * HOUR * SECOND),
        ("10:00:01.25", 9 * HOUR, (10 * HOUR + 1) * SECOND + SECOND // 4),
        ("08:59:59", 9 * HOUR, (9 * HOUR - 1) * SECOND),  # before the start
        ("00:10", 23 * HOUR, (24 * HOUR + 600) * SECOND),  # after midnight
        ("22:00", 23 * HOUR, 22 * HOUR * SECOND),
        ("2026-11-25T10:00", 9 * HOUR, 10 * HOUR * SECOND),
        ("2026-11-25 10:00:00.000001", 9 * HOUR, 10 * HOUR * SECOND + 1000),
        ("2026-11-26T10:00:00Z", 9 * HOUR, 34 * HOUR * SECOND),
        ("2026-11-25T10:00+02:00", 9 * HOUR, 8 * HOUR * SECOND),
    ],
)
def test_by_the_clock(text: str, start: int, expected: int) -> None:
    assert ns(text, start) == expected
    assert ns(text, start, last=True) == expected + 999


def test_the_clock_is_that_of_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Etc/GMT-3")
    time.tzset()
    assert ns("03:00") == 0
    assert ns("2026-11-25T03:00") == 0


@given(st.integers(0, 24 * HOUR * 10**6 - 1), st.integers(-12 * HOUR + 1, 12 * HOUR - 1))
def test_a_time_that_a_line_shows_is_found_again(micros: int, away: int) -> None:
    """The start is less than half a day off on either side."""
    shown = (datetime(2026, 11, 25, tzinfo=UTC) + timedelta(microseconds=micros)).strftime("%H:%M:%S.%f")
    start = micros // 10**6 + away
    found = ns(shown, start)
    days, rest = divmod(found - micros * 1000, 24 * HOUR * SECOND)
    assert rest == 0
    assert days in (-1, 0, 1)
    if 0 <= start < 24 * HOUR and away <= 0:
        assert days == 0


@pytest.mark.parametrize(
    "text",
    [
        *("", "-1", "1.5.2", "1,5", "5x", "1e5", "9" * 13, "noon", "25:00", "10:61", "T10:00", "10:00Z"),
        *("2026-13-01T10:00", "2026-11-25", "0001-01-01T00:00", "9999-01-01T00:00"),
    ],
)
def test_no_times(text: str) -> None:
    with pytest.raises(click.UsageError, match="is no time"):
        MomentType().convert(text, None, None)


@given(st.text())
def test_any_text_is_a_time_or_none(text: str) -> None:
    try:
        moment = MomentType().convert(text, None, None)
    except click.UsageError:
        return
    assert isinstance(moment.ns(500 * SECOND, OFFSET), int)


def test_a_default_stays() -> None:
    assert MomentType().convert(Moment(3), None, None) == Moment(3)
    assert Speed().convert(2.0, None, None) == 2.0


@pytest.mark.parametrize(
    ("text", "speed"), [("1", 1), ("10", 10), ("10x", 10), ("0.5", 0.5), ("max", math.inf), ("MAX", math.inf)]
)
def test_speeds(text: str, speed: float) -> None:
    assert Speed().convert(text, None, None) == speed


@pytest.mark.parametrize("text", ["0", "0.0", "-1", "", "x", "fast", "inf", "nan", "1e3", "9" * 10, "\u0663"])
def test_no_speeds(text: str) -> None:
    with pytest.raises(click.UsageError, match="is no speed"):
        Speed().convert(text, None, None)

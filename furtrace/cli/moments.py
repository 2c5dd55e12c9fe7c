"""Points in time as users say them: since the start of a recording, or by the clock."""

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, Final

import click

_SINCE: Final = re.compile(r"(\d{1,12}(?:\.\d{1,20})?)(ns|us|ms|s|min|h)?")
_SCALES: Final = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_HALF_A_DAY: Final = timedelta(hours=12)
_MICROSECOND_NS: Final = 1000


@dataclass(frozen=True)
class Moment:
    """A point in time: ``since_ns`` after the start, a time of day, or a date and time."""

    since_ns: int | None = None
    clock: time | datetime | None = None

    def ns(self, start_ns: int, offset_ns: int, *, last: bool = False) -> int:
        """When it is, on the recording's clock.

        A time of day is one of the day on which the recording starts; if that is more than half a day before the start,
        of the day after. It is exact to a microsecond, as lines show it.

        Args:
            start_ns: when the recording starts.
            offset_ns: what has to be added to its clock to get the time of the world.
            last: the end of that microsecond.
        """
        if self.since_ns is not None:
            return start_ns + self.since_ns
        when = self.clock
        if isinstance(when, time):
            start = datetime.fromtimestamp((start_ns + offset_ns) / 1e9).astimezone()
            when = datetime.combine(start.date(), when)
            if start - when.astimezone() > _HALF_A_DAY:
                when += timedelta(days=1)
        assert when is not None
        seconds = int(when.replace(microsecond=0).timestamp())
        return seconds * 10**9 + when.microsecond * _MICROSECOND_NS - offset_ns + (_MICROSECOND_NS - 1 if last else 0)


class MomentType(click.ParamType[Moment]):
    """``1.5``, ``200ms``, ``14:55:01.25``, ``2026-11-25T14:55``."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Moment:
        """Return the moment."""
        if isinstance(value, Moment):
            return value
        text = str(value).strip()
        found = _SINCE.fullmatch(text)
        if found is not None and text.isascii():
            return Moment(since_ns=_scaled(found[1], _SCALES[found[2] or "s"]))
        clock = _clock(text)
        if clock is None:
            self.fail(f"{value!r} is no time, such as 1.5, 14:55:01.25 or 2026-11-25T14:55:01", param, ctx)
        return Moment(clock=clock)


def _scaled(number: str, scale: int) -> int:
    """A decimal number of units, in nanoseconds: no float, which has not enough digits."""
    whole, _, fraction = number.partition(".")
    return int(whole) * scale + int(int(fraction or "0") * scale // 10 ** len(fraction))


def _clock(text: str) -> time | datetime | None:
    if ":" not in text:
        return None
    for kind in (time, datetime):
        try:
            found = kind.fromisoformat(text)
        except ValueError:
            continue
        if isinstance(found, time) and (found.tzinfo is not None or text.startswith("T")):
            return None
        if isinstance(found, datetime) and not 1970 <= found.year <= 2261:
            return None
        return found
    return None


class Speed(click.ParamType[float]):
    """``2``, ``0.5``, ``10x``, ``max``."""

    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the factor; infinity for ``max``."""
        if isinstance(value, float):
            return value
        text = str(value).strip().lower()
        if text == "max":
            return float("inf")
        number = text.removesuffix("x")
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", number) or not float(number):
            self.fail(f"{value!r} is no speed, such as 10, 0.5 or max", param, ctx)
        return float(number)

"""Durations, counts and times as a reader wants them."""

import time

import numpy as np
import numpy.typing as npt

_SCALE = ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1, "ns"))


def duration(nanoseconds: float | None, unknown: str = "-") -> str:
    """A duration with three significant digits and its unit (``45.1us``); ``unknown`` for None or a negative one."""
    if nanoseconds is None or nanoseconds < 0:
        return unknown
    for scale, unit in _SCALE:
        if nanoseconds >= scale * 0.9995:
            value = nanoseconds / scale
            digits = 0 if value >= 99.95 or scale == 1 else 1 if value >= 9.995 else 2
            return f"{value:.{digits}f}{unit}"
    return "0ns"


def count(number: float) -> str:
    """A count with at most three significant digits above a thousand (``23.6k``, ``1.2M``)."""
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= scale * 0.9995:
            value = number / scale
            return f"{value:.0f}{unit}" if value >= 99.5 else f"{value:.1f}{unit}"
    return f"{number:.0f}"


class Clock:
    """CLOCK_MONOTONIC nanoseconds to local wall-clock time with microseconds."""

    def __init__(self, realtime_offset_ns: int) -> None:
        self._offset = realtime_offset_ns
        self._second = -1
        self._text = ""

    def __call__(self, ns: int) -> str:
        """The time of day, as in ``14:55:01.123456``."""
        second, rest = divmod(ns + self._offset, 1_000_000_000)
        return f"{self._whole(second)}{rest // 1000:06d}"

    def all(self, times: npt.NDArray[np.uint64]) -> list[str]:
        """The same of many times."""
        whole = times.astype(np.int64) + self._offset
        seconds = whole // 1_000_000_000
        micros = (whole - seconds * 1_000_000_000) // 1000
        texts = {second: self._whole(second) for second in np.unique(seconds).tolist()}
        pairs = zip(map(texts.__getitem__, seconds.tolist()), micros.tolist(), strict=True)
        return ["%s%06d" % pair for pair in pairs]  # noqa: UP031 - the fastest way

    def _whole(self, second: int) -> str:
        if second != self._second:
            self._second = second
            self._text = time.strftime("%H:%M:%S.", time.localtime(second))
        return self._text

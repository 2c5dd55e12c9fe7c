"""The full-screen view of a recording that is played: where it is, and the keys that move it."""

import math
from dataclasses import dataclass
from typing import ClassVar, Final

from rich.segment import Segment

from furtrace.trace.info import TraceInfo
from furtrace.views.live import VIEWS, LiveView
from furtrace.views.live_operations import Rates
from furtrace.views.live_table import BOLD, CYAN, RED, REVERSE, Item, Line, fitted, item_line
from furtrace.views.units import Clock
from furtrace.views.wrapping import wrapped

_SECOND: Final = 1_000_000_000
_SEEKS: Final = {"right": (10, 10), "left": (-10, 10), "]": (1, 100), "[": (-1, 100)}
"""Seconds that a key moves by, and the part of a recording that it moves by at most."""
_FASTEST: Final = 1024.0
_SLOWEST: Final = 1 / 64
_MOST_LINES: Final = 3
_FAR: Final = 1 << 62

_KEYS: Final = """\
  space      hold; again: go on; at the end: from the start again
  . >        hold, and go on by one event, which is shown at the top
  left right back and forth by 10 seconds, in a short recording by a tenth of it
  [ ]        by a second, in a short recording by a hundredth of it
  g G        to the start, to the end
  + -        twice, half as fast; backspace: as fast as it was recorded
"""


@dataclass
class Playback:
    """How far a recording was played, and how it goes on: keys change it, and whoever plays it follows.

    Times are nanoseconds on the recording's clock.

    Attributes:
        start_ns: when the recording starts.
        first_ns: the first time that is shown.
        end_ns: when it ends; None: not known yet.
        position_ns: what is shown is as it was then.
        speed: as a factor; infinity: as fast as it can be.
        paused: it stands still.
        ended: there is no more.
        goal_ns: where it is on its way to; None: it is not.
        began_ns: where that way began.
        step: it is to go on by one event.
        event: a line about the event that it stepped to.
        note: something else to be said at the top.
        seekable: it can go back.

    """

    start_ns: int
    first_ns: int
    end_ns: int | None = None
    position_ns: int = 0
    speed: float = 1.0
    paused: bool = False
    ended: bool = False
    goal_ns: int | None = None
    began_ns: int = 0
    step: bool = False
    event: str = ""
    note: str = ""
    seekable: bool = True

    def go_to(self, ns: int) -> None:
        """Move to a time."""
        last = _FAR if self.end_ns is None else self.end_ns
        goal = max(self.first_ns, min(ns, last))
        if goal < self.position_ns and not self.seekable:
            self.note = "A pipe can't be read again, so there is no way back."
            return
        self.goal_ns, self.began_ns = goal, self.position_ns
        self.step, self.event, self.note = False, "", ""

    def go_by(self, seconds: int, part: int) -> None:
        """Move by so many seconds, in a short recording by a part of it."""
        most = abs(seconds) * _SECOND
        if self.end_ns is not None:
            most = min(most, max(1, (self.end_ns - self.first_ns) // part))
        here = self.position_ns if self.goal_ns is None else self.goal_ns
        self.go_to(here + (most if seconds > 0 else -most))

    def hold_or_go_on(self) -> None:
        """Hold, or go on; from the end that is the start."""
        self.event = ""
        self.paused = not self.paused
        if self.ended and not self.paused:
            self.paused = not self.seekable
            self.go_to(self.first_ns)

    def faster(self, factor: float) -> None:
        """Change the speed."""
        if math.isinf(self.speed):
            self.speed = _FASTEST if factor < 1 else self.speed
        elif self.speed * factor > _FASTEST:
            self.speed = math.inf
        else:
            self.speed = max(_SLOWEST, self.speed * factor)

    @property
    def progress(self) -> float | None:
        """How much of the way to its goal is done, 0 to 1; None: there is none, or how far it is is not known."""
        if self.goal_ns is None or self.goal_ns == _FAR:
            return None
        begin = self.began_ns if self.began_ns <= self.goal_ns else self.first_ns
        return min(1.0, max(0, self.position_ns - begin) / max(1, self.goal_ns - begin))


class ReplayView(LiveView):
    """Shows a conversation as it went on."""

    keys_help: ClassVar[str] = _KEYS
    views: ClassVar[tuple[str, ...]] = VIEWS[:-1]  # furtrace check judges a recording, as a whole

    def __init__(self, info: TraceInfo, playback: Playback, *, ascii_only: bool = False) -> None:
        super().__init__(info, ascii_only=ascii_only)
        self._playback = playback
        self._clock = Clock(info.realtime_offset_ns)

    def rewind(self) -> None:
        """What follows is from the start again."""
        self._rates = Rates()
        self._connections.clear()

    def _own_key(self, key: str) -> bool:
        playing = self._playback
        if key == " ":
            playing.hold_or_go_on()
        elif key in (".", ">"):
            playing.paused = playing.step = True
        elif key in _SEEKS:
            playing.go_by(*_SEEKS[key])
        elif key in ("g", "G"):
            playing.go_to(playing.first_ns if key == "g" else _FAR)
        elif key in ("+", "=", "-"):
            playing.faster(0.5 if key == "-" else 2)
        elif key == "backspace":
            playing.speed = 1.0
        else:
            return False
        return True

    def _head(self, width: int, height: int) -> list[Line]:
        """Below the lines of any view, what is to be said now."""
        playing, head = self._playback, super()._head(width, height)
        if height >= 8:
            for text, style in ((playing.event, CYAN), (playing.note, RED)):
                head += [[Segment(line, style)] for line in self._wrapped(text, width)]
        elif playing.note:
            head = [item_line([Item(playing.note, 0, RED)], width, self._glyphs)]
        return head

    def _wrapped(self, text: str, width: int) -> list[str]:
        """A text in a few lines at most."""
        if not text:
            return []
        lines = wrapped(self._glyphs.plain(text), max(2, width))
        shown = [*lines[: _MOST_LINES - 1], "".join(lines[_MOST_LINES - 1 :])]
        return [fitted(line, width, self._glyphs.cut) for line in shown if line]

    def _state_items(self) -> list[Item]:
        playing = self._playback
        here, length = playing.position_ns - playing.start_ns, "?"
        if playing.end_ns is not None:
            length = _since(playing.end_ns - playing.start_ns)
        speed = "max" if math.isinf(playing.speed) else f"{playing.speed:g}x"
        return [
            *([Item(word, 0, REVERSE)] if (word := self._state()) else []),
            Item(f"{_since(here)} / {length}", 2, BOLD),
            Item(self._clock(playing.position_ns)[:-3], 4),
            Item(speed, 3),
        ]

    def _state(self) -> str:
        playing = self._playback
        if playing.goal_ns is not None:
            done = playing.progress
            return "SEEKING" if done is None else f"SEEKING {done:.0%}"
        return ("END" if playing.ended else "PAUSED") if playing.paused else ""

    def _own_keys(self) -> list[Item]:
        arrows = "<- ->" if self._glyphs.ascii_only else "\N{LEFTWARDS ARROW} \N{RIGHTWARDS ARROW}"
        return [
            Item("space go on" if self._playback.paused else "space pause", 2),
            Item(". step", 3),
            Item(f"{arrows} seek", 3),
            Item("+ - speed", 4),
        ]


def _since(nanoseconds: int) -> str:
    """A time since the start, to a millisecond."""
    seconds, rest = divmod(max(0, nanoseconds), _SECOND)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}.{rest // 1_000_000:03d}"

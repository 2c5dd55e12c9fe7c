"""Playing recordings: as lines, at any speed, or on the full screen, back and forth."""

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from furtrace.cli.reel import Pass, Reel
from furtrace.cli.showing import ascii_only
from furtrace.cli.stopping import Stopping
from furtrace.model.choosing import Playing
from furtrace.model.requests import Requests_
from furtrace.trace.record import Records, events_only
from furtrace.trace.tape import Tape, split
from furtrace.views.event_lines import EventLines
from furtrace.views.replay import Playback, ReplayView
from furtrace.views.terminal import Terminal

_FEW: Final = 64
_LINES_SECONDS: Final = 0.05
_FRAME_SECONDS: Final = 0.1
_PAUSED_SECONDS: Final = 0.25
_BUSY_SECONDS: Final = 0.1
"""How long the keys may have to wait."""


class LinesOutput(Protocol):
    """What writes lines, as :mod:`furtrace.cli.outputs` has it."""

    def batch(self, batch: Records, finished: Requests_) -> bool:
        """Write a batch, and the requests that ended in it; False: there were enough."""

    def end(self, elapsed_ns: int, now_ns: int) -> None:
        """Write what is left at a time."""


@dataclass
class Outcome:
    """What a replay came to. ``complaints``: what is wrong with the recordings, if they were read to their end."""

    conversation: Playing
    elapsed_ns: int
    complaints: list[str] = field(default_factory=list)
    damaged: bool = False


class _Show:
    """One pass of a recording through a model, of which what happens within the window is shown."""

    def __init__(self, reel: Reel, run: Pass) -> None:
        self.run = run
        self.conversation = reel.conversation(run)
        self.tape = Tape(run.batches())
        self._begun = run.first_ns <= run.start_ns

    def feed(self, records: Records) -> Iterator[tuple[Records, Requests_]]:
        """Move the model on, and yield what is shown of it, part by part."""
        if not self._begun:
            early, records = split(records, self.run.first_ns)
            for part in self.conversation.cut(early):
                self.conversation.feed(part)
            if not len(records):
                return
            self._begin()
        for part in self.conversation.cut(records):
            finished = self.conversation.feed(part)
            yield self.conversation.shown, finished

    def reach(self, ns: int) -> None:
        """All that there is until then has been fed."""
        if not self._begun and ns >= self.run.first_ns:
            self._begin()

    def _begin(self) -> None:
        self._begun = True
        self.conversation.count_anew()

    def outcome(self) -> Outcome:
        """What it came to so far."""
        if not self._begun:
            self._begin()
        elapsed = max(0, self.tape.position_ns - self.run.first_ns)
        return Outcome(self.conversation, elapsed, self.run.complaints, self.run.damaged)


# ---- lines ----


def play_lines(
    reel: Reel,
    output_of: Callable[[Pass, Playing], LinesOutput],
    stopping: Stopping,
    *,
    speed: float = math.inf,
    counted: bool = False,
) -> Outcome:
    """Write a recording as lines, to its end or until there are enough.

    Args:
        reel: the recording.
        output_of: makes what writes them.
        stopping: ends it.
        speed: as a factor; infinity: as fast as it can be.
        counted: there may soon be enough, so that not many events are to be taken in at a time.

    Raises:
        InputError: it can't be read.
        OSError: the lines can't be written.
    """
    with reel.opened() as run:
        show = _Show(reel, run)
        output = output_of(run, show.conversation)
        began = time.monotonic()
        while stopping.signal is None:
            ns = None if math.isinf(speed) else run.first_ns + int((time.monotonic() - began) * speed * 1e9)
            records = show.tape.until(ns, _FEW if counted else None)
            if show.tape.ended:
                break
            if not len(records):
                stopping.wait(_LINES_SECONDS)
            elif not all(output.batch(shown, finished) for shown, finished in show.feed(records)):
                break
        outcome = show.outcome()
        output.end(outcome.elapsed_ns, show.tape.position_ns)
    return outcome


# ---- the full screen ----


def play_screen(reel: Reel, speed: float, stopping: Stopping) -> Outcome:
    """Show a recording on the full screen until the user quits.

    Raises:
        InputError: it can't be read.
        OSError: the screen can't be drawn.
    """
    with contextlib.ExitStack() as stack:
        screen = _Screen(reel, speed, stack.enter_context(_keyboard()))
        stack.callback(screen.close)
        with Terminal(stdin_fd=screen.keyboard) as terminal:
            screen.play(terminal, stopping)
        return screen.outcome()


@contextlib.contextmanager
def _keyboard() -> Iterator[int]:
    """Where keys come from: the terminal itself, if standard input is a recording."""
    if sys.stdin is not None and sys.stdin.isatty():
        yield sys.stdin.fileno()
        return
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # there is none: no keys
        descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Screen:
    """A recording on the full screen: what is shown is moved on as its keys say."""

    def __init__(self, reel: Reel, speed: float, keyboard: int) -> None:
        self.keyboard = keyboard
        self._reel = reel
        self._stack = contextlib.ExitStack()
        self._show = self._open()
        run = self._show.run
        self._playing = Playback(run.start_ns, run.first_ns, reel.end_ns, run.start_ns, speed)
        self._playing.seekable = reel.rereadable
        self._info = replace(run.info, mounts={})
        self._view = ReplayView(self._info, self._playing, ascii_only=ascii_only())
        self._measuring = reel.measure() if reel.rereadable and reel.end_ns is None else None
        self._last = time.monotonic()
        self._next_frame = 0.0
        if run.first_ns > run.start_ns:
            self._playing.go_to(run.first_ns)

    def _open(self) -> _Show:
        return _Show(self._reel, self._stack.enter_context(self._reel.opened()))

    def close(self) -> None:
        """Close the recordings."""
        self._stack.close()
        if self._measuring is not None:
            self._measuring.close()

    def outcome(self) -> Outcome:
        """What it came to."""
        return self._show.outcome()

    def play(self, terminal: Terminal, stopping: Stopping) -> None:
        """Play until the user quits, or a signal comes."""
        has_keys = os.isatty(self.keyboard)
        while stopping.signal is None and (has_keys or not self._playing.ended):
            busy = self._move()
            if time.monotonic() >= self._next_frame:
                self._draw(terminal)
            pause = 0.0 if busy else _PAUSED_SECONDS if self._playing.paused else _FRAME_SECONDS / 2
            for key in terminal.keys(pause):
                if not self._view.key(key):
                    return
                self._next_frame = 0.0

    def _draw(self, terminal: Terminal) -> None:
        self._next_frame = time.monotonic() + _FRAME_SECONDS
        numbers, mounts = self._reel.numbers(), self._show.run.info.mounts
        self._info.mounts |= {at: path for at, path in mounts.items() if numbers is None or at in numbers}
        self._playing.end_ns = self._reel.end_ns if self._playing.end_ns is None else self._playing.end_ns
        self._view.update(self._show.conversation, self._playing.position_ns)
        terminal.show(self._view.render(terminal.width, terminal.height))

    def _move(self) -> bool:
        """Go on for a moment; True: there is more to be done at once."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        playing = self._playing
        if playing.goal_ns is not None:
            return self._seek(playing.goal_ns)
        if playing.step:
            return self._step()
        if playing.paused:
            return self._measure()
        if math.isinf(playing.speed):
            return self._feed_until(None)
        return self._feed_until(playing.position_ns + int(passed * playing.speed * 1e9)) or self._measure()

    def _measure(self) -> bool:
        """Nothing else has to be done: read on to find out where the end is."""
        if self._measuring is None:
            return False
        if next(self._measuring, True):
            self._measuring = None
        return True

    def _feed_until(self, ns: int | None) -> bool:
        """Feed what comes before a time; True: that takes longer than the keys may wait."""
        tape, deadline = self._show.tape, time.monotonic() + _BUSY_SECONDS
        while True:
            records = tape.until(ns)
            if tape.ended:
                self._reach_the_end()
                return False
            if not len(records):
                self._playing.position_ns = ns or tape.position_ns
                self._show.reach(self._playing.position_ns)
                return False
            for _ in self._show.feed(records):
                pass
            self._playing.position_ns = tape.position_ns
            if time.monotonic() >= deadline:
                return True

    def _seek(self, goal: int) -> bool:
        """Go on to a time; back is from the start again."""
        playing = self._playing
        if goal < self._show.tape.position_ns:
            self._rewind()
        if self._feed_until(goal):
            return True
        playing.goal_ns = None
        return False

    def _rewind(self) -> None:
        """Begin again."""
        self._stack.close()
        self._stack = contextlib.ExitStack()
        self._show = self._open()
        self._view.rewind()
        self._playing.position_ns = self._playing.start_ns
        self._playing.ended = False

    def _reach_the_end(self) -> None:
        playing, run = self._playing, self._show.run
        playing.ended = playing.paused = True
        playing.goal_ns, playing.step = None, False
        playing.position_ns = max(playing.position_ns, self._show.tape.position_ns)
        playing.end_ns = max(playing.end_ns or 0, playing.position_ns)
        playing.note = " ".join(run.complaints)

    def _step(self) -> bool:
        """Go on by one event that is shown."""
        playing, tape, deadline = self._playing, self._show.tape, time.monotonic() + _BUSY_SECONDS
        while time.monotonic() < deadline:
            records = tape.event()
            if tape.ended:
                self._reach_the_end()
                return False
            lines = [line for shown, _ in self._show.feed(records) for line in self._lines_of(shown)]
            playing.position_ns = tape.position_ns
            if lines:
                playing.event, playing.step = lines[-1], False
                return False
        return True

    def _lines_of(self, shown: Records) -> list[str]:
        if not len(events_only(shown)):
            return []
        said = self._show.conversation
        return list(EventLines(self._show.run.info, said.requests, said.paths).lines(shown))

"""The full screen that plays a recording: wherever its keys move it, it shows what there was until then."""

import contextlib
import io
import os
import pty
import re
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from furtrace.cli.moments import Moment
from furtrace.cli.reel import Reel, Window
from furtrace.cli.replaying import _Screen
from furtrace.cli.stopping import Stopping
from furtrace.model.choosing import Wanted
from furtrace.model.conversation import Conversation
from furtrace.model.filtering import DisplayFilter
from furtrace.trace.record import Records, mounted_record
from tests.unit.cli.test_replay import START, recorded
from tests.unit.events import batch, queued, whole
from tests.unit.views.live_events import Traffic

SECOND = 10**9
LENGTH = 20


def _records() -> Records:
    """Twenty seconds, some of whose requests never end."""
    traffic = Traffic()
    parts = [traffic.next(START + at * SECOND, START + (at + 1) * SECOND, 20) for at in range(LENGTH)]
    return batch(queued(999_999, START), *parts)


RECORDS = _records()
END = int(RECORDS["ns"].max())


class _Typist:
    """A terminal whose keys are typed as soon as the last one has been obeyed."""

    width, height = 100, 30

    def __init__(self, screen: _Screen, keys: list[str]) -> None:
        self._screen = screen
        self._keys = [*keys, "q"]
        self.frames: list[str] = []
        self.after: list[tuple[str, int, int, int, list[int]]] = []
        """After each key: it, the position, events and requests so far, requests under way."""

    def keys(self, seconds: float) -> list[str]:  # noqa: ARG002
        playing = self._screen._playing
        if playing.goal_ns is not None or playing.step:
            return []
        said = self._screen._show.conversation
        under_way = sorted(said.requests.under_way["unique"].tolist())
        self.after.append((self._last, playing.position_ns, said.events, said.ended, under_way))
        self._last = self._keys.pop(0)
        return [self._last]

    _last = ""

    def show(self, picture: RenderableType) -> None:
        output = io.StringIO()
        Console(file=output, width=200, color_system=None).print(picture, crop=False, end="")
        self.frames.append(output.getvalue())


@contextlib.contextmanager
def _screen(path: str, wanted: Wanted | None = None, window: Window | None = None) -> Iterator[_Screen]:
    """One that stands still."""
    reel = Reel([path], wanted or Wanted(), window or Window())
    ours, theirs = pty.openpty()
    with Stopping() as stopping:
        reel.judge(stopping)
    screen = _Screen(reel, 1.0, theirs)
    screen._playing.paused = True
    try:
        yield screen
    finally:
        screen.close()
        os.close(ours)
        os.close(theirs)


def _typed(screen: _Screen, *keys: str) -> _Typist:
    typist = _Typist(screen, list(keys))
    with Stopping() as stopping:
        screen.play(typist, stopping)  # type: ignore[arg-type]
    return typist


def _until(count: int) -> tuple[int, list[int]]:
    """What there is after so many events: requests that ended, and those under way."""
    conversation = Conversation()
    conversation.feed(RECORDS[:count])
    return conversation.ended, sorted(conversation.requests.under_way["unique"].tolist())


def _not_later(ns: int) -> int:
    later = np.flatnonzero(RECORDS["ns"] > ns)
    return int(later[0]) if len(later) else len(RECORDS)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recording."""
    return recorded(tmp_path_factory.mktemp("replaying") / "traffic.pcapng", RECORDS, mounts={54: "/mnt/demo"})


_KEYS = st.lists(st.sampled_from(["left", "right", "[", "]", "g", "G", ".", ".", "+", "1", "5", "s"]), max_size=12)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_KEYS)
def test_wherever_it_is_moved_it_shows_what_there_was_until_then(path: str, keys: list[str]) -> None:
    with _screen(path) as screen:
        typist = _typed(screen, *keys)
    fed, position = 0, START
    for key, now, events, ended, under_way in typist.after:
        if key == ".":
            fed = min(fed + 1, len(RECORDS))
            position = max(position, int(RECORDS["ns"][:fed].max()))
        elif key in ("left", "right", "[", "]", "g", "G"):
            position = now
            fed = _not_later(now)
        assert now == position
        assert events == fed
        assert (ended, under_way) == _until(fed)
        assert START <= now <= END


@pytest.mark.parametrize(
    ("keys", "seconds"),
    [(["right"], 2), (["right", "right", "left"], 2), (["]", "]"], 0.4), (["G", "["], LENGTH - 0.2), (["G", "g"], 0)],
)
def test_moving(path: str, keys: list[str], seconds: float) -> None:
    """By a tenth, and by a hundredth, of twenty seconds."""
    with _screen(path) as screen:
        # The end is known once it has had time to look for it.
        while screen._measure():
            pass
        typist = _typed(screen, *keys)
        position = typist.after[-1][1]
    assert abs((position - START) / SECOND - seconds) < 0.3


def test_a_step_shows_the_event(path: str) -> None:
    with _screen(path) as screen:
        typist = _typed(screen, ".", ".")
    lines = [frame.split("\n")[2].strip() for frame in typist.frames]
    assert "22:13:20.000000 7:? QUEUED unique=999999 GETATTR #5 client[41]" in lines
    assert re.fullmatch(r"22:13:20\.\d{6} 54:\? QUEUED unique=\d+ .*", lines[-1])


def test_a_step_is_one_event_that_is_shown(path: str) -> None:
    wanted = Wanted(display=DisplayFilter("op == OPEN"))
    with _screen(path, wanted) as screen:
        typist = _typed(screen, *["."] * 5)
    opcodes = RECORDS[np.isin(RECORDS["opcode"], [14])]
    assert [events for _, _, events, _, _ in typist.after] == [0, 1, 2, 3, 4, 5]
    assert [at for _, at, *_ in typist.after[1:]] == opcodes["ns"][:5].tolist()


def test_steps_past_the_end_stay_there(tmp_path: Path) -> None:
    short = recorded(tmp_path / "short.pcapng", batch(mounted_record(START, 7, b"/mnt"), *whole(4, START)))
    with _screen(short) as screen:
        typist = _typed(screen, *["."] * 7)
        assert screen.outcome().conversation.ended == 1
    assert [events for _, _, events, _, _ in typist.after] == [0, 1, 2, 3, 4, 4, 4, 4]
    assert typist.frames[-1].startswith("END  0:00:00.000 / 0:00:00.000")


def test_at_its_end_it_stays_until_it_is_left(path: str) -> None:
    with _screen(path) as screen:
        screen._playing.paused = False
        screen._playing.speed = float("inf")
        began = time.monotonic()
        typist = _Typist(screen, [])
        held = typist.keys
        typist.keys = lambda seconds: held(seconds) if time.monotonic() > began + 1 else []  # type: ignore[method-assign]
        with Stopping() as stopping:
            screen.play(typist, stopping)  # type: ignore[arg-type]
        outcome = screen.outcome()
    assert typist.frames[-1].startswith(f"END  0:00:{LENGTH - 1}.")
    assert (outcome.conversation.events, outcome.elapsed_ns) == (len(RECORDS), END - START)
    assert (outcome.complaints, outcome.damaged) == ([], False)


def test_going_on_from_the_end_begins_again(path: str) -> None:
    with _screen(path) as screen:
        typist = _typed(screen, "G", " ", " ")
    assert [events for _, _, events, _, _ in typist.after][:2] == [0, len(RECORDS)]
    assert typist.after[2][2] < len(RECORDS) // 2


def test_quitting_early_says_what_there_was_until_then(path: str) -> None:
    with _screen(path) as screen:
        _typed(screen, "right")
        outcome = screen.outcome()
    assert 0 < outcome.conversation.events < len(RECORDS)
    assert 0 < outcome.elapsed_ns <= 10 * SECOND


def test_the_pace_is_the_recordings(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on only while keys are waited for."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with _screen(path) as screen:
        while screen._measure():
            pass
        screen._playing.paused = False
        screen._playing.speed = 2.0
        positions = []
        typist = _Typist(screen, [])

        def keys(seconds: float) -> list[str]:
            positions.append((now[0] - 100, screen._playing.position_ns, screen._show.conversation.events))
            now[0] += seconds
            return ["q"] if now[0] > 103 else []

        typist.keys = keys  # type: ignore[method-assign]
        with Stopping() as stopping:
            screen.play(typist, stopping)  # type: ignore[arg-type]
    assert len(positions) > 50
    for passed, position, events in positions:
        assert abs((position - START) / SECOND - 2 * passed) < 0.001
        assert abs(events - _not_later(position)) <= 0


def test_a_window(path: str) -> None:
    window = Window(Moment(since_ns=5 * SECOND), Moment(since_ns=15 * SECOND))
    with _screen(path, window=window) as screen:
        while screen._measure():
            pass
        typist = _typed(screen, "g", "G", "left", "left")
    within = RECORDS[(RECORDS["ns"] > START + 5 * SECOND) & (RECORDS["ns"] <= START + 15 * SECOND)]
    places = [round((at - START) / SECOND) for _, at, *_ in typist.after]
    assert places == [5, 5, 15, 14, 13]
    assert [events for _, _, events, _, _ in typist.after][:3] == [0, 0, len(within)]
    assert "/ 0:00:14.9" in typist.frames[-1].split("\n")[0]


def test_filters_count_what_they_show(path: str) -> None:
    with _screen(path, Wanted(queues=frozenset({1}), opcodes=frozenset({15}))) as screen:
        typist = _typed(screen, "G", "3")
        outcome = screen.outcome()
    reads = (RECORDS["opcode"] == 15) & (RECORDS["cpu"] == 1)
    assert outcome.conversation.events == int(reads.sum())
    assert [operation.opcode for operation in outcome.conversation.operations.table()] == [15]
    assert "Operations: 1," in typist.frames[-1]


def test_the_view_has_the_mounts_that_are_shown(path: str) -> None:
    with _screen(path) as screen:
        assert "2 connections" in _typed(screen, "G").frames[-1]
    with _screen(path, Wanted(connection=54)) as screen:
        assert "1 connection: 54 /mnt/demo" in _typed(screen, "G").frames[-1]
    with _screen(path, Wanted(connection=7)) as screen:
        assert "1 connection: 7 ?" in _typed(screen, "G").frames[-1]


def test_damage_is_told_at_the_end(path: str, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(Path(path).read_bytes()[:200_000])
    with _screen(str(cut)) as screen:
        typist = _typed(screen, "]", "G")
        outcome = screen.outcome()
    assert "is not whole: it is cut off" in " ".join(typist.frames[-1].split())
    assert outcome.damaged
    assert len(outcome.complaints) == 1
    with _screen(str(cut)) as screen:
        _typed(screen, "]")
        assert not screen.outcome().damaged


# ---- on a terminal ----


# Whoever leads a session and opens a terminal gets it as the session's.
_ON_ITS_TERMINAL = """
import os, runpy, sys
os.close(os.open(os.ttyname(1), os.O_RDWR))
runpy.run_module("furtrace", run_name="__main__", alter_sys=True)
"""


class _Pty:
    """furtrace on a terminal of its own."""

    def __init__(self, *arguments: str, stdin: str | None = None) -> None:
        self.ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        with contextlib.ExitStack() as stack:
            given_ = stack.enter_context(Path(stdin).open("rb")) if stdin else theirs
            self.process = subprocess.Popen(
                [sys.executable, "-c", _ON_ITS_TERMINAL, "replay", *arguments],
                stdin=given_,
                stdout=theirs,
                stderr=subprocess.PIPE,
                env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"},
                start_new_session=True,
            )
        os.close(theirs)
        self.seen = b""

    def wait_for(self, done: Callable[[bytes], bool]) -> None:
        """Read until something was seen."""
        end = time.monotonic() + 30
        while not done(self.seen):
            assert time.monotonic() < end, self.seen[-2000:]
            self.seen += os.read(self.ours, 65536)

    def end(self, keys: bytes) -> tuple[int, bytes]:
        """Press keys; return exit status and errors."""
        os.write(self.ours, keys)
        with contextlib.suppress(OSError):
            while data := os.read(self.ours, 65536):
                self.seen += data
        _, err = self.process.communicate(timeout=30)
        os.close(self.ours)
        return self.process.returncode, err


def test_on_a_terminal(path: str) -> None:
    terminal = _Pty(path, "--speed", "max")
    terminal.wait_for(lambda seen: b"END" in seen)
    status, err = terminal.end(b"q")
    assert status == 0
    assert f", {len(RECORDS)} events in {(END - START) / SECOND:.1f}s, 0 lost".encode() in err
    assert terminal.seen.endswith(b"\x1b[?1049l")


def test_keys_come_from_the_terminal_when_the_recording_is_standard_input(path: str) -> None:
    terminal = _Pty("-", "--speed", "max", stdin=path)
    terminal.wait_for(lambda seen: b"END" in seen)
    os.write(terminal.ours, b"g")
    terminal.wait_for(lambda seen: b"no way back" in seen)
    assert terminal.end(b"q")[0] == 0


def test_ctrl_c_on_a_terminal(path: str) -> None:
    terminal = _Pty(path, "--speed", "0.1")
    terminal.wait_for(lambda seen: b"Requests in flight" in seen)
    status, err = terminal.end(b"\x03")
    assert status == 0
    assert b" requests (" in err

"""The full-screen view of a recording: what it says of where it is, and what its keys ask for."""

import io
import math
from typing import Any

import pytest
from rich.console import Console

from furtrace.model.conversation import Conversation
from furtrace.views.live import VIEWS
from furtrace.views.replay import Playback, ReplayView
from tests.unit.views.live_events import MS, SECOND, info, queued

START = 1000 * SECOND
pytestmark = pytest.mark.usefixtures("_utc")


def made(**changes: Any) -> Playback:
    """A recording of 100 seconds, at its 50th."""
    known: dict[str, Any] = {"start_ns": START, "first_ns": START, "end_ns": START + 100 * SECOND}
    return Playback(**(known | {"position_ns": START + 50 * SECOND} | changes))


def pressed(playback: Playback, *keys: str) -> ReplayView:
    view = ReplayView(info(), playback)
    for key in keys:
        assert view.key(key)
    return view


def lines(view: ReplayView, width: int = 80, height: int = 24) -> list[str]:
    """The picture, without colours."""
    output = io.StringIO()
    console = Console(file=output, width=1000, height=height, color_system=None, force_terminal=False)
    console.print(view.render(width, height), crop=False, end="")
    return output.getvalue().split("\n")


def since(playback: Playback) -> float | None:
    """Where it is on its way to, in seconds since the start."""
    return None if playback.goal_ns is None else (playback.goal_ns - START) / SECOND


# ---- what it says ----


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({}, "0:00:50.000 / 0:01:40.000  00:17:30.000  1x  "),
        ({"position_ns": START + 1234 * MS, "speed": 0.25}, "0:00:01.234 / 0:01:40.000  00:16:41.234  0.25x  "),
        ({"end_ns": None, "speed": math.inf}, "0:00:50.000 / ?  00:17:30.000  max  "),
        ({"paused": True}, "PAUSED  0:00:50.000 / "),
        ({"paused": True, "ended": True}, "END  0:00:50.000 / "),
        ({"goal_ns": START + 75 * SECOND, "began_ns": START + 25 * SECOND}, "SEEKING 50%  0:00:50.000 / "),
        ({"goal_ns": START + 80 * SECOND, "began_ns": START + 90 * SECOND}, "SEEKING 62%  0:00:50.000 / "),
        ({"goal_ns": 1 << 62, "end_ns": None}, "SEEKING  0:00:50.000 / ?"),
        ({"position_ns": START + 4000 * SECOND, "end_ns": START + 7200 * SECOND}, "1:06:40.000 / 2:00:00.000  "),
    ],
)
def test_where_it_is(changes: dict[str, Any], first: str) -> None:
    assert lines(ReplayView(info(), made(**changes)))[0].startswith(first)


def test_what_is_to_be_said_stands_below_the_head() -> None:
    view = ReplayView(info(), made(event="22:13:20.000001 7:? QUEUED unique=2", note="It is damaged."))
    head = [line.rstrip() for line in lines(view)[2:4]]
    assert head == ["22:13:20.000001 7:? QUEUED unique=2", "It is damaged."]
    assert "Requests in flight" in lines(view)[4]
    assert "Requests in flight" in lines(ReplayView(info(), made()))[2]


def test_ages_are_by_the_recordings_time() -> None:
    conversation = Conversation()
    conversation.feed(queued(2, START + 47 * SECOND))
    view = ReplayView(info(), made())
    view.update(conversation, START + 50 * SECOND)
    assert any(" 3.00s " in line for line in lines(view))


def test_the_picture_goes_on_while_it_is_held() -> None:
    """It is the recording that is held, and steps are shown."""
    conversation, playback = Conversation(), made(paused=True)
    view = ReplayView(info(), playback)
    view.update(conversation, START + 50 * SECOND)
    conversation.feed(queued(2, START + 50 * SECOND))
    view.update(conversation, START + 50 * SECOND)
    assert "Requests in flight: 1" in "\n".join(lines(view))


def test_rates_begin_again_at_the_start() -> None:
    conversation, view = Conversation(), ReplayView(info(), made())
    for second in (40, 41):
        conversation.feed(queued(second, START + second * SECOND))
        view.update(conversation, START + second * SECOND)
    assert "1.0 events/s" in lines(view)[1]
    view.rewind()
    view.update(Conversation(), START)
    assert "- events/s" in lines(view)[1]


def test_a_long_text_has_some_lines() -> None:
    words = " ".join(f"word{number}" for number in range(60))
    head = lines(ReplayView(info(), made(event=words)))[2:6]
    assert "Requests in flight" in head.pop()
    assert len(head) == 3
    text = " ".join(" ".join(head).split())
    assert text.endswith("\N{HORIZONTAL ELLIPSIS}")
    assert words.startswith(text[:-1])
    assert len(text) > 200
    short = lines(ReplayView(info(), made(event="x " * 50)))[2:5]
    assert [line.split() for line in short[:2]] == [["x"] * 40, ["x"] * 10]
    assert "Requests in flight" in short[2]


@pytest.mark.parametrize("width", [1, 10, 20, 40, 80, 160])
@pytest.mark.parametrize("height", [1, 2, 3, 7, 8, 24])
@pytest.mark.parametrize("said", [{}, {"event": "\u4f60" * 90, "note": "x" * 300}])
def test_it_fits_every_terminal(width: int, height: int, said: dict[str, str]) -> None:
    view = ReplayView(info(), made(**said))
    for keys in ("", "?"):
        for key in keys:
            view.key(key)
        shown = lines(view, width, height)
        assert len(shown) == height
        assert all(Console().measure(line).maximum <= width for line in shown)


def test_a_small_terminal_shows_a_note_first() -> None:
    assert lines(ReplayView(info(), made(note="It is damaged.")), 40, 5)[0].startswith("It is damaged.")


def test_ascii() -> None:
    view = ReplayView(info(), made(event="/\u00e9"), ascii_only=True)
    text = "\n".join(lines(view, 100))
    assert text.isascii()
    assert "<- -> seek" in text
    assert "/\\xe9" in text


def test_the_keys_are_told() -> None:
    for width in (80, 160):
        foot = lines(ReplayView(info(), made()), width)[-1]
        for words in ("q quit", "space pause", ". step", "seek", "? help"):
            assert words in foot
    assert "space go on" in lines(ReplayView(info(), made(paused=True)))[-1]
    text = "\n".join(lines(pressed(made(), "?"), 100, 60))
    for key in ("space", ". >", "left right", "[ ]", "g G", "+ -", "backspace"):
        assert f"  {key} " in text or f" {key}:" in text
    assert "hold the picture still" not in text


# ---- keys ----


@pytest.mark.parametrize(
    ("keys", "goal"),
    [
        (["right"], 60),
        (["left"], 40),
        (["right", "right"], 70),
        (["right", "left", "left"], 40),
        (["]"], 51),
        (["[", "["], 48),
        (["g"], 0),
        (["G"], 100),
        (["left"] * 9, 0),
        (["right"] * 9, 100),
    ],
)
def test_moving(keys: list[str], goal: float) -> None:
    playback = made()
    pressed(playback, *keys)
    assert since(playback) == goal
    assert playback.began_ns == START + 50 * SECOND


def test_moving_in_a_short_recording() -> None:
    playback = made(end_ns=START + 2 * SECOND, position_ns=START + SECOND)
    pressed(playback, "right")
    assert since(playback) == 1.2
    pressed(playback, "[")
    assert since(playback) == 1.18


def test_moving_where_the_end_is_not_known() -> None:
    playback = made(end_ns=None)
    pressed(playback, "right")
    assert since(playback) == 60
    pressed(playback, "G")
    assert playback.goal_ns is not None
    assert playback.goal_ns > START + 10**9 * SECOND


def test_moving_stays_in_the_window() -> None:
    playback = made(first_ns=START + 45 * SECOND)
    pressed(playback, "left")
    assert since(playback) == 45


def test_what_can_be_read_once_has_no_way_back() -> None:
    playback = made(seekable=False)
    view = pressed(playback, "left")
    assert since(playback) is None
    assert "no way back" in lines(view)[2]
    pressed(playback, "right")
    assert (since(playback), playback.note) == (60, "")


def test_holding_and_going_on() -> None:
    playback = made()
    view = pressed(playback, " ")
    assert playback.paused
    view.key(" ")
    assert not playback.paused


def test_from_the_end_it_goes_on_from_the_start() -> None:
    playback = made(paused=True, ended=True, position_ns=START + 100 * SECOND)
    pressed(playback, " ")
    assert (since(playback), playback.paused) == (0, False)
    playback = made(paused=True, ended=True, position_ns=START + 100 * SECOND, seekable=False)
    pressed(playback, " ")
    assert (since(playback), playback.paused) == (None, True)


@pytest.mark.parametrize("key", [".", ">"])
def test_stepping_holds(key: str) -> None:
    playback = made()
    pressed(playback, key)
    assert (playback.step, playback.paused) == (True, True)


def test_what_was_said_of_a_step_is_gone_with_the_next_move() -> None:
    for key in (" ", "right", "g"):
        playback = made(event="something", paused=True)
        pressed(playback, key)
        assert playback.event == ""


@pytest.mark.parametrize(
    ("speed", "keys", "after"),
    [
        (1.0, "+", 2.0),
        (1.0, "=", 2.0),
        (1.0, "-", 0.5),
        (1.0, "-" * 20, 1 / 64),
        (512.0, "+", 1024.0),
        (1024.0, "+", math.inf),
        (math.inf, "+", math.inf),
        (math.inf, "-", 1024.0),
        (3.0, "-+", 3.0),
    ],
)
def test_speed(speed: float, keys: str, after: float) -> None:
    playback = made(speed=speed)
    pressed(playback, *keys)
    assert playback.speed == after
    pressed(playback, "backspace")
    assert playback.speed == 1


def test_other_keys_are_those_of_every_view() -> None:
    playback = made()
    view = ReplayView(info(), playback)
    before = vars(playback).copy()
    for number, name in enumerate(VIEWS[:-1], 1):
        assert view.key(str(number))
        assert view.view == name
    assert view.key(str(len(VIEWS)))
    assert view.view == VIEWS[-2]  # a recording is judged by furtrace check
    for key in (
        "tab",
        "backtab",
        "s",
        "S",
        "r",
        "up",
        "down",
        "j",
        "k",
        "pgup",
        "pgdn",
        "home",
        "end",
        "x",
        "?",
        "escape",
    ):
        assert view.key(key)
    assert vars(playback) == before
    assert not view.paused
    assert not view.key("q")

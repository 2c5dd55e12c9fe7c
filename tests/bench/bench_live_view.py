"""What the live view costs: CPU time of update, render and show at 160x50, with 20 000 requests a second going on.

The peer is a frame of as many cells in plain rich tables, drawn by rich's own console. Run it as
``python -m tests.bench.bench_live_view``.
"""

import os
import pty
import termios
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console, Group
from rich.table import Table

from furtrace.model.conversation import Conversation
from furtrace.views.live import VIEWS, LiveView
from furtrace.views.terminal import Terminal
from tests.unit.views.live_events import NOW, SECOND, Traffic, info, queued

WIDTH, HEIGHT = 160, 50
FRAMES = 100
FRAMES_A_SECOND = 4
REQUESTS_A_SECOND = 20_000
WAITING = 300


def main() -> None:
    """Measure and print."""
    peer = _seconds(_TableFrames)
    for key, view in enumerate(VIEWS, start=1):
        seconds = _seconds(partial(_LiveFrames, key=str(key)))
        print(f"{_cost(view, seconds)}  {peer / seconds:5.1f} x faster than rich tables")
    print(_cost("rich tables", peer))


def _cost(what: str, seconds: float) -> str:
    return f"{what:<11} {seconds * 1e3:6.2f} ms a frame  {seconds * FRAMES_A_SECOND:6.2%} of a core"


class _LiveFrames:
    def __init__(self, console: Console, key: str) -> None:
        self._terminal = Terminal(console=console, stdin_fd=console.file.fileno())
        self._terminal.__enter__()
        self._view = LiveView(info())
        self._view.key(key)
        self._conversation = Conversation()
        self._traffic = Traffic()
        for number in range(WAITING):  # of a server that is stuck, so that the table of requests is full
            self._conversation.feed(queued(10_000_001 + 2 * number, NOW - number * SECOND // 10))

    def prepare(self, frame: int) -> None:
        step = SECOND // FRAMES_A_SECOND
        begin = NOW + frame * step
        self._conversation.feed(self._traffic.next(begin, begin + step, REQUESTS_A_SECOND // FRAMES_A_SECOND))

    def draw(self, frame: int) -> None:
        self._view.update(self._conversation, NOW + (frame + 1) * SECOND // FRAMES_A_SECOND)
        self._terminal.show(self._view.render(WIDTH, HEIGHT))


class _TableFrames:
    """As many rows and columns as the view "all" has."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def prepare(self, frame: int) -> None:
        """Nothing has to happen before."""

    def draw(self, frame: int) -> None:
        requests, operations, queues = (
            _table(frame, columns=columns, rows=rows) for columns, rows in ((9, 18), (9, 10), (10, 8))
        )
        self._console.print(Group(requests, operations, queues))


def _table(frame: int, columns: int, rows: int) -> Table:
    table = Table(box=None, expand=True)
    for column in range(columns):
        table.add_column(f"column {column}", no_wrap=True)
    for row in range(rows):
        table.add_row(*(f"{frame + row}/{column}" for column in range(columns)))
    return table


def _seconds(make: Callable[[Console], _LiveFrames | _TableFrames]) -> float:
    """CPU seconds a frame, on a terminal whose output is read by a thread that is not counted."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (HEIGHT, WIDTH))
    reader = threading.Thread(target=_drain, args=(ours,), daemon=True)
    reader.start()
    with Path(os.ttyname(theirs)).open("w") as file:
        console = Console(file=file, width=WIDTH, height=HEIGHT, force_terminal=True, color_system="256")
        frames = make(console)
        spent = 0.0
        for frame in range(FRAMES):
            frames.prepare(frame)
            before = time.thread_time()
            frames.draw(frame)
            spent += time.thread_time() - before
    return spent / FRAMES


def _drain(descriptor: int) -> None:
    while os.read(descriptor, 65536):
        pass


if __name__ == "__main__":
    main()

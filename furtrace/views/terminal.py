"""The terminal of the live view: keys without Enter, a screen of its own, and everything as it was afterwards."""

import contextlib
import errno
import os
import select
import signal
import termios
import time
from types import FrameType, TracebackType
from typing import Any, Final, Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.control import Control
from rich.segment import Segment

from furtrace.views.live_keys import KeyDecoder
from furtrace.views.live_table import Line

# The alternate screen, no cursor, and no wrapping: where the terminal and rich disagree about the width of a
# character, one line is cut instead of all others moved.
_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE: Final = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"

_ESCAPE_S: Final = 0.05
"""How long the rest of an escape sequence may take; a lone ESC is the Escape key after that."""

_FALLBACK_SIZE: Final = os.terminal_size((80, 24))


class Terminal:
    """The terminal while the live view has it; a context manager.

    Within it, keys come at once and are not echoed, and there is a screen of its own without a cursor. Ctrl-C and
    Ctrl-Z keep their meaning: stopped, the terminal is given back as it was. A tracer that goes on in the background
    draws nothing and reads nothing until it is in the foreground again. Ctrl-S does not stop the output here, for a
    tracer that waits for its own screen loses events.

    Must be used in the main thread, for the sake of the signals. If the terminal goes away, :meth:`show` raises
    OSError and :meth:`keys` says ``q``; leaving never raises.
    """

    def __init__(self, stdin_fd: int = 0, console: Console | None = None) -> None:
        self._stdin = stdin_fd
        self._console = console or Console()
        self._stdin_is_terminal = os.isatty(stdin_fd)
        self._output = _descriptor(self._console)
        self._decoder = KeyDecoder()
        self._begun_at = 0.0
        self._saved_mode: list[Any] = []
        self._saved_handlers: dict[signal.Signals, Any] = {}
        self._wake_read = self._wake_write = -1
        self._active = False
        self._drawn: list[Line] = []
        self._drawn_size = (0, 0)

    def __enter__(self) -> Self:
        """Take the terminal."""
        if self._stdin_is_terminal:
            self._saved_mode = termios.tcgetattr(self._stdin)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._catch_signals()
            self._take()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back as it was, whatever happened."""
        self._close()

    @property
    def width(self) -> int:
        """Columns, now."""
        return self._size().columns

    @property
    def height(self) -> int:
        """Lines, now."""
        return self._size().lines

    def keys(self, timeout: float) -> list[str]:
        """Wait at most ``timeout`` seconds for keys and return their names, in order; none came: an empty list.

        Letters and signs are their own names; others are ``up``, ``pgdn``, ``tab``, ``backtab``, ``escape``, ... The
        end of the input counts as ``q``. If stdin is no terminal there are no keys, and this just waits.
        """
        until = time.monotonic() + timeout
        while True:
            self._take_if_ours()
            keys = self._wait(until)
            if keys or time.monotonic() >= until:
                return keys

    def show(self, renderable: RenderableType) -> None:
        """Draw one picture over the whole screen; only the lines that changed are sent."""
        if not self._active:
            return
        size = (self.width, self.height)
        options = self._console.options.update(width=size[0], height=size[1], no_wrap=True)
        lines = self._console.render_lines(renderable, options)[: size[1]]
        lines += [[Segment(" " * size[0])] for _ in range(size[1] - len(lines))]
        if size != self._drawn_size:
            self._drawn, self._drawn_size = [], size
        changes = _Changes(lines, self._drawn)
        self._drawn = lines
        self._console.print(changes, end="", crop=False)

    def _wait(self, until: float) -> list[str]:
        """Wait for one thing to happen and return the keys that it brought."""
        if self._decoder.pending:
            until = min(until, self._begun_at + _ESCAPE_S)
        ready = self._poll(max(0.0, until - time.monotonic()))
        if self._wake_read in ready:
            self._signalled()
            return []  # whoever had the terminal meanwhile may have read the keys, and a read would wait for others
        if self._stdin in ready:
            return self._read()
        if self._decoder.pending and time.monotonic() >= self._begun_at + _ESCAPE_S:
            return self._decoder.flush()
        return []

    def _poll(self, seconds: float) -> set[int]:
        """Wait for signals and, where they are ours to read, for keys; poll, for descriptors may be beyond select's."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if self._stdin_is_terminal and self._active:
            poll.register(self._stdin, select.POLLIN)
        return {descriptor for descriptor, _ in poll.poll(seconds * 1000)}

    def _read(self) -> list[str]:
        try:
            data = os.read(self._stdin, 1024)
        except OSError:
            data = b""  # EIO: hung up
        if not data:
            return ["q"]
        self._begun_at = time.monotonic()
        return self._decoder.feed(data)

    # Taking the terminal and giving it back.

    def _take_if_ours(self) -> None:
        """Take the terminal again, if it was given back and this is in the foreground now; nothing tells when it is."""
        if not self._active and self._in_foreground():
            self._take()

    def _take(self) -> None:
        self._active = True  # from here on there is something to give back
        if self._stdin_is_terminal:
            self._set_mode(_key_mode(self._saved_mode))
        self._write(_ENTER)
        self._drawn = []

    def _give_back(self) -> None:
        if not self._active:
            return
        self._active = False
        with contextlib.suppress(OSError, ValueError):
            self._write(_LEAVE)
        # In the background the mode is the shell's, which has set its own, and setting it would stop this process.
        if self._stdin_is_terminal and self._in_foreground():
            with contextlib.suppress(OSError, termios.error):
                self._set_mode(self._saved_mode)

    def _close(self) -> None:
        self._give_back()
        for number, handler in self._saved_handlers.items():
            signal.signal(number, handler)
        self._saved_handlers.clear()
        for descriptor in (self._wake_read, self._wake_write):
            os.close(descriptor)

    def _set_mode(self, mode: list[Any]) -> None:
        while True:
            try:
                termios.tcsetattr(self._stdin, termios.TCSANOW, mode)
            except termios.error as error:
                if error.args[0] != errno.EINTR:
                    raise
            else:
                return

    def _write(self, codes: str) -> None:
        self._console.file.write(codes)
        self._console.file.flush()

    def _in_foreground(self) -> bool:
        """Whether the terminal is this process group's; also if that can't be told, as without job control."""
        try:
            return os.tcgetpgrp(self._stdin if self._stdin_is_terminal else self._output) == os.getpgrp()
        except OSError:
            return True

    def _size(self) -> os.terminal_size:
        try:
            size = os.get_terminal_size(self._output)
        except OSError:
            return _FALLBACK_SIZE
        # A terminal that does not know its size says 0.
        return size if size.columns and size.lines else _FALLBACK_SIZE

    # Stopping and going on. The handlers only leave a note: they may interrupt the drawing of a line.

    def _catch_signals(self) -> None:
        for number in (signal.SIGTSTP, signal.SIGCONT):
            # A shell without job control starts its programs with SIGTSTP ignored, and it shall stay so.
            if signal.getsignal(number) not in {signal.SIG_IGN, None}:
                self._saved_handlers[number] = signal.signal(number, self._note_signal)

    def _note_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, bytes((number,)))

    def _notes(self) -> bytes:
        try:
            return os.read(self._wake_read, 64)
        except BlockingIOError:
            return b""

    def _signalled(self) -> None:
        if signal.SIGTSTP in self._notes():
            self._stop()
        else:
            # Continued after a SIGSTOP, which can't be caught: the mode may be the shell's now. Begin anew.
            self._give_back()
        self._take_if_ours()

    def _stop(self) -> None:
        """Stop as SIGTSTP does by default; this returns when it goes on."""
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._note_signal)
        self._notes()


class _Changes:
    """What has to be sent to get from one picture to the next."""

    def __init__(self, lines: list[Line], before: list[Line]) -> None:
        self._lines = lines
        self._before = before

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._before:
            yield Control.clear().segment
        for number, line in enumerate(self._lines):
            if number >= len(self._before) or line != self._before[number]:
                yield Control.move_to(0, number).segment
                yield from line


def _key_mode(mode: list[Any]) -> list[Any]:
    """The mode in which keys come at once, without echo; signals by Ctrl-C and Ctrl-Z stay, Ctrl-S is a key."""
    changed = [*mode[:6], list(mode[6])]
    changed[0] &= ~(termios.IXON | termios.ICRNL)
    changed[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
    changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
    return changed


def _descriptor(console: Console) -> int:
    try:
        return console.file.fileno()
    except (AttributeError, OSError, ValueError):
        return 1

"""The terminal: what it is like within, what is left behind, keys, sizes, and being stopped."""

import contextlib
import io
import os
import pty
import select
import signal
import sys
import termios
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from furtrace.views.live_keys import KeyDecoder
from furtrace.views.terminal import Terminal

ENTER = b"\x1b[?1049h"
LEAVE = b"\x1b[?1049l"
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"


class Screen:
    """A pseudo-terminal of 80x24: ``user`` is the side with the keyboard, ``file`` the program's."""

    def __init__(self) -> None:
        self.user, self.program = pty.openpty()
        termios.tcsetwinsize(self.user, (24, 80))
        self.file = io.TextIOWrapper(io.FileIO(self.program, "w", closefd=False), write_through=True)

    def terminal(self) -> Terminal:
        return Terminal(self.program, Console(file=self.file, force_terminal=True, color_system=None))

    def type(self, data: bytes) -> None:
        os.write(self.user, data)

    def output(self, wait: float = 0.05) -> bytes:
        """All that was written so far."""
        data = b""
        while select.select([self.user], [], [], wait)[0]:
            data += os.read(self.user, 65536)
        return data

    def mode(self) -> list[object]:
        return termios.tcgetattr(self.program)

    def hang_up(self) -> None:
        os.close(self.user)
        self.user = -1

    def close(self) -> None:
        if self.user >= 0:
            os.close(self.user)
        with contextlib.suppress(OSError):  # what could not be written to a user who hung up
            self.file.close()
        os.close(self.program)


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen()
    yield made
    made.close()


class TestMode:
    def test_within(self, screen: Screen) -> None:
        with screen.terminal():
            mode = termios.tcgetattr(screen.program)
            assert not mode[3] & (termios.ICANON | termios.ECHO)
            assert mode[3] & termios.ISIG
            assert not mode[0] & termios.IXON
            written = screen.output()
        assert ENTER in written
        assert HIDE in written
        assert LEAVE not in written

    @pytest.mark.parametrize("end", [None, RuntimeError, KeyboardInterrupt, SystemExit, termios.error])
    def test_everything_is_restored(self, screen: Screen, end: type[BaseException] | None) -> None:
        before, handler = screen.mode(), signal.getsignal(signal.SIGTSTP)

        def use() -> None:
            with screen.terminal():
                assert screen.mode() != before
                assert signal.getsignal(signal.SIGTSTP) != handler
                if end is not None:
                    raise end

        if end is None:
            use()
        else:
            with pytest.raises(end):
                use()
        assert screen.mode() == before
        assert signal.getsignal(signal.SIGTSTP) is handler
        written = screen.output()
        assert written.index(LEAVE) > written.index(ENTER)
        assert written.index(SHOW) > written.index(HIDE)

    def test_no_descriptors_are_left(self, screen: Screen) -> None:
        before = _open_descriptors()
        with screen.terminal():
            pass
        assert _open_descriptors() == before

    def test_a_terminal_that_is_gone(self, screen: Screen) -> None:
        with screen.terminal() as terminal:
            screen.hang_up()
            assert terminal.keys(1) == ["q"]
            with pytest.raises(OSError, match="Input/output error"):
                terminal.show(Text("x"))

    def test_restored_if_entering_fails(self, screen: Screen) -> None:
        before = screen.mode()
        broken = io.TextIOWrapper(io.BufferedWriter(_Broken()), write_through=True)
        with pytest.raises(OSError, match="broken"), Terminal(screen.program, Console(file=broken)):
            pass
        assert screen.mode() == before

    def test_sigtstp_that_is_ignored_stays_ignored(self, screen: Screen) -> None:
        before = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        try:
            with screen.terminal():
                assert signal.getsignal(signal.SIGTSTP) == signal.SIG_IGN
        finally:
            signal.signal(signal.SIGTSTP, before)


class _Broken(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:  # noqa: ARG002
        raise OSError("broken")


def _open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


KEYS = {
    b"q": "q", b" ": " ", b"?": "?", b"S": "S", b"\t": "tab", b"\x1b[Z": "backtab", b"\r": "enter",
    b"\x7f": "backspace",
    b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[C": "right", b"\x1b[D": "left", b"\x1bOA": "up", b"\x1bOB": "down",
    b"\x1b[H": "home", b"\x1b[F": "end", b"\x1bOH": "home", b"\x1b[1~": "home", b"\x1b[4~": "end",
    b"\x1b[5~": "pgup", b"\x1b[6~": "pgdn", "ü".encode(): "ü", "語".encode(): "語",
}  # fmt: skip
NO_KEYS = [b"\x1b[15~", b"\x1b[1;5X", b"\x1bOP", b"\x01", b"\xff"]


class TestDecoder:
    def test_all_at_once(self) -> None:
        assert KeyDecoder().feed(b"".join(KEYS)) == list(KEYS.values())

    def test_byte_by_byte(self) -> None:
        decoder = KeyDecoder()
        data = b"".join(KEYS)
        assert [key for at in range(len(data)) for key in decoder.feed(data[at : at + 1])] == list(KEYS.values())
        assert not decoder.pending

    @pytest.mark.parametrize("data", NO_KEYS)
    def test_what_has_no_name_is_dropped_whole(self, data: bytes) -> None:
        decoder = KeyDecoder()
        assert decoder.feed(data + b"j") == ["j"]

    def test_escape(self) -> None:
        decoder = KeyDecoder()
        assert decoder.feed(b"\x1b") == []
        assert decoder.pending
        assert decoder.flush() == ["escape"]
        assert decoder.flush() == []

    def test_a_torso_is_escape_and_keys(self) -> None:
        decoder = KeyDecoder()
        assert decoder.feed(b"\x1b[5") == []
        assert decoder.flush() == ["escape", "[", "5"]
        assert decoder.feed(b"\x1bj") == ["escape", "j"]

    def test_half_a_character(self) -> None:
        decoder = KeyDecoder()
        assert decoder.feed("語".encode()[:2]) == []
        assert decoder.flush() == []
        assert decoder.feed(b"j") == ["j"]

    def test_a_sequence_without_end_is_not_waited_for(self) -> None:
        decoder = KeyDecoder()
        assert decoder.feed(b"\x1b[" + b"1;" * 40)[0] == "escape"
        assert not decoder.pending


class TestKeys:
    def test_several_at_once(self, screen: Screen) -> None:
        with screen.terminal() as terminal:
            screen.type(b"j\x1b[Bs")
            assert terminal.keys(1) == ["j", "down", "s"]

    def test_at_once(self, screen: Screen) -> None:
        with screen.terminal() as terminal:
            threading.Timer(0.1, screen.type, (b"j",)).start()
            begin = time.monotonic()
            assert terminal.keys(5) == ["j"]
            assert time.monotonic() - begin < 1

    def test_timeout(self, screen: Screen) -> None:
        with screen.terminal() as terminal:
            begin = time.monotonic()
            assert terminal.keys(0.1) == []
            assert 0.1 <= time.monotonic() - begin < 1
            assert terminal.keys(0) == []

    def test_a_sequence_in_two_pieces(self, screen: Screen) -> None:
        with screen.terminal() as terminal:
            screen.type(b"\x1b")
            assert terminal.keys(0.01) == []
            screen.type(b"[A")
            assert terminal.keys(1) == ["up"]

    def test_a_lone_escape(self, screen: Screen) -> None:
        with screen.terminal() as terminal:
            screen.type(b"\x1b")
            begin = time.monotonic()
            assert terminal.keys(5) == ["escape"]
            assert time.monotonic() - begin < 1

    def test_stdin_that_is_no_terminal_is_not_read(self, screen: Screen) -> None:
        read, write = os.pipe()
        os.write(write, b"q")
        with Terminal(read, Console(file=screen.file, force_terminal=True)) as terminal:
            begin = time.monotonic()
            assert terminal.keys(0.1) == []
            assert time.monotonic() - begin >= 0.1
            terminal.show(Text("there"))
            assert b"there" in screen.output()
        assert os.read(read, 1) == b"q"
        os.close(read)
        os.close(write)


class TestShow:
    def test_size_is_that_of_now(self, screen: Screen) -> None:
        with screen.terminal() as terminal:
            assert (terminal.width, terminal.height) == (80, 24)
            termios.tcsetwinsize(screen.user, (10, 33))
            assert (terminal.width, terminal.height) == (33, 10)
            termios.tcsetwinsize(screen.user, (0, 0))
            assert (terminal.width, terminal.height) == (80, 24)

    def test_a_picture(self, screen: Screen) -> None:
        with screen.terminal() as terminal:
            screen.output()
            terminal.show(Text("one\ntwo"))
            written = screen.output()
        assert written.startswith(b"\x1b[2J\x1b[1;1Hone ")
        assert b"\x1b[2;1Htwo " in written
        assert b"\x1b[24;1H " in written
        assert b"\n" not in written

    def test_only_lines_that_changed_are_sent(self, screen: Screen) -> None:
        with screen.terminal() as terminal:
            terminal.show(Text("one\ntwo\nthree"))
            screen.output()
            terminal.show(Text("one\n2\nthree"))
            assert screen.output() == b"\x1b[2;1H" + b"2".ljust(80)
            terminal.show(Text("one\n2\nthree"))
            assert screen.output() == b""

    def test_another_size_is_drawn_anew(self, screen: Screen) -> None:
        with screen.terminal() as terminal:
            terminal.show(Text("one\ntwo\nthree"))
            screen.output()
            termios.tcsetwinsize(screen.user, (2, 30))
            terminal.show(Text("one\ntwo\nthree"))
            assert screen.output() == b"\x1b[2J\x1b[1;1H" + b"one".ljust(30) + b"\x1b[2;1H" + b"two".ljust(30)

    def test_markup_like_text_stays_text(self, screen: Screen) -> None:
        with screen.terminal() as terminal:
            terminal.show(Text("[red]a[/]"))
            assert b"[red]a[/]" in screen.output()


# A shell with job control, as small as it can be: runs a program in the foreground, says when it stops and whether
# keys are echoed then, and puts it into the background and the foreground as it is told to.
_SHELL = textwrap.dedent("""
    import os, signal, sys, termios, time
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        os.tcsetpgrp(0, os.getpgrp())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTTOU})
        from rich.text import Text
        from furtrace.views.terminal import Terminal
        with Terminal() as terminal:
            number, keys = 0, []
            while "q" not in keys:
                terminal.show(Text(f"{number} picture {number}"))
                number += 1
                keys = terminal.keys(0.05)
                time.sleep(0.6 if "z" in keys else 0)
        os._exit(7)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    print(f"<CHILD {child}>", flush=True)
    def wait():
        _, status = os.waitpid(child, os.WUNTRACED)
        os.tcsetpgrp(0, os.getpgrp())
        echo = bool(termios.tcgetattr(0)[3] & termios.ECHO)
        what = "STOPPED" if os.WIFSTOPPED(status) else f"EXITED {os.waitstatus_to_exitcode(status)}"
        print(f"<{what} echo={echo}>", flush=True)
    wait()
    while True:
        order = input().lstrip("j")
        if order == "fg":
            os.tcsetpgrp(0, child)
        os.kill(child, signal.SIGCONT)
        if order == "bg":
            print("<BACKGROUND>", flush=True)
        else:
            wait()
""")


class _Session:
    """The small shell on a terminal of its own."""

    def __init__(self) -> None:
        self.pid, self.user = pty.fork()
        if self.pid == 0:
            os.chdir(Path(__file__).parents[3])
            os.environ["TERM"] = "xterm"
            os.execv(sys.executable, [sys.executable, "-c", _SHELL])
        self.seen = b""

    def until(self, *texts: bytes) -> bytes:
        """Read until the texts came one after the other, and return all up to there."""
        at, until = 0, time.monotonic() + 20
        for text in texts:
            while text not in self.seen[at:]:
                assert time.monotonic() < until, (texts, self.seen[-2000:])
                if select.select([self.user], [], [], 0.1)[0]:
                    self.seen += os.read(self.user, 65536)
            at = self.seen.index(text, at) + len(text)
        found, self.seen = self.seen[:at], self.seen[at:]
        return found

    def type(self, data: bytes) -> None:
        os.write(self.user, data)

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.user)
        os.waitpid(self.pid, 0)


@pytest.fixture
def session() -> Iterator[_Session]:
    made = _Session()
    yield made
    made.close()


class TestJobControl:
    def test_stopped_the_terminal_is_given_back_and_taken_again(self, session: _Session) -> None:
        session.until(ENTER, b"picture")
        session.type(b"\x1a")
        session.until(LEAVE, b"<STOPPED echo=True>")
        session.type(b"fg\n")
        session.until(ENTER, b"\x1b[2J", b"picture")
        session.type(b"q")
        session.until(LEAVE, b"<EXITED 7 echo=True>")

    def test_keys_that_the_shell_got_are_not_waited_for(self, session: _Session) -> None:
        session.until(ENTER, b"picture")
        session.type(b"z")
        time.sleep(0.3)
        session.type(b"\x1aj")  # while it is busy: it finds signal and key together, but the shell reads the key
        session.until(LEAVE, b"<STOPPED echo=True>")
        session.type(b"fg\n")
        session.until(ENTER, b"picture", b"picture")
        session.type(b"q")
        session.until(LEAVE, b"<EXITED 7 echo=True>")

    def test_sigstop_which_can_not_be_caught(self, session: _Session) -> None:
        child = int(session.until(b"<CHILD ", b">").rpartition(b" ")[2][:-1])
        session.until(b"picture")
        os.kill(child, signal.SIGSTOP)
        session.until(b"<STOPPED echo=False>")
        session.type(b"bg\n")
        session.until(LEAVE)
        time.sleep(0.3)
        state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        assert state != "T"  # to touch the mode of a terminal that is not one's own is to be stopped again
        session.type(b"fg\n")
        session.until(ENTER, b"picture")
        session.type(b"q")
        session.until(LEAVE, b"<EXITED 7")

    def test_in_the_background_it_leaves_the_terminal_alone(self, session: _Session) -> None:
        session.until(ENTER, b"picture")
        session.type(b"\x1a")
        session.until(LEAVE, b"<STOPPED echo=True>")
        session.type(b"bg\n")
        session.until(b"<BACKGROUND>")
        time.sleep(0.5)
        session.type(b"fg\n")
        between = session.until(ENTER)
        assert b"picture" not in between
        session.until(b"picture")
        session.type(b"q")
        session.until(LEAVE, b"<EXITED 7 echo=True>")

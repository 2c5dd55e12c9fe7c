"""The switch is put back, whoever ends how; on a file of our own instead of the kernel's."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import pytest

from furtrace.demo.enable import enable_uring, is_enabled, put_back_if_abandoned
from furtrace.demo.errors import DemoError

HOLD = """
import sys
from pathlib import Path
from furtrace.demo.enable import enable_uring
with enable_uring(Path(sys.argv[1]), Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


class Switch:
    """A stand-in for the kernel's parameter, and processes that hold it."""

    def __init__(self, folder: Path) -> None:
        self.parameter = folder / "enable_uring"
        self.locks = folder / "locks"
        self.parameter.write_text("N\n")
        self.holders: list[subprocess.Popen[str]] = []

    @property
    def value(self) -> str:
        return self.parameter.read_text().strip()

    def hold(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(self.parameter), str(self.locks)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.holders.append(holder)
        assert pipe(holder.stdout).readline() == "held\n"
        return holder


def pipe(end: IO[str] | None) -> IO[str]:
    assert end is not None
    return end


def let_go(holder: "subprocess.Popen[str]") -> int:
    pipe(holder.stdin).close()
    return holder.wait(10)


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[Switch]:
    switch = Switch(tmp_path)
    yield switch
    for holder in switch.holders:
        holder.kill()
        holder.wait()
        pipe(holder.stdin).close()
        pipe(holder.stdout).close()


def test_it_is_on_inside_and_as_found_outside(switch: Switch) -> None:
    with enable_uring(switch.parameter, switch.locks):
        assert switch.value == "Y"
        assert is_enabled(switch.parameter)
    assert switch.value == "N"
    assert not is_enabled(switch.parameter)


def test_it_is_put_back_after_an_exception(switch: Switch) -> None:
    with pytest.raises(ZeroDivisionError), enable_uring(switch.parameter, switch.locks):
        _ = 1 // 0
    assert switch.value == "N"


def test_what_was_on_stays_on(switch: Switch) -> None:
    switch.parameter.write_text("Y\n")
    with enable_uring(switch.parameter, switch.locks):
        assert switch.value == "Y"
    assert switch.value == "Y"


def test_nested_users_are_counted(switch: Switch) -> None:
    with ExitStack() as outer:
        outer.enter_context(enable_uring(switch.parameter, switch.locks))
        with enable_uring(switch.parameter, switch.locks):
            assert switch.value == "Y"
        assert switch.value == "Y"
    assert switch.value == "N"


@pytest.mark.parametrize("first_leaves_first", [True, False])
def test_the_last_of_two_processes_puts_it_back(switch: Switch, *, first_leaves_first: bool) -> None:
    holders = [switch.hold(), switch.hold()]
    if not first_leaves_first:
        holders.reverse()
    assert let_go(holders[0]) == 0
    assert switch.value == "Y"
    assert let_go(holders[1]) == 0
    assert switch.value == "N"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_it_is_put_back_when_a_signal_ends_the_process(switch: Switch, number: signal.Signals) -> None:
    holder = switch.hold()
    holder.send_signal(number)
    assert holder.wait(10) != 0
    assert switch.value == "N"


def test_the_next_user_puts_back_what_a_killed_one_could_not(switch: Switch) -> None:
    holder = switch.hold()
    holder.kill()
    holder.wait(10)
    assert switch.value == "Y"
    with enable_uring(switch.parameter, switch.locks):
        assert switch.value == "Y"
    assert switch.value == "N"


def test_what_a_killed_user_left_can_be_put_back_without_using_it(switch: Switch) -> None:
    holder = switch.hold()
    put_back_if_abandoned(switch.parameter, switch.locks)
    assert switch.value == "Y"
    holder.kill()
    holder.wait(10)
    put_back_if_abandoned(switch.parameter, switch.locks)
    assert switch.value == "N"
    put_back_if_abandoned(switch.parameter, switch.locks)
    assert switch.value == "N"


def test_signal_handlers_are_as_before(switch: Switch) -> None:
    with enable_uring(switch.parameter, switch.locks):
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_kernel_without_the_switch_is_named(switch: Switch) -> None:
    switch.parameter.unlink()
    with pytest.raises(DemoError, match=r"this kernel has no FUSE over io_uring: .*enable_uring does not exist"):
        enable_uring(switch.parameter, switch.locks).__enter__()


def test_a_switch_that_can_not_be_turned_is_named(switch: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path, _text: str) -> int:
        raise PermissionError(13, "Permission denied")

    switch.locks.mkdir()
    (switch.locks / "enable_uring.found").write_text("N")
    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(DemoError, match="can't be switched: Permission denied"):
        enable_uring(switch.parameter, switch.locks).__enter__()
    monkeypatch.undo()
    assert switch.value == "N"
    held = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert not [path for path in held if path.is_relative_to(switch.locks)]


def test_a_place_for_locks_that_is_not_to_be_had_is_named(switch: Switch) -> None:
    with pytest.raises(DemoError, match="can't be used for locking"):
        enable_uring(switch.parameter, switch.parameter / "below").__enter__()
    assert switch.value == "N"

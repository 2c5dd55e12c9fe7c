"""Threads, by proc(5)."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from furtrace.probe import tasks


def test_this_thread() -> None:
    found = tasks.tasks([os.getpid()])[os.getpid()]
    assert found is not None
    assert (found.tid, found.pid) == (os.getpid(), os.getpid())
    assert found.comm == Path("/proc/self/comm").read_bytes().rstrip(b"\n")
    assert found.command.split(b" ") == Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").replace(
        b"\0", b" "
    ).split(b" ")


def test_the_process_of_a_thread() -> None:
    seen: list[tuple[int, bytes] | None] = []

    def look() -> None:
        ctypes.CDLL(None).prctl(15, b"a\\b\tc")  # PR_SET_NAME; /proc/PID/status would escape it
        seen.append(tasks.process(threading.get_native_id()))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [(os.getpid(), b"a\\b\tc")]


def test_command_lines_that_can_not_be_read_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are waited for together, and what was read is told."""
    over = threading.Event()

    def command(pid: int) -> bytes:
        if pid == 2:
            over.wait()
        return b"process %d" % pid

    monkeypatch.setattr(tasks, "_PATIENCE", 0.05)
    monkeypatch.setattr(tasks, "_command", command)
    assert tasks._commands([1, 2, 3, 4]) == {1: b"process 1"}
    over.set()


def test_a_thread_that_sleeps() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        time.sleep(0.1)
        (found,) = [one for one in tasks.threads(os.getpid()) if one.tid == thread.native_id]
        assert (found.pid, found.state) == (os.getpid(), "S")
        if os.geteuid() == 0:
            assert any("futex" in name for name in found.sleeps_in)
    finally:
        over.set()
        thread.join()


def test_one_with_a_strange_name() -> None:
    code = "import ctypes, sys; ctypes.CDLL(None).prctl(15, b'a) R (b'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.2)
        found = tasks.tasks([process.pid])[process.pid]
        process.communicate(b"")
    assert found is not None
    assert (found.comm, found.state) == (b"a) R (b", "S")


def test_one_that_is_gone() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert tasks.tasks([process.pid]) == {process.pid: None}
    assert tasks.process(process.pid) is None
    assert tasks.threads(process.pid) == []
    assert tasks.memory(process.pid, [4096], 8) == [None]


def test_memory() -> None:
    buffer = ctypes.create_string_buffer(b"in the server's memory")
    address = ctypes.addressof(buffer)
    assert tasks.memory(os.getpid(), [address, 8, address + 3], 6) == [b"in the", None, b"the se"]
    assert tasks.memory(os.getpid(), [1 << 63], 6) == [None]


def test_what_can_not_be_read_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_PATIENCE", 0.05)
    over = threading.Event()
    began = time.monotonic()
    assert tasks._in_time(over.wait) is None
    assert time.monotonic() - began < 2
    over.set()

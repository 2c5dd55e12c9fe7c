"""Whether a thread is there."""

import os
import subprocess
import threading

from furtrace.probe.threads import is_alive


def test_processes_and_threads() -> None:
    assert is_alive(os.getpid())
    known, go_on = threading.Event(), threading.Event()
    numbers: list[int] = []

    def live() -> None:
        numbers.append(threading.get_native_id())
        known.set()
        go_on.wait()

    thread = threading.Thread(target=live)
    thread.start()
    known.wait()
    assert is_alive(numbers[0])
    go_on.set()
    thread.join()


def test_one_that_has_ended() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(process.pid)  # nobody has asked yet how it ended
    process.wait()
    assert not is_alive(process.pid)

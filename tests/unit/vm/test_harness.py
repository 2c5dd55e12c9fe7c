"""What a machine's ways to answer, and not to answer, come to; a script stands in for QEMU and all that is in it."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.vm.errors import EndError, HangError, KernelPanicError, StaleCodeError
from tests.vm.harness import Machine
from tests.vm.kernels import Kernel

KERNEL: Final = Kernel("7.3.1+test", Path("vmlinuz"), Path("overlay.ko"))
CONNECT: Final = """
import base64, pathlib, socket, sys, time
folder = pathlib.Path(sys.argv[1])
control = socket.socket(socket.AF_UNIX)
control.connect("control")
lines = control.makefile("rb")
def command():
    return base64.b64decode(lines.readline()).decode()
"""
UP: Final = CONNECT + "control.sendall(b'up\\n')\n"

Start = Callable[[str], Machine]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Run a script in QEMU's place, and connect to it."""
    monkeypatch.chdir(tmp_path)  # a socket's name has to be short
    processes = []

    def run(script: str) -> Machine:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("control")
            listening.listen(1)
            process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
            processes.append(process)
            machine = Machine(KERNEL, tmp_path, tmp_path, process)
            machine.connect(listening, 5)
        return machine

    yield run
    for process in processes:
        process.kill()
        process.wait()


def test_a_command(start: Start) -> None:
    machine = start(
        UP
        + "for status in (3, 0):\n"
        + "    (folder / 'stdout').open('a').write(command() + '\\n')\n"
        + "    (folder / 'stderr').open('a').write(f'error {status}\\n')\n"
        + "    control.sendall(f'{status}\\n'.encode())\n"
    )
    assert 0 < machine.boot_seconds < 5
    first = machine.run("printf", "two words\n")
    assert (first.status, first.stdout, first.stderr) == (3, "printf 'two words\n'\n", "error 3\n")
    second = machine.run("true")
    assert (second.status, second.stdout, second.stderr) == (0, "true\n", "error 0\n")


def test_output_is_passed_on_once(start: Start) -> None:
    machine = start(
        UP
        + "command()\n"
        + "for part in ('a', 'b'):\n"
        + "    (folder / 'stdout').open('a').write(part)\n"
        + "    time.sleep(0.5)\n"
        + "control.sendall(b'0\\n')\n"
    )
    parts: list[bytes] = []
    assert machine.run("true", follow=lambda stdout, _: parts.append(stdout)).stdout == "ab"
    assert [part for part in parts if part] == [b"a", b"b"]


def test_a_panic_at_boot(start: Start) -> None:
    with pytest.raises(KernelPanicError, match=r"panicked during boot(.|\n)*Kernel panic - not syncing: VFS"):
        start(CONNECT + "(folder / 'console').write_text('x\\n' * 99 + 'Kernel panic - not syncing: VFS\\n')")


def test_a_panic_that_is_qemu_s(start: Start) -> None:
    console = "Oops: int3: 0000 [#1]\nCode: 55 53 66 <90> e8\n" + "x\n" * 99 + "Kernel panic - not syncing: Fatal\n"
    with pytest.raises(StaleCodeError, match="panicked during boot"):
        start(CONNECT + f"(folder / 'console').write_text({console!r})")


def test_a_panic_in_a_command(start: Start) -> None:
    machine = start(
        UP
        + "(folder / 'stdout').write_text('said before')\n"
        + "command()\n"
        + "(folder / 'console').write_text('Kernel panic - not syncing: Oops\\n')\n"
    )
    with pytest.raises(KernelPanicError, match="panicked during false") as panic:
        machine.run("false")
    assert panic.type is KernelPanicError
    assert "said before" in "".join(panic.value.__notes__)


def test_an_end_without_a_panic(start: Start) -> None:
    with pytest.raises(EndError, match="QEMU ended with status 4"):
        start("import pathlib, sys; (pathlib.Path(sys.argv[1]) / 'console').write_text('no memory'); sys.exit(4)")


def test_an_end_in_a_command(start: Start) -> None:
    machine = start(UP)
    with pytest.raises(EndError, match="QEMU ended with status 0 during sync"):
        machine.run("sync")


def test_a_hang(start: Start) -> None:
    machine = start(UP + "(folder / 'console').write_text('x\\n' * 99 + 'the end\\n'); command(); time.sleep(60)")
    with pytest.raises(HangError, match=r"no end of sleep 60 within 0.5 s\. The console's end:\n(x\n){39}the end\n"):
        machine.run("sleep", "60", timeout=0.5)

"""How the two programs called virtiofsd are told apart, and what a process can write that has no writable mount."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.external import Unavailable
from tests.vm import readonly
from tests.vm.shares import find_virtiofsd, virtiofsd_command

PROGRAM = Path("/virtiofsd")
IN_C = "    -o source=PATH             shared directory tree\n    --fd=FDNUM     fd number of socket"
IN_RUST = "      --shared-dir <SHARED_DIR>\n      --fd <FD>\n      --no-announce-submounts\n"


def test_the_program_in_c() -> None:
    command = virtiofsd_command(PROGRAM, IN_C, Path("/here"), 7, writable=False)
    assert command[:2] == ["/virtiofsd", "--fd=7"]
    assert {"-f", "source=/here", "cache=always", "sandbox=chroot"} <= set(command)


def test_the_program_in_rust() -> None:
    command = virtiofsd_command(PROGRAM, IN_RUST, Path("/here"), 7, writable=True)
    assert command[:2] == ["/virtiofsd", "--fd=7"]
    assert {"--shared-dir=/here", "--cache=never", "--sandbox=chroot", "--no-announce-submounts"} == set(command[2:])


def test_an_option_that_it_does_not_know_is_not_given() -> None:
    old = IN_RUST.replace("--no-announce-submounts", "")
    assert "--no-announce-submounts" not in virtiofsd_command(PROGRAM, old, Path("/here"), 7, writable=True)


def test_says_that_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.vm.shares.PLACES", (str(tmp_path),))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="need virtiofsd"):
        find_virtiofsd()


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")
def test_a_process_that_can_write_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    done = subprocess.run(
        [sys.executable, readonly.__file__, "bash", "-c", 'cat "$0" && rm "$0"', str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    (tmp_path / "still writable").touch()
    assert file.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")
@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="the kernel has no FUSE")
def test_a_process_that_keeps_no_mount_of_a_test(tmp_path: Path) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    command = [sys.executable, readonly.__file__, "sh", "-c", "echo ready; read line"]
    try:
        mounted = subprocess.run(
            ["mount", "-i", "-t", "fuse", "-o", options, "test", tmp_path],
            pass_fds=[device], capture_output=True, check=False,
        )  # fmt: skip
        if mounted.returncode:
            pytest.skip(f"FUSE can't be mounted: {mounted.stderr.decode()}")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            # By the system call: the command asks the file system first, which would never answer.
            assert ctypes.CDLL(None).umount2(os.fsencode(tmp_path), 0) == 0
            os.set_blocking(device, False)
            with pytest.raises(OSError, match="No such device"):
                os.read(device, 1 << 20)  # would return INIT if it lived in another namespace
            process.communicate(b"\n")
    finally:
        os.close(device)

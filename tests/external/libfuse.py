"""libfuse with FUSE over io_uring, from Debian's newest sources, and a server to trace.

libfuse has io_uring from 3.18 on; distributions that have such a version leave it out.
"""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Final

from tests.external import CACHE, Unavailable, debian
from tests.external.files import locked, made_once

OLDEST: Final = (3, 18)
EXAMPLES: Final = ("passthrough_hp", "memfs_ll", "hello_ll")
PATIENCE: Final = 10.0
"""Seconds that a server gets to mount, and to end."""


@dataclass(frozen=True)
class Examples:
    """Executables of libfuse's example servers; each wants ``-o io_uring``.

    Attributes:
        passthrough_hp: passes a folder through.
        memfs_ll: keeps files in memory.
        hello_ll: has one file.
    """

    passthrough_hp: Path
    memfs_ll: Path
    hello_ll: Path


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        mountpoint: where its file system is.
        pid: its process.
        connection: number of the FUSE connection, ``major << 20 | minor`` of the mount's device, which is how the
            kernel calls it in ``/sys/fs/fuse/connections``.
        log: what it printed so far goes here; gone after the server ended.
    """

    mountpoint: Path
    pid: int
    connection: int
    log: Path


def examples() -> Examples:
    """Return libfuse's example servers, built with io_uring; the first call takes a minute.

    Raises:
        Unavailable: the sources, or something to build them with, can't be had.
    """
    folder = CACHE / "libfuse"
    with locked(folder):
        build = made_once(folder / "build", _build)
    return Examples(*(build / "example" / name for name in EXAMPLES))


def example(name: str) -> Path:
    """Return one of libfuse's other example servers, built when it is first asked for; each is a moment's work.

    Raises:
        Unavailable: see ``examples``.
    """
    examples()
    folder = CACHE / "libfuse"
    with locked(folder):
        _run(folder / "build.log", ["ninja", "-C", str(folder / "build"), f"example/{name}"])
    return folder / "build" / "example" / name


@contextmanager
def passthrough_hp(source: Path, options: Sequence[str] = ()) -> Iterator[Server]:
    """Run ``passthrough_hp`` over io_uring on the folder ``source``, mounted on a fresh folder.

    Needs root, and the kernel's switch (``furtrace.demo.enable``). ``options`` are further arguments of the command,
    such as ``--nocache``.

    Raises:
        Unavailable: see ``examples``.
        RuntimeError: it ended, or did not mount within ``PATIENCE``; the message holds what it said.
    """
    program = examples().passthrough_hp
    folder = Path(tempfile.mkdtemp(prefix="furtrace-libfuse-")).resolve()
    mountpoint, log = folder / "mnt", folder / "log"
    mountpoint.mkdir()
    flags = ["--foreground", "--nopassthrough", "-o", "io_uring", *options]
    command = [str(argument) for argument in (program, *flags, source, mountpoint)]
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield Server(mountpoint, process.pid, _wait_for_mount(process, mountpoint, log), log)
        finally:
            _end(process)
    finally:
        _unmount(mountpoint)
        log.unlink(missing_ok=True)
        # Never a recursive removal: what is mounted here is somebody's folder.
        mountpoint.rmdir()
        folder.rmdir()


def mounted_device(mountpoint: Path) -> int | None:
    """Return ``major << 20 | minor`` of what is mounted on ``mountpoint``, or None.

    It is read in ``/proc/self/mountinfo``: a ``stat`` would ask the server, which may not answer.
    """
    device = None
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        _, _, numbers, _, point, *_ = line.split(" ")
        if re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), point) == str(mountpoint):
            major, minor = map(int, numbers.split(":"))
            device = major << 20 | minor  # the last of several lies on top
    return device


def _build(folder: Path) -> None:
    _require_tools()
    source = debian.source_package("sid", "fuse3")
    version = re.search(r"version: '(\d+)\.(\d+)", (source / "meson.build").read_text())
    if version is None or (int(version[1]), int(version[2])) < OLDEST:
        raise Unavailable("Debian's libfuse has no FUSE over io_uring.")
    switches = [
        "-Denable-io-uring=true",
        "-Dtests=false",
        "-Dutils=false",
        "-Ddisable-mtab=true",
        "-Duseroot=false",
        "-Dudevrulesdir=/none",  # asked of pkg-config otherwise; nothing gets installed
        "--buildtype=release",
    ]
    run = partial(_run, folder.with_name("build.log"))
    run(["meson", "setup", *switches, str(folder), str(source)])
    if "#define HAVE_URING" not in (folder / "fuse_config.h").read_text():
        raise Unavailable("libfuse finds no liburing here that knows SQEs of 128 bytes.")
    run(["ninja", "-C", str(folder), *(f"example/{name}" for name in EXAMPLES)])


def _require_tools() -> None:
    missing = [tool for tool in ("meson", "ninja", "g++", "pkg-config") if shutil.which(tool) is None]
    if not missing:
        missing = [name for name in ("liburing", "numa") if not _succeeds(["pkg-config", "--exists", name])]
    if missing:
        raise Unavailable(f"libfuse can't be built here without {', '.join(missing)}.")


def _run(log: Path, command: list[str]) -> None:
    with log.open("ab") as output:
        if not _succeeds(command, output):
            raise Unavailable(f"libfuse can't be built here: {command[0]} failed, see {log}.")


def _succeeds(command: list[str], output: IO[bytes] | int = subprocess.DEVNULL) -> bool:
    return subprocess.run(command, check=False, stdout=output, stderr=subprocess.STDOUT).returncode == 0


def _wait_for_mount(process: subprocess.Popen[bytes], mountpoint: Path, log: Path) -> int:
    deadline = time.monotonic() + PATIENCE
    while (device := mounted_device(mountpoint)) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"passthrough_hp did not mount: {log.read_text(errors='replace')}")
        time.sleep(0.01)
    return device


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _unmount(mountpoint: Path) -> None:
    # The server is gone, so nothing here waits for it; a mount that is in use goes away with its last user.
    for lazily in ([], ["--lazy"]):
        if mounted_device(mountpoint) is not None:
            command = ["umount", *lazily, str(mountpoint)]
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(command, check=False, stderr=subprocess.DEVNULL, timeout=PATIENCE)

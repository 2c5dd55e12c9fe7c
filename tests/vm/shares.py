"""Folders that a virtual machine can mount, served by virtiofsd.

There are two programs of that name: one in C, which was a part of QEMU until QEMU 8, and its successor in Rust.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from tests.external import Unavailable
from tests.vm import readonly

PLACES: Final = ("/usr/libexec", "/usr/lib/qemu", "/usr/lib")
"""Folders outside of PATH in which distributions have virtiofsd."""
PATIENCE: Final = 10.0
"""Seconds that it gets to end."""


def find_virtiofsd() -> Path:
    """Return the path of virtiofsd.

    Raises:
        Unavailable: there is none.
    """
    found = shutil.which("virtiofsd", path=os.pathsep.join((os.environ.get("PATH", os.defpath), *PLACES)))
    if found is None:
        raise Unavailable("Virtual machines need virtiofsd, which is not here.")
    return Path(found)


@contextmanager
def shared(folder: Path, at: Path, log: IO[bytes], *, writable: bool) -> Iterator[None]:
    """Serve ``folder`` on the socket ``at``, to one machine; what virtiofsd says goes to ``log``.

    A folder that is not writable is read-only for virtiofsd itself, and taken for one that does not change.
    """
    program = find_virtiofsd()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(at))
        listening.listen(1)
        command = virtiofsd_command(program, _help(program), folder, listening.fileno(), writable=writable)
        if not writable:
            command = [sys.executable, readonly.__file__, *command]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[listening.fileno()]
        )
    try:
        yield
    finally:
        _end(process)


def virtiofsd_command(program: Path, help_: str, folder: Path, descriptor: int, *, writable: bool) -> list[str]:
    """Return the command that serves ``folder`` on the listening socket ``descriptor``.

    ``help_`` is the program's list of options, which tells the two programs apart.
    """
    # A namespace of its own, the other sandbox, can't be made in every container.
    if "--shared-dir" in help_:
        cache = "never" if writable else "always"
        options = [f"--shared-dir={folder}", f"--cache={cache}", "--sandbox=chroot"]
        # Where it is known it is on by default, and the machine would see no file below another mount.
        options += ["--no-announce-submounts"] if "--no-announce-submounts" in help_ else []
    else:
        cache = "none" if writable else "always"
        options = ["-f", "-o", f"source={folder}", "-o", f"cache={cache}", "-o", "sandbox=chroot"]
    return [str(program), f"--fd={descriptor}", *options]


def _help(program: Path) -> str:
    said = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    return said.stdout + said.stderr


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()  # it has ended by itself if the machine was there and is gone
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

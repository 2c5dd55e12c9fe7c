"""Mounting, unmounting, and finding the demo's mounts, by mount(2), umount2(2) and /proc/self/mountinfo.

The mount table is read, not asked with stat(2): a server that hangs must not make its manager hang.
"""

import ctypes
import errno
import os
from pathlib import Path

from furtrace.demo.errors import DemoError
from furtrace.probe.mounts import Mount, all_mounts

FSTYPE = "fuse.furtrace-demo"
_MS_NOSUID = 2
_MS_NODEV = 4
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def open_device() -> int:
    """Open /dev/fuse; ``DemoError`` where that can't be."""
    try:
        return os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as problem:
        raise DemoError(f"/dev/fuse can't be opened: {problem.strerror}") from problem


def mount(fuse_fd: int, directory: Path, source: str) -> int:
    """Mount the connection of ``fuse_fd`` on ``directory`` and return its number.

    Everyone may enter, as far as modes and owners let them: the kernel checks permissions. The kernel sends INIT with
    this and does not wait for the answer. ``DemoError`` when the kernel refuses.
    """
    options = (
        f"fd={fuse_fd},rootmode=40755,user_id={os.getuid()},group_id={os.getgid()},allow_other,default_permissions"
    )
    result = _libc.mount(
        source.encode(),
        os.fsencode(directory),
        FSTYPE.encode(),
        ctypes.c_ulong(_MS_NOSUID | _MS_NODEV),
        options.encode(),
    )
    if result < 0:
        raise DemoError(f"{directory} can't be mounted on: {os.strerror(ctypes.get_errno())}")
    mounts = find(directory, source)
    if not mounts:
        raise DemoError(f"{directory} is mounted but not to be found in the mount table")
    return mounts[-1].connection


def find(directory: Path, source: str | None = None) -> list[Mount]:
    """Return the demo's mounts on ``directory``, the uppermost last; only those of ``source`` when one is given.

    ``directory`` must be absolute and free of symbolic links (``Path.resolve``, before it is mounted on).
    """
    return [entry for entry in all_mounts() if entry.mountpoint == str(directory) and _is_ours(entry, source)]


def detach(directory: Path, source: str | None = None) -> None:
    """Unmount the demo's mounts on ``directory`` at once, used or not, down to one that is not the demo's.

    Someone else may do the same at the same time: a mount that is gone is no error.
    """
    stacked = [entry for entry in all_mounts() if entry.mountpoint == str(directory)]
    while stacked and _is_ours(stacked.pop(), source):
        if _libc.umount2(os.fsencode(directory), _MNT_DETACH) < 0 and ctypes.get_errno() != errno.EINVAL:
            raise DemoError(f"{directory} can't be unmounted: {os.strerror(ctypes.get_errno())}")


def _is_ours(entry: Mount, source: str | None) -> bool:
    return entry.fstype == FSTYPE and source in (None, entry.source)

"""Runs a command for which every file system is read-only: ``python readonly.py command…``, as root.

What it serves to a virtual machine can't be written then, whatever the machine's kernel asks for.

It has no FUSE mount of another test either: a file system lives as long as any namespace has it, so that its server
would not end when it is unmounted where it was made.
"""

import ctypes
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from furtrace.probe.mounts import fuse_mounts

CLONE_NEWNS: Final = 0x20000
MS_REC_PRIVATE: Final = 0x44000
SYS_MOUNT_SETATTR: Final = 442  # the same number on every architecture
AT_FDCWD: Final = -100
AT_RECURSIVE: Final = 0x8000
MOUNT_ATTR_RDONLY: Final = 1
MNT_DETACH: Final = 2


class MountAttributes(ctypes.Structure):
    """``struct mount_attr`` of mount_setattr(2)."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd"))


def make_read_only() -> None:
    """Leave the machine's mount namespace for one of our own, in which all that is mounted is read-only."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check("unshare", libc.unshare(CLONE_NEWNS))
    _check("mount", libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC_PRIVATE), None))
    temporary = Path(tempfile.gettempdir()).resolve()
    for one in fuse_mounts():
        if temporary in Path(one.mountpoint).parents:
            libc.umount2(os.fsencode(one.mountpoint), MNT_DETACH)  # fails where it went with the one that it was in
    attributes = MountAttributes(attr_set=MOUNT_ATTR_RDONLY)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    done = libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, ctypes.byref(attributes), size)
    _check("mount_setattr", done)


def _check(call: str, returned: int) -> None:
    if returned < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


if __name__ == "__main__":
    make_read_only()
    os.execvp(sys.argv[1], sys.argv[1:])

"""Mounts, from ``/proc/self/mountinfo``: nothing here touches a mounted file system, which might hang."""

import os
import re
import select
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_MOUNTINFO = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(rb"\\([0-3][0-7]{2})")
_DEVICE = re.compile(rb"([0-9]{1,7}):([0-9]{1,7})")


@dataclass(frozen=True)
class Mount:
    """A mount point; of a FUSE file system ``connection`` is its connection's number (``fuse_conn.dev``)."""

    mountpoint: str
    connection: int
    fstype: str
    source: str


def _unescape(field: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field))


def parse_mountinfo(text: bytes) -> list[Mount]:
    """FUSE mounts in the text of a mountinfo file, in its order; virtiofs is none."""
    return [mount for mount in _parse(text) if _is_fuse(mount.fstype)]


def _parse(text: bytes) -> Iterator[Mount]:
    """All mounts in the text of a mountinfo file (proc_pid_mountinfo(5)), in its order."""
    for line in text.split(b"\n"):  # not splitlines(): a name may hold a carriage return
        before, separator, after = line.partition(b" - ")
        fields, tail = before.split(b" "), after.split(b" ")
        if not separator or len(fields) < 5 or len(tail) < 2:
            continue
        device = _DEVICE.fullmatch(fields[2])
        if device:
            # A connection has its super block's device number, in the kernel's own encoding (MKDEV).
            number = int(device[1]) << 20 | int(device[2])
            yield Mount(_unescape(fields[4]), number, _unescape(tail[0]), _unescape(tail[1]))


def _is_fuse(fstype: str) -> bool:
    return fstype in ("fuse", "fuseblk") or fstype.startswith(("fuse.", "fuseblk."))


def all_mounts() -> list[Mount]:
    """All mounts that this process sees, of whatever file system."""
    return list(_parse(_MOUNTINFO.read_bytes()))


def fuse_mounts() -> list[Mount]:
    """All FUSE mounts that this process sees."""
    return parse_mountinfo(_MOUNTINFO.read_bytes())


def mount_names(mounts: list[Mount]) -> dict[int, str]:
    """A mount point for each connection: the first one, where it is mounted in several places."""
    names: dict[int, str] = {}
    for mount in mounts:
        names.setdefault(mount.connection, mount.mountpoint)
    return names


def absolute(path: str) -> str:
    """The path as mountinfo would show it: absolute, and free of symbolic links but for its own last part.

    The last part is not looked at: it may be the root of a mount whose server hangs.
    """
    parent, name = os.path.split(_plain(path))
    return os.path.join(os.path.realpath(parent), name)  # noqa: PTH118


def _plain(path: str) -> str:
    """The path without ``.``, ``..`` and doubled slashes, of which POSIX keeps two at the start; looks at nothing."""
    return os.path.abspath(path).replace("//", "/")  # noqa: PTH100 - resolve() would look at the last part


def mounted_at(path: str, mounts: list[Mount]) -> Mount | None:
    """The topmost FUSE mount at exactly this path, if there is one."""
    found = [mount for mount in mounts if mount.mountpoint == _plain(path)]
    if not found:
        found = [mount for mount in mounts if mount.mountpoint == absolute(path)]
    return found[-1] if found else None


class MountWatch:
    """Tells when the list of mounts changes (mountinfo polls with POLLPRI)."""

    def __init__(self) -> None:
        self._fd = os.open(_MOUNTINFO, os.O_RDONLY)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLPRI)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._fd)

    def changed(self) -> bool:
        """Whether the list changed since the last call; does not wait."""
        return bool(self._poll.poll(0))

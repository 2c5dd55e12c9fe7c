"""A FUSE server of nothing but system calls, for what no example of libfuse does.

Its replies are packed by hand, so they are a witness of their own of how the protocol's structures lie. It knows
one folder of files without data, which is enough for the kernel. Run as::

    python -m tests.live.protocol.rawserver MOUNTPOINT LOG [--flags N] [--minor N] [--device PATH]

LOG gets a line a message: ``<`` and a request, or ``>``, what write(2) returned, and a reply or notification, in hex.
"""

import argparse
import ctypes
import errno
import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final, TextIO

from tests.live.protocol.capture import Capture

ROOT: Final = 1
ATIME, MTIME, CTIME = (1_234_567_890, 123_456_789), (-86_400, 7), (2_147_483_648, 999_999_999)
"""Of all files: seconds and nanoseconds; one is before 1970, one needs more than 31 bits."""
BLOCK_MOVED: Final = 1000
"""BMAP says that a file's blocks lie on the device from here on."""
OPEN: Final = 1 << 40
"""A file handle is this and the node id."""
GROUP: Final = 4242
"""Of the root folder."""
_UNLOCKED: Final = 2
_NO_REPLY: Final = frozenset({2, 41, 42})

Handler = Callable[["Request"], bytes | int | None]
"""Returns the reply's body, or an errno, or None if there is no reply, or not yet."""


def from_log(log: Path) -> Capture:
    """Read what the server kept."""
    capture = Capture()
    for line in log.read_text().splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        match line.split():
            case ["<", request]:
                capture.read(bytes.fromhex(request))
            case [">", result, reply]:
                taken = int(result)
                capture.wrote(bytes.fromhex(reply), taken if taken >= 0 else None)
    return capture


@dataclass
class Request:
    """One request: header and the rest."""

    opcode: int
    unique: int
    node: int
    uid: int
    gid: int
    body: bytes

    def names(self, start: int) -> list[bytes]:
        """The strings from there on."""
        return self.body[start:].split(b"\0")


@dataclass
class Node:
    """A file."""

    mode: int
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    size: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Lock:
    """A POSIX lock."""

    owner: int
    start: int
    end: int
    kind: int
    pid: int


class Server:
    """Answers requests, one at a time."""

    def __init__(self, device: int, log: TextIO, flags: int, minor: int) -> None:
        self._device, self._log, self._flags, self._minor = device, log, flags, minor
        self._nodes = {ROOT: Node(stat.S_IFDIR | 0o777, gid=GROUP)}
        self._names: dict[bytes, int] = {}
        self._ids = count(2)
        self._locks: list[Lock] = []
        self._waiting: dict[int, Lock] = {}
        self._handlers: dict[int, Handler] = {
            1: self._lookup, 3: self._getattr, 4: self._setattr, 6: self._symlink, 8: self._mknod, 9: self._mkdir,
            10: self._unlink, 14: self._open, 16: self._write, 17: self._statfs, 18: self._done, 21: self._setxattr,
            22: self._getxattr, 25: self._flush, 26: self._init, 27: self._open, 28: self._done, 29: self._done,
            31: self._getlk, 32: self._setlk, 33: self._setlkw, 35: self._create, 36: self._interrupt, 37: self._bmap,
            38: self._done, 45: self._exchange, 47: self._copied, 50: self._done, 51: self._create,
        }  # fmt: skip
        if minor >= 45:
            self._handlers[53] = self._copied

    def serve(self) -> None:
        """Answer until the file system is unmounted."""
        while True:
            try:
                given = os.read(self._device, 1 << 20)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                raise
            print("<", given.hex(), file=self._log, flush=True)
            _, opcode, unique, node, uid, gid, _, _, _ = struct.unpack_from("<IIQQIIIHH", given)
            request = Request(opcode, unique, node, uid, gid, given[40:])
            handler = self._handlers.get(opcode)
            answer = handler(request) if handler else errno.ENOSYS
            if answer is not None and opcode not in _NO_REPLY:
                self._reply(unique, answer)

    def _reply(self, unique: int, answer: bytes | int) -> None:
        body, error = (answer, 0) if isinstance(answer, bytes) else (b"", -answer)
        self._put(struct.pack("<IiQ", 16 + len(body), error, unique) + body)

    def _notify(self, code: int, body: bytes = b"") -> int:
        return self._put(struct.pack("<IiQ", 16 + len(body), code, 0) + body)

    def _put(self, data: bytes) -> int:
        try:
            result = os.write(self._device, data)
        except OSError as error:
            result = -(error.errno or 0)
        print(">", result, data.hex(), file=self._log, flush=True)
        return result

    # ---- structures ----

    def _attr(self, node: int) -> bytes:
        one = self._nodes[node]
        times = [moment[0] & (1 << 64) - 1 for moment in (ATIME, MTIME, CTIME)]
        nanoseconds = [moment[1] for moment in (ATIME, MTIME, CTIME)]
        rest = [one.mode, 1, one.uid, one.gid, one.rdev, 4096, 0]
        return struct.pack("<6Q10I", node, one.size, -(-one.size // 512), *times, *nanoseconds, *rest)

    def _attr_out(self, node: int) -> bytes:
        return struct.pack("<QII", 0, 500_000_000, 0) + self._attr(node)

    def _entry_out(self, node: int) -> bytes:
        return struct.pack("<QQQQII", node, 7, 3600, 1, 0, 250_000_000) + self._attr(node)

    def _open_out(self, node: int) -> bytes:
        return struct.pack("<QIi", OPEN | node, 0, 0)

    # ---- operations ----

    def _init(self, request: Request) -> bytes:
        _, _, readahead = struct.unpack_from("<3I", request.body)
        if self._minor < 5:
            return struct.pack("<2I", 7, self._minor)
        flags = self._flags & (1 << 32) - 1
        reply = struct.pack("<4I2HI", 7, self._minor, readahead, flags, 12, 9, 1 << 17)
        if self._minor < 23:
            return reply
        return reply + struct.pack("<IHHIIH22x", 1, 32, 0, self._flags >> 32, 0, 0)

    def _done(self, _: Request) -> bytes:
        return b""

    def _lookup(self, request: Request) -> bytes | int:
        node = self._names.get(request.names(0)[0])
        return self._entry_out(node) if node else errno.ENOENT

    def _getattr(self, request: Request) -> bytes:
        return self._attr_out(request.node)

    def _setattr(self, request: Request) -> bytes:
        (valid,) = struct.unpack_from("<I", request.body)
        one = self._nodes[request.node]
        if valid & 1 << 0:
            (one.mode,) = struct.unpack_from("<I", request.body, 68)
        if valid & 1 << 3:
            (one.size,) = struct.unpack_from("<Q", request.body, 16)
        return self._attr_out(request.node)

    def _make(self, request: Request, name: bytes, mode: int, rdev: int = 0) -> int:
        node = next(self._ids)
        self._nodes[node] = Node(mode, request.uid, request.gid, rdev)
        self._names[name] = node
        return node

    def _symlink(self, request: Request) -> bytes:
        return self._entry_out(self._make(request, request.names(0)[0], stat.S_IFLNK | 0o777))

    def _mknod(self, request: Request) -> bytes:
        mode, rdev = struct.unpack_from("<2I", request.body)
        return self._entry_out(self._make(request, request.names(16)[0], mode, rdev))

    def _mkdir(self, request: Request) -> bytes:
        (mode,) = struct.unpack_from("<I", request.body)
        return self._entry_out(self._make(request, request.names(8)[0], stat.S_IFDIR | mode))

    def _create(self, request: Request) -> bytes:
        (mode,) = struct.unpack_from("<I", request.body, 4)
        node = self._make(request, request.names(16)[0], stat.S_IFREG | mode)
        return self._entry_out(node) + self._open_out(node)

    def _unlink(self, request: Request) -> bytes:
        del self._names[request.names(0)[0]]
        return b""

    def _open(self, request: Request) -> bytes:
        return self._open_out(request.node)

    def _exchange(self, request: Request) -> bytes:
        old, new = request.names(16)[:2]
        self._names[old], self._names[new] = self._names[new], self._names[old]
        return b""

    def _write(self, request: Request) -> bytes:
        offset, size = struct.unpack_from("<QI", request.body, 8)
        one = self._nodes[request.node]
        one.size = max(one.size, offset + size)
        return struct.pack("<II", size, 0)

    def _statfs(self, _: Request) -> bytes:
        return struct.pack("<5Q4I24x", 1 << 40, 1 << 39, 1 << 38, 1 << 37, 1 << 36, 65536, 200, 4096, 0)

    def _setxattr(self, request: Request) -> bytes:
        (size,) = struct.unpack_from("<I", request.body)
        name, rest = request.body[16:].split(b"\0", 1)
        self._nodes[request.node].xattrs[name] = rest[:size]
        return b""

    def _getxattr(self, request: Request) -> bytes | int | None:
        (size,) = struct.unpack_from("<I", request.body)
        name = request.names(8)[0]
        if name.startswith(b"user.notify."):
            return self._told(request, name.removeprefix(b"user.notify.").decode())
        value = self._nodes[request.node].xattrs.get(name)
        if value is None:
            return errno.ENODATA
        return value if size else struct.pack("<II", len(value), 0)

    def _bmap(self, request: Request) -> bytes:
        (block,) = struct.unpack_from("<Q", request.body)
        return struct.pack("<Q", BLOCK_MOVED + block)

    def _copied(self, request: Request) -> bytes:
        """All of it, or as many bytes as ``fuse_write_out`` has bits for: 32, then padding."""
        return request.body[40:48]

    # ---- locks ----

    def _lock(self, request: Request) -> Lock:
        _, owner, start, end, kind, pid = struct.unpack_from("<4Q2I", request.body)
        return Lock(owner, start, end, kind, pid)

    def _in_the_way(self, new: Lock) -> Lock | None:
        others = (old for old in self._locks if old.owner != new.owner and old.start <= new.end)
        return next((old for old in others if new.start <= old.end and 1 in (old.kind, new.kind)), None)

    def _getlk(self, request: Request) -> bytes:
        new = self._lock(request)
        old = self._in_the_way(new) or Lock(0, new.start, new.end, _UNLOCKED, 0)
        return struct.pack("<2Q2I", old.start, old.end, old.kind, old.pid)

    def _setlk(self, request: Request) -> bytes | int:
        new = self._lock(request)
        if new.kind == _UNLOCKED:
            self._unlock(new.owner)
        elif self._in_the_way(new):
            return errno.EAGAIN
        else:
            self._locks.append(new)
        return b""

    def _setlkw(self, request: Request) -> bytes | int | None:
        answer = self._setlk(request)
        if answer == errno.EAGAIN:
            self._waiting[request.unique] = self._lock(request)
            return None
        return answer

    def _unlock(self, owner: int) -> None:
        self._locks = [lock for lock in self._locks if lock.owner != owner]
        for unique, lock in list(self._waiting.items()):
            if not self._in_the_way(lock):
                del self._waiting[unique]
                self._locks.append(lock)
                self._reply(unique, b"")

    def _flush(self, request: Request) -> bytes:
        (owner,) = struct.unpack_from("<Q", request.body, 16)
        self._unlock(owner)
        return b""

    def _interrupt(self, request: Request) -> None:
        (unique,) = struct.unpack_from("<Q", request.body)
        if self._waiting.pop(unique, None):
            self._reply(unique, errno.EINTR)

    # ---- notifications ----

    def _told(self, request: Request, kind: str) -> bytes | None:
        """Send a notification, and reply what became of it.

        A getxattr asks for it since that holds no lock of an inode, for which a notification might wait.
        """
        if request.unique >> 63:
            return b"resent"
        name = b"doomed"
        child = self._names[name]
        bodies = {
            "delete": (6, struct.pack("<QQII", ROOT, child, len(name), 0) + name + b"\0"),
            "attributes": (2, struct.pack("<Qqq", child, -1, 0)),
            "resend": (7, b""),
            "prune": (9, struct.pack("<IIQ2Q", 2, 0, 0, child, OPEN)),
        }
        if kind == "delete":
            del self._names[name]
        result = self._notify(*bodies[kind])
        # What is told to come again is answered when it does.
        return None if kind == "resend" else str(result).encode()


def mount(device: int, mountpoint: Path, source: str | None) -> None:
    """Call mount(2)."""
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    kind, name = ("fuseblk", source) if source else ("fuse", "furtrace-raw")
    libc = ctypes.CDLL(None, use_errno=True)
    flags = 2 | 4  # MS_NOSUID, MS_NODEV
    if libc.mount(name.encode(), os.fsencode(mountpoint), kind.encode(), flags, options.encode()):
        raise OSError(ctypes.get_errno(), "mount failed")


def main() -> None:
    """Mount, and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mountpoint", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--flags", type=lambda text: int(text, 0), default=0)
    parser.add_argument("--minor", type=int, default=36)
    parser.add_argument("--device")
    given = parser.parse_args()
    device = os.open("/dev/fuse", os.O_RDWR)
    with given.log.open("w") as log:
        mount(device, given.mountpoint, given.device)
        Server(device, log, given.flags, given.minor).serve()


if __name__ == "__main__":
    main()

"""System calls on a mount, whose requests the tests know how they must look; a process of its own. Run as::

    python -m tests.live.protocol.client STEPS MOUNTPOINT [ARGUMENT ...]

Prints as JSON what the system calls told.
"""

import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import stat
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

Facts = dict[str, Any]

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD: Final = -100
STATX_ALL: Final = 0xFFF
PUNCH_HOLE: Final = 1 | 2
"""FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE."""
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
FIBMAP: Final = 1
FIOC_GET_SIZE, FIOC_SET_SIZE = 0x80084500, 0x40084501
"""Of libfuse's ``example/ioctl.h``: _IOR('E', 0, size_t) and _IOW('E', 1, size_t)."""
ODD_NAME: Final = b"odd \xff\n"


def checked(result: int) -> int:
    """The result of a function of C, whose error is raised."""
    if result < 0:
        raise OSError(ctypes.get_errno(), "a system call failed")
    return result


def error_of(call: Callable[[], object]) -> int:
    """The errno of a call that has to fail."""
    try:
        call()
    except OSError as error:
        return error.errno or 0
    raise AssertionError("no error")


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for a condition, 10 seconds at most."""
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.005)


def wait_for_word() -> None:
    """Wait until who started this process has seen what it waits for."""
    sys.stdin.read()


def stat_facts(path: Path | int) -> Facts:
    """What stat(2) tells, without following links."""
    told = os.fstat(path) if isinstance(path, int) else path.lstat()
    return {name: getattr(told, name) for name in dir(told) if name.startswith("st_")}


def statx(path: Path) -> Facts:
    """Some of what statx(2) tells."""
    told = ctypes.create_string_buffer(256)
    checked(libc.statx(AT_FDCWD, os.fsencode(path), 0, STATX_ALL, told))
    seconds, nanoseconds = struct.unpack_from("<qI", told.raw, 80)
    (mask,) = struct.unpack_from("<I", told.raw)
    return {"mask": mask, "btime": [seconds, nanoseconds]}


# ---- libfuse's passthrough_ll ----


def files(root: Path) -> Facts:
    """Nearly all that can be done to files."""
    os.umask(0o027)
    folder = root / "dir"
    folder.mkdir(0o755)
    facts: Facts = {"pid": os.getpid(), "open": _open_file(folder)}
    _names(root, folder)
    _attributes(folder)
    facts["xattr"] = _xattrs(folder / "file")
    facts["statx"] = statx(folder / "file")
    facts["stat"] = stat_facts(folder / "file")
    facts["errors"] = {
        "ENOENT": error_of((root / "absent").stat),
        "ENOTEMPTY": error_of(folder.rmdir),
        "ENODATA": error_of(lambda: os.getxattr(folder / "file", "user.absent")),
    }
    facts["entries"] = _folder(folder)
    told = os.statvfs(root)
    facts["statfs"] = {name: getattr(told, name) for name in dir(told) if name.startswith("f_")}
    _forget(root)
    return facts


def _open_file(folder: Path) -> Facts:
    file = os.open(folder / "file", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    os.pwrite(file, b"0123456789", 4096)
    facts: Facts = {"read": os.pread(file, 5, 4098).decode()}
    facts["data"] = os.lseek(file, 0, os.SEEK_DATA)
    facts["hole"] = os.lseek(file, 100, os.SEEK_HOLE)
    facts["end"] = os.lseek(file, 0, os.SEEK_END)
    checked(libc.fallocate(file, 0, ctypes.c_long(8192), ctypes.c_long(4096)))
    checked(libc.fallocate(file, PUNCH_HOLE, ctypes.c_long(4), ctypes.c_long(40)))
    os.fsync(file)
    os.fdatasync(file)
    os.ftruncate(file, 5000)
    other = os.open(folder / "copy", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.close(other)
    other = os.open(folder / "copy", os.O_RDWR)
    facts["copied"] = os.copy_file_range(file, other, 8, 4097, 3)
    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(file, fcntl.LOCK_EX)
    fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)
    os.close(other)
    os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o640))
    return facts


def _names(root: Path, folder: Path) -> None:
    os.mkdir(os.fsencode(root) + b"/" + ODD_NAME)  # noqa: PTH102 - a name that is no text
    os.mkfifo(folder / "pipe", 0o622)
    os.mknod(folder / "device", stat.S_IFCHR | 0o660, os.makedev(259, 1234))
    (folder / "link").symlink_to("../some/target")
    (folder / "link").readlink()
    (folder / "hard").hardlink_to(folder / "file")
    (folder / "hard").rename(root / "moved")
    for new, flags in (("tube", RENAME_NOREPLACE), ("device", RENAME_EXCHANGE)):
        paths = [os.fsencode(folder / name) for name in ("pipe", new)]
        # No example of libfuse does either.
        libc.renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], flags)
    (root / "moved").unlink()
    (root / "empty").mkdir(0o700)
    (root / "empty").rmdir()


def _attributes(folder: Path) -> None:
    os.chown(folder / "file", 1234, 5678)
    (folder / "file").chmod(0o4751)
    os.utime(folder / "file", ns=(-1_000_000_001, 2_222_222_222_999_999_999))
    os.utime(folder / "copy")
    os.truncate(folder / "copy", 3)


def _xattrs(file: Path) -> Facts:
    name = b"user.color"
    os.setxattr(file, name, b"blue\0\xff", os.XATTR_CREATE)
    os.setxattr(file, b"user.b", b"2")
    path = os.fsencode(file)
    facts = {
        "size": checked(libc.getxattr(path, name, None, 0)),
        "value": os.getxattr(file, name).hex(),
        "list size": checked(libc.listxattr(path, None, 0)),
        "list": os.listxattr(file),
    }
    os.removexattr(file, b"user.b")
    return facts


def _folder(folder: Path) -> Facts:
    names = {entry: stat_facts(folder / entry) for entry in os.listdir(folder)}  # noqa: PTH208 - not their paths
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(handle)
    os.close(handle)
    return names


def _forget(root: Path) -> None:
    """Look up many files, then have the kernel drop them all: mounting anew empties its cache of this mount alone."""
    names = [root / f"many{index}" for index in range(40)]
    for name in names:
        name.touch()
    remount, nosuid, nodev = 32, 2, 4
    checked(libc.mount(None, os.fsencode(root), None, remount | nosuid | nodev, None))
    os.statvfs(root)


# ---- libfuse's passthrough_fh ----


def access(root: Path, lower: str) -> Facts:
    """access(2), and a lock whose waiter gets a signal; ``lower`` is the folder that is passed through."""
    file = root / "file"
    os.chdir(root)
    facts: Facts = {"readable": os.access(file, os.R_OK | os.W_OK), "there": os.access(file, os.F_OK)}
    holder = os.open(file, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    waiter = os.fork()
    if not waiter:
        signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))
        fcntl.flock(os.open(file, os.O_RDONLY), fcntl.LOCK_EX)
        os._exit(1)
    # The server waits in its turn, for the file below.
    number = (Path(lower) / "file").stat().st_ino
    wait_until(lambda: _is_waited_for(number))
    os.kill(waiter, signal.SIGUSR1)
    wait_for_word()
    # libfuse's example can't be interrupted, so the lock is had after all.
    fcntl.flock(holder, fcntl.LOCK_UN)
    facts["waiter"] = waiter
    facts["status"] = os.waitpid(waiter, 0)[1]
    os.close(holder)
    return facts


def _is_waited_for(inode: int) -> bool:
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and f":{inode} " in line for line in lines)


# ---- other examples of libfuse ----


def hello(root: Path) -> Facts:
    """hello_ll has one file."""
    facts: Facts = {"names": os.listdir(root), "stat": stat_facts(root / "hello")}  # noqa: PTH208 - not their paths
    facts["text"] = (root / "hello").read_text()
    facts["denied"] = error_of(lambda: os.open(root / "hello", os.O_RDWR))
    return facts


def ioctl(root: Path) -> Facts:
    """The file of ``ioctl`` says and takes its size."""
    file = os.open(root / "fioc", os.O_RDWR)
    fcntl.ioctl(file, FIOC_SET_SIZE, struct.pack("<Q", 0x1234))
    size = fcntl.ioctl(file, FIOC_GET_SIZE, bytes(8))
    facts = {"size": struct.unpack("<Q", size)[0], "stat": os.fstat(file).st_size}
    facts["unknown"] = error_of(lambda: fcntl.ioctl(file, 0x4502, 77))
    os.close(file)
    return facts


def poll(root: Path) -> Facts:
    """Wait until the server has something to read."""
    file = os.open(root / "8", os.O_RDONLY)
    poller = select.poll()
    poller.register(file, select.POLLIN | select.POLLPRI)
    while poller.poll(0):
        os.read(file, 100)
    ready = poller.poll(10_000)
    facts = {"ready": ready, "read": os.read(file, 100).decode()}
    os.close(file)
    return facts


def first_file(root: Path) -> Facts:
    """Read the only file, whatever its name is."""
    while True:
        (name,) = os.listdir(root)  # noqa: PTH208 - not its path
        try:
            mode = (root / name).stat().st_mode
        except FileNotFoundError:
            continue  # it has another name each second
        return {"name": name, "text": (root / name).read_text() if stat.S_IMODE(mode) else ""}


def block(root: Path) -> Facts:
    """What only a mount of a block device asks."""
    file = os.open(root / "file", os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(file, 4096)
    where = ctypes.c_int(3)
    result = libc.ioctl(file, FIBMAP, ctypes.byref(where))
    facts = {"where": where.value, "error": 0 if result >= 0 else ctypes.get_errno()}
    facts["block size"] = os.statvfs(root).f_bsize
    checked(libc.syncfs(file))
    os.close(file)
    return facts


# ---- the raw server ----


def locks(root: Path) -> Facts:
    """POSIX locks of two processes on one file."""
    file = os.open(root / "locked", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 1000)
    waiter = os.fork()
    if not waiter:
        _second_locker(root / "locked")
    # What the server has not read yet when the signal comes would be taken back without a word.
    wait_for_word()
    os.kill(waiter, signal.SIGUSR1)
    facts: Facts = {"pid": os.getpid(), "waiter": waiter, "status": os.waitpid(waiter, 0)[1]}
    fcntl.lockf(file, fcntl.LOCK_UN, 0, 0)
    os.close(file)
    return facts


def _second_locker(path: Path) -> None:
    """Ask who locks, be refused, then wait until a signal; the exit status says that all was as it should be."""
    file = os.open(path, os.O_RDWR)
    asked = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, start, size, pid = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, asked))
    told = (kind, start, size, pid) == (fcntl.F_WRLCK, 1000, 100, os.getppid())
    refused = error_of(lambda: fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 0, 1099))
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(0 if told and refused == errno.EAGAIN else 1))
    fcntl.lockf(file, fcntl.LOCK_SH, 1, 1050)
    os._exit(2)


def groups(root: Path) -> Facts:
    """Make files as a member of the folder's group, which is not the own one."""
    os.umask(0o022)
    # The way to the mount point is root's alone.
    os.chdir(root)
    root = Path()
    os.setgroups([4242, 77])
    os.setresgid(500, 500, -1)
    os.setresuid(1000, 1000, -1)
    file = os.open(root / "created", os.O_CREAT | os.O_RDWR, 0o644)
    (root / "made").mkdir(0o755)
    (root / "pointer").symlink_to("nowhere")
    os.mkfifo(root / "fifo", 0o600)
    facts: Facts = {"stat": stat_facts(root / "created")}
    (root / "created").chmod(0o6755)
    os.pwrite(file, b"drops the set-user-id bit", 0)
    os.ftruncate(file, 10)
    os.close(os.open(root / "created", os.O_WRONLY | os.O_TRUNC))
    # The owner, who is not of the file's group any more, sets an ACL: u::rw- u:77:r-- g::r-- m::r-- o::---
    os.setresuid(0, 0, -1)
    os.setresgid(501, 501, -1)
    os.setresuid(1000, 1000, -1)
    entries = [(1, 6, -1), (2, 4, 77), (4, 4, -1), (16, 4, -1), (32, 0, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    os.setxattr(root / "created", "system.posix_acl_access", acl)
    facts["acl"] = acl.hex()
    os.close(file)
    return facts


def copy(root: Path) -> Facts:
    """Copy more than 32 bits can count."""
    files = [os.open(root / name, os.O_CREAT | os.O_RDWR, 0o600) for name in ("from", "to")]
    os.ftruncate(files[0], 6 << 30)
    facts = {"copied": os.copy_file_range(files[0], files[1], 5 << 30, 123, 456)}
    paths = [os.fsencode(root / name) for name in ("from", "to")]
    checked(libc.renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE))
    for file in files:
        os.close(file)
    return facts


def notified(root: Path) -> Facts:
    """Have the server send each notification that no example of libfuse sends; it replies what came of it."""
    os.umask(0o022)
    (root / "doomed").touch()
    facts: Facts = {"stat": stat_facts(root / "doomed")}
    for kind in ("attributes", "prune", "resend"):
        facts[kind] = os.getxattr(root, f"user.notify.{kind}").decode()
    (root / "doomed").stat()
    facts["delete"] = os.getxattr(root, "user.notify.delete").decode()
    facts["gone"] = error_of((root / "doomed").stat)
    return facts


def nothing(root: Path) -> Facts:
    """Be there."""
    return {}


STEPS: Final[dict[str, Callable[..., Facts]]] = {
    step.__name__: step
    for step in (files, access, hello, ioctl, poll, first_file, block, locks, groups, copy, notified, nothing)
}

if __name__ == "__main__":
    print(json.dumps(STEPS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])))

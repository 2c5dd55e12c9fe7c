"""The mount behaves as a file system should: over io_uring, through /dev/fuse, and with zero-copied files."""

import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import random
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from furtrace.demo.enable import PARAMETER
from furtrace.demo.modes import Mode
from furtrace.demo.process import DemoServer
from tests.live.demo.conftest import Start, eventually

pytestmark = pytest.mark.live

PAGE = 4096
libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100


@pytest.fixture(params=["uring", "dev", "zero-copy"])
def server(request: pytest.FixtureRequest, start: Start) -> DemoServer:
    """Files are kept in another way where they are zero-copied."""
    if request.param == "dev":
        return start(uring=False)
    if not PARAMETER.exists():
        pytest.skip("this kernel has no FUSE over io_uring")
    if request.param == "uring":
        return start()
    request.getfixturevalue("pools")
    return start(mode=Mode.ZERO_COPY)


def renameat2(old: Path, new: Path, flags: int) -> int:
    """Return 0 or an errno."""
    done = libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)
    return 0 if done == 0 else ctypes.get_errno()


def fallocate(descriptor: int, mode: int, offset: int, length: int) -> int:
    done = libc.fallocate(descriptor, mode, ctypes.c_long(offset), ctypes.c_long(length))
    return 0 if done == 0 else ctypes.get_errno()


def open_new(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)


def test_big_data_comes_back_as_it_went(root: Path) -> None:
    data = random.Random(1).randbytes(20_000_003)
    (root / "big").write_bytes(data)
    assert (root / "big").stat().st_size == len(data)
    assert hashlib.sha256((root / "big").read_bytes()).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("max_write", [4096, 10_000, 1 << 20])
def test_other_request_sizes_serve_as_well(start: Start, uring: bool, max_write: int) -> None:
    root = start(uring=uring, max_write=max_write, depth=1).mountpoint
    data = random.Random(2).randbytes(3_000_001)
    (root / "f").write_bytes(data)
    assert (root / "f").read_bytes() == data
    for number in range(200):
        (root / f"{number:0100}").touch()
    assert len(list(root.iterdir())) == 201


def test_direct_io(root: Path) -> None:
    memory = mmap.mmap(-1, 64 * PAGE)
    memory.write(random.Random(3).randbytes(64 * PAGE))
    descriptor = os.open(root / "f", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    assert os.writev(descriptor, [memory]) == 64 * PAGE
    back = mmap.mmap(-1, 64 * PAGE)
    assert os.preadv(descriptor, [back], 0) == 64 * PAGE
    assert back[:] == memory[:]
    os.close(descriptor)


def test_memory_maps_are_written_back(root: Path) -> None:
    (root / "f").write_bytes(bytes(3 * PAGE))
    with (root / "f").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[PAGE : PAGE + 5] = b"hello"
        mapped.flush()
    assert (root / "f").read_bytes() == bytes(PAGE) + b"hello" + bytes(2 * PAGE - 5)


def test_appending_and_truncating(root: Path) -> None:
    path = root / "f"
    with path.open("ab") as file:
        file.write(b"one")
    with path.open("ab") as file:
        file.write(b"two")
    assert path.read_bytes() == b"onetwo"
    os.truncate(path, 2)
    assert path.read_bytes() == b"on"
    os.truncate(path, 5)
    assert path.read_bytes() == b"on\0\0\0"
    path.open("wb").close()
    assert path.stat().st_size == 0


def test_modes_owners_and_times(root: Path) -> None:
    path = root / "f"
    path.touch(mode=0o600)
    path.chmod(0o4755)
    assert stat.S_IMODE(path.stat().st_mode) == 0o4755
    os.chown(path, 12, 34)
    assert (path.stat().st_uid, path.stat().st_gid) == (12, 34)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    os.utime(path, ns=(-1_500_000_000, 3_000_000_000_123_456_789))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (-1_500_000_000, 3_000_000_000_123_456_789)
    os.utime(path)
    assert path.stat().st_mtime_ns > 1_700_000_000_000_000_000
    before = path.stat().st_ctime_ns
    path.chmod(0o600)
    assert path.stat().st_ctime_ns > before


def test_permissions_are_enforced(root: Path) -> None:
    (root / "secret").write_text("x")
    (root / "secret").chmod(0o600)
    code = "import os,sys; os.setgid(65534); os.setuid(65534); open(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, root / "secret"], capture_output=True, text=True, timeout=30, check=False
    )
    assert "PermissionError" in done.stderr


def test_links_of_both_kinds(root: Path) -> None:
    (root / "d").mkdir()
    (root / "a").write_text("text")
    os.link(root / "a", root / "d" / "b")
    assert (root / "a").stat().st_nlink == 2
    assert (root / "d" / "b").stat().st_ino == (root / "a").stat().st_ino
    (root / "l").symlink_to("d/b")
    assert (root / "l").read_text() == "text"
    assert (root / "l").lstat().st_size == 3
    (root / "a").unlink()
    assert (root / "d" / "b").stat().st_nlink == 1
    with pytest.raises(FileExistsError):
        os.link(root / "d" / "b", root / "l")


def test_directories_count_links_and_refuse_to_go_while_full(root: Path) -> None:
    (root / "d" / "e").mkdir(parents=True)
    assert (root / "d").stat().st_nlink == 3
    with pytest.raises(OSError, match="not empty") as refusal:
        (root / "d").rmdir()
    assert refusal.value.errno == errno.ENOTEMPTY
    (root / "d" / "e").rmdir()
    assert (root / "d").stat().st_nlink == 2
    (root / "d").rmdir()
    assert list(root.iterdir()) == []


def test_special_files(root: Path) -> None:
    os.mkfifo(root / "fifo", 0o640)
    assert stat.S_ISFIFO((root / "fifo").stat().st_mode)
    reader = os.open(root / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(root / "fifo", os.O_WRONLY)
    os.write(writer, b"through")
    assert os.read(reader, 10) == b"through"
    os.close(reader)
    os.close(writer)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        assert stat.S_ISSOCK((root / "socket").stat().st_mode)
    with pytest.raises(PermissionError):
        os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))


def test_rename2(root: Path) -> None:
    (root / "a").write_text("A")
    (root / "b").write_text("B")
    (root / "d").mkdir()
    assert renameat2(root / "a", root / "b", 1) == errno.EEXIST
    assert renameat2(root / "a", root / "c", 1) == 0
    assert renameat2(root / "c", root / "b", 2) == 0
    assert ((root / "b").read_text(), (root / "c").read_text()) == ("A", "B")
    assert renameat2(root / "b", root / "d", 2) == 0
    assert (root / "b").is_dir()
    assert (root / "d").read_text() == "A"
    assert renameat2(root / "d", root / "x", 4) == errno.EINVAL
    (root / "c").rename(root / "d")
    assert (root / "d").read_text() == "B"


def test_extended_attributes(root: Path) -> None:
    path = root / "f"
    path.touch()
    os.setxattr(path, "user.one", b"1", os.XATTR_CREATE)
    with pytest.raises(FileExistsError):
        os.setxattr(path, "user.one", b"2", os.XATTR_CREATE)
    with pytest.raises(OSError, match="No data") as refusal:
        os.setxattr(path, "user.two", b"2", os.XATTR_REPLACE)
    assert refusal.value.errno == errno.ENODATA
    big = random.Random(4).randbytes(60_000)
    os.setxattr(path, "user.big", big)
    os.setxattr(path, "user.empty", b"")
    assert os.getxattr(path, "user.big") == big
    assert os.getxattr(path, "user.empty") == b""
    assert sorted(os.listxattr(path)) == ["user.big", "user.empty", "user.one"]
    room = ctypes.create_string_buffer(10)
    assert libc.getxattr(os.fsencode(path), b"user.big", room, ctypes.c_size_t(10)) == -1
    assert ctypes.get_errno() == errno.ERANGE
    os.removexattr(path, "user.one")
    with pytest.raises(OSError, match="No data"):
        os.getxattr(path, "user.one")


def test_fallocate_and_seek(root: Path) -> None:
    descriptor = open_new(root / "f")
    data = random.Random(5).randbytes(8 * PAGE)
    os.write(descriptor, data)
    assert fallocate(descriptor, 3, 2 * PAGE, 3 * PAGE) == 0
    assert os.pread(descriptor, 8 * PAGE, 0) == data[: 2 * PAGE] + bytes(3 * PAGE) + data[5 * PAGE :]
    assert os.fstat(descriptor).st_blocks == 5 * 8
    assert os.lseek(descriptor, 0, os.SEEK_HOLE) == 2 * PAGE
    assert os.lseek(descriptor, 2 * PAGE + 5, os.SEEK_DATA) == 5 * PAGE
    assert os.lseek(descriptor, 5 * PAGE, os.SEEK_HOLE) == 8 * PAGE
    with pytest.raises(OSError, match="No such device or address"):
        os.lseek(descriptor, 8 * PAGE, os.SEEK_DATA)
    assert fallocate(descriptor, 1, 8 * PAGE, PAGE) == 0
    assert os.fstat(descriptor).st_size == 8 * PAGE
    assert fallocate(descriptor, 0, 8 * PAGE, PAGE) == 0
    assert os.fstat(descriptor).st_size == 9 * PAGE
    assert fallocate(descriptor, 0x10, 0, 100) == 0
    assert os.pread(descriptor, 110, 0) == bytes(100) + data[100:110]
    assert fallocate(descriptor, 0x20, 0, PAGE) == errno.EOPNOTSUPP
    os.close(descriptor)


def test_copy_file_range(root: Path) -> None:
    data = random.Random(6).randbytes(1_000_001)
    (root / "a").write_bytes(data)
    source, target = os.open(root / "a", os.O_RDONLY), open_new(root / "b")
    left = len(data)
    while copied := os.copy_file_range(source, target, left):
        left -= copied
    assert left == 0
    assert os.copy_file_range(source, target, 10, 5, 100) == 10
    os.close(source)
    os.close(target)
    assert (root / "b").read_bytes() == data[:100] + data[5:15] + data[110:]


def test_an_unlinked_open_file_lives_on(root: Path) -> None:
    with (root / "f").open("w+b") as file:
        file.write(b"still here")
        file.flush()
        (root / "f").unlink()
        assert list(root.iterdir()) == []
        assert os.fstat(file.fileno()).st_nlink == 0
        (root / "f").write_bytes(b"another")
        assert os.pread(file.fileno(), 100, 0) == b"still here"
        file.write(b", and growing")
        file.flush()
        assert os.pread(file.fileno(), 100, 0) == b"still here, and growing"
    assert (root / "f").read_bytes() == b"another"


def test_space_comes_back(root: Path) -> None:
    before = os.statvfs(root)
    (root / "f").write_bytes(bytes(1_000_000))
    assert os.statvfs(root).f_bfree == before.f_bfree - 245
    (root / "f").unlink()
    # The kernel gives its references back when it gets to it.
    assert eventually(lambda: os.statvfs(root).f_bfree == before.f_bfree)


def test_a_full_file_system_says_so(root: Path) -> None:
    (root / "f").touch()
    descriptor = os.open(root / "f", os.O_RDWR)
    assert fallocate(descriptor, 0, 0, 1 << 40) == errno.ENOSPC
    assert fallocate(descriptor, 0, 0, 1 << 30) == 0
    with pytest.raises(OSError, match="No space") as refusal:
        (root / "g").write_bytes(b"x")
    assert refusal.value.errno == errno.ENOSPC
    os.close(descriptor)


def test_names_have_a_limit(root: Path) -> None:
    (root / ("n" * 255)).touch()
    with pytest.raises(OSError, match="too long"):
        (root / ("n" * 256)).touch()
    with pytest.raises(FileNotFoundError):
        (root / "absent").stat()


def test_locks_work(root: Path) -> None:
    with (root / "f").open("w") as one, (root / "f").open("w") as two:
        fcntl.flock(one, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_large_directory_is_listed_whole_and_removed_while_read(root: Path) -> None:
    for number in range(3000):
        (root / f"file-{number}").touch()
    assert {path.name for path in root.iterdir()} == {f"file-{number}" for number in range(3000)}
    with os.scandir(root) as entries:
        for entry in entries:
            assert entry.is_file()
            Path(entry).unlink()
    assert list(root.iterdir()) == []

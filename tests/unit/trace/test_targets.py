"""Where the bytes of a recording go: all of them arrive, in their order, and at once."""

import errno
import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from furtrace.trace.targets import CompressedTarget, DiskTarget, PlainTarget, Target

_SIZE = st.one_of(st.integers(0, 9000), st.integers(120_000, 140_000), st.just(2_500_000))
SIZES = st.lists(st.lists(_SIZE, max_size=3), max_size=12)


def opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)


def pieces_of(sizes: list[int], number: int) -> list[bytes]:
    return [bytes([number % 251 + 1]) * (size // 2) + os.urandom(size - size // 2) for size in sizes]


@pytest.mark.parametrize("past_the_cache", [True, False])
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SIZES)
def test_a_disk_has_all_at_once(past_the_cache: bool, tmp_path: Path, sizes: list[list[int]]) -> None:
    path = tmp_path / "file"
    target = DiskTarget(opened(path))
    if not past_the_cache and target._past >= 0:
        os.close(target._past)
        target._past = -1
    written = b""
    for number, some in enumerate(sizes):
        pieces = pieces_of(some, number)
        target.write(pieces)
        written += b"".join(pieces)
        assert target.written == len(written)
        assert path.read_bytes() == written
    target.close()
    assert path.read_bytes() == written


def test_it_does_go_past_the_page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = DiskTarget(opened(tmp_path / "file"))
    if target._past < 0:
        pytest.skip("the file system of temporary files has no O_DIRECT")
    written: list[tuple[int, int, int]] = []
    write = os.pwrite

    def noted(descriptor: int, data: memoryview, offset: int) -> int:
        written.append((descriptor, len(data), offset))
        return write(descriptor, data, offset)

    monkeypatch.setattr("furtrace.trace.targets.time.monotonic", lambda: 100.0)  # however slow the disk is
    monkeypatch.setattr(os, "pwrite", noted)
    target.write([bytes(300_000)])
    target.write([bytes(5000)])
    target.write([bytes(200_000)])
    past = [(size, offset) for descriptor, size, offset in written if descriptor == target._past]
    assert past == [(299_008, 0), (204_800, 299_008)]
    target.close()
    assert (tmp_path / "file").stat().st_size == 505_000


def test_a_slow_disk_is_left_to_the_page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = DiskTarget(opened(tmp_path / "file"))
    if target._past < 0:
        pytest.skip("the file system of temporary files has no O_DIRECT")
    used: list[int] = []
    now = [100.0]
    write = os.pwrite

    def slow(descriptor: int, data: memoryview, offset: int) -> int:
        used.append(descriptor)
        now[0] += 1.0
        return write(descriptor, data, offset)

    monkeypatch.setattr("furtrace.trace.targets.time.monotonic", lambda: now[0])
    monkeypatch.setattr(os, "pwrite", slow)
    target.write([bytes(1 << 20)])
    assert used == [target._past]
    target.write([bytes(1 << 20)])
    assert used[1:] == [target._usual]
    now[0] += 10
    target.write([bytes(1 << 20)])
    assert used[2:] == [target._past]
    target.close()


def test_what_a_file_system_refuses_goes_the_usual_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    target = DiskTarget(opened(path))
    if target._past < 0:
        pytest.skip("the file system of temporary files has no O_DIRECT")
    write, past = os.pwrite, target._past

    def picky(descriptor: int, data: memoryview, offset: int) -> int:
        if descriptor == past:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", picky)
    data = os.urandom(1 << 20)
    target.write([data])
    target.write([data])
    target.close()
    assert path.read_bytes() == data * 2


@pytest.mark.parametrize("kind", [DiskTarget, PlainTarget])
def test_what_does_not_fit_leaves_nothing(
    kind: type[DiskTarget] | type[PlainTarget], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a write that failed in the middle the file ends where it did before, and can be gone on with."""
    path = tmp_path / "file"
    target: Target = kind(opened(path))
    first = os.urandom(200_001)
    target.write([first])
    pwrite, writev, left = os.pwrite, os.writev, [150_000]

    def full(descriptor: int, data: memoryview, offset: int) -> int:
        if left[0] < 4096:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = min(len(data), left[0] // 4096 * 4096)
        left[0] -= taken
        return pwrite(descriptor, data[:taken], offset)

    def full_too(descriptor: int, data: list[memoryview]) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = min(len(data[0]), left[0])
        left[0] -= taken
        return writev(descriptor, [data[0][:taken]])

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        patched.setattr(os, "writev", full_too)
        with pytest.raises(OSError, match="No space"):
            target.write([os.urandom(1 << 20)])
    assert target.written == len(first)
    assert path.read_bytes() == first
    target.write([b"the end"])
    target.close()
    assert path.read_bytes() == first + b"the end"


def test_a_pipe(tmp_path: Path) -> None:
    read, write = os.pipe()
    target = PlainTarget(write)
    target.write([b"one", b"", b"two"])
    assert target.written == 6
    target.close()
    assert os.read(read, 100) == b"onetwo"
    os.close(read)


def test_frames_can_be_read_before_they_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    target = CompressedTarget(opened(path))
    target.write([b"a" * 1000, b"b"])
    assert path.read_bytes() == b""
    target.flush()
    assert target.written == path.stat().st_size > 0
    assert zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()) == b"a" * 1000 + b"b"
    target.write([bytes(2 << 20)])
    assert len(zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())) == 1001 + (2 << 20)
    target.close()
    whole = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
    assert whole == b"a" * 1000 + b"b" + bytes(2 << 20)


def test_what_is_somebody_else_s_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of standard output that is appended to a file."""
    path = tmp_path / "file"
    path.write_bytes(b"theirs")
    target = PlainTarget(os.open(path, os.O_WRONLY | os.O_APPEND), ours=False)
    writev, asked = os.writev, [0]

    def full(descriptor: int, data: list[memoryview]) -> int:
        asked[0] += 1
        if asked[0] > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return writev(descriptor, [data[0][:3]])

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(OSError, match="No space"):
        target.write([b"ours"])
    target.close()
    assert path.read_bytes() == b"theirsour"

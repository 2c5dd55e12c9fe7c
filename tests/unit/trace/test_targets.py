"""Where the bytes of a recording go: all of them arrive, in their order, and at once."""

import errno
import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from furtrace.trace.targets import CompressedTarget, PlainTarget

_SIZE = st.one_of(st.integers(0, 9000), st.integers(120_000, 140_000), st.just(2_500_000))
SIZES = st.lists(st.lists(_SIZE, max_size=3), max_size=12)


def opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)


def pieces_of(sizes: list[int], number: int) -> list[bytes]:
    return [bytes([number % 251 + 1]) * (size // 2) + os.urandom(size - size // 2) for size in sizes]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SIZES)
def test_a_file_has_all_at_once(tmp_path: Path, sizes: list[list[int]]) -> None:
    path = tmp_path / "file"
    target = PlainTarget(opened(path))
    written = b""
    for number, some in enumerate(sizes):
        pieces = pieces_of(some, number)
        target.write(pieces)
        written += b"".join(pieces)
        assert target.written == len(written)
        assert path.read_bytes() == written
    target.close()
    assert path.read_bytes() == written


def test_the_cpu_is_given_away_between_the_parts_of_a_large_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel is not preempted, whoever wakes on this CPU waits until a system call has ended."""
    target, write, sizes = PlainTarget(opened(tmp_path / "file")), os.write, list[int]()

    def noted(descriptor: int, data: memoryview) -> int:
        sizes.append(len(data))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", noted)
    target.write([bytes(1 << 20), b"end"])
    target.close()
    assert sum(sizes) == (1 << 20) + 3
    assert max(sizes) <= 128 << 10


def test_what_does_not_fit_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a write that failed in the middle the file ends where it did before, and can be gone on with."""
    path = tmp_path / "file"
    target = PlainTarget(opened(path))
    first = os.urandom(200_001)
    target.write([first])
    write, left = os.write, [150_000]

    def full(descriptor: int, data: memoryview) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = min(len(data), left[0])
        left[0] -= taken
        return write(descriptor, data[:taken])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
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
    write, asked = os.write, [0]

    def full(descriptor: int, data: memoryview) -> int:
        asked[0] += 1
        if asked[0] > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:3])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        target.write([b"ours"])
    assert target.written == len(b"our")
    target.close()
    assert path.read_bytes() == b"theirsour"

"""Recordings as they are written, byte for byte; and what happens where nothing more can be written."""

import json
import os
import resource
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xxhash
import zstandard

from furtrace.trace.files import SingleFile
from furtrace.trace.packets import PIECE
from furtrace.trace.record import RECORD, Kind, Records, mounted_record
from furtrace.trace.targets import CompressedTarget, PlainTarget
from furtrace.trace.writing import RecordingWriter
from tests.unit.events import batch, ended, queued
from tests.unit.trace.pcapng_file import (
    CHECKSUM,
    INFO,
    INTERFACE,
    PACKET,
    SECTION,
    STATISTICS,
    Found,
    random_records,
    walk,
    write,
)

_FULL = replace(
    INFO, command_line="furtrace record -o x", host="box", machine="x86_64", cpus=2, filters="op READ", steps="kernel"
)


def _options(body: bytes) -> list[tuple[int, bytes]]:
    """Options, read by hand."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while True:
        code, size = struct.unpack_from("<HH", body, at)
        if not code:
            assert at + 4 == len(body)
            return found
        found.append((code, body[at + 4 : at + 4 + size]))
        at += 4 + size + -size % 4


def test_all_blocks_of_a_recording(tmp_path: Path) -> None:
    records = random_records(5, seed=1)
    content = write(tmp_path / "one.pcapng", records, _FULL, pieces=2, lost=9).read_bytes()
    blocks = [(kind, content[begin + 8 : end - 4]) for kind, begin, end in walk(content)]
    kinds = [SECTION, INTERFACE, CHECKSUM, *[PACKET] * 3, CHECKSUM, *[PACKET] * 2, CHECKSUM, STATISTICS, CHECKSUM]
    assert [kind for kind, _ in blocks] == kinds
    assert list(walk(content))[-1][2] == len(content)
    head, told = blocks[0][1], _options(blocks[0][1][16:])
    assert struct.unpack_from("<IHHq", head) == (0x1A2B3C4D, 1, 0, -1)
    assert told == [
        (2, b"x86_64, 2 CPUs"),
        (3, b"Linux 6.18.0"),
        (4, b"furtrace 0.1.0"),
        (1, b"furtrace record -o x on box"),
    ]
    assert struct.unpack_from("<HHI", blocks[1][1]) == (147, 0, 0)
    interface = dict(_options(blocks[1][1][8:]))
    assert interface.pop(1) == _FULL.to_json().encode()
    assert interface == {
        2: b"fuse",
        3: b"FUSE, plain dialect, by tracepoints, --steps kernel",
        9: b"\x09",
        11: b"\0op READ",
        12: b"Linux 6.18.0",
    }
    packets = [body for kind, body in blocks if kind == PACKET]
    for body, record in zip(packets, records, strict=True):
        number, high, low, captured, original = struct.unpack_from("<IIIII", body)
        assert (number, captured, original) == (0, RECORD.itemsize, RECORD.itemsize)
        assert high << 32 | low == _FULL.realtime_offset_ns + int(record["ns"])
        assert body[20:] == record.tobytes()
    number, high, low = struct.unpack_from("<III", blocks[-2][1])
    last = _FULL.realtime_offset_ns + int(records["ns"][-1])
    assert (number, high << 32 | low) == (0, last)
    statistics = dict(_options(blocks[-2][1][12:]))
    first = _FULL.realtime_offset_ns + int(records["ns"][0])
    assert [struct.unpack("<II", statistics.pop(code)) for code in (2, 3)] == [
        divmod(first, 1 << 32),
        divmod(last, 1 << 32),
    ]
    assert {code: int.from_bytes(value, "little") for code, value in statistics.items()} == {4: 14, 5: 9}


def test_the_checksum_of_each_piece(tmp_path: Path) -> None:
    content = write(tmp_path / "one.pcapng", random_records(PIECE + 10, seed=2), pieces=1).read_bytes()
    since = count = 0
    for kind, begin, end in walk(content):
        if kind == CHECKSUM:
            digest = xxhash.xxh3_64_intdigest(content[since:begin])
            assert content[begin + 8 : end - 4] == b"furtrace" + digest.to_bytes(8, "little")
            since, count = end, count + 1
    assert count == 4
    assert since == len(content)


def test_compressed_it_is_the_same(tmp_path: Path) -> None:
    records = random_records(4000, seed=3)
    plain = write(tmp_path / "one.pcapng", records, pieces=3).read_bytes()
    compressed = write(tmp_path / "one.pcapng.zst", records, pieces=3).read_bytes()
    assert zstandard.ZstdDecompressor().decompressobj().decompress(compressed) == plain


def test_counts_on_the_way(tmp_path: Path) -> None:
    path = tmp_path / "one.pcapng"
    file = SingleFile(str(path), INFO)
    records = batch(queued(2, 10), mounted_record(11, 7, b"/a"), ended(2, 20))
    file.write(records)
    assert (file.events, file.written) == (2, path.stat().st_size)
    file.close()
    assert len(Found(path).records) == 3


def test_mounts_are_written_once_and_where_they_change(tmp_path: Path) -> None:
    info = replace(INFO, mounts={7: "/a"})
    file = SingleFile(str(tmp_path / "one.pcapng"), info)
    for number, mounts in enumerate([{7: "/a"}, {7: "/a", 8: "/\udcffb"}, {7: "/c", 8: "/\udcffb"}]):
        info.mounts = mounts
        file.write(queued(2 * number + 2, 100 * number + 100))
    file.close()
    found = Found(Path(file.path))
    told = found.records[found.records["kind"] == Kind.MOUNTED]
    assert [(one["ns"], one["connection"], one["header"].tobytes().rstrip(b"\0")) for one in told] == [
        (100, 7, b"/a"),
        (200, 8, b"/\xffb"),
        (300, 7, b"/c"),
    ]
    assert found.info.mounts == info.mounts


def test_the_descriptions_have_any_text(tmp_path: Path) -> None:
    info = replace(_FULL, command_line="x" * 70_000 + "\udcff", host="h\udcff")
    path = write(tmp_path / "one.pcapng", random_records(1, seed=4), replace(info, command_line="\udcff\x1b"))
    assert Found(path).info.host == "h\udcff"
    content = path.read_bytes()
    assert b"\\udcff\x1b on h\\udcff" in content
    assert json.loads(info.to_json())["furtrace"]["host"] == "h\udcff"


def test_nothing_but_an_end(tmp_path: Path) -> None:
    path = write(tmp_path / "one.pcapng", random_records(0, seed=5), lost=3)
    found = Found(path)
    assert not len(found.records)
    assert not found.damages
    assert found.noted.dropped == 3


# ---- where nothing more can be written ----


@contextmanager
def _most(size: int) -> Iterator[None]:
    """No file of this process grows beyond a size, while the block lasts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("ending", [".pcapng", ".pcapng.zst"])
def test_a_full_disk_leaves_what_was_written(tmp_path: Path, ending: str) -> None:
    records = random_records(2000, seed=6)
    file = SingleFile(str(tmp_path / f"one{ending}"), INFO)

    def fill(pieces: list[Records]) -> int:
        """Write pieces until there is no room, and return how many records were written."""
        count = 0
        with suppress(OSError):
            for piece in pieces:
                file.write(piece)
                file.flush()
                count += len(piece)
        return count

    with _most(700_000):
        done = fill(np.array_split(records, 20))
        assert 500 < done < 1500
        again = fill([records[:1]] * 2000)
    file.close()
    found = Found(Path(file.path))
    assert found.records[:done].tobytes() == records[:done].tobytes()
    assert Path(file.path).stat().st_size == file.written <= 700_000
    if ending == ".pcapng":
        assert again < 200
        assert not found.damages  # the end found room again
        assert [one.tobytes() for one in found.records[done:]] == [records[0].tobytes()] * again
    else:
        assert "no end" in found.damages[file.path]


def test_a_pipe_that_nobody_reads() -> None:
    read, written = os.pipe()
    writer = RecordingWriter(PlainTarget(written), INFO)
    os.close(read)
    with pytest.raises(BrokenPipeError):
        writer.write(random_records(1, seed=7))
    with pytest.raises(BrokenPipeError):
        writer.close(0)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(written)


def test_what_is_held_back_is_written_when_there_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "one"
    target = CompressedTarget(os.open(path, os.O_WRONLY | os.O_CREAT))
    target.write([b"abc", memoryview(b"def")])
    assert not path.stat().st_size
    target.write([os.urandom(1 << 20)])
    assert path.stat().st_size > 1 << 20
    target.close()
    assert zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())[:6] == b"abcdef"

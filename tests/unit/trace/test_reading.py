"""Recordings that were cut, damaged, written by others, or are none: what is there is read, and nothing else."""

import os
import struct
import sys
from dataclasses import replace
from io import BytesIO, TextIOWrapper
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import zstandard

from furtrace.trace.blocks import BUFFER
from furtrace.trace.errors import RecordingError
from furtrace.trace.files import SingleFile
from furtrace.trace.merging import Recordings
from furtrace.trace.reading import FOREIGN_CONNECTIONS
from furtrace.trace.record import RECORD, Kind, Records, lost_record, mounted_record
from tests.unit.events import batch, queued
from tests.unit.trace.pcapng_file import (
    CHECKSUM,
    INFO,
    PACKET,
    Found,
    block,
    decompressed,
    interface,
    packet,
    random_records,
    section,
    walk,
    write,
)

ENDINGS = (".pcapng", ".pcapng.zst")
_SIZE = RECORD.itemsize


def _refusal(path: Path) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(RecordingError) as caught, Recordings([str(path)]):
        pass
    name, why = caught.value.args
    assert name == str(path)
    assert isinstance(why, str)
    return why


def _one_sentence(found: Found, path: Path) -> None:
    (told,) = found.damages.items()
    assert told[0] == str(path)
    assert told[1]
    assert "\n" not in told[1]


# ---- cut and damaged ----


@pytest.mark.parametrize("ending", ENDINGS)
def test_cut_at_any_length(tmp_path: Path, ending: str) -> None:
    records = random_records(300, seed=1)
    whole = write(tmp_path / f"whole{ending}", records, pieces=9).read_bytes()
    random = np.random.default_rng(2)
    path = tmp_path / f"cut{ending}"
    read = refused = 0
    for length in random.integers(0, len(whole), 1000).tolist():
        path.write_bytes(whole[:length])
        content = decompressed(whole[:length]) if ending.endswith("zst") else whole[:length]
        blocks = list(walk(content))
        if len(blocks) < 2:
            assert _refusal(path) == ("it is empty" if not content else "it ends before it has begun")
            refused += 1
            continue
        found = Found(path)
        assert found.same_as(records[: sum(kind == PACKET for kind, _, _ in blocks)]), length
        if len(blocks) > 2 or blocks[-1][2] < len(content):  # else it is as what others write that hold no packet
            _one_sentence(found, path)
            read += 1
    assert read > 800
    assert refused or not ending.endswith("zst")


def test_cut_at_the_end_of_each_block(tmp_path: Path) -> None:
    records = random_records(20, seed=3)
    whole = write(tmp_path / "whole.pcapng", records, pieces=4).read_bytes()
    path, ends = tmp_path / "cut.pcapng", [end for _, _, end in walk(whole)]
    for end in ends[2:-1]:  # behind the first checksum
        path.write_bytes(whole[:end])
        found = Found(path)
        assert found.same_as(records[: sum(kind == PACKET for kind, _, stop in walk(whole) if stop <= end)])
        assert found.damages == {str(path): "it has no end: whoever wrote it was ended, or still writes"}


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_grows_is_read_as_far_as_it_was(tmp_path: Path, ending: str) -> None:
    """Else what is written faster than it is read would have no end."""
    records = random_records(2 * BUFFER // _SIZE, seed=6)
    path = write(tmp_path / f"grows{ending}", records, pieces=20)
    more = path.read_bytes()
    with Recordings([str(path)]) as recordings:
        batches = recordings.batches()
        first = len(next(batches))
        with path.open("ab") as file:
            file.write(more)
        assert first < first + sum(map(len, batches)) == len(records)
    assert len(Found(path).records) == 2 * len(records)


def _pieces(whole: bytes) -> list[tuple[int, int]]:
    """Where the checksums of an uncompressed recording end, and how many records there are before."""
    counted, ends = 0, []
    for kind, _, end in walk(whole):
        counted += kind == PACKET
        if kind == CHECKSUM:
            ends.append((end, counted))
    return ends


@pytest.mark.parametrize("ending", ENDINGS)
def test_changed_bytes_never_become_records(tmp_path: Path, ending: str) -> None:
    records, records_a_piece = random_records(200, seed=4), 25
    whole = write(tmp_path / f"whole{ending}", records, pieces=200 // records_a_piece).read_bytes()
    random = np.random.default_rng(5)
    path = tmp_path / f"changed{ending}"
    ends = _pieces(whole) if ending == ".pcapng" else []
    refused = 0
    for _ in range(1000):
        changed = bytearray(whole)
        places = sorted(random.integers(0, len(whole), random.integers(1, 9)).tolist())
        for place in places:
            changed[place] ^= int(random.integers(1, 256))
        path.write_bytes(changed)
        try:
            found = Found(path)
        except RecordingError:
            refused += 1
            continue
        # A changed length within zstd looks like the file's end, before which the last piece is unchecked, and told so.
        cut = ending == ".pcapng.zst" and "cut off" in found.damages.get(str(path), "")
        sure = len(found.records) - (records_a_piece if cut else 0)
        assert found.records[: max(sure, 0)].tobytes() == records[: max(sure, 0)].tobytes(), places
        assert cut or found.same_as(records[: len(found.records)])
        if bytes(changed) != whole and len(found.records) < len(records):
            _one_sentence(found, path)
        if ends:
            _one_sentence(found, path)  # no byte of it is without a checksum
            assert len(found.records) >= max((count for end, count in ends if end <= places[0]), default=0)
    assert refused < 300


def test_the_header_changed_byte_by_byte(tmp_path: Path) -> None:
    records = random_records(3, seed=6)
    whole = write(tmp_path / "whole.pcapng", records).read_bytes()
    path = tmp_path / "changed.pcapng"
    for place in range(_pieces(whole)[0][0]):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            found = Found(path)
        except RecordingError:
            continue
        assert not len(found.records), place
        _one_sentence(found, path)


def test_a_record_changed_before_a_damaged_block_is_not_given_out(tmp_path: Path) -> None:
    records = random_records(40, seed=7)
    whole = bytearray(write(tmp_path / "whole.pcapng", records, pieces=2).read_bytes())
    packets = [begin for kind, begin, _ in walk(bytes(whole)) if kind == PACKET]
    whole[packets[25] + 100] ^= 1  # the record itself
    whole[packets[30] + 5] ^= 0xFF  # and further on in the same piece a block's length
    path = tmp_path / "changed.pcapng"
    path.write_bytes(whole)
    found = Found(path)
    assert found.same_as(records[:20])
    assert "damaged at byte" in found.damages[str(path)]


def test_damage_in_a_long_recording_leaves_what_is_before(tmp_path: Path) -> None:
    """Longer than what is read at a time."""
    records = random_records(30_000, seed=8)
    whole = bytearray(write(tmp_path / "whole.pcapng", records).read_bytes())
    assert len(whole) > 2 * BUFFER
    at = 2 * BUFFER + 1000
    whole[at] ^= 1
    path = tmp_path / "changed.pcapng"
    path.write_bytes(whole)
    found = Found(path)
    assert found.same_as(records[: max(count for end, count in _pieces(bytes(whole)) if end <= at)])
    assert "its checksum is wrong" in found.damages[str(path)]


# ---- none at all ----


def test_garbage(tmp_path: Path) -> None:
    random = np.random.default_rng(9)
    path = tmp_path / "garbage"
    for size in random.integers(1, 5000, 300).tolist():
        path.write_bytes(random.bytes(size))
        assert _refusal(path) == "it is no pcapng file, so no recording of furtrace"


def test_garbage_behind_a_good_beginning(tmp_path: Path) -> None:
    """Without checksums: as editcap writes it."""
    records = random_records(5, seed=10)
    start = section() + interface(INFO.to_json()) + b"".join(packet(record.tobytes()) for record in records)
    random = np.random.default_rng(11)
    path = tmp_path / "one.pcapng"
    for size in random.integers(1, 3000, 300).tolist():
        path.write_bytes(start + random.bytes(size))
        found = Found(path)
        assert found.same_as(records)
        _one_sentence(found, path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"\n", "it ends before it has begun"),
        (b"no", "it is no pcapng file, so no recording of furtrace"),
        (b"a few words", "it is no pcapng file, so no recording of furtrace"),
        (b"a text that is longer than what a block is at least", "it is no pcapng file, so no recording of furtrace"),
        (bytes(100_000), "it is no pcapng file, so no recording of furtrace"),
        (bytes.fromhex("d4c3b2a1") + bytes(40), "it is no pcapng file, so no recording of furtrace"),
        (section()[:4] + bytes(40), "it is no pcapng file, so no recording of furtrace"),
        (section(">"), "it was written on a big-endian machine, whose records furtrace does not read"),
        (section(major=2), "it is a pcapng file of version 2, and only version 1 is known"),
        (section(), "it ends before it has begun"),
        (section() + interface(INFO.to_json())[:50], "it ends before it has begun"),
        (section() + interface(None, link_type=1), "it is a pcapng file, but no recording of furtrace"),
        (section() + interface(INFO.to_json(), link_type=1), "it is a pcapng file, but no recording of furtrace"),
        (section() + interface(None), "it is a pcapng file, but no recording of furtrace"),
        (section() + interface("about something"), "it is a pcapng file, but no recording of furtrace"),
        (section() + interface('{"furtrace":{}}'), "it is a pcapng file, but no recording of furtrace"),
        (section() + interface("[" * 5000), "it is a pcapng file, but no recording of furtrace"),
    ],
)
def test_what_is_no_recording_is_called_what_it_is(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "none"
    path.write_bytes(content)
    assert _refusal(path) == why
    path.write_bytes(zstandard.ZstdCompressor().compress(content))
    assert _refusal(path) == why


def test_a_dialect_to_come(tmp_path: Path) -> None:
    path = tmp_path / "one.pcapng"
    path.write_bytes(section() + interface(replace(INFO, dialect="new\x1b").to_json()))
    assert _refusal(path) == "its dialect, new\\x1b, is one that this version does not know"


@pytest.mark.parametrize("offset", [1 << 62, -(1 << 62), 10**30])
def test_no_clock_is_off_by_so_much(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "one.pcapng"
    path.write_bytes(section() + interface(replace(INFO, realtime_offset_ns=offset).to_json()))
    assert _refusal(path) == "it is a pcapng file, but no recording of furtrace"


@pytest.mark.parametrize("size", [0, 8, 13, 1 << 25, 0xFFFFFFFC, 0xFFFFFFFF])
def test_lengths_that_can_not_be(tmp_path: Path, size: int) -> None:
    records = random_records(2, seed=12)
    path = write(tmp_path / "one.pcapng", records)
    whole = path.read_bytes()
    ends = [end for kind, _, end in walk(whole) if kind == CHECKSUM]
    path.write_bytes(whole[: ends[1]] + struct.pack("<II", 6, size) + bytes(100_000))
    found = Found(path)
    assert found.same_as(records)
    assert found.damages == {str(path): f"it is damaged at byte {ends[1]}: a block has no possible length"}


def test_a_length_that_is_large_but_possible(tmp_path: Path) -> None:
    """Larger than what is read at a time; of somebody else."""
    records = random_records(4, seed=13)
    data = [packet(record.tobytes()) for record in records]
    path = tmp_path / "one.pcapng"
    large = block(0x0BAD, bytes(BUFFER + 1000))
    path.write_bytes(section() + interface(INFO.to_json()) + b"".join(data[:2]) + large + b"".join(data[2:]))
    found = Found(path)
    assert found.same_as(records)
    assert not found.damages


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="There is no /dev/zero here.")
def test_endless_zeros() -> None:
    assert _refusal(Path("/dev/zero")) == "it is no pcapng file, so no recording of furtrace"


def test_zeros_behind_a_cut_recording(tmp_path: Path) -> None:
    """As a file system leaves it after a crash."""
    records = random_records(40, seed=14)
    whole = write(tmp_path / "whole.pcapng", records, pieces=4).read_bytes()
    path, (end, count) = tmp_path / "one.pcapng", _pieces(whole)[2]
    path.write_bytes(whole[: end + 3 * 680 + 200] + bytes(1 << 20))
    found = Found(path)
    assert found.same_as(records[:count])
    _one_sentence(found, path)


# ---- of others, and of later versions ----


def test_a_later_versions_longer_record(tmp_path: Path) -> None:
    records = random_records(5, seed=15)
    data = b"".join(packet(record.tobytes() + b"\xab" * 52) for record in records)
    path = tmp_path / "one.pcapng"
    path.write_bytes(section() + interface(INFO.to_json()) + data)
    found = Found(path)
    assert found.same_as(records)
    assert not found.damages
    assert (found.noted.foreign, found.noted.short) == (0, 0)


def test_a_record_that_was_cut_is_passed_over(tmp_path: Path) -> None:
    records = random_records(3, seed=16)
    path = tmp_path / "one.pcapng"
    data = packet(records[0].tobytes()) + packet(records[1].tobytes()[:200]) + packet(records[2].tobytes())
    path.write_bytes(section() + interface(INFO.to_json()) + data)
    found = Found(path)
    assert found.same_as(records[[0, 2]])
    assert found.noted.short == 1


def test_kinds_members_blocks_and_options_to_come(tmp_path: Path) -> None:
    records = random_records(6, seed=17)
    records["kind"][[1, 4]] = max(Kind) + 1, 255
    comment = INFO.to_json().replace('{"kernel"', '{"colour":{"of":["the","sea"]},"kernel"')
    assert "colour" in comment
    blocks = [packet(record.tobytes()) for record in records]
    blocks.insert(2, block(0x0BAD, b"something else") + block(CHECKSUM, b"another's block of that type"))
    blocks.insert(4, block(PACKET, struct.pack("<IIIII", 0, 0, 0, 648, 648) + records[5].tobytes() + bytes(40)))
    path = tmp_path / "one.pcapng"
    path.write_bytes(section() + interface(comment) + b"".join(blocks))
    found = Found(path)
    assert found.same_as(records[[0, 2, 5, 3, 5]])
    assert found.noted.foreign == 2
    assert not found.damages
    assert replace(found.info, mounts={}) == INFO


def test_packets_of_other_interfaces_are_passed_over(tmp_path: Path) -> None:
    """A network's capture merged with a recording, and an interface that was never told of."""
    records = random_records(3, seed=18)
    ethernet = bytes(range(60))
    path = tmp_path / "one.pcapng"
    path.write_bytes(
        section()
        + interface(None, link_type=1)
        + interface(INFO.to_json())
        + packet(ethernet, 0)
        + packet(records[0].tobytes(), 1)
        + packet(records[1].tobytes(), 0)
        + packet(records[2].tobytes(), 7)
        + packet(records[2].tobytes(), 1)
    )
    found = Found(path)
    assert found.same_as(records[[0, 2]])
    assert found.noted.foreign == 2  # the one of Ethernet is too short to be one
    assert not found.damages


def test_sizes_that_no_record_has(tmp_path: Path) -> None:
    records = random_records(4, seed=19)
    records["header_size"][1], records["extra_size"][2] = 481, 193
    path = tmp_path / "one.pcapng"
    path.write_bytes(section() + interface(INFO.to_json()) + b"".join(packet(one.tobytes()) for one in records))
    found = Found(path)
    assert found.same_as(records[[0, 3]])
    assert found.noted.foreign == 2


# ---- several ----


@pytest.mark.parametrize("ending", ENDINGS)
def test_one_file_of_several(tmp_path: Path, ending: str) -> None:
    """``cat a b c``."""
    every = [random_records(count, seed=count) for count in (30, 1, 50)]
    paths = [write(tmp_path / f"{len(each)}{ending}", each, pieces=1, lost=len(each)) for each in every]
    joined = tmp_path / f"joined{ending}"
    joined.write_bytes(b"".join(path.read_bytes() for path in paths))
    found = Found(joined)
    assert found.same_as(np.concatenate(every))
    assert not found.damages
    assert found.noted.dropped == 81


def test_one_file_of_several_of_which_some_have_no_checksums(tmp_path: Path) -> None:
    one, other = random_records(5, seed=20), random_records(7, seed=21)
    foreign = section() + interface(INFO.to_json()) + b"".join(packet(each.tobytes()) for each in one)
    ours = write(tmp_path / "ours.pcapng", other).read_bytes()
    path = tmp_path / "joined.pcapng"
    for content, records in (
        (foreign + ours, [one, other]),
        (ours + foreign, [other, one]),
        (foreign + ours + foreign, [one, other, one]),
    ):
        path.write_bytes(content)
        found = Found(path)
        assert found.same_as(np.concatenate(records))
        assert not found.damages


def test_one_file_of_several_of_which_one_has_no_end(tmp_path: Path) -> None:
    records = random_records(8, seed=22)
    whole = write(tmp_path / "whole.pcapng", records, pieces=2).read_bytes()
    path, (end, count) = tmp_path / "joined.pcapng", _pieces(whole)[1]
    path.write_bytes(whole[:end] + whole)
    found = Found(path)
    assert found.same_as(np.concatenate([records[:count], records]))
    assert found.damages == {str(path): "one of the recordings in it has no end: whoever wrote that was ended"}


@pytest.mark.parametrize("second", [section(">"), section(major=2)])
def test_one_file_of_several_of_which_one_can_not_be_read(tmp_path: Path, second: bytes) -> None:
    records = random_records(8, seed=23)
    path = write(tmp_path / "one.pcapng", records)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + second)
    found = Found(path)
    assert found.same_as(records)
    assert found.damages[str(path)].startswith(f"it is damaged at byte {size}: ")


def test_two_boots(tmp_path: Path) -> None:
    """The second one's connections get numbers of their own, its times are put on the first one's clock."""
    later = replace(INFO, boot="b", realtime_offset_ns=INFO.realtime_offset_ns + 1000)
    one = write(tmp_path / "one.pcapng", batch(mounted_record(90, 7, b"/a"), queued(2, 100), queued(4, 300)))
    lost = lost_record(150, 160, 3)
    other = write(
        tmp_path / "other.pcapng",
        batch(mounted_record(80, 7, b"/b"), queued(2, 100), lost, queued(4, 200)),
        replace(later, mounts={}),
    )
    found = Found(one, other)
    assert found.records["ns"].tolist() == [90, 100, 300, 1080, 1100, 1150, 1200]
    foreign = FOREIGN_CONNECTIONS
    assert found.records["connection"].tolist() == [7, 7, 7, foreign + 7, foreign + 7, foreign, foreign + 7]
    assert found.records["user_data"].tolist() == [0, 0, 0, 0, 0, 1160, 0]
    assert found.info.mounts == {7: "/a", FOREIGN_CONNECTIONS + 7: "/b"}


def test_two_boots_in_one_file(tmp_path: Path) -> None:
    earlier = replace(INFO, boot="b", realtime_offset_ns=INFO.realtime_offset_ns - 50)
    records = random_records(4, seed=24)
    records["connection"], records["ns"], records["kind"] = 3, [100, 200, 300, 400], Kind.QUEUED
    path = tmp_path / "one.pcapng"
    packets = b"".join(packet(record.tobytes(), number % 2) for number, record in enumerate(records))
    path.write_bytes(section() + interface(INFO.to_json()) + interface(earlier.to_json()) + packets)
    found = Found(path)
    assert found.records["ns"].tolist() == [100, 150, 300, 350]
    assert found.records["connection"].tolist() == [3, FOREIGN_CONNECTIONS + 3] * 2


# ---- still being written, and from elsewhere than a file ----


@pytest.mark.parametrize("ending", ENDINGS)
def test_while_it_is_written(tmp_path: Path, ending: str) -> None:
    records = random_records(60, seed=25)
    file = SingleFile(str(tmp_path / f"one{ending}"), INFO)
    path, written = Path(file.path), 0
    for piece in np.array_split(records, 6):
        file.write(piece)
        file.flush()
        written += len(piece)
        found = Found(path)
        assert found.same_as(records[:written])
        assert found.damages == {str(path): "it has no end: whoever wrote it was ended, or still writes"}
    file.close()
    found = Found(path)
    assert found.same_as(records)
    assert not found.damages


@pytest.mark.parametrize("ending", ENDINGS)
def test_from_a_pipe(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    records = random_records(70, seed=26)
    content = write(tmp_path / f"one{ending}", records, pieces=3).read_bytes()
    stdin = TextIOWrapper(BytesIO(content))
    monkeypatch.setattr(sys, "stdin", stdin)
    found = Found(Path("-"))
    assert found.same_as(records)
    assert not found.damages


def test_from_a_fifo_in_small_pieces(tmp_path: Path) -> None:
    records = random_records(40, seed=27)
    content = write(tmp_path / "one.pcapng", records, pieces=3).read_bytes()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def trickle() -> None:
        with fifo.open("wb", buffering=0) as file:
            for at in range(0, len(content), 999):
                file.write(content[at : at + 999])

    thread = Thread(target=trickle)
    thread.start()
    found = Found(fifo)
    thread.join()
    assert found.same_as(records)
    assert not found.damages


def test_reading_is_the_same_in_whichever_pieces(tmp_path: Path) -> None:
    records: Records = random_records(50, seed=28)
    path = write(tmp_path / "one.pcapng", records, pieces=50)
    with Recordings([str(path)]) as recordings:
        pieces = [piece.tobytes() for several in recordings.pieces() for piece in several]
    assert b"".join(pieces) == records.tobytes()
    assert Found(path).same_as(records)

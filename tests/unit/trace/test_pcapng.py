"""Blocks as furtrace writes them, byte for byte as the draft lays them out."""

import struct

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from furtrace.trace import pcapng
from furtrace.trace.errors import RecordingError
from furtrace.trace.record import RECORD
from tests.unit.trace.pcapng_file import block, section, walk


def test_a_section() -> None:
    made = pcapng.section([(pcapng.COMMENT, b"abcde"), (pcapng.OS, b"")])
    options = struct.pack("<HH5s3xHHHH", 1, 5, b"abcde", 3, 0, 0, 0)
    assert made == section(options=options)
    pcapng.check_start(made)


def test_an_interface() -> None:
    body = struct.pack("<HHIHHB3xHH", 147, 0, 0, 9, 1, 9, 0, 0)
    assert pcapng.interface([(pcapng.RESOLUTION, pcapng.NANOSECONDS)]) == block(1, body)


def test_statistics() -> None:
    ns = 0x1122334455667788
    body = struct.pack("<IIIHHQHH", 3, 0x11223344, 0x55667788, 5, 8, 9, 0, 0)
    assert pcapng.statistics(3, ns, [(pcapng.DROPPED, (9).to_bytes(8, "little"))]) == block(5, body)
    assert pcapng.timestamp(ns) == struct.pack("<II", 0x11223344, 0x55667788)


def test_a_packet() -> None:
    offsets = {name: field[1] for name, field in (pcapng.PACKET_BLOCK.fields or {}).items()}
    assert offsets["record"] == 28
    assert offsets["size_again"] == 28 + RECORD.itemsize
    assert pcapng.PACKET_BLOCK.itemsize == 680 == 32 + RECORD.itemsize


@given(st.binary(max_size=100))
def test_a_checksum(data: bytes) -> None:
    digest = xxhash.xxh3_64_intdigest(data)
    made = pcapng.checksum(digest)
    assert made == block(0x80667472, b"furtrace" + struct.pack("<Q", digest))
    assert len(made) == pcapng.CHECKSUM_SIZE
    assert pcapng.digest_of(made[8:-4]) == digest


@pytest.mark.parametrize("body", [b"", b"furtrace", b"furtrace1234567", b"FURTRACE12345678", b"furtrace123456789"])
def test_anothers_block_is_no_checksum(body: bytes) -> None:
    assert pcapng.digest_of(body) is None


_OPTIONS = st.lists(st.tuples(st.integers(1, 0xFFFF), st.binary(max_size=20)), max_size=8)


@given(_OPTIONS)
def test_options_come_back(options: list[tuple[int, bytes]]) -> None:
    ((kind, begin, end),) = walk(pcapng.interface(options))
    assert (kind, begin) == (1, 0)
    body = pcapng.interface(options)[8 : end - 4]
    assert list(pcapng.options(body, 8)) == options


@given(st.binary(max_size=200), st.integers(0, 30))
def test_any_bytes_as_options_end(body: bytes, start: int) -> None:
    assert all(len(value) <= len(body) for _, value in pcapng.options(body, start))


@given(st.binary(max_size=20))
def test_any_start_is_refused_but_a_sections(data: bytes) -> None:
    expected = section()[:14]
    if expected.startswith(data[:4]) and data[8:14] == expected[8 : min(14, len(data))]:
        pcapng.check_start(data[:14])
    else:
        with pytest.raises(RecordingError):
            pcapng.check_start(data[:14])


@pytest.mark.parametrize("size", [12, 16, 680, 1 << 24])
def test_possible_lengths(size: int) -> None:
    assert pcapng.head(struct.pack("<II", 9, size), 0) == (9, size)


@pytest.mark.parametrize("size", [0, 4, 11, 13, (1 << 24) + 4, 0xFFFFFFFC])
def test_impossible_lengths(size: int) -> None:
    with pytest.raises(RecordingError, match="no possible length"):
        pcapng.head(struct.pack("<II", 9, size), 0)

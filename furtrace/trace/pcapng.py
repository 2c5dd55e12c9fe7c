"""Blocks of pcapng, as far as recordings have them (draft-ietf-opsawg-pcapng).

A block is a type and a length of 4 bytes each, its body, padded to 4 bytes, and the length again. Recordings are
little-endian, as the machines are that furtrace traces.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from furtrace.trace.errors import RecordingError
from furtrace.trace.record import RECORD

SECTION: Final = 0x0A0D0D0A
INTERFACE: Final = 1
STATISTICS: Final = 5
PACKET: Final = 6
CHECKSUM: Final = 0x80667472
"""Types of blocks: Section Header, Interface Description, Interface Statistics, Enhanced Packet; and one of our own,
out of the range for local use: others pass over it, and do not copy it into what they write."""
USER0: Final = 147
"""LINKTYPE_USER0: what a packet is, is agreed on by those who use it."""
COMMENT: Final = 1
HARDWARE, OS, APPLICATION = 2, 3, 4
"""Options of a Section Header Block."""
NAME, DESCRIPTION, RESOLUTION, FILTER, INTERFACE_OS = 2, 3, 9, 11, 12
"""Options of an Interface Description Block."""
STARTED, ENDED, RECEIVED, DROPPED = 2, 3, 4, 5
"""Options of an Interface Statistics Block."""
NANOSECONDS: Final = b"\x09"
"""Value of RESOLUTION: times are in units of 10**-9 seconds."""

_BYTE_ORDER: Final = 0x1A2B3C4D
_LITTLE_ENDIAN: Final = _BYTE_ORDER.to_bytes(4, "little")
_BIG_ENDIAN: Final = _BYTE_ORDER.to_bytes(4, "big")
_SECTION_TYPE: Final = SECTION.to_bytes(4, "little")
_HEAD: Final = struct.Struct("<II")
_OPTION: Final = struct.Struct("<HH")
_CHECKSUM: Final = struct.Struct("<8sQ")
_MAGIC: Final = b"furtrace"
BLOCK_HEAD: Final = _HEAD.size
SMALLEST: Final = 12
"""Bytes of a block without a body."""
CHECKSUM_SIZE: Final = SMALLEST + _CHECKSUM.size
"""Bytes of one with a checksum."""
MOST: Final = 1 << 24
"""Bytes of a block beyond which it is taken for damage; a furtrace record makes one of 680."""

PACKET_HEAD: Final = np.dtype(
    [
        ("type", "<u4"),
        ("size", "<u4"),
        ("interface", "<u4"),
        ("ts_high", "<u4"),
        ("ts_low", "<u4"),
        ("captured", "<u4"),
        ("original", "<u4"),
    ]
)
"""What stands before a packet's data in an Enhanced Packet Block."""
PACKET_BLOCK: Final = np.dtype([*PACKET_HEAD.descr, ("record", RECORD), ("size_again", "<u4")])
"""An Enhanced Packet Block with one record and no options: 680 bytes."""

Options = Iterable[tuple[int, bytes]]


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _options(options: Options) -> bytes:
    made = b"".join(_OPTION.pack(code, len(value)) + _padded(value) for code, value in options)
    return made + _OPTION.pack(0, 0)


def _block(kind: int, body: bytes) -> bytes:
    size = len(body) + SMALLEST
    return _HEAD.pack(kind, size) + body + struct.pack("<I", size)


def section(options: Options) -> bytes:
    """A Section Header Block, of a section whose length is not told."""
    return _block(SECTION, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1) + _options(options))


def interface(options: Options) -> bytes:
    """An Interface Description Block of link type USER0."""
    return _block(INTERFACE, struct.pack("<HHI", USER0, 0, 0) + _options(options))


def statistics(number: int, ns: int, options: Options) -> bytes:
    """An Interface Statistics Block; ``ns``: CLOCK_REALTIME."""
    return _block(STATISTICS, struct.pack("<III", number, ns >> 32, ns & 0xFFFFFFFF) + _options(options))


def timestamp(ns: int) -> bytes:
    """The value of an option that is a time, of CLOCK_REALTIME in nanoseconds."""
    return struct.pack("<II", ns >> 32, ns & 0xFFFFFFFF)


def checksum(digest: int) -> bytes:
    """The block that vouches for all bytes since the one before it, or since the section began, by their XXH3."""
    return _block(CHECKSUM, _CHECKSUM.pack(_MAGIC, digest))


def digest_of(body: bytes) -> int | None:
    """The XXH3 that a block like :func:`checksum` has; None: it is somebody else's."""
    if len(body) != _CHECKSUM.size:
        return None
    magic, digest = _CHECKSUM.unpack(body)
    return int(digest) if magic == _MAGIC else None


def check_start(data: bytes) -> None:
    """Raise if a file begins otherwise than a section which can be read here.

    Args:
        data: its first 14 bytes; fewer if it has no more.

    Raises:
        RecordingError: no pcapng, of another byte order, or of a version to come.
    """
    if data[:4] != _SECTION_TYPE[: len(data)]:
        raise RecordingError("it is no pcapng file, so no recording of furtrace")
    order = data[8:12]
    if order == _BIG_ENDIAN:
        raise RecordingError("it was written on a big-endian machine, whose records furtrace does not read")
    if order != _LITTLE_ENDIAN[: len(order)]:
        raise RecordingError("it is no pcapng file, so no recording of furtrace")
    major = int.from_bytes(data[12:14], "little")
    if len(data) >= 14 and major != 1:
        raise RecordingError(f"it is a pcapng file of version {major}, and only version 1 is known")


def options(body: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Codes and values of the options that begin at ``start`` of a block's body, as far as they are whole."""
    while start + _OPTION.size <= len(body):
        code, size = _OPTION.unpack_from(body, start)
        start += _OPTION.size
        if code == 0 or start + size > len(body):
            return
        yield code, body[start : start + size]
        start += size + -size % 4


def head(data: "bytes | bytearray | memoryview", at: int) -> tuple[int, int]:
    """Type and length of the block at ``at``.

    Raises:
        RecordingError: no block has such a length.
    """
    kind, size = _HEAD.unpack_from(data, at)
    if size % 4 or not SMALLEST <= size <= MOST:
        raise RecordingError("a block has no possible length")
    return kind, size

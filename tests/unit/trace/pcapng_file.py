"""pcapng by hand, after the draft's own text: blocks are built and walked here without furtrace's code.

Recordings that are made here hold records of which every byte is random as far as it is valid.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zstandard

from furtrace.trace.files import SingleFile
from furtrace.trace.info import TraceInfo
from furtrace.trace.merging import Recordings
from furtrace.trace.record import EVENTS, RECORD, Records, no_records

INFO = TraceInfo("6.18.0", "plain", "tracepoints", 1_700_000_000_000_000_000, boot="a", version="0.1.0")
SECTION, INTERFACE, STATISTICS, PACKET, CHECKSUM = 0x0A0D0D0A, 1, 5, 6, 0x80667472


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A block; its body is padded to 4 bytes."""
    body += bytes(-len(body) % 4)
    return struct.pack(f"{order}II", kind, len(body) + 12) + body + struct.pack(f"{order}I", len(body) + 12)


def section(order: str = "<", major: int = 1, options: bytes = b"") -> bytes:
    """A Section Header Block."""
    return block(SECTION, struct.pack(f"{order}IHHq", 0x1A2B3C4D, major, 0, -1) + options, order)


def interface(comment: str | None = None, link_type: int = 147, order: str = "<") -> bytes:
    """An Interface Description Block; ``comment``: the one that says what a trace is."""
    options = b""
    if comment is not None:
        text = comment.encode()
        options = struct.pack(f"{order}HH", 1, len(text)) + text + bytes(-len(text) % 4) + bytes(4)
    return block(INTERFACE, struct.pack(f"{order}HHI", link_type, 0, 0) + options, order)


def packet(data: bytes, number: int = 0, ns: int = 0) -> bytes:
    """An Enhanced Packet Block."""
    head = struct.pack("<IIIII", number, ns >> 32, ns & 0xFFFFFFFF, len(data), len(data))
    return block(PACKET, head + data)


def walk(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Type, begin and end of each block that is there as a whole."""
    at = 0
    while at + 12 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if at + size > len(data):
            return
        assert struct.unpack_from("<I", data, at + size - 4) == (size,)
        yield kind, at, at + size
        at += size


def random_records(count: int, seed: int) -> Records:
    """Events with random bytes in every member, but for what says how large something is."""
    random = np.random.default_rng(seed)
    records = random.integers(0, 256, count * RECORD.itemsize, np.uint8).view(RECORD)
    records["ns"] = np.sort(random.integers(1, 1 << 40, count))
    records["kind"] = random.choice(np.array(EVENTS, np.uint8), count)
    records["header_size"], records["extra_size"] = 288, 192
    return records


def write(path: Path, records: Records, info: TraceInfo = INFO, pieces: int = 1, lost: int = 0) -> Path:
    """A recording, written in so many pieces, each of them flushed; compressed by its name."""
    file = SingleFile(str(path), info, force=True)
    for piece in np.array_split(records, pieces):
        file.write(piece)
        file.flush()
    file.lost = lost
    file.close()
    return path


class Found:
    """What reading found: ``records`` of all files, ``damages``, ``noted``, ``info``."""

    def __init__(self, *paths: Path) -> None:
        with Recordings([str(path) for path in paths]) as recordings:
            self.records: Records = np.concatenate([no_records(), *(part.copy() for part in recordings.batches())])
            self.damages = recordings.damages
            self.noted = recordings.noted
            self.info = recordings.info

    def same_as(self, records: Records) -> bool:
        """Whether just these records were read, byte for byte."""
        return self.records.tobytes() == records.tobytes()


def decompressed(data: bytes) -> bytes:
    """As much as can be decompressed."""
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)

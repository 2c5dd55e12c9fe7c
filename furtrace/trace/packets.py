"""Records as the Enhanced Packet Blocks of a recording, a piece at a time.

What the ring buffer held past the valid bytes of ``header`` and ``extra`` does not get into a recording. The kernel's
CPU has most likely not touched it, so that it is not even read: to fetch it from memory would cost as much again.
"""

import functools
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.trace import pcapng
from furtrace.trace.record import (
    ARGUMENT_OFFSET,
    ARGUMENT_SIZE,
    EXTRA_SIZE,
    HEADER_SIZE,
    PART_SIZE,
    RECORD,
    Kind,
    Records,
    among,
)
from furtrace.wire.opcodes import Opcode

PIECE: Final = 1536
"""Records that are written at once: a MiB."""

_BLOCK: Final = pcapng.PACKET_BLOCK.itemsize
_BEGIN: Final = pcapng.PACKET_HEAD.itemsize
"""Where the record is in a block."""
_HEADER: Final = RECORD.itemsize - PART_SIZE
_EXTRA: Final = _HEADER + HEADER_SIZE
_IS_END: Final = among((Kind.ENDED, Kind.NAMED))
_IS_ASKING: Final = among((Opcode.RENAME, Opcode.RENAME2, Opcode.LINK))
_SHAPES: Final = 4096


class Packets:
    """Makes blocks of records.

    Args:
        offset: CLOCK_REALTIME less CLOCK_MONOTONIC, ns.

    Attributes:
        began: time of the first record, CLOCK_REALTIME in ns; 0: there was none.
        ended: and of the last one.
    """

    def __init__(self, offset: int) -> None:
        self._offset = np.uint64(offset)
        self._blocks = np.zeros(PIECE, pcapng.PACKET_BLOCK)
        self._blocks["type"] = pcapng.PACKET
        self._blocks["size"] = self._blocks["size_again"] = _BLOCK
        self._blocks["captured"] = self._blocks["original"] = RECORD.itemsize
        self.began = self.ended = 0

    def of(self, batch: Records) -> memoryview:
        """Return the blocks of up to :data:`PIECE` records; good until the next call."""
        times, blocks = batch["ns"] + self._offset, self._blocks[: len(batch)]
        blocks["ts_high"], blocks["ts_low"] = times >> np.uint64(32), times & np.uint64(0xFFFFFFFF)
        self.began, self.ended = self.began or int(times[0]), int(times[-1])
        shapes = _shapes(batch)
        for shape in np.unique(shapes).tolist():
            _copy(blocks, batch, shapes == shape, _shape(*divmod(shape, EXTRA_SIZE + 1)))
        return blocks.view(np.uint8).data


@dataclass(frozen=True)
class _Shape:
    """Records with so many valid bytes in ``header`` and in ``extra``: what is copied of them, and what is cleared.

    ``source``: fields of a record. ``target``: the same of a block, and those between them.
    """

    source: np.dtype[np.void]
    target: np.dtype[np.void]
    copied: tuple[str, ...]
    cleared: tuple[str, ...]


@functools.lru_cache(_SHAPES)
def _shape(header: int, extra: int) -> _Shape:
    fields = {"front": (0, _HEADER + header), "extra": (_EXTRA, extra)}
    gaps = {"gap": (_HEADER + header, HEADER_SIZE - header), "rest": (_EXTRA + extra, EXTRA_SIZE - extra)}
    if header == HEADER_SIZE and extra:
        fields = {"front": (0, _EXTRA + extra)}
    copied, cleared = ({name: one for name, one in some.items() if one[1]} for some in (fields, gaps))
    return _Shape(_dtype(copied, 0, RECORD.itemsize), _dtype(copied | cleared, _BEGIN, _BLOCK), (*copied,), (*cleared,))


def _dtype(fields: dict[str, tuple[int, int]], begin: int, size: int) -> np.dtype[np.void]:
    return np.dtype(
        {
            "names": [*fields],
            "formats": [f"V{length}" for _, length in fields.values()],
            "offsets": [begin + at for at, _ in fields.values()],
            "itemsize": size,
        }
    )


def _copy(blocks: Records, batch: Records, which: npt.NDArray[np.bool_], shape: _Shape) -> None:
    source, target = batch.view(shape.source), blocks.view(shape.target)
    for name in shape.copied:
        np.copyto(target[name], source[name], where=which)
    for name in shape.cleared:
        np.copyto(target[name], np.zeros((), target[name].dtype), where=which)


def _shapes(records: Records) -> npt.NDArray[np.intp]:
    """A number for each record that stands for the valid bytes of ``header`` and of ``extra``.

    ENTRIES and the like have one array in both, of which header_size tells the size.
    """
    sizes, extras = records["header_size"].astype(np.intp), records["extra_size"].astype(np.intp)
    # What they asked for stands behind the reply's header, which is all that header_size tells of.
    asked = _IS_END[records["kind"]] & _IS_ASKING[np.minimum(records["opcode"], 0xFF)]
    np.maximum(sizes, asked * (ARGUMENT_OFFSET + ARGUMENT_SIZE), out=sizes)
    extras = np.clip(np.maximum(extras, sizes - HEADER_SIZE), 0, EXTRA_SIZE)
    pairs: npt.NDArray[np.intp] = np.minimum(sizes, HEADER_SIZE) * (EXTRA_SIZE + 1) + extras
    return pairs

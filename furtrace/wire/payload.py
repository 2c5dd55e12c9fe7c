"""Where a request's or reply's payload lies: the business of the dialect."""

from furtrace.wire.flags import EntFlag
from furtrace.wire.opcodes import Opcode
from furtrace.wire.ring import EntInOut, EntInOutBufpool, EntInOutBufring


def payload_place(entry: EntInOut, opcode: int | None = None, buf_size: int | None = None) -> str:
    """Say where the ``payload_sz`` bytes of a ring entry lie.

    Args:
        entry: the entry's part of its header slot, in the dialect that it is written in.
        opcode: of the request, if it is known.
        buf_size: bytes of each buffer of a buffer ring, if they are known; the kernel is told them in REGISTER.
    """
    if isinstance(entry, EntInOutBufring):
        place = f"buffer {entry.buf_id} of the queue's ring, at buf_id * buf_size"
        return f"{place} = {entry.buf_id * buf_size:#x}" if buf_size else place
    if isinstance(entry, EntInOutBufpool):
        if entry.flags & EntFlag.ZERO_COPY:
            return _zero_copied(entry, opcode)
        if not entry.payload_sz:
            return f"a reply's goes to offset {entry.offset:#x} of the queue's pool, if the entry holds a buffer"
        return f"offset {entry.offset:#x} of the queue's pool"
    return "the entry's own payload buffer"


def _zero_copied(entry: EntInOutBufpool, opcode: int | None) -> str:
    """Zero-copy of Linux 7.3: the client's pages of a READ or WRITE are the payload, or its last part."""
    pages = "zero-copied: the client's pages, at the registered buffer that REGISTER named (ent_zero_copy_buf_index)"
    if opcode == Opcode.WRITE:
        return f"{pages}; the reply goes to offset {entry.offset:#x} of the queue's pool"
    return pages


def is_zero_copied(entry: EntInOut) -> bool:
    """Whether the entry says that its payload is zero-copied; only the bufpool form can say so."""
    return isinstance(entry, EntInOutBufpool) and bool(entry.flags & EntFlag.ZERO_COPY)

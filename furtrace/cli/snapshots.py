"""What rows of this machine's kernel mean: the kernel's own types tell how to read them."""

from functools import cache

from furtrace.model.snapshot import Names, Rows, Snapshot, decode
from furtrace.probe.btf import running_kernel
from furtrace.probe.snapshot import bit_fields


def decoded(rows: Rows) -> list[Snapshot]:
    """The snapshots that rows of this kernel are."""
    return decode(rows, _names())


@cache
def _names() -> Names:
    types, (_, bits) = running_kernel(), bit_fields()
    return Names(
        flags={bit: name for name, bit in types.enumerators("fuse_req_flag").items()},
        bits=bits,
        has_modes="payload_mode" in types.members("fuse_ring_queue"),
    )

"""Names that the kernel knows already: of the files that processes have open, and of their directories."""

import time
from typing import Any, Final

import numpy as np

from furtrace.probe.program import run_iterator
from furtrace.trace.record import NO_QUEUE, OPERATION_OFFSET, RECORD, Flag, Kind, Records
from furtrace.wire.opcodes import Opcode

_NAME: Final = 192
_KNOWN: Final = np.dtype(
    [
        ("node_id", "<u8"),
        ("directory", "<u8"),
        ("generation", "<u8"),
        ("connection", "<u4"),
        ("mode", "<u4"),
        ("links", "<u4"),
        ("name_size", "<u4"),
        ("name", f"V{_NAME}"),
    ]
)
"""``struct ft_known`` of probes/names.c."""

_ENTRY_OUT: Final = np.dtype(
    {
        "names": ["nodeid", "generation", "mode", "nlink"],
        "formats": ["<u8", "<u8", "<u4", "<u4"],
        "offsets": [0, 8, 100, 104],
        "itemsize": 128,
    }
)
"""Of ``fuse_entry_out``, 128 bytes: nodeid, generation, attr.mode, attr.nlink (include/uapi/linux/fuse.h)."""


def known_names(bpf: Any) -> Records:
    """What is known now, as hints: as if each name had been looked up.

    Args:
        bpf: a compiled program that holds the iterator.

    Raises:
        ProbeError: the kernel refuses it.
    """
    found = np.frombuffer(run_iterator(bpf, "ft_names_known"), _KNOWN)
    # From the root down, so that a directory's own name is known before those in it; each once.
    _, first = np.unique(found[["connection", "directory", "node_id"]], return_index=True)
    return _hints(found[np.sort(first)][::-1], time.monotonic_ns())


def _hints(found: "np.ndarray[Any, np.dtype[np.void]]", ns: int) -> Records:
    records = np.zeros(len(found), RECORD)
    records["kind"], records["ns"], records["queue"] = Kind.NAMED, ns, NO_QUEUE
    records["opcode"] = Opcode.LOOKUP
    records["connection"], records["node_id"] = found["connection"], found["directory"]
    records["extra"], records["extra_size"] = found["name"], found["name_size"]
    # bpf_probe_read_kernel_str ends a name that it cuts with a NUL, as one that is whole
    cut = found["name_size"] == _NAME
    records["flags"] = np.where(cut, Flag.HAS_ERROR | Flag.NAME_CUT, Flag.HAS_ERROR)
    entries = np.zeros(len(found), _ENTRY_OUT)
    for name, source in (("nodeid", "node_id"), ("generation", "generation"), ("mode", "mode"), ("nlink", "links")):
        entries[name] = found[source]
    records["header_size"] = OPERATION_OFFSET + _ENTRY_OUT.itemsize
    header = np.zeros((len(found), RECORD["header"].itemsize), np.uint8)
    header[:, OPERATION_OFFSET : OPERATION_OFFSET + _ENTRY_OUT.itemsize] = entries.view(np.uint8).reshape(-1, 128)
    records["header"] = header.view(RECORD["header"])[:, 0]
    return records

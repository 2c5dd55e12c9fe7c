"""The FUSE connections of this machine: who serves them, where they are mounted, and whether over io_uring."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from furtrace.probe.filters import Filters
from furtrace.probe.mounts import Mount, fuse_mounts
from furtrace.probe.program import compile_program, run_iterator

_SERVED: Final = np.dtype(
    [
        ("pid", "<u4"),
        ("fd", "<u4"),
        ("connection", "<u4"),
        ("flags", "<u4"),
        ("queues", "<u4"),
        ("entries", "<u4"),
        ("max_payload", "<u8"),
        ("comm", "V16"),
    ]
)  # struct ft_served of probes/connections.c

_CONNECTED, _INITIALIZED, _RING, _RING_READY = 1, 2, 4, 8


@dataclass(frozen=True)
class Connection:
    """One connection.

    ``servers``: processes that hold its /dev/fuse open, by pid, with their comm as bytes. ``ring``: the INIT reply
    asked for io_uring; ``ready``: every queue has an entry. ``queues``: queues that the ring needs, one for each
    possible CPU. ``entries``: entries registered, over all queues. ``max_payload``: bytes that a payload buffer must
    have.
    """

    number: int
    mountpoints: tuple[str, ...]
    servers: dict[int, bytes]
    connected: bool
    initialized: bool
    ring: bool
    ready: bool
    queues: int
    entries: int
    max_payload: int


def connections(bpf: Any = None) -> list[Connection]:
    """All connections that a process serves or that are mounted, by number.

    Args:
        bpf: a compiled program that holds the iterator; None: one is compiled.

    Raises:
        ProbeError: as :func:`furtrace.probe.program.compile_program`.
    """
    compiled = bpf if bpf is not None else compile_program(("connections.c",), Filters())
    try:
        served = np.frombuffer(run_iterator(compiled, "ft_connections"), _SERVED)
    finally:
        if bpf is None:
            compiled.cleanup()
    mounts = fuse_mounts()
    numbers = {int(number) for number in served["connection"]} | {mount.connection for mount in mounts}
    return [_connection(number, served[served["connection"] == number], mounts) for number in sorted(numbers)]


def _connection(number: int, served: "np.ndarray[Any, Any]", mounts: list[Mount]) -> Connection:
    flags = int(served["flags"][0]) if len(served) else 0
    return Connection(
        number=number,
        mountpoints=tuple(mount.mountpoint for mount in mounts if mount.connection == number),
        servers={int(row["pid"]): bytes(row["comm"]).split(b"\0")[0] for row in served},
        connected=bool(flags & _CONNECTED),
        initialized=bool(flags & _INITIALIZED),
        ring=bool(flags & _RING),
        ready=bool(flags & _RING_READY),
        queues=int(served["queues"][0]) if len(served) else 0,
        entries=int(served["entries"][0]) if len(served) else 0,
        max_payload=int(served["max_payload"][0]) if len(served) else 0,
    )

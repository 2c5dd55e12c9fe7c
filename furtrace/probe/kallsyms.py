"""Addresses of kernel functions (``/proc/kallsyms``)."""

import functools
from collections.abc import Iterator
from pathlib import Path

from furtrace.probe.errors import ProbeError

_KALLSYMS = Path("/proc/kallsyms")
_PARTS = (b"fuse_", b"io_uring", b"io_buffer", b"_to_ring")


@functools.cache
def fuse_functions() -> dict[str, int]:
    """Address by name of every kernel function that fuse over io_uring may have to do with.

    Those in whose name ``fuse_``, ``io_uring``, ``io_buffer`` or ``_to_ring`` occurs. Names that the compiler changed
    (``fuse_uring_send.constprop.0``) are there as they are.

    Raises:
        ProbeError: the addresses are hidden from this user.
    """
    found: dict[str, int] = {}
    for line in _lines(_KALLSYMS.read_bytes()):
        address, kind, name = line.split()[:3]
        if kind in b"tTwW":
            found.setdefault(name.decode(), int(address, 16))
    if found and not any(found.values()):
        raise ProbeError(
            "The kernel hides its addresses (/proc/kallsyms shows zeros); run furtrace as root, and where that is "
            "not enough set `sysctl kernel.kptr_restrict=1`."
        )
    return found


def _lines(text: bytes) -> Iterator[bytes]:
    """The lines in which one of the parts occurs, in their order: a few hundred of some hundred thousand."""
    starts: set[int] = set()
    for part in _PARTS:
        at = text.find(part)
        while at >= 0:
            starts.add(text.rfind(b"\n", 0, at) + 1)
            at = text.find(part, at + 1)
    for start in sorted(starts):
        end = text.find(b"\n", start)
        yield text[start : end if end >= 0 else len(text)]

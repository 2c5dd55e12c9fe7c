"""Vantages: at which places each protocol event can be seen, and which of them this kernel offers.

Each event has an ordered list of places, best first: fentry, then kprobe (also under the names that compilers make,
``fuse_uring_send.constprop.0``), then a tracepoint, then what follows from another event. This build attaches the
tracepoints; the better places are examined all the same, so that ``furtrace doctor`` says what the kernel would allow.
"""

import ctypes
import errno
import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from furtrace.probe.btf import KernelTypes, libbpf
from furtrace.probe.kallsyms import fuse_functions
from furtrace.trace.record import EVENTS, Kind

_TRACEPOINT, _DERIVED, _FUNCTION = "tracepoint", "derived", "function"


@dataclass(frozen=True)
class Place:
    """A place where an event may be seen: ``how`` is ``function``, ``tracepoint`` or ``derived``."""

    how: str
    name: str
    note: str = ""


def _function(name: str) -> Place:
    return Place(_FUNCTION, name)


def _tracepoint(name: str, note: str = "") -> Place:
    return Place(_TRACEPOINT, name, note)


PLACES: Final[dict[Kind, tuple[Place, ...]]] = {
    Kind.INIT: (_tracepoint("fuse_request_end", "of INIT"),),
    Kind.ADD_QUEUE: (_function("fuse_uring_cmd"), _tracepoint("io_uring_submit_req", "cmd_op 3")),
    Kind.ADD_BUFPOOL: (_function("fuse_uring_cmd"), _tracepoint("io_uring_submit_req", "cmd_op 4")),
    Kind.REGISTER: (_function("fuse_uring_cmd"), _tracepoint("io_uring_submit_req", "cmd_op 1")),
    Kind.READY: (_function("fuse_uring_do_register"),),
    Kind.QUEUED: (_tracepoint("fuse_request_send"),),
    Kind.SELECTED: (_function("fuse_uring_select_buffer"),),
    Kind.PAGES_REGISTERED: (_function("io_buffer_register_bvec"),),
    Kind.COPIED: (_function("fuse_uring_copy_to_ring"), _function("fuse_uring_args_to_ring")),
    Kind.DELIVERED: (_function("fuse_uring_send"), _tracepoint("io_uring_complete", "the CQE")),
    Kind.FIXED_IO: (),
    Kind.COMMITTED: (_function("fuse_uring_commit_fetch"), _tracepoint("io_uring_submit_req", "cmd_op 2")),
    Kind.RETURNED: (_function("fuse_uring_copy_from_ring"),),
    Kind.PAGES_UNREGISTERED: (_function("io_buffer_unregister"),),
    Kind.PAGES_RELEASED: (_function("fuse_zero_copy_release"),),
    Kind.RECYCLED: (_function("fuse_uring_recycle_buffer"),),
    Kind.ENDED: (_tracepoint("fuse_request_end"),),
    Kind.REFUSED: (_function("fuse_uring_cmd"), _tracepoint("io_uring_complete", "a negative result")),
    Kind.STOPPED: (
        _function("fuse_uring_entry_teardown"),
        _tracepoint("io_uring_complete", "ENOTCONN or ECANCELED of an accepted command"),
    ),
    Kind.LOST: (Place(_DERIVED, "counters of the ring buffer", "one a CPU"),),
}
"""Where each event can be seen, best first; empty: nowhere yet."""


@dataclass(frozen=True)
class Choice:
    """What becomes of an event on this kernel.

    ``place``: where it is seen; None: nowhere. ``better``: places before it in the list, each with the reason why it is
    not taken.
    """

    kind: Kind
    place: Place | None
    better: tuple[tuple[Place, str], ...]


class Vantages:
    """Examines the places on one kernel.

    Args:
        types: of the running kernel.
    """

    def __init__(self, types: KernelTypes) -> None:
        self._types = types

    def choices(self) -> list[Choice]:
        """A choice for each event, in the protocol's order."""
        return [self._choose(kind) for kind in EVENTS]

    def _choose(self, kind: Kind) -> Choice:
        better: list[tuple[Place, str]] = []
        for place in PLACES[kind]:
            obstacle = self._obstacle(place)
            if obstacle is None:
                return Choice(kind, place, tuple(better))
            better.append((place, obstacle))
        return Choice(kind, None, tuple(better))

    def _obstacle(self, place: Place) -> str | None:
        """Why the place can't be taken; None if it can."""
        if place.how == _TRACEPOINT:
            return None if self._types.has_tracepoint(place.name) else "this kernel has no such tracepoint"
        if place.how == _DERIVED:
            return None
        return self._function_obstacle(place.name)

    def _function_obstacle(self, name: str) -> str:
        found = [symbol for symbol in fuse_functions() if re.sub(r"\.(constprop|isra)\.\d+", "", symbol) == name]
        if not found:
            return "not there, or inlined"
        ways = []
        if not any(map(self._types.function_id, found)):
            ways.append("no BTF for fentry")
        elif fentry_refused(self._types) is not None:
            ways.append(f"fentry {fentry_refused(self._types)}")
        if not kprobes_there():
            ways.append("no kprobes")
        return ", ".join(ways) if len(ways) == 2 else "this version attaches tracepoints alone"


def kprobes_there() -> bool:
    """Whether the kernel can put probes into functions (CONFIG_KPROBES)."""
    return Path("/sys/bus/event_source/devices/kprobe").exists()


_LOAD, _TRACING, _FENTRY = 5, 26, 24  # BPF_PROG_LOAD, BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY
_SYSCALL_BPF: Final = {"x86_64": 321}.get(os.uname().machine, 280)  # 280: every architecture that came later
_RETURN_ZERO: Final = bytes.fromhex("b7000000000000009500000000000000")  # r0 = 0; exit


class _LoadAttributes(ctypes.Structure):
    """The part of ``union bpf_attr`` that BPF_PROG_LOAD takes (include/uapi/linux/bpf.h), up to attach_btf_id."""

    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_name", ctypes.c_char * 16),
        ("prog_ifindex", ctypes.c_uint32),
        ("expected_attach_type", ctypes.c_uint32),
        ("prog_btf_fd", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("func_info", ctypes.c_uint64),
        ("func_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_uint64),
        ("line_info_cnt", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
    )


def _refusal() -> str:
    return f"refused, {errno.errorcode.get(ctypes.get_errno(), 'unknown error')}"


@functools.cache
def fentry_refused(types: KernelTypes) -> str | None:
    """Why the kernel takes no fentry program, found by loading the smallest one there is; None if it takes one."""
    target = types.function_id("fuse_dev_open")
    if not target:
        return "no function in BTF"
    instructions = ctypes.create_string_buffer(_RETURN_ZERO, len(_RETURN_ZERO))
    licence = ctypes.create_string_buffer(b"GPL")
    attributes = _LoadAttributes(
        prog_type=_TRACING,
        insn_cnt=len(_RETURN_ZERO) // 8,
        insns=ctypes.addressof(instructions),
        license=ctypes.addressof(licence),
        expected_attach_type=_FENTRY,
        attach_btf_id=target,
    )
    libc = ctypes.CDLL(None, use_errno=True)
    size = ctypes.c_uint(ctypes.sizeof(attributes))
    program = libc.syscall(ctypes.c_long(_SYSCALL_BPF), ctypes.c_int(_LOAD), ctypes.byref(attributes), size)
    if program < 0:
        return _refusal()
    link = libbpf().bpf_raw_tracepoint_open(None, program)
    refused = None if link >= 0 else _refusal()
    for descriptor in (link, program):
        if descriptor >= 0:
            os.close(descriptor)
    return refused

"""Calls of the kernel's own functions in programs: reads of its memory by loads, and loops of any length.

The verifier lets a program load through any address that went through the kernel's function ``bpf_rdonly_cast``
(kernel/bpf/helpers.c); a bad one yields 0, as it does with ``bpf_probe_read_kernel``. Such a function is called by its
BTF id, which bcc has no way to say. So the sources call one of a number of ours, and it is put right here. Loops that
go by ``bpf_iter_num_next`` (kernel/bpf/bpf_iter.c) the verifier does not walk turn by turn.
"""

import functools
import os
import struct
from typing import Final

from furtrace.probe.btf import KernelTypes
from furtrace.probe.tracing import INSTRUCTION, Target, load

FUNCTION: Final = "bpf_rdonly_cast"
CALL: Final = 0x66747263
"""FT_CAST of the sources: the number that is called in the function's place."""

LOOPS: Final = {
    "bpf_iter_num_new": 0x66747264,
    "bpf_iter_num_next": 0x66747265,
    "bpf_iter_num_destroy": 0x66747266,
}
"""FT_NUM_NEW, FT_NUM_NEXT and FT_NUM_DESTROY of the sources, by what they stand for."""

_CALL_OPCODE: Final = 0x85  # BPF_JMP | BPF_CALL
_KERNEL_FUNCTION: Final = 2  # BPF_PSEUDO_KFUNC_CALL, in the source register's place
_LAYOUT: Final = struct.Struct("=BBhi")
"""``struct bpf_insn`` of include/uapi/linux/bpf.h: opcode, registers (source, destination), offset, number."""
_OURS: Final = {_LAYOUT.pack(_CALL_OPCODE, 0, 0, number): name for name, number in {FUNCTION: CALL, **LOOPS}.items()}


def resolved(instructions: bytes, types: KernelTypes) -> bytes:
    """Return a program in which calls of :data:`CALL` and :data:`LOOPS` are calls of the kernel's functions.

    Args:
        instructions: 8 bytes each.
        types: of the kernel that will run it.
    """
    calls = {
        ours: _LAYOUT.pack(_CALL_OPCODE, _KERNEL_FUNCTION << 4, 0, types.function_id(name))
        for ours, name in _OURS.items()
        if ours in instructions
    }
    if not calls:
        return instructions
    each = (instructions[at : at + INSTRUCTION] for at in range(0, len(instructions), INSTRUCTION))
    return b"".join(calls.get(one, one) for one in each)


@functools.cache
def possible(types: KernelTypes) -> bool:
    """Whether the kernel takes programs that read so, as Linux 6.17 does and later ones: the smallest one is tried."""
    if not types.function_id(FUNCTION):
        return False
    try:
        os.close(load(resolved(_TRIAL, types), Target()))
    except OSError:
        return False
    return True


_TRIAL: Final = b"".join(
    _LAYOUT.pack(*one)
    for one in (
        (0x79, 0x11, 0, 0),  # r1 = *(u64 *)(r1 + 0): the tracepoint's first argument, an address or not
        (0xB7, 0x02, 0, 0),  # r2 = 0: no type
        (_CALL_OPCODE, 0, 0, CALL),
        (0x79, 0x00, 0, 0),  # r0 = *(u64 *)(r0 + 0): what this is about
        (0xB7, 0x00, 0, 0),  # r0 = 0
        (0x95, 0x00, 0, 0),  # exit
    )
)

"""Reads of the kernel's memory by loads, where the kernel has them, instead of calls of a helper.

The verifier lets a program load through any address that went through the kernel's function ``bpf_rdonly_cast``
(kernel/bpf/helpers.c); a bad one yields 0, as it does with ``bpf_probe_read_kernel``. Such a function is called by its
BTF id, which bcc has no way to say. So the sources call one of a number of ours, and it is put right here.
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

_CALL_OPCODE: Final = 0x85  # BPF_JMP | BPF_CALL
_KERNEL_FUNCTION: Final = 2  # BPF_PSEUDO_KFUNC_CALL, in the source register's place
_LAYOUT: Final = struct.Struct("=BBhi")
"""``struct bpf_insn`` of include/uapi/linux/bpf.h: opcode, registers (source, destination), offset, number."""
_OURS: Final = _LAYOUT.pack(_CALL_OPCODE, 0, 0, CALL)


def resolved(instructions: bytes, types: KernelTypes) -> bytes:
    """Return a program in which calls of :data:`CALL` are calls of the kernel's function.

    Args:
        instructions: 8 bytes each.
        types: of the kernel that will run it.
    """
    if _OURS not in instructions:
        return instructions
    call = _LAYOUT.pack(_CALL_OPCODE, _KERNEL_FUNCTION << 4, 0, types.function_id(FUNCTION))
    each = (instructions[at : at + INSTRUCTION] for at in range(0, len(instructions), INSTRUCTION))
    return b"".join(call if one == _OURS else one for one in each)


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

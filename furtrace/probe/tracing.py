"""Programs at raw tracepoints and at functions (fentry, fexit), loaded without bcc.

bcc 0.26 loads them for functions of the kernel itself alone, while fuse may be a module, and each only once. So their
instructions are taken from bcc, and given to the kernel by the system call (``union bpf_attr`` of
include/uapi/linux/bpf.h).
"""

import ctypes
import errno
import functools
import os
from dataclasses import dataclass
from typing import Final

from furtrace.probe.btf import KernelTypes, libbpf
from furtrace.probe.errors import ProbeError

_LOAD, _TEST_RUN = 5, 10  # BPF_PROG_LOAD, BPF_PROG_TEST_RUN
_RAW_TRACEPOINT, _TRACING = 17, 26  # BPF_PROG_TYPE_...
FENTRY: Final = 24
"""BPF_TRACE_FENTRY."""
FEXIT: Final = 25
"""BPF_TRACE_FEXIT."""


@dataclass(frozen=True)
class Target:
    """Where a program goes.

    ``attach_type``: :data:`FENTRY` or :data:`FEXIT`; 0: to a raw tracepoint. ``function``: BTF id of the function.
    ``module``: descriptor of the module's BTF that the id is of; 0: the kernel's own. ``tracepoint``: its name.
    """

    attach_type: int = 0
    function: int = 0
    module: int = 0
    tracepoint: str | None = None


_SYSCALL_BPF: Final = {"x86_64": 321}.get(os.uname().machine, 280)  # 280: every architecture that came later
_RETURN_ZERO: Final = bytes.fromhex("b7000000000000009500000000000000")  # r0 = 0; exit
INSTRUCTION: Final = 8
"""Bytes of one."""
_LOG_SIZE: Final = 1 << 24  # one that is too small is an error of its own
_MORE_ATTEMPTS: Final = 4  # as libbpf does


class _LoadAttributes(ctypes.Structure):
    """The part of ``union bpf_attr`` that BPF_PROG_LOAD takes, up to attach_btf_obj_fd."""

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
        ("attach_btf_obj_fd", ctypes.c_uint32),
    )


class _TestRunAttributes(ctypes.Structure):
    """The part of ``union bpf_attr`` that BPF_PROG_TEST_RUN takes."""

    _fields_ = (("prog_fd", ctypes.c_uint32), ("rest", ctypes.c_char * 76))


class _BtfInfo(ctypes.Structure):
    """``struct bpf_btf_info``."""

    _fields_ = (
        ("btf", ctypes.c_uint64),
        ("btf_size", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("name", ctypes.c_uint64),
        ("name_len", ctypes.c_uint32),
        ("kernel_btf", ctypes.c_uint32),
    )


def module_types(module: str) -> int:
    """Return a descriptor of a module's BTF, which the caller closes.

    Raises:
        OSError: the kernel has none of that name, or does not give it.
    """
    library = libbpf()
    number = ctypes.c_uint32(0)
    while library.bpf_btf_get_next_id(number, ctypes.byref(number)) == 0:
        descriptor = library.bpf_btf_get_fd_by_id(number)
        if descriptor < 0:
            continue
        name = ctypes.create_string_buffer(64)
        info = _BtfInfo(name=ctypes.addressof(name), name_len=len(name))
        size = ctypes.c_uint32(ctypes.sizeof(info))
        failed = library.bpf_obj_get_info_by_fd(descriptor, ctypes.byref(info), ctypes.byref(size))
        if not failed and info.kernel_btf and name.value == module.encode():
            return int(descriptor)
        os.close(descriptor)
    if ctypes.get_errno() != errno.ENOENT:  # EPERM: to ask takes CAP_SYS_ADMIN, as the kernel's own types don't
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    raise OSError(errno.ENOENT, f"the kernel has no BTF of the module {module}")


def load(instructions: bytes, target: Target, *, log: bool = False) -> int:
    """Load a program, and return its descriptor.

    Args:
        instructions: 8 bytes each.
        target: where it will go.
        log: the verifier's own words become part of the error.

    Raises:
        OSError: the kernel refuses it.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    said = ctypes.create_string_buffer(_LOG_SIZE if log else 1)
    attributes = _LoadAttributes(
        prog_type=_TRACING if target.attach_type else _RAW_TRACEPOINT,
        insn_cnt=len(instructions) // INSTRUCTION,
        insns=ctypes.addressof(code),
        license=ctypes.addressof(licence),
        log_level=int(log),
        log_size=len(said) if log else 0,
        log_buf=ctypes.addressof(said) if log else 0,
        expected_attach_type=target.attach_type,
        attach_btf_id=target.function,
        attach_btf_obj_fd=target.module,
    )
    program = _bpf(_LOAD, attributes)
    for _ in range(_MORE_ATTEMPTS):
        if program >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break
        program = _bpf(_LOAD, attributes)  # a signal came while the verifier was at work
    if program < 0:
        words = said.value.decode(errors="replace").strip().splitlines()
        raise OSError(ctypes.get_errno(), "; ".join([os.strerror(ctypes.get_errno()), *words[-3:]]))
    return program


def _bpf(command: int, attributes: ctypes.Structure) -> int:
    """The system call; -1: it failed, and errno tells why."""
    libc = ctypes.CDLL(None, use_errno=True)
    size = ctypes.c_uint(ctypes.sizeof(attributes))
    return int(libc.syscall(ctypes.c_long(_SYSCALL_BPF), ctypes.c_int(command), ctypes.byref(attributes), size))


def test_functions_run(program: int) -> bool:
    """Let the kernel call its functions for tests, ``bpf_fentry_test1`` among them (net/bpf/test_run.c).

    Args:
        program: descriptor of any fentry or fexit program.

    Returns:
        whether it did.
    """
    return _bpf(_TEST_RUN, _TestRunAttributes(prog_fd=program)) == 0


def attach(program: int, target: Target) -> int:
    """Attach a loaded program to what it was loaded for, and return the link's descriptor.

    Raises:
        OSError: the kernel refuses it.
    """
    name = target.tracepoint.encode() if target.tracepoint is not None else None
    link = libbpf().bpf_raw_tracepoint_open(name, program)
    if link < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(link)


@functools.cache
def fentry_refused(types: KernelTypes) -> str | None:
    """Why the kernel takes no fentry program, found by attaching the smallest one there is; None if it takes one."""
    function = types.function_id("fuse_dev_open")
    if not function:
        return "no function in BTF"
    descriptors: list[int] = []
    try:
        if types.module is not None and types.in_module(function):
            descriptors.append(module_types(types.module))
        target = Target(FENTRY, function, descriptors[0] if descriptors else 0)
        descriptors.append(load(_RETURN_ZERO, target))
        descriptors.append(attach(descriptors[-1], target))
    except OSError as error:
        return f"refused, {errno.errorcode.get(error.errno or 0, 'unknown error')}"
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return None


class Tracing:
    """Programs of one compiled text, attached until :meth:`close`.

    Args:
        types: of the running kernel.
    """

    def __init__(self, types: KernelTypes) -> None:
        self._types = types
        self._module: int | None = None
        self._descriptors: list[int] = []

    def at_tracepoint(self, name: str, instructions: bytes) -> int:
        """Load a program for a tracepoint, and attach it; return its descriptor, which stays this object's.

        Raises:
            ProbeError: the kernel does not take it.
        """
        return self._add(name, instructions, Target(tracepoint=name))

    def at_function(self, name: str, instructions: bytes, attach_type: int) -> int:
        """Load a program for a function, and attach it; return its descriptor, which stays this object's.

        Args:
            name: the function's.
            instructions: 8 bytes each.
            attach_type: :data:`FENTRY` or :data:`FEXIT`.

        Raises:
            ProbeError: the kernel does not take it.
        """
        function = self._types.function_id(name)
        try:
            module = self._module_types() if self._types.in_module(function) else 0
        except OSError as error:
            raise ProbeError(f"The kernel refuses the probe at {name}: {error.strerror}") from error
        return self._add(name, instructions, Target(attach_type, function, module))

    def _add(self, name: str, instructions: bytes, target: Target) -> int:
        try:
            try:
                program = load(instructions, target)
            except OSError:
                program = load(instructions, target, log=True)
            self._descriptors.append(program)
            self._descriptors.append(attach(program, target))
        except OSError as error:
            raise ProbeError(f"The kernel refuses the probe at {name}: {error.strerror}") from error
        return program

    def _module_types(self) -> int:
        if self._module is None:
            self._module = module_types(self._types.module or "")
            self._descriptors.append(self._module)
        return self._module

    def close(self) -> None:
        """Detach all of them."""
        while self._descriptors:
            os.close(self._descriptors.pop())

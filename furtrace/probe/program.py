"""The BPF programs: put together for the running kernel, compiled, attached, and read."""

import contextlib
import ctypes
import os
import platform
import tempfile
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final

from furtrace.probe import bcc, direct
from furtrace.probe.btf import KernelTypes, libbpf, running_kernel
from furtrace.probe.counters import Counters
from furtrace.probe.errors import ProbeError
from furtrace.probe.filters import Filters
from furtrace.probe.functions import Way
from furtrace.probe.kallsyms import fuse_functions
from furtrace.probe.probes import Probes
from furtrace.probe.programs import Preemptible, source
from furtrace.probe.ring import Ring
from furtrace.probe.tracing import Target, load
from furtrace.probe.vantage import Plan
from furtrace.trace.record import NO_CPU

RING_PAGES: Final = 16384
"""Size of the ring buffer unless told otherwise: 64 MiB, 102 000 records, a second of the busiest traffic measured."""

STRUCTS: Final = (
    *("fuse_req", "fuse_args", "fuse_iqueue_ops", "fuse_mount", "fuse_chan", "fuse_conn", "fuse_dev"),
    *("fuse_ring", "fuse_ring_queue", "fuse_ring_ent", "fuse_bufpool", "fuse_uring_req_header", "fuse_uring_cmd_req"),
    *("io_kiocb", "io_ring_ctx", "io_uring_cmd", "io_uring_sqe", "io_uring_cqe", "io_rsrc_node", "io_rw"),
    "io_mapped_ubuf",
    *("file", "file_operations", "files_struct", "fdtable"),
    *("seq_file", "bpf_iter_meta", "bpf_iter__task_file"),
)
OFFSETS: Final = ("task_struct", "io_uring_task", "pt_regs", "dentry", "inode", "super_block", "fuse_inode", "file")
BIT_FIELDS: Final = ("fuse_args",)
ENUMS: Final = ("fuse_req_flag", "io_uring_op")

_ITERATOR: Final = 28  # BPF_TRACE_ITER (include/uapi/linux/bpf.h)
_TASK_FILE: Final = "bpf_iter_task_file"  # what an iterator over open files is attached to (kernel/bpf/task_iter.c)
_HIDE, _SHOW = 0, 1  # FT_HIDE, FT_SHOW of probes/common.h


def sources() -> Path:
    """The folder with the BPF programs: inside the installed package, or beside it in a source tree."""
    package = Path(str(resources.files("furtrace")))
    inside = package / "probes"
    return inside if inside.is_dir() else package.parent / "probes"


def _has_slots(types: KernelTypes) -> bool:
    return "zero_copied" in types.members("fuse_ring_ent") and "priv" in types.members("io_mapped_ubuf")


def _has_io_uring_member(types: KernelTypes) -> bool:
    return any("io_uring" in types.members(struct) for struct in ("fuse_chan", "fuse_conn"))


def _settings(types: KernelTypes, filters: Filters, ring_pages: int, *, direct_reads: bool) -> str:
    functions = fuse_functions()

    def address(name: str) -> str:
        return f"{functions.get(name, 0):#x}ULL"

    return (
        f"#define FT_SELF {os.getpid()}\n"
        f"#define FT_DIRECT_READS {int(direct_reads)}\n"
        f"#define FT_CAST {direct.CALL:#x}\n"
        f"#define FT_NUM_NEW {direct.LOOPS['bpf_iter_num_new']:#x}\n"
        f"#define FT_NUM_NEXT {direct.LOOPS['bpf_iter_num_next']:#x}\n"
        f"#define FT_NUM_DESTROY {direct.LOOPS['bpf_iter_num_destroy']:#x}\n"
        f"#define FT_RING_PAGES {ring_pages}\n"
        f"#define FT_DEV_READ {address('fuse_dev_read')}\n"
        f"#define FT_SEND_DEV {address('fuse_dev_queue_req')}\n"
        f"#define FT_SEND_URING {address('fuse_uring_queue_fuse_req')}\n"
        f"#define FT_ZERO_COPY_RELEASE {address('fuse_zero_copy_release')}\n"
        f"#define FT_HAS_URING {int(bool(types.members('fuse_ring_ent')))}\n"
        f"#define FT_HAS_SLOTS {int(_has_slots(types))}\n"
        + ("#define FT_HAVE_IO_URING_MEMBER 1\n" if _has_io_uring_member(types) else "")
        + ("#define FT_HAVE_REQUEST_SENT 1\n" if types.has_tracepoint("fuse_request_sent") else "")
        + filters.defines()
    )


def _kernel_header(types: KernelTypes) -> str:
    parts = (
        "#pragma once\n#include <linux/types.h>\n",
        types.definitions(STRUCTS, ENUMS),
        types.layout_checks(STRUCTS),
        types.feature_macros(STRUCTS, ENUMS),
        types.offset_macros(OFFSETS),
        types.bit_macros(BIT_FIELDS),
    )
    return "".join(parts)


@contextlib.contextmanager
def _stderr_kept() -> Iterator[list[str]]:
    """What clang and libbpf write to descriptor 2 goes into the list: they do so on success too."""
    said: list[str] = []
    keep = os.dup(2)
    with tempfile.TemporaryFile("w+", errors="replace") as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(keep, 2)
            os.close(keep)
            sink.seek(0)
            said.extend(sink.read().splitlines())


def compile_program(
    names: Iterable[str], filters: Filters, plan: Plan | None = None, ring_pages: int = RING_PAGES
) -> Any:
    """Compile the named sources of :func:`sources` as one, with the programs of a plan; return bcc's ``BPF``.

    Args:
        names: what follows ``common.h``, in this order.
        filters: what is traced.
        plan: what is watched; the programs for it follow the sources. None: nothing.
        ring_pages: size of the ring buffer, a power of two.

    Raises:
        ProbeError: no privilege, no BTF, no bcc, or the kernel does not take the program.
    """
    module, types, plan = bcc.load(), running_kernel(), plan or Plan()
    # Kprobes are loaded by bcc, which knows nothing of what direct reads need.
    direct_reads = direct.possible(types) and all(one.way is Way.FENTRY for one in plan.attachments)
    text = '#include "kernel_types.h"\n' + _settings(types, filters, ring_pages, direct_reads=direct_reads)
    text += "".join(f"#define {name} {value}\n" for name, value in plan.macros.items())
    for name in ("record.h", "common.h", *names):
        text += f'#line 1 "{name}"\n' + (sources() / name).read_text()
    text += '#line 1 "programs"\n' + source(plan.tracepoints, plan.attachments, stand_ins=preemptible(types))
    said: list[str] = []
    try:
        with bcc.kernel_tree({"kernel_types.h": _kernel_header(types)}), _stderr_kept() as said:
            return module.BPF(text=text)
    except Exception as error:  # bcc raises plain Exception for whatever goes wrong
        if isinstance(error, ProbeError):
            raise
        reason = next((line for line in said if "error" in line.lower()), str(error))
        raise ProbeError(f"The probes do not fit this kernel: {reason.strip()}") from error


def preemptible(types: KernelTypes) -> Preemptible:
    """Where the kernel may let another task run while one is in a probe.

    Nowhere, unless it may while a task is in the kernel at all (CONFIG_PREEMPTION). At tracepoints it may since they
    are guarded by SRCU-fast instead of disabled preemption (Linux 7.0). A kernel that has SRCU-fast is taken for one;
    where that is wrong, the stand-ins have nothing to do.
    """
    if "PREEMPT" not in platform.version():
        return Preemptible.NONE
    return Preemptible.ALL if types.function_id("init_srcu_struct_fast") else Preemptible.AT_FUNCTIONS


class LoadedIterator:
    """A BPF iterator over open files, of a compiled program, that can be run again and again.

    bcc's Python has no call to attach an iterator, and loads one of each kind alone; libbpf's calls are used.

    Args:
        bpf: bcc's object.
        function: its name in the sources.

    Raises:
        ProbeError: the kernel refuses it.
    """

    def __init__(self, bpf: Any, function: str) -> None:
        self._function = function
        target = Target(_ITERATOR, running_kernel().function_id(_TASK_FILE))
        try:
            code = direct.resolved(bytes(bpf.dump_func(function.encode())), running_kernel())
            self._program = load(code, target)
        except OSError as error:
            raise ProbeError(f"The kernel refuses the BPF iterator {function}: {error.strerror}.") from error

    def run(self) -> bytes:
        """Run it once, and return all that it wrote.

        Raises:
            ProbeError: the kernel refuses it.
        """
        lib = libbpf()
        with contextlib.ExitStack() as stack:
            link = lib.bpf_link_create(self._program, 0, _ITERATOR, None)
            if link >= 0:
                stack.callback(os.close, link)
            iterator = lib.bpf_iter_create(link) if link >= 0 else -1
            if iterator < 0:
                reason = os.strerror(ctypes.get_errno())
                raise ProbeError(f"The kernel refuses the BPF iterator {self._function}: {reason}.")
            stack.callback(os.close, iterator)
            return b"".join(iter(lambda: os.read(iterator, 1 << 16), b""))

    def close(self) -> None:
        """Let the kernel forget it."""
        os.close(self._program)


def run_iterator(bpf: Any, function: str) -> bytes:
    """Run a BPF iterator once, and return all that it wrote; as :class:`LoadedIterator`."""
    with contextlib.closing(LoadedIterator(bpf, function)) as iterator:
        return iterator.run()


_SHARED: Final = ("request.h", "ring.h", "buffers.h")


class Program:
    """The probes of a trace, attached, but silent until :meth:`arm`.

    Args:
        filters: what is traced.
        plan: what is watched.
        ring_pages: size of the ring buffer, a power of two.
        more: further sources, whose programs are loaded by whoever needs them.

    Raises:
        ProbeError: as :func:`compile_program`.
    """

    def __init__(self, filters: Filters, plan: Plan, ring_pages: int = RING_PAGES, more: tuple[str, ...] = ()) -> None:
        forgets = ("forgets.c",) if filters.forgets else ()
        names = (*_SHARED, "tracepoint.c", *forgets, "function.c", "connections.c", "names.c", *more)
        self._bpf = compile_program(names, filters, plan, ring_pages)
        self._lost = Counters(self._bpf["lost"].map_fd)
        self._stood_in = Counters(self._bpf["stood_in"].map_fd)
        types = running_kernel()
        self._probes = Probes(self._bpf, types, self._stood_in, preemptible(types))
        try:
            with _stderr_kept():
                self._probes.attach(plan)
        except ProbeError:
            self._detach()
            raise
        self.ring = Ring(self._bpf["events"].map_fd, ring_pages)
        self._armed, self._others, self._listed = 0, _SHOW, 0
        self._lost_before: dict[int, int] = {}
        self._missed_before = 0

    def _detach(self) -> None:
        self._probes.close()
        self._bpf.cleanup()

    @property
    def bpf(self) -> Any:
        """Bcc's object, for the iterator that is part of the program."""
        return self._bpf

    def arm(self) -> None:
        """Begin to write events, in all probes at once."""
        self._missed_before = self._missed()
        self._armed = 1
        self._set()

    def _set(self) -> None:
        table = self._bpf["settings"]
        table[ctypes.c_int(0)] = table.Leaf(self._armed, self._others, self._listed)

    def show_connections(self, numbers: Iterable[int], *, all_but: bool = False) -> None:
        """Show only these connections, or with ``all_but`` all others; at once, also while events come.

        At no moment between is one shown that neither the list before nor the new one shows.
        """
        table = self._bpf["connections"]
        wanted = set(numbers)
        for number in wanted:
            table[ctypes.c_uint32(number)] = ctypes.c_uint8(_HIDE if all_but else _SHOW)
        self._others, self._listed = _SHOW if all_but else _HIDE, 1
        self._set()
        for key in [key for key in table.keys() if key.value not in wanted]:  # noqa: SIM118 - bcc's table is no dict
            del table[key]

    def listed_connections(self) -> set[int]:
        """The numbers given to :meth:`show_connections`, less those that a new connection has taken since."""
        return {int(key.value) for key in self._bpf["connections"].keys()}  # noqa: SIM118 - bcc's table is no dict

    def losses(self) -> dict[int, int]:
        """How many events were not written since the last call, by the CPU on which they found no room in the ring.

        By :data:`~furtrace.trace.record.NO_CPU`: those for which the kernel ran neither a probe nor a stand-in, as
        all were under way. Some of these may be of no interest: a probe finds that out by itself.
        """
        now = dict(enumerate(self._lost.by_cpu.tolist())) | {NO_CPU: self._missed() - self._missed_before}
        fresh = {cpu: count - self._lost_before.get(cpu, 0) for cpu, count in now.items()}
        self._lost_before |= {cpu: now[cpu] for cpu, count in fresh.items() if count > 0}
        return {cpu: count for cpu, count in fresh.items() if count > 0}

    def _missed(self) -> int:
        return self._probes.misses() - int(self._stood_in.by_cpu.sum())

    def close(self) -> None:
        """Detach the probes and free the maps."""
        self.ring.close()
        self._lost.close()
        self._stood_in.close()
        self._detach()

"""The programs of a trace, attached to tracepoints and functions."""

import ctypes
import functools
from typing import Any

from furtrace.probe import direct
from furtrace.probe.btf import KernelTypes, libbpf
from furtrace.probe.counters import Counters
from furtrace.probe.errors import ProbeError
from furtrace.probe.functions import Attachment, Moment, Way
from furtrace.probe.programs import KEEPER, TRIAL, Preemptible, Tracepoint, stand_ins
from furtrace.probe.tracing import FENTRY, FEXIT, Tracing, test_functions_run
from furtrace.probe.vantage import Plan


class _ProgramInfo(ctypes.Structure):
    """``struct bpf_prog_info`` of include/uapi/linux/bpf.h, of which only the last member here is of interest."""

    _fields_ = (("before", ctypes.c_char * 208), ("recursion_misses", ctypes.c_uint64))


def misses(program: int) -> int:
    """How often the kernel did not run a program, by its descriptor, for it was under way on the same CPU."""
    info = _ProgramInfo()
    size = ctypes.c_uint32(ctypes.sizeof(info))
    if libbpf().bpf_obj_get_info_by_fd(program, ctypes.byref(info), ctypes.byref(size)) < 0:
        return 0
    return int(info.recursion_misses)


class Probes:
    """Attaches the programs of a compiled text, until :meth:`close`.

    Args:
        bpf: bcc's object for the text.
        types: of the running kernel.
        stood_in: how often stand-ins did another program's work.
        stand_ins: which programs of the text have them.
    """

    def __init__(self, bpf: Any, types: KernelTypes, stood_in: Counters, stand_ins: Preemptible) -> None:
        self._bpf = bpf
        self._types = types
        self._tracing = Tracing(types)
        self._stood_in = stood_in
        self._stand_ins = stand_ins
        self._programs: list[int] = []

    def attach(self, plan: Plan) -> None:
        """Attach all that is planned.

        Raises:
            ProbeError: the kernel does not take a program.
        """
        for tracepoint in plan.tracepoints:
            self._tracepoint(tracepoint)
        for attachment in plan.attachments:
            if attachment.way is Way.FENTRY:
                self._fentry(attachment)
            else:
                self._kprobe(attachment)

    def misses(self) -> int:
        """How often the kernel ran none of these programs where it should have, their stand-ins not counted."""
        return sum(map(misses, self._programs))

    def close(self) -> None:
        """Detach those that bcc does not detach itself."""
        self._tracing.close()

    def _codes(self, program: str, where: Preemptible) -> list[bytes]:
        """The instructions of a program, and of its stand-ins if it has any."""
        code = direct.resolved(bytes(self._bpf.dump_func(program.encode())), self._types)
        return [code, *stand_ins(code)] if where in self._stand_ins else [code]

    def _tracepoint(self, tracepoint: Tracepoint) -> None:
        codes = self._codes(tracepoint.program, Preemptible.AT_TRACEPOINTS)
        added = [self._tracing.at_tracepoint(tracepoint.name, code) for code in codes]
        self._programs.append(added[0])

    def _fentry(self, attachment: Attachment) -> None:
        attach_type = FEXIT if attachment.watch.moment is Moment.LEAVE else FENTRY
        codes = self._codes(attachment.program, Preemptible.AT_FUNCTIONS)
        self._programs.append(
            _at_function(self._tracing, attachment.symbol, codes, attach_type, newest_first=self._newest_first)
        )

    @functools.cached_property
    def _newest_first(self) -> bool:
        """Whether the kernel runs the program that was attached last to a function first, as Linux 5.7 to 7.3 do.

        It matters, for stand-ins have to come after their program. So it is tried, at a function for tests.
        """
        function = "bpf_fentry_test1"
        if Preemptible.AT_FUNCTIONS not in self._stand_ins or not self._types.function_id(function):
            return True
        tracing = Tracing(self._types)
        try:
            before = int(self._stood_in.by_cpu.sum())
            program = _at_function(
                tracing, function, self._codes(TRIAL, Preemptible.AT_FUNCTIONS), FENTRY, newest_first=True
            )
            return not test_functions_run(program) or int(self._stood_in.by_cpu.sum()) == before
        finally:
            tracing.close()

    def _kprobe(self, attachment: Attachment) -> None:
        event, name = attachment.symbol.encode(), attachment.program.encode()
        try:
            if attachment.keeps_arguments:
                self._bpf.attach_kprobe(event=event, fn_name=name + KEEPER.encode())
                self._bpf.attach_kretprobe(event=event, fn_name=name)
            else:
                self._bpf.attach_kprobe(event=event, fn_name=name)
        except Exception as error:  # bcc raises plain Exception for whatever goes wrong
            raise ProbeError(f"The kernel refuses the probe at {attachment.symbol}: {error}") from error
        self._programs.append(int(self._bpf.funcs[name].fd))


def _at_function(tracing: Tracing, function: str, codes: list[bytes], attach_type: int, *, newest_first: bool) -> int:
    """Attach a program and perhaps its stand-ins, so that they run in this order; return the program's descriptor."""
    order = reversed(codes) if newest_first else codes
    added = [tracing.at_function(function, code, attach_type) for code in order]
    return added[-1 if newest_first else 0]

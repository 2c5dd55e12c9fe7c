"""Writes the BPF programs around the handlers of ``probes/*.c``, in C.

A program takes the arguments from where this kernel has them, at a function by the names that BTF gives them, and calls
its handler. So one handler serves fentry and kprobe, and kernels whose functions take their arguments in another order.

A program that may be preempted has stand-ins (``probes/common.h``, at ``ran``): the same program, loaded again as
:func:`stand_ins` makes it. The programs of kprobes are not preempted.
"""

import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Flag, auto
from typing import Final

from furtrace.probe.functions import SCALARS, Attachment, Moment, Way

# Where the calling convention puts arguments, and the result, as members of struct pt_regs.
_X86: Final = ("di", "si", "dx", "cx", "r8", "r9")
_REGISTERS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "x86_64": (tuple(f"OFFSET_pt_regs_{name}" for name in _X86), "OFFSET_pt_regs_ax"),
    "aarch64": (tuple(f"OFFSET_pt_regs_regs + {8 * at}" for at in range(8)), "OFFSET_pt_regs_regs"),
}

# FT_FIRST, FT_SECOND and FT_LAST of probes/common.h.
_FIRST: Final = 0x66747261636531
_OTHERS: Final = (2, 0)
TRIAL: Final = "trial"
"""A program that does nothing but ask whether it is its turn."""
KEEPER: Final = "_args"
"""What the name of the program ends in that keeps a function's arguments for a kretprobe."""


def registers_known() -> bool:
    """Whether kprobes can find a function's arguments on this machine's architecture."""
    return platform.machine() in _REGISTERS


@dataclass(frozen=True)
class Tracepoint:
    """A handler at a tracepoint. ``arguments``: those of the tracepoint that it takes, in the handler's order."""

    name: str
    arguments: tuple[int, ...]

    @property
    def program(self) -> str:
        """The program's name in C."""
        return f"at_{self.name}"


class Preemptible(Flag):
    """Programs during which a kernel may let another task run, so that they need stand-ins."""

    NONE = 0
    AT_FUNCTIONS = auto()
    AT_TRACEPOINTS = auto()
    ALL = AT_FUNCTIONS | AT_TRACEPOINTS


def source(tracepoints: Iterable[Tracepoint], attachments: Iterable[Attachment], *, stand_ins: Preemptible) -> str:
    """The programs, to follow ``probes/tracepoint.c`` and ``probes/function.c``.

    Args:
        tracepoints: where to be at tracepoints.
        attachments: where to be at functions.
        stand_ins: which programs have them.
    """
    writer = _Writer(stand_ins=stand_ins)
    for tracepoint in tracepoints:
        writer.tracepoint(tracepoint)
    chosen = list(attachments)
    kept = [one for one in chosen if one.keeps_arguments]
    if kept:
        writer.flights(kept)
    for one in chosen:
        writer.function(one, kept.index(one) if one in kept else 0)
    if Preemptible.AT_FUNCTIONS in stand_ins:
        writer.trial()
    return writer.text


# What a function that is under way was called with, by its thread and which function it is.
_FLIGHTS: Final = """
struct ft_flight {{ u64 arguments[{most}]; }};
struct ft_flight_key {{ u32 thread, function; }};
BPF_HASH(flights, struct ft_flight_key, struct ft_flight, 16384);
"""
_KEY: Final = "\tstruct ft_flight_key key = {{ bpf_get_current_pid_tgid(), {number} }};\n"


class _Writer:
    def __init__(self, *, stand_ins: Preemptible) -> None:
        self._stand_ins = stand_ins
        self.text = ""

    def tracepoint(self, tracepoint: Tracepoint) -> None:
        arguments = ", ".join(f"ctx->args[{at}]" for at in tracepoint.arguments)
        body = f"\tft_at_{tracepoint.name}({arguments});\n"
        where = Preemptible.AT_TRACEPOINTS
        self._preemptible(tracepoint.program, "struct bpf_raw_tracepoint_args *ctx", body, where)

    def flights(self, kept: Sequence[Attachment]) -> None:
        self.text += _FLIGHTS.format(most=max(len(one.positions) for one in kept))
        for number, one in enumerate(kept):
            self._plain(one.program + KEEPER, "void *ctx", _keeper(one, number))

    def function(self, one: Attachment, number: int) -> None:
        names = one.watch.parameters
        declared = "".join(f"\t{_type(name)}{name} = 0;\n" for name in names)
        check = "\tif (!ft_is_entry(ent))\n\t\treturn 0;\n" if not one.checked and "ent" in names else ""
        call = one.watch.call.format(**{name: name for name in names}, result="result")
        if one.way is Way.FENTRY:
            before = f"{declared}{_from_context(one)}{_guard(one)}"
            body = f"{check}\t{call};\n"
            self._preemptible(one.program, "unsigned long long *ctx", body, Preemptible.AT_FUNCTIONS, before)
        else:
            taken = _from_flight(one, number) if one.keeps_arguments else _from_registers(one)
            self._plain(one.program, "void *ctx", f"{declared}{taken}{_guard(one)}{check}\t{call};\n")

    def trial(self) -> None:
        self._preemptible(TRIAL, "unsigned long long *ctx", "", Preemptible.AT_FUNCTIONS)

    def _plain(self, name: str, context: str, body: str) -> None:
        self.text += f"\nint {name}({context}) {{\n{body}\treturn 0;\n}}\n"

    def _preemptible(self, name: str, context: str, body: str, where: Preemptible, before: str = "") -> None:
        """Write a program that asks whether it is its turn, after what it does ``before``."""
        turn = "\tif (!ft_is_its_turn())\n\t\treturn 0;\n" if where in self._stand_ins else ""
        self._plain(name, context, before + turn + body)


def stand_ins(instructions: bytes) -> list[bytes]:
    """Make a program's stand-ins out of its instructions, 8 bytes each, in the order in which they have to run.

    Raises:
        ValueError: the number that tells them apart is not there once.
    """
    # BPF_LD | BPF_IMM | BPF_DW: two instructions, each with half of the number in its last four bytes.
    low, high = (half.to_bytes(4, "little") for half in (_FIRST & 0xFFFFFFFF, _FIRST >> 32))
    whole = re.compile(rb"\x18.{3}" + re.escape(low) + rb"\x00{4}" + re.escape(high), re.DOTALL)
    found = [one for one in whole.finditer(instructions) if one.start() % 8 == 0]
    if len(found) != 1:
        raise ValueError(f"the program has the number of its role {len(found)} times")
    at = found[0].start()
    return [_in_role(instructions, at, role) for role in _OTHERS]


def _in_role(instructions: bytes, at: int, role: int) -> bytes:
    """The program with another role, of less than 32 bits, in the number that begins there."""
    code = bytearray(instructions)
    code[at + 4 : at + 8], code[at + 12 : at + 16] = role.to_bytes(4, "little"), bytes(4)
    return bytes(code)


def _guard(one: Attachment) -> str:
    if not one.watch.guard:
        return ""
    guard = one.watch.guard.format(**{name: name for name in one.watch.parameters})
    return f"\tif (!{guard})\n\t\treturn 0;\n"


def _type(name: str) -> str:
    return "u64 " if name in SCALARS else "void *"


def _register(place: str, name: str) -> str:
    return f"\tbpf_probe_read_kernel(&{name}, sizeof({name}), (char *)ctx + {place});\n"


def _argument(at: int, name: str) -> str:
    """Read an argument at a function's entry: from its register, or from the stack, above the return address."""
    places, _ = _REGISTERS[platform.machine()]
    if at < len(places):
        return _register(places[at], name)
    above = 8 * (at - len(places) + 1)
    return (
        f"\t{{\n\t\tu64 sp = 0;\n\t{_register('OFFSET_pt_regs_sp', 'sp')}"
        f"\t\tbpf_probe_read_kernel(&{name}, sizeof({name}), (void *)(sp + {above}));\n\t}}\n"
    )


def _keeper(one: Attachment, number: int) -> str:
    body = _KEY.format(number=number) + "\tstruct ft_flight flight = {};\n"
    body += "".join(_argument(at, f"flight.arguments[{i}]") for i, at in enumerate(one.positions))
    return body + "\tflights.update(&key, &flight);\n"


def _from_context(one: Attachment) -> str:
    taken = "".join(
        f"\t{name} = ({_type(name).strip()})ctx[{at}];\n"
        for name, at in zip(one.watch.parameters, one.positions, strict=True)
    )
    return taken + (f"\ts32 result = ctx[{one.count}];\n" if one.watch.moment is Moment.LEAVE else "")


def _from_registers(one: Attachment) -> str:
    return "".join(_argument(at, name) for name, at in zip(one.watch.parameters, one.positions, strict=True))


def _from_flight(one: Attachment, number: int) -> str:
    _, place = _REGISTERS[platform.machine()]
    taken = _KEY.format(number=number)
    taken += "\tstruct ft_flight *flight = flights.lookup(&key);\n\tif (!flight)\n\t\treturn 0;\n"
    for at, name in enumerate(one.watch.parameters):
        taken += f"\t{name} = ({_type(name).strip()})flight->arguments[{at}];\n"
    return taken + "\tflights.delete(&key);\n\ts32 result = 0;\n" + _register(place, "result")

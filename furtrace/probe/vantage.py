"""Vantages: at which places each protocol event can be seen, and which of them this kernel offers.

Each event has an ordered list of places, best first: the kernel's functions, by fentry or fexit, else by kprobe or
kretprobe (those also under the names that compilers make, ``fuse_uring_send.constprop.0``), then a tracepoint, then
what follows from another event. The choice is made event by event.

DELIVERED is seen at the CQE, by a tracepoint, on every kernel: that is when the server has the request.
``fuse_uring_send``, which comes before, is a step inside the kernel.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from furtrace.probe.btf import KernelTypes
from furtrace.probe.errors import ProbeError
from furtrace.probe.functions import (
    COMMANDS,
    POOLS,
    SLOTS,
    WATCHES,
    Attachment,
    Watch,
    Way,
    base_name,
    position,
)
from furtrace.probe.kallsyms import fuse_functions
from furtrace.probe.programs import Tracepoint, registers_known
from furtrace.probe.tracing import fentry_refused
from furtrace.trace.record import EVENTS, Kind, Step

_TRACEPOINT, _DERIVED, _FUNCTION = "tracepoint", "derived", "function"
_NOT_THERE: Final = "not there, or inlined"


class Vantage(StrEnum):
    """What a user may ask for: functions where they can be watched (also the default), or tracepoints alone."""

    AUTO = "auto"
    FUNCTION = "function"
    TRACEPOINT = "tracepoint"


@dataclass(frozen=True)
class Place:
    """A place where an event may be seen: ``how`` is ``function``, ``tracepoint`` or ``derived``."""

    how: str
    name: str
    note: str = ""


def _function(name: str, note: str = "") -> Place:
    return Place(_FUNCTION, name, note)


def _tracepoint(name: str, note: str = "") -> Place:
    return Place(_TRACEPOINT, name, note)


def _command(op: int) -> tuple[Place, ...]:
    return (_function("fuse_uring_cmd", f"cmd_op {op}"), _tracepoint("io_uring_submit_req", f"cmd_op {op}"))


PLACES: Final[dict[Kind, tuple[Place, ...]]] = {
    Kind.INIT: (_tracepoint("fuse_request_end", "of INIT"),),
    Kind.ADD_QUEUE: _command(3),
    Kind.ADD_BUFPOOL: _command(4),
    Kind.REGISTER: _command(1),
    Kind.READY: (_function("fuse_uring_cmd", "after cmd_op 1"),),
    Kind.QUEUED: (_tracepoint("fuse_request_send"),),
    Kind.SELECTED: (_function("fuse_uring_select_buffer"),),
    Kind.PAGES_REGISTERED: (_function("io_buffer_register_bvec"),),
    Kind.COPIED: (_function("fuse_uring_copy_to_ring"), _function("fuse_uring_args_to_ring")),
    Kind.DELIVERED: (_tracepoint("io_uring_complete", "the CQE"),),
    Kind.FIXED_IO: (_tracepoint("io_uring_complete", "the CQE of the server's own I/O"),),
    Kind.COMMITTED: _command(2),
    Kind.RETURNED: (_function("fuse_uring_copy_from_ring"),),
    Kind.PAGES_UNREGISTERED: (_function("io_buffer_unregister"),),
    Kind.PAGES_RELEASED: (_function("fuse_zero_copy_release"),),
    Kind.RECYCLED: (_function("fuse_uring_recycle_buffer"),),
    Kind.ENDED: (_tracepoint("fuse_request_end"),),
    Kind.REFUSED: (_tracepoint("io_uring_complete", "a negative result"),),
    Kind.STOPPED: (_tracepoint("io_uring_complete", "ENOTCONN or ECANCELED of an accepted command"),),
    Kind.LOST: (Place(_DERIVED, "counters of the ring buffer", "one a CPU"),),
    Kind.STEP: (_function("the functions below"),),
}
"""Where each event can be seen, best first."""

_CALLED: Final = dict(zip((*POOLS, *SLOTS), ("buffer pools", "zero-copy", "pages in slots"), strict=True))

_NEEDS: Final[dict[Kind, tuple[str, ...]]] = {
    **{watch.about: watch.needs for watch in WATCHES if isinstance(watch.about, Kind)},
    Kind.ADD_QUEUE: POOLS,
    Kind.ADD_BUFPOOL: POOLS,
    Kind.FIXED_IO: SLOTS,
}


@dataclass(frozen=True)
class Choice:
    """What becomes of an event, or of a step inside the kernel, on this kernel.

    ``seen``: how and where it is seen, in words; None: nowhere. ``better``: places before that in the list, each with
    the reason why it is not taken. ``lacking``: what this kernel has not, for an event that does not happen on it.
    ``kernel``: only with ``--steps kernel``.
    """

    about: Kind | Step
    seen: str | None
    better: tuple[tuple[Place, str], ...]
    lacking: str = ""
    kernel: bool = False


@dataclass
class Plan:
    """What a trace attaches, to tracepoints and to functions, and macros for the sources that say what that is."""

    tracepoints: list[Tracepoint] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    macros: dict[str, int] = field(default_factory=dict)

    @property
    def vantage(self) -> str:
        """In words, for the reader of a trace."""
        return "functions and tracepoints" if self.attachments else "tracepoints"


class Vantages:
    """Examines the places on one kernel.

    Args:
        types: of the running kernel.
        ways: in which functions may be watched, best first.
    """

    def __init__(self, types: KernelTypes, ways: tuple[Way, ...] = tuple(Way)) -> None:
        self._types = types
        self._ways = ways
        self._symbols: dict[str, list[str]] = {}
        for symbol in fuse_functions():
            self._symbols.setdefault(base_name(symbol), []).append(symbol)

    # What a trace attaches.

    def plan(self, vantage: Vantage = Vantage.AUTO, *, kernel_steps: bool = False, forgets: bool = False) -> Plan:
        """Choose what to attach.

        Args:
            vantage: what the user asks for.
            kernel_steps: also at the functions whose steps are inside the kernel.
            forgets: also at the end of every system call, where FORGET shows.

        Raises:
            ProbeError: functions were asked for, and this kernel lets none be watched.
        """
        chosen: dict[str, Attachment] = {}
        if vantage is not Vantage.TRACEPOINT:
            for watch in WATCHES:
                if kernel_steps or not watch.kernel:
                    chosen.update({one.program: one for one in self._attachments(watch)[0]})
        if not chosen and (vantage is Vantage.FUNCTION or kernel_steps):
            raise ProbeError(
                f"This kernel lets no function be watched ({self._general_obstacle()}); leave out "
                f"{'--steps kernel' if kernel_steps else '--vantage function'}, and tracepoints show what they can."
            )
        about = {one.watch.about for one in chosen.values() if isinstance(one.watch.about, Kind)}
        macros = {
            "FT_COMMANDS_AT_FUNCTION": Kind.COMMITTED in about,
            "FT_BUFFERS_AT_FUNCTION": Kind.SELECTED in about,
            "FT_PAGES_AT_FUNCTION": Kind.PAGES_REGISTERED in about,
            "FT_KERNEL_STEPS": kernel_steps,
        }
        tracepoints = self._tracepoints(commands=not macros["FT_COMMANDS_AT_FUNCTION"], forgets=forgets)
        return Plan(tracepoints, list(chosen.values()), {name: int(value) for name, value in macros.items()})

    def _tracepoints(self, *, commands: bool, forgets: bool) -> list[Tracepoint]:
        wanted = list(_TRACEPOINTS)
        if self._types.members("fuse_ring_ent"):
            wanted += [*_RING_TRACEPOINTS, *([_SUBMISSIONS] if commands else [])]
        found = [one for one in wanted if self._types.has_tracepoint(one.name)]
        return [*found, _SYSTEM_CALLS] if forgets else found

    def _general_obstacle(self) -> str:
        return self._ways_obstacle(in_btf=True) or _NOT_THERE

    def _attachments(self, watch: Watch) -> tuple[list[Attachment], str]:
        """The programs for what is to be seen, or none and the reason."""
        found, obstacle = self._own_attachments(watch)
        other = _PAIRS.get(watch.about) if isinstance(watch.about, Kind) else None
        for pair in WATCHES:
            if found and other is not None and pair.about is other and not self._own_attachments(pair)[0]:
                return [], f"{pair.functions[0]} can't be watched"
        return found, obstacle

    def _own_attachments(self, watch: Watch) -> tuple[list[Attachment], str]:
        lacking = self._lacking(watch.needs)
        if lacking:
            return [], lacking
        function = next((name for name in watch.functions if self._symbols.get(name)), None)
        if function is None:
            return [], _NOT_THERE
        found: list[Attachment] = []
        for symbol in self._variants(function):
            attachment = self._attachment(watch, symbol)
            if isinstance(attachment, str):
                return [], attachment
            found.append(attachment)
        return found, ""

    def _variants(self, function: str) -> list[str]:
        """All that stand for the function: itself, and what the compiler made of it for some of its callers.

        A ``.part`` is called by what is left of the function, so it only stands for one that is inlined itself.
        """
        symbols = self._symbols.get(function, [])
        whole = [symbol for symbol in symbols if ".part." not in symbol]
        return whole or symbols

    def _lacking(self, needs: Iterable[str]) -> str:
        for need in needs:
            struct, member = need.split(".")
            if member not in self._types.members(struct):
                return f"this kernel has no {_CALLED[need]}"
        return ""

    def _attachment(self, watch: Watch, symbol: str) -> Attachment | str:
        """How a symbol is watched; or why it can't be."""
        known = self._types.parameters(base_name(symbol))
        plain = known is not None and symbol == base_name(symbol)
        way = next((way for way in self._ways if self._allows(way, in_btf=plain)), None)
        if way is None:
            return self._ways_obstacle(in_btf=plain)
        places = [position(name, known or watch.order) for name in watch.parameters]
        if any(place is None for place in places):
            return "it takes other arguments" if known else "no BTF for its arguments"
        found = tuple(place for place in places if place is not None)
        return Attachment(watch, symbol, way, found, len(known or ()), known is not None)

    def _allows(self, way: Way, *, in_btf: bool) -> bool:
        if way is Way.FENTRY:
            return in_btf and fentry_refused(self._types) is None
        return kprobes_there() and registers_known()

    def _ways_obstacle(self, *, in_btf: bool) -> str:
        refused = fentry_refused(self._types)
        reasons = ["no BTF for fentry"] if not in_btf else [f"fentry {refused}"] if refused else []
        if not kprobes_there():
            reasons.append("no kprobes")
        elif not registers_known():
            reasons.append("kprobes of an unknown architecture")
        return ", ".join(reasons)

    # What doctor says.

    def choices(self) -> list[Choice]:
        """A choice for each event, in the protocol's order, then for each step inside the kernel."""
        events = [self._choose(kind) for kind in EVENTS if kind is not Kind.STEP]
        return events + [self._choose_step(watch) for watch in WATCHES if isinstance(watch.about, Step)]

    def _choose(self, kind: Kind) -> Choice:
        better: list[tuple[Place, str]] = []
        watch = next((watch for watch in WATCHES if _covers(watch, kind)), None)
        kernel = watch is not None and watch.kernel
        lacking = self._lacking(_NEEDS.get(kind, ()))
        if lacking:
            return Choice(kind, None, (), lacking, kernel)
        for place in PLACES[kind]:
            seen, obstacle = self._look(place, watch)
            if not obstacle:
                return Choice(kind, seen, tuple(better), kernel=kernel)
            better.append((place, obstacle))
        return Choice(kind, None, tuple(better), kernel=kernel)

    def _look(self, place: Place, watch: Watch | None) -> tuple[str, str]:
        """How a place is seen, in words, and what is in the way; empty: nothing."""
        note = f" ({place.note})" if place.note else ""
        if place.how == _FUNCTION:
            found, obstacle = self._attachments(watch) if watch else ([], _NOT_THERE)
            if found and base_name(found[0].symbol) != place.name:
                return "", _NOT_THERE
            return _in_words(found) + note, obstacle
        if place.how == _TRACEPOINT and not self._types.has_tracepoint(place.name):
            return "", "this kernel has no such tracepoint"
        return f"{place.how} {place.name}{note}", ""

    def _choose_step(self, watch: Watch) -> Choice:
        assert isinstance(watch.about, Step)
        found, obstacle = self._attachments(watch)
        place = _function(watch.about.function)
        return Choice(watch.about, _in_words(found) or None, ((place, obstacle),) if obstacle else (), kernel=True)


_PAIRS: Final = {
    Kind.SELECTED: Kind.RECYCLED,
    Kind.RECYCLED: Kind.SELECTED,
    Kind.PAGES_REGISTERED: Kind.PAGES_UNREGISTERED,
    Kind.PAGES_UNREGISTERED: Kind.PAGES_REGISTERED,
    Kind.PAGES_RELEASED: Kind.PAGES_REGISTERED,
}
"""Events that are only seen together: half of a pair would tell of leaks that are none."""


# With the arguments of include/trace/events/{fuse,io_uring,syscalls}.h that the handlers take.
_TRACEPOINTS: Final = (
    Tracepoint("fuse_request_send", (0,)),
    Tracepoint("fuse_request_sent", (0,)),
    Tracepoint("fuse_request_end", (0,)),
)
_RING_TRACEPOINTS: Final = (Tracepoint("io_uring_complete", (1, 2)), Tracepoint("io_uring_cqe_overflow", (0, 1, 2)))
_SUBMISSIONS: Final = Tracepoint("io_uring_submit_req", (0,))
_SYSTEM_CALLS: Final = Tracepoint("sys_exit", (0, 1))


def _covers(watch: Watch, kind: Kind) -> bool:
    return watch.about is kind or (watch.about is Kind.COMMITTED and kind in COMMANDS)


def _in_words(attachments: list[Attachment]) -> str:
    return ", ".join(f"{one.way.called(one.watch.moment)} {one.symbol}" for one in attachments)


def kprobes_there() -> bool:
    """Whether the kernel can put probes into functions (CONFIG_KPROBES)."""
    return Path("/sys/bus/event_source/devices/kprobe").exists()

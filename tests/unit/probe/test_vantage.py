"""Where each event is seen on kernels of several kinds, and what a trace attaches there."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

import pytest

from furtrace.probe import vantage
from furtrace.probe.errors import ProbeError
from furtrace.probe.functions import WATCHES, Way
from furtrace.probe.vantage import PLACES, Choice, Plan, Vantage, Vantages
from furtrace.trace.record import EVENTS, Kind, Step

if TYPE_CHECKING:
    from furtrace.probe.btf import KernelTypes

_TRACEPOINTS: Final = frozenset({"fuse_request_send", "fuse_request_end", "io_uring_submit_req", "io_uring_complete"})
_POOLS: Final = {"fuse_ring_queue": {"bufpool"}, "fuse_ring_ent": {"zero_copied"}, "io_mapped_ubuf": {"priv"}}
_PLAIN: Final = {"fuse_ring_ent": {"payload"}}
_PARAMETERS: Final = {
    "fuse_uring_cmd": ("cmd", "issue_flags"),
    "fuse_uring_select_buffer": ("ent",),
    "fuse_uring_recycle_buffer": ("ent",),
    "fuse_uring_copy_from_ring": ("ring", "req", "ent"),
    "fuse_uring_send": ("ent", "cmd", "ret", "issue_flags"),
    "fuse_uring_send_in_task": ("tw_req", "tw"),
    "fuse_uring_next_fuse_req": ("ring_ent", "queue", "issue_flags"),
    "io_buffer_register_bvec": ("cmd", "bvs", "nr_bvecs", "release", "priv", "dir", "index", "issue_flags"),
    "io_buffer_unregister": ("cmd", "index", "issue_flags"),
}
"""As on 7.3, but for two names that older kernels have."""


@dataclass(frozen=True)
class FakeTypes:
    """BTF that knows these names only."""

    tracepoints: frozenset[str] = _TRACEPOINTS
    functions: frozenset[str] = field(default_factory=frozenset)
    structs: "dict[str, set[str]]" = field(default_factory=lambda: _PLAIN, hash=False)

    def has_tracepoint(self, name: str) -> bool:
        return name in self.tracepoints

    def parameters(self, name: str) -> tuple[str, ...] | None:
        return _PARAMETERS.get(name, ("ent", "req")) if name in self.functions else None

    def members(self, struct: str) -> frozenset[str]:
        return frozenset(self.structs.get(struct, ()))


@dataclass
class Kernel:
    """What a kernel offers; everything but fentry and kprobes by default."""

    monkeypatch: pytest.MonkeyPatch

    def vantages(
        self, *symbols: str, types: FakeTypes | None = None, fentry: str | None = None, kprobes: bool = True
    ) -> Vantages:
        self.monkeypatch.setattr(vantage, "fuse_functions", lambda: dict.fromkeys(symbols, 0xFFFF))
        self.monkeypatch.setattr(vantage, "fentry_refused", lambda _types: fentry)
        self.monkeypatch.setattr(vantage, "kprobes_there", lambda: kprobes)
        self.monkeypatch.setattr(vantage, "registers_known", lambda: True)
        return Vantages(cast("KernelTypes", types or FakeTypes(functions=frozenset(symbols))))

    def choices(
        self, *symbols: str, types: FakeTypes | None = None, fentry: str | None = None, kprobes: bool = True
    ) -> "dict[Kind | Step, Choice]":
        """What is chosen; a kind and a step may be the same number, so the keys are told apart by their class."""
        found = self.vantages(*symbols, types=types, fentry=fentry, kprobes=kprobes).choices()
        kinds = [choice.about for choice in found if isinstance(choice.about, Kind)]
        assert kinds == [kind for kind in EVENTS if kind is not Kind.STEP]
        return _Choices({(type(choice.about), int(choice.about)): choice for choice in found})


class _Choices(dict):  # type: ignore[type-arg]
    def __getitem__(self, about: "Kind | Step") -> Choice:
        return cast("Choice", super().__getitem__((type(about), int(about))))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


def _why(choice: Choice) -> dict[str, str]:
    return {place.name: reason for place, reason in choice.better}


def test_every_event_has_its_places() -> None:
    assert list(PLACES) == list(EVENTS)


def test_every_step_is_watched_once() -> None:
    assert [watch.about for watch in WATCHES if isinstance(watch.about, Step)] == list(Step)[1:]


def test_tracepoints_alone(kernel: Kernel) -> None:
    found = kernel.choices()
    seen = {kind.name: found[kind].seen for kind in EVENTS if kind is not Kind.STEP and found[kind].seen}
    assert seen == {
        "INIT": "tracepoint fuse_request_end (of INIT)",
        "REGISTER": "tracepoint io_uring_submit_req (cmd_op 1)",
        "QUEUED": "tracepoint fuse_request_send",
        "DELIVERED": "tracepoint io_uring_complete (the CQE)",
        "COMMITTED": "tracepoint io_uring_submit_req (cmd_op 2)",
        "ENDED": "tracepoint fuse_request_end",
        "REFUSED": "tracepoint io_uring_complete (a negative result)",
        "STOPPED": "tracepoint io_uring_complete (ENOTCONN or ECANCELED of an accepted command)",
        "LOST": "derived counters of the ring buffer (one a CPU)",
    }
    assert _why(found[Kind.COMMITTED]) == {"fuse_uring_cmd": "not there, or inlined"}
    assert _why(found[Kind.QUEUED]) == {}
    assert found[Step.SEND].seen is None


def test_a_tracepoint_that_is_missing(kernel: Kernel) -> None:
    found = kernel.choices(types=FakeTypes(_TRACEPOINTS - {"io_uring_complete"}))
    assert found[Kind.DELIVERED].seen is None
    assert _why(found[Kind.DELIVERED]) == {"io_uring_complete": "this kernel has no such tracepoint"}
    assert found[Kind.COMMITTED].seen == "tracepoint io_uring_submit_req (cmd_op 2)"


def test_a_kernel_without_anything(kernel: Kernel) -> None:
    found = kernel.choices(types=FakeTypes(frozenset()))
    assert [choice.about for choice in found.values() if choice.seen] == [Kind.LOST]


def test_what_the_kernel_has_not(kernel: Kernel) -> None:
    found = kernel.choices("fuse_uring_select_buffer", "io_buffer_register_bvec")
    for kind in (Kind.ADD_QUEUE, Kind.SELECTED, Kind.RECYCLED):
        assert (found[kind].seen, found[kind].lacking) == (None, "this kernel has no buffer pools")
    for kind in (Kind.PAGES_REGISTERED, Kind.PAGES_UNREGISTERED, Kind.FIXED_IO):
        assert (found[kind].seen, found[kind].lacking) == (None, "this kernel has no zero-copy")


def test_fentry_and_fexit(kernel: Kernel) -> None:
    found = kernel.choices("fuse_uring_cmd")
    assert found[Kind.COMMITTED].seen == "fentry fuse_uring_cmd (cmd_op 2)"
    assert found[Kind.READY].seen == "fexit fuse_uring_cmd (after cmd_op 1)"
    assert _why(found[Kind.COMMITTED]) == {}


def test_kprobes_where_fentry_is_refused(kernel: Kernel) -> None:
    found = kernel.choices("fuse_uring_cmd", fentry="refused, EPERM")
    assert found[Kind.COMMITTED].seen == "kprobe fuse_uring_cmd (cmd_op 2)"
    assert found[Kind.READY].seen == "kretprobe fuse_uring_cmd (after cmd_op 1)"


def test_fentry_refused_and_no_kprobes(kernel: Kernel) -> None:
    found = kernel.choices("fuse_uring_cmd", fentry="refused, EPERM", kprobes=False)
    assert found[Kind.COMMITTED].seen == "tracepoint io_uring_submit_req (cmd_op 2)"
    assert _why(found[Kind.COMMITTED]) == {"fuse_uring_cmd": "fentry refused, EPERM, no kprobes"}
    assert _why(found[Kind.READY]) == {"fuse_uring_cmd": "fentry refused, EPERM, no kprobes"}


@pytest.mark.parametrize("suffix", [".constprop.0", ".isra.0", ".constprop.0.isra.12", ".part.0"])
def test_a_name_with_a_suffix(kernel: Kernel, suffix: str) -> None:
    """The compiler's variant has no function in BTF; a kprobe is still possible, unless there are none."""
    types = FakeTypes()
    symbol = f"fuse_uring_send{suffix}"
    assert kernel.choices(symbol, types=types)[Step.SEND].seen == f"kprobe {symbol}"
    without = kernel.choices(symbol, types=types, kprobes=False)[Step.SEND]
    assert (without.seen, _why(without)) == (None, {"fuse_uring_send": "no BTF for fentry, no kprobes"})


@pytest.mark.parametrize("symbol", ["fuse_uring_send_in_task", "xfuse_uring_send", "fuse_uring_send.constprop.0.cold"])
def test_other_names_are_other_functions(kernel: Kernel, symbol: str) -> None:
    assert _why(kernel.choices(symbol)[Step.SEND]) == {"fuse_uring_send": "not there, or inlined"}


def test_the_name_and_its_variants(kernel: Kernel) -> None:
    """All callers have to be seen, so all are watched; but a part is called by what it is a part of."""
    types = FakeTypes(functions=frozenset({"fuse_uring_send"}))
    symbols = ("fuse_uring_send.constprop.0", "fuse_uring_send", "fuse_uring_send.part.0")
    seen = kernel.choices(*symbols, types=types)[Step.SEND].seen
    assert seen == "kprobe fuse_uring_send.constprop.0, fentry fuse_uring_send"


def test_a_variant_whose_arguments_nobody_tells(kernel: Kernel) -> None:
    found = kernel.choices("fuse_uring_args_to_ring.isra.0", types=FakeTypes())[Kind.COPIED]
    assert found.seen is None
    assert _why(found)["fuse_uring_args_to_ring"] == "no BTF for its arguments"


def test_a_function_with_other_arguments(kernel: Kernel) -> None:
    """As ublk's io_buffer_register_bvec() of 6.18, which takes a request."""
    types = FakeTypes(functions=frozenset({"io_buffer_register_bvec", "io_buffer_unregister"}), structs=_POOLS)
    names = {**_PARAMETERS, "io_buffer_register_bvec": ("cmd", "rq", "release", "index", "issue_flags")}
    kernel.monkeypatch.setitem(_PARAMETERS, "io_buffer_register_bvec", names["io_buffer_register_bvec"])
    found = kernel.choices("io_buffer_register_bvec", "io_buffer_unregister", types=types)
    assert _why(found[Kind.PAGES_REGISTERED]) == {"io_buffer_register_bvec": "it takes other arguments"}
    assert _why(found[Kind.PAGES_UNREGISTERED]) == {"io_buffer_unregister": "io_buffer_register_bvec can't be watched"}


def test_half_of_a_pair_is_not_seen(kernel: Kernel) -> None:
    types = FakeTypes(functions=frozenset({"fuse_uring_select_buffer"}), structs=_POOLS)
    found = kernel.choices("fuse_uring_select_buffer", types=types)
    assert _why(found[Kind.SELECTED]) == {"fuse_uring_select_buffer": "fuse_uring_recycle_buffer can't be watched"}


def _plan(kernel: Kernel, *symbols: str, wanted: Vantage = Vantage.AUTO, kernel_steps: bool = False) -> Plan:
    types = FakeTypes(functions=frozenset(symbols), structs=_POOLS)
    return kernel.vantages(*symbols, types=types).plan(wanted, kernel_steps=kernel_steps)


def _attached(plan: Plan) -> dict[str, tuple[int, ...]]:
    return {one.program: one.positions for one in plan.attachments}


def test_the_plan_of_tracepoints(kernel: Kernel) -> None:
    plan = _plan(kernel, "fuse_uring_cmd", wanted=Vantage.TRACEPOINT)
    assert _attached(plan) == {}
    assert [one.name for one in plan.tracepoints] == [
        *("fuse_request_send", "fuse_request_end", "io_uring_complete", "io_uring_submit_req")
    ]
    assert not any(plan.macros.values())
    assert plan.vantage == "tracepoints"


def test_the_plan_of_functions(kernel: Kernel) -> None:
    """Arguments are found by name, whatever their order; the submission is not watched twice."""
    symbols = ("fuse_uring_cmd", "io_buffer_register_bvec", "io_buffer_unregister", "fuse_uring_send_in_task")
    plan = _plan(kernel, *symbols, wanted=Vantage.FUNCTION)
    assert _attached(plan) == {
        "enter_fuse_uring_cmd": (0, 1),
        "leave_fuse_uring_cmd": (0, 1),
        "leave_io_buffer_register_bvec": (0, 2, 4, 5, 6),
        "leave_io_buffer_unregister": (0, 1),
    }
    assert "io_uring_submit_req" not in [one.name for one in plan.tracepoints]
    macros = {"FT_COMMANDS_AT_FUNCTION": 1, "FT_BUFFERS_AT_FUNCTION": 0, "FT_PAGES_AT_FUNCTION": 1}
    assert plan.macros == macros | {"FT_KERNEL_STEPS": 0}


def test_the_plan_of_kernel_steps(kernel: Kernel) -> None:
    symbols = ("fuse_uring_cmd", "fuse_uring_send_in_task", "fuse_uring_next_fuse_req", "fuse_uring_copy_from_ring")
    attached = _attached(_plan(kernel, *symbols, kernel_steps=True))
    assert attached == {
        "enter_fuse_uring_cmd": (0, 1),
        "leave_fuse_uring_cmd": (0, 1),
        "leave_fuse_uring_copy_from_ring": (2, 1),
        "enter_fuse_uring_send_in_task": (0,),
        "enter_fuse_uring_next_fuse_req": (0,),
    }


@pytest.mark.parametrize(
    ("wanted", "kernel_steps", "option"),
    [(Vantage.FUNCTION, False, "--vantage function"), (Vantage.AUTO, True, "--steps kernel")],
)
def test_functions_that_can_not_be_watched(kernel: Kernel, wanted: Vantage, kernel_steps: bool, option: str) -> None:
    vantages = kernel.vantages("fuse_uring_cmd", fentry="refused, EPERM", kprobes=False)
    with pytest.raises(ProbeError, match=r"\(fentry refused, EPERM, no kprobes\).*leave out " + option):
        vantages.plan(wanted, kernel_steps=kernel_steps)
    assert vantages.plan().attachments == []


def test_only_some_ways(kernel: Kernel) -> None:
    kernel.vantages("fuse_uring_cmd")
    types = FakeTypes(functions=frozenset({"fuse_uring_cmd"}))
    plan = Vantages(cast("KernelTypes", types), (Way.KPROBE,)).plan()
    assert {one.way for one in plan.attachments} == {Way.KPROBE}

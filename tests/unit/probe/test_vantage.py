"""Where each event is seen on kernels of several kinds."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from furtrace.probe import vantage
from furtrace.probe.vantage import PLACES, Choice, Vantages
from furtrace.trace.record import EVENTS, Kind

if TYPE_CHECKING:
    from furtrace.probe.btf import KernelTypes

_TRACEPOINTS = frozenset({"fuse_request_send", "fuse_request_end", "io_uring_submit_req", "io_uring_complete"})


@dataclass(frozen=True)
class FakeTypes:
    """BTF that knows these names only."""

    tracepoints: frozenset[str] = _TRACEPOINTS
    functions: frozenset[str] = field(default_factory=frozenset)

    def has_tracepoint(self, name: str) -> bool:
        return name in self.tracepoints

    def function_id(self, name: str) -> int:
        return int(name in self.functions)


@dataclass
class Kernel:
    """What a kernel offers; everything but fentry and kprobes by default."""

    monkeypatch: pytest.MonkeyPatch

    def choices(
        self, *symbols: str, types: FakeTypes | None = None, fentry: str | None = None, kprobes: bool = True
    ) -> dict[Kind, Choice]:
        """What is chosen."""
        self.monkeypatch.setattr(vantage, "fuse_functions", lambda: dict.fromkeys(symbols, 0xFFFF))
        self.monkeypatch.setattr(vantage, "fentry_refused", lambda _types: fentry)
        self.monkeypatch.setattr(vantage, "kprobes_there", lambda: kprobes)
        found = Vantages(cast("KernelTypes", types or FakeTypes(functions=frozenset(symbols)))).choices()
        assert [choice.kind for choice in found] == list(EVENTS)
        return {choice.kind: choice for choice in found}


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


def _why(choice: Choice) -> dict[str, str]:
    return {place.name: reason for place, reason in choice.better}


def _seen(choice: Choice) -> str | None:
    return choice.place.name if choice.place else None


def test_every_event_has_its_places() -> None:
    assert list(PLACES) == list(EVENTS)


def test_tracepoints_alone(kernel: Kernel) -> None:
    found = kernel.choices()
    assert {kind: _seen(choice) for kind, choice in found.items() if choice.place} == {
        Kind.INIT: "fuse_request_end",
        Kind.ADD_QUEUE: "io_uring_submit_req",
        Kind.ADD_BUFPOOL: "io_uring_submit_req",
        Kind.REGISTER: "io_uring_submit_req",
        Kind.QUEUED: "fuse_request_send",
        Kind.DELIVERED: "io_uring_complete",
        Kind.COMMITTED: "io_uring_submit_req",
        Kind.ENDED: "fuse_request_end",
        Kind.REFUSED: "io_uring_complete",
        Kind.STOPPED: "io_uring_complete",
        Kind.LOST: "counters of the ring buffer",
    }
    assert _why(found[Kind.DELIVERED]) == {"fuse_uring_send": "not there, or inlined"}
    assert _why(found[Kind.QUEUED]) == {}


def test_a_tracepoint_that_is_missing(kernel: Kernel) -> None:
    found = kernel.choices(types=FakeTypes(_TRACEPOINTS - {"io_uring_complete"}))
    assert found[Kind.DELIVERED].place is None
    assert _why(found[Kind.DELIVERED]) == {
        "fuse_uring_send": "not there, or inlined",
        "io_uring_complete": "this kernel has no such tracepoint",
    }
    assert _seen(found[Kind.COMMITTED]) == "io_uring_submit_req"


def test_a_kernel_without_anything(kernel: Kernel) -> None:
    found = kernel.choices(types=FakeTypes(frozenset()))
    assert [kind for kind, choice in found.items() if choice.place] == [Kind.LOST]


def test_a_function_that_could_be_attached(kernel: Kernel) -> None:
    found = kernel.choices("fuse_uring_send")
    assert _why(found[Kind.DELIVERED]) == {"fuse_uring_send": "this version attaches tracepoints alone"}
    assert _seen(found[Kind.DELIVERED]) == "io_uring_complete"


@pytest.mark.parametrize("suffix", [".constprop.0", ".isra.0", ".constprop.0.isra.12"])
def test_a_name_with_a_suffix(kernel: Kernel, suffix: str) -> None:
    """The compiler's variant has no function in BTF; a kprobe is still possible, unless there are none."""
    types = FakeTypes()
    symbol = f"fuse_uring_send{suffix}"
    assert _why(kernel.choices(symbol, types=types)[Kind.DELIVERED]) == {
        "fuse_uring_send": "this version attaches tracepoints alone"
    }
    assert _why(kernel.choices(symbol, types=types, kprobes=False)[Kind.DELIVERED]) == {
        "fuse_uring_send": "no BTF for fentry, no kprobes"
    }


@pytest.mark.parametrize("symbol", ["fuse_uring_send_in_task", "xfuse_uring_send", "fuse_uring_send.constprop.0.cold"])
def test_other_names_are_other_functions(kernel: Kernel, symbol: str) -> None:
    assert _why(kernel.choices(symbol)[Kind.DELIVERED]) == {"fuse_uring_send": "not there, or inlined"}


def test_both_the_name_and_a_variant(kernel: Kernel) -> None:
    """BTF has the plain one, whichever comes first in kallsyms."""
    types = FakeTypes(functions=frozenset({"fuse_uring_send"}))
    for symbols in (("fuse_uring_send.constprop.0", "fuse_uring_send"), ("fuse_uring_send", "fuse_uring_send.isra.0")):
        found = kernel.choices(*symbols, types=types, kprobes=False)
        assert _why(found[Kind.DELIVERED]) == {"fuse_uring_send": "this version attaches tracepoints alone"}


def test_fentry_refused_and_no_kprobes(kernel: Kernel) -> None:
    found = kernel.choices("fuse_uring_send", fentry="refused, EPERM", kprobes=False)
    assert _why(found[Kind.DELIVERED]) == {"fuse_uring_send": "fentry refused, EPERM, no kprobes"}
    found = kernel.choices("fuse_uring_send", fentry="refused, EPERM", kprobes=True)
    assert _why(found[Kind.DELIVERED]) == {"fuse_uring_send": "this version attaches tracepoints alone"}


def test_events_of_functions_alone_are_not_seen(kernel: Kernel) -> None:
    found = kernel.choices("fuse_uring_args_to_ring", "fuse_uring_select_buffer", kprobes=False)
    assert found[Kind.COPIED].place is None
    assert list(_why(found[Kind.COPIED])) == ["fuse_uring_copy_to_ring", "fuse_uring_args_to_ring"]
    assert found[Kind.SELECTED].place is None
    assert found[Kind.FIXED_IO] == Choice(Kind.FIXED_IO, None, ())

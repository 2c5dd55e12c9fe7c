"""Which panics are QEMU's fault, and what is tried again; the consoles are shortened ones of Linux 7.3."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.vm import harness
from tests.vm.errors import HangError, KernelPanicError, MachineError, StaleCodeError
from tests.vm.harness import BOOTS, booted
from tests.vm.kernels import Kernel
from tests.vm.stale import again, ran_stale_code

OOPS: Final = """\
[    1.558364] Oops: {kind}: 0000 [#1] SMP NOPTI
[    1.558692] CPU: 0 UID: 0 PID: 1 Comm: swapper/0 Not tainted 7.3.4+deb13-cloud-amd64 #1 PREEMPT(lazy)
[    1.558695] RIP: 0010:sched_clock_cpu+0x9/0x1f0
[    1.558715] Code: 90 90 90 90 f3 0f 1e fa 41 54 55 53 {before} <90> e8 91 72 ed ff 48 03 05 1a 65 f4 01
[    1.558722] RSP: 0000:ffffcb54400f0fc0 EFLAGS: 00000006
"""
PANIC: Final = "[    1.559099] Kernel panic - not syncing: Fatal exception in interrupt\n"
STALE: Final = OOPS.format(kind="int3", before="66")
OTHER: Final = OOPS.format(kind="Oops", before="66")
KERNEL: Final = Kernel("7.3.1+test", Path("vmlinuz"), Path("overlay.ko"))


@pytest.mark.parametrize(
    ("console", "stale"),
    [
        pytest.param(STALE + PANIC, True, id="the breakpoint has gone"),
        pytest.param("x\n" * 999 + STALE + STALE + PANIC, True, id="on both CPUs"),
        pytest.param(STALE + OTHER + PANIC, True, id="and something else because of it"),
        pytest.param(OOPS.format(kind="int3", before="cc") + PANIC, False, id="a breakpoint that is there"),
        pytest.param(OTHER + PANIC, False, id="something else"),
        pytest.param(OTHER + STALE + PANIC, False, id="because of something else"),
        pytest.param("".join(STALE.splitlines(keepends=True)[:3]) + PANIC, False, id="the code was not printed"),
        pytest.param("Kernel panic - not syncing: VFS: int3\n", False, id="no oops"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_stale_code_is_told_from_other_panics(console: str, stale: bool) -> None:
    assert ran_stale_code(console) is stale


class Failing:
    """An action that ends in each of the errors in turn, and then in success."""

    def __init__(self, *errors: MachineError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_nothing_is_repeated_that_succeeds() -> None:
    action = Failing()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert again(action, "it", 3) == "done"
    assert action.calls == 1


def test_stale_code_is_tried_again_and_told() -> None:
    action = Failing(StaleCodeError(), StaleCodeError())
    with pytest.warns(UserWarning, match="once more") as said:
        assert again(action, "Boot of it", 3) == "done"
    assert action.calls == 3
    assert [str(warning.message) for warning in said] == [
        "Boot of it: QEMU ran stale code in attempt 1 of 3; once more",
        "Boot of it: QEMU ran stale code in attempt 2 of 3; once more",
    ]


def test_it_ends_with_the_last_attempt() -> None:
    action = Failing(*(StaleCodeError(f"number {number}") for number in range(1, 5)))
    with pytest.warns(UserWarning, match="once more"), pytest.raises(StaleCodeError, match="number 2"):
        again(action, "it", 2)
    assert action.calls == 2


@pytest.mark.parametrize("error", [KernelPanicError(), HangError()])
def test_any_other_failure_is_one(error: MachineError) -> None:
    action = Failing(error)
    with pytest.raises(type(error)):
        again(action, "it", 3)
    assert action.calls == 1


def test_a_boot_is_tried_again_with_everything_new(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    outcomes: list[MachineError | None] = [StaleCodeError(), StaleCodeError(), None]

    @contextmanager
    def once(*_: object) -> Iterator[str]:
        said.append("begin")
        try:
            if (error := outcomes.pop(0)) is not None:
                raise error
            yield "machine"
        finally:
            said.append("end")

    monkeypatch.setattr(harness, "_booted_once", once)
    with pytest.warns(UserWarning, match=r"Boot of Linux 7\.3\.1\+test: "), booted(KERNEL) as machine:
        said.append(str(machine))
    assert len(said) == 2 * BOOTS + 1
    assert said == ["begin", "end"] * 2 + ["begin", "machine", "end"]

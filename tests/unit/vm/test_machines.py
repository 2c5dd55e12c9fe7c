"""When tests share a machine, and when they get a new one; nothing is booted."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.vm import machines
from tests.vm.errors import HangError, KernelPanicError, MachineError, StaleCodeError
from tests.vm.harness import Completed
from tests.vm.machines import OLDEST, Machines


class Fake:
    """In a machine's place: its commands end in the errors that are given, or else in success."""

    def __init__(self, kernel: str, errors: list[MachineError]) -> None:
        self.kernel = kernel
        self.usable = True
        self._errors = errors

    def run(self, *command: str, timeout: float) -> Completed:
        if self._errors:
            self.usable = False
            raise self._errors.pop(0)
        return Completed(0, " ".join(command), str(timeout))


@pytest.fixture
def said() -> list[str]:
    """What was booted and ended."""
    return []


@pytest.fixture
def errors(said: list[str], monkeypatch: pytest.MonkeyPatch) -> list[MachineError]:
    """Errors in which the next commands are to end."""
    errors: list[MachineError] = []

    @contextmanager
    def booted(kernel: str) -> Iterator[Fake]:
        said.append(f"boot {kernel}")
        yield Fake(kernel, errors)
        said.append(f"end {kernel}")

    monkeypatch.setattr(machines, "booted", booted)
    monkeypatch.setattr(machines, "require_machines", lambda: None)
    monkeypatch.setattr(machines, "find_kernel", lambda wanted: f"newest {wanted}")
    monkeypatch.setattr(machines, "oldest_kernel", lambda: "6.16.3")
    return errors


def test_a_kernel_is_booted_once(errors: list[MachineError], said: list[str]) -> None:
    ours = Machines()
    first = ours.get("7.3")
    assert ours.get("7.3") is first
    assert ours.run("7.3", "uname", "-r", timeout=7) == Completed(0, "uname -r", "7")
    assert said == ["boot newest 7.3"]
    ours.get(OLDEST)
    ours.get("7.3")
    ours.close()
    newest = ["boot newest 7.3", "end newest 7.3"]
    assert said == [*newest, "boot 6.16.3", "end 6.16.3", *newest]


def test_a_machine_that_is_used_up_is_replaced(errors: list[MachineError], said: list[str]) -> None:
    ours = Machines()
    errors.append(HangError())
    with pytest.raises(HangError):
        ours.run("7.3", "sleep")
    assert ours.run("7.3", "true").status == 0
    assert said == ["boot newest 7.3", "end newest 7.3", "boot newest 7.3"]


def test_a_command_is_run_again_on_a_new_machine_where_qemu_ran_stale_code(
    errors: list[MachineError], said: list[str]
) -> None:
    ours = Machines()
    errors.append(StaleCodeError())
    with pytest.warns(UserWarning, match=r"^true on Linux 7\.3: QEMU ran stale code in attempt 1 of 2; once more$"):
        assert ours.run("7.3", "true").status == 0
    assert said == ["boot newest 7.3", "end newest 7.3", "boot newest 7.3"]


def test_it_is_run_no_third_time(errors: list[MachineError], said: list[str]) -> None:
    errors += [StaleCodeError(), StaleCodeError()]
    with pytest.warns(UserWarning, match="once more"), pytest.raises(StaleCodeError):
        Machines().run("7.3", "true")
    assert not errors


def test_any_other_panic_counts(errors: list[MachineError], said: list[str]) -> None:
    errors.append(KernelPanicError())
    with pytest.raises(KernelPanicError):
        Machines().run("7.3", "true")
    assert said == ["boot newest 7.3"]

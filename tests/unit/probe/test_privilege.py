"""Who may trace."""

import os
from pathlib import Path

import pytest

from furtrace.probe import privilege
from furtrace.probe.errors import ProbeError

SYS_ADMIN, PERFMON, BPF = 1 << 21, 1 << 38, 1 << 39


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "Hold":
    return Hold(monkeypatch, tmp_path / "status")


class Hold:
    """Gives this process other capabilities, as far as /proc/self/status says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, status: Path) -> None:
        self._monkeypatch = monkeypatch
        self._status = status

    def __call__(self, capabilities: int) -> None:
        everything = "000001ffffffffff"
        sets = {"CapInh": everything, "CapPrm": everything, "CapEff": f"{capabilities:016x}", "CapBnd": everything}
        text = "Name:\tx\n" + "".join(f"{name}:\t{value}\n" for name, value in sets.items())
        self._status.write_text(text)
        self._monkeypatch.setattr(privilege, "Path", lambda _path: self._status)


@pytest.mark.parametrize("capabilities", [0, SYS_ADMIN, PERFMON | BPF, 0x1FFFFFFFFFF])
def test_the_effective_set_is_read(hold: Hold, capabilities: int) -> None:
    hold(capabilities)
    assert privilege.effective_capabilities() == capabilities


@pytest.mark.parametrize("capabilities", [SYS_ADMIN, PERFMON | BPF, SYS_ADMIN | BPF, 0x1FFFFFFFFFF])
def test_enough(hold: Hold, capabilities: int) -> None:
    hold(capabilities)
    assert privilege.may_trace()
    privilege.check_privilege()


@pytest.mark.parametrize("capabilities", [0, PERFMON, BPF, 1 << 20, 1 << 22, 0x1FFFFFFFFFF & ~(SYS_ADMIN | BPF)])
def test_not_enough(hold: Hold, capabilities: int) -> None:
    hold(capabilities)
    assert not privilege.may_trace()
    with pytest.raises(ProbeError, match="CAP_BPF and CAP_PERFMON"):
        privilege.check_privilege()


@pytest.mark.parametrize(("user", "who"), [(1000, "user 1000"), (0, "a container")])
def test_the_sentence_says_who(hold: Hold, monkeypatch: pytest.MonkeyPatch, user: int, who: str) -> None:
    hold(0)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(ProbeError, match=who):
        privilege.check_privilege()


def test_of_this_process() -> None:
    found = Path("/proc/self/status").read_text().split("CapEff:")[1].split()[0]
    assert privilege.effective_capabilities() == int(found, 16)

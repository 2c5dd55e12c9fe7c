"""Which bcc is taken, and which is not."""

import os
import sys
from pathlib import Path

import pytest

from furtrace.probe import bcc
from furtrace.probe.errors import ProbeError

_REAL = "__version__ = '9.9'\nclass BPF:\n    pass\n"


class Places:
    """Places of distributions, each empty or with some package called bcc."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def make(self, place: str, text: str | None, *, libbcc: bool = True) -> Path:
        package = self._root / place / "bcc"
        package.mkdir(parents=True)
        if text is not None:
            (package / "__init__.py").write_text(text)
        if libbcc:
            (package / "libbcc.py").write_text("")
        return package


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setattr(bcc, "_PLACES", (f"{tmp_path}/dist", f"{tmp_path}/python3*/site"))
    monkeypatch.delitem(sys.modules, "bcc", raising=False)
    return Places(tmp_path)


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no other test see what was loaded here."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


def _load() -> str:
    return str(bcc.load.__wrapped__().__version__)


def test_the_real_one(places: Places) -> None:
    places.make("dist", _REAL)
    assert _load() == "9.9"


def test_none(places: Places) -> None:
    with pytest.raises(ProbeError, match=r"python3-bpfcc.*python3-bcc.*python-bcc"):
        _load()


def test_a_lattice_library_is_passed_over(places: Places) -> None:
    places.make("dist", "raise SystemExit('imported')", libbcc=False)
    with pytest.raises(ProbeError, match="not installed"):
        _load()
    places.make("python3.12/site", _REAL)
    assert _load() == "9.9"


def test_sys_path_is_not_asked(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places.make("elsewhere", _REAL)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    with pytest.raises(ProbeError, match="not installed"):
        _load()


def test_one_without_bpf_is_refused(places: Places, tmp_path: Path) -> None:
    places.make("dist", "__version__ = '1'")
    with pytest.raises(ProbeError, match="is not the BPF Compiler Collection") as problem:
        _load()
    assert str(tmp_path / "dist") in str(problem.value)


@pytest.mark.parametrize("text", ["import no_such_module_at_all", "raise OSError('no libbcc.so.0')", "def"])
def test_one_that_does_not_load(places: Places, text: str) -> None:
    places.make("dist", text)
    with pytest.raises(ProbeError, match=r"does not load .*reinstall"):
        _load()
    assert "bcc" not in sys.modules


def test_the_newest_python_first(places: Places) -> None:
    places.make("python3.11/site", _REAL.replace("9.9", "old"))
    places.make("python3.12/site", _REAL.replace("9.9", "new"))
    assert _load() == "new"


def test_kernel_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", "/before")
    with bcc.kernel_tree({"kernel_types.h": "struct x;", "linux/types.h": "mine"}) as include:
        assert os.environ["BCC_KERNEL_SOURCE"] == str(include.parent)
        assert (include / "kernel_types.h").read_text() == "struct x;"
        assert (include / "linux/types.h").read_text() == "mine"
        assert "LINUX_VERSION_CODE" in (include / "linux/version.h").read_text()
    assert os.environ["BCC_KERNEL_SOURCE"] == "/before"
    assert not include.exists()


def test_kernel_tree_goes_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BCC_KERNEL_SOURCE", raising=False)
    trees: list[Path] = []

    def fail() -> None:
        with bcc.kernel_tree({}) as include:
            trees.append(include)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "BCC_KERNEL_SOURCE" not in os.environ
    assert not trees[0].exists()


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.18.3", "6, 18, 3"), ("7.3.0-1-cloud-amd64", "7, 3, 0"), ("5.10.999-x", "5, 10, 255"), ("6.14", "6, 14, 0")],
)
def test_version_header(monkeypatch: pytest.MonkeyPatch, release: str, version: str) -> None:
    monkeypatch.setattr("platform.release", lambda: release)
    with bcc.kernel_tree({}) as include:
        assert f"KERNEL_VERSION({version})" in (include / "linux/version.h").read_text()

"""Data runs one way, and so do imports: which package may import which."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "furtrace"
MODULES = sorted(PACKAGE.rglob("*.py"))

MAY_IMPORT = {
    "wire": set[str](),
    "trace": {"wire"},
    "model": {"wire", "trace"},
    "checks": {"wire", "trace", "model"},
    "views": {"wire", "trace", "model", "checks"},
    "export": {"wire", "trace", "model", "checks"},
    "probe": {"wire", "trace"},
    "demo": {"wire", "probe"},
    "cli": {"wire", "trace", "model", "checks", "views", "export", "probe", "demo"},
}
"""Beside itself. What stands at the top of furtrace (``__init__``, ``__main__``) is the whole's, not a package's."""

NUMPY = {"wire", "trace", "model", "checks", "views", "export", "probe"}
RICH = {"views", "cli"}
CLICK = {"cli"}


def _package(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(module: Path) -> Iterator[str]:
    """Full names of all that a module imports, wherever in it."""
    own = ["furtrace", *module.relative_to(PACKAGE).with_suffix("").parts]
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = own[: len(own) - node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            # `from furtrace import views` imports furtrace.views
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _imported_packages(module: Path) -> set[str]:
    """Packages of furtrace that a module imports."""
    found = set()
    for name in _imports(module):
        first, *rest = name.split(".")
        if first == "furtrace" and rest and rest[0] != "__version__":
            found.add(rest[0])
    return found


def test_all_packages_are_known() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert packages <= set(MAY_IMPORT)
    assert {"wire", "trace", "model", "views", "export", "probe", "cli"} <= packages


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_directions(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    wrong = {
        str(module.relative_to(PACKAGE)): sorted(_imported_packages(module) - allowed)
        for module in MODULES
        if _package(module) == package and _imported_packages(module) - allowed
    }
    assert wrong == {}


def test_probe_is_imported_by_cli_and_demo_only() -> None:
    importers = {_package(module) for module in MODULES if "probe" in _imported_packages(module)}
    assert "cli" in importers  # else this test would look in the wrong place
    assert importers <= {"cli", "demo", "probe"}


def test_bcc_is_loaded_in_one_module_only() -> None:
    """Its name alone is imported nowhere: PyPI's project of that name is something else."""
    importers = [str(module.relative_to(PACKAGE)) for module in MODULES if "bcc" in _roots(module)]
    assert importers == []
    users = [str(module.relative_to(PACKAGE)) for module in MODULES if _looks_up_bcc(module)]
    assert users == ["probe/bcc.py"]


def _roots(module: Path) -> set[str]:
    return {name.split(".")[0] for name in _imports(module)}


def _looks_up_bcc(module: Path) -> bool:
    """Whether the string "bcc" is passed to a call of the import machinery or stands in sys.modules[...]."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Call):
            texts = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            if "bcc" in texts and "import" in ast.unparse(node.func):
                return True
    return False


@pytest.mark.parametrize(("library", "packages"), [("numpy", NUMPY), ("rich", RICH), ("click", CLICK)])
def test_libraries(library: str, packages: set[str]) -> None:
    users = {_package(module) for module in MODULES if library in _roots(module)}
    assert users
    assert users <= packages


def test_this_reads_imports_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader itself has to see all forms."""
    monkeypatch.setattr("tests.unit.test_imports.PACKAGE", tmp_path)
    module = tmp_path / "model" / "thing.py"
    module.parent.mkdir()
    module.write_text(
        "import furtrace.cli\n"
        "from furtrace import views, __version__\n"
        "from furtrace.export.jsonlines import json_lines\n"
        "from ..wire import text\n"
        "from . import other\n"
        "def later():\n    from furtrace.probe import bcc\n"
    )
    assert _imported_packages(module) == {"cli", "views", "export", "wire", "model", "probe"}

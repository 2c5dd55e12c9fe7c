"""The wheel: what is in it, and that furtrace works from it."""

import configparser
import email.message
import email.parser
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from furtrace import __version__
from furtrace.export.wireshark import dissector

ROOT = Path(__file__).resolve().parents[2]

_NO_NETWORK = re.compile(r"No matching distribution found for hatchling|Could not find a version that satisfies")


def pip(*arguments: str | Path) -> None:
    """Run pip, or skip where it can't have what it needs."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "1", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and _NO_NETWORK.search(done.stderr):
        pytest.skip("The build backend hatchling can't be had: no network, or no package index.")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"furtrace-{__version__}.dist-info/METADATA").decode()
    return email.parser.Parser().parsestr(text)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel installed into a folder; what it depends on is taken from where the tests run."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel)
    return folder


def python(installed: Path, *arguments: str | Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, cwd=installed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_runs_everywhere(wheel: Path) -> None:
    assert wheel.name == f"furtrace-{__version__}-py3-none-any.whl"


def test_it_has_all_modules_and_the_typing_mark(files: set[str]) -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "furtrace").rglob("*.py")}
    assert modules | {"furtrace/py.typed"} <= files


def test_it_has_the_probes(files: set[str]) -> None:
    probes = {f"furtrace/probes/{path.name}" for path in (ROOT / "probes").iterdir()}
    assert {name for name in files if name.startswith("furtrace/probes/")} == probes
    assert {"furtrace/probes/record.h", "furtrace/probes/tracepoint.c"} <= probes


def test_it_has_the_manual_pages(files: set[str]) -> None:
    place = f"furtrace-{__version__}.data/data/share/man/"
    pages = {f"{place}man{path.suffix[1:]}/{path.name}" for path in (ROOT / "man").iterdir()}
    assert {name for name in files if "/share/" in name} == pages
    assert {f"{place}man1/furtrace.1", f"{place}man5/furtrace-recording.5"} <= pages


def test_it_has_the_dissector(installed: Path, tmp_path: Path) -> None:
    program = "import pathlib, sys; from furtrace.export import wireshark; wireshark.install(pathlib.Path(sys.argv[1]))"
    python(installed, "-c", program, tmp_path)
    assert (tmp_path / "furtrace.lua").read_text() == dissector()


def test_it_has_nothing_else(files: set[str]) -> None:
    tops = {name.split("/")[0] for name in files}
    assert tops == {"furtrace", f"furtrace-{__version__}.dist-info", f"furtrace-{__version__}.data"}
    parts = {part for name in files for part in name.split("/")}
    assert not [part for part in parts if part.startswith(("test", "__pycache__"))]


def test_its_licences(files: set[str], metadata: email.message.Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0 AND GPL-2.0-only"
    assert metadata.get_all("License-File") == ["LICENSE", "probes/COPYING"]
    for name in ("LICENSE", "probes/COPYING"):
        assert f"furtrace-{__version__}.dist-info/licenses/{name}" in files


def test_it_depends_on_no_bcc(metadata: email.message.Message) -> None:
    wanted = [re.split(r"[^A-Za-z0-9_.-]", one)[0].lower() for one in metadata.get_all("Requires-Dist", [])]
    assert "click" in wanted
    assert "bcc" not in wanted


def test_its_console_script(wheel: Path, installed: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"furtrace-{__version__}.dist-info/entry_points.txt").decode()
    entry_points = configparser.ConfigParser()
    entry_points.read_string(text)
    assert list(entry_points["console_scripts"]) == ["furtrace"]
    assert python(installed, installed / "bin" / "furtrace", "--version") == f"furtrace, version {__version__}"


def test_it_finds_its_probes_where_it_is_installed(installed: Path) -> None:
    program = "from furtrace.probe.program import sources; print(sources())"
    assert Path(python(installed, "-c", program)) == installed / "furtrace" / "probes"


@pytest.mark.parametrize("program", sorted((ROOT / "probes").glob("*.[ch]")), ids=lambda path: path.name)
def test_every_probe_says_its_licence(program: Path) -> None:
    first = program.read_text().splitlines()[0]
    expression = "GPL-2.0" if program.suffix == ".c" else "GPL-2.0 OR Apache-2.0"
    assert re.fullmatch(rf"/[/*] SPDX-License-Identifier: {expression}( \*/)?", first)

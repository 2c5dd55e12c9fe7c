"""Packages of any suite of Debian, fetched by apt with a configuration of its own.

The machine's apt sources tell which mirror to ask, and how it is signed; they are read and left as they are. Everything
is kept in the cache: a package that is there is never asked for again. To have a newer one, delete its folder.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from tests.external import CACHE, Unavailable
from tests.external.files import locked, made_once

DAY: Final = 24 * 60 * 60
KEYRING: Final = "debian-archive-keyring"


@dataclass(frozen=True)
class Mirror:
    """An archive that the machine's apt knows.

    Attributes:
        uri: its address.
        signed_by: path of the keyring, empty where apt's own keys are meant.
    """

    uri: str
    signed_by: str = ""


@dataclass(frozen=True)
class _Source:
    """One entry of the machine's apt sources."""

    types: list[str]
    uris: list[str]
    suites: list[str]
    components: list[str]
    signed_by: str


def binary_package(suite: str, package: str) -> Path:
    """Return the folder in which the newest ``package`` of ``suite`` lies unpacked, as it would in ``/``.

    Raises:
        Unavailable: it can't be had.
    """
    return _package("deb", suite, package)


def source_package(suite: str, package: str) -> Path:
    """Return the folder of the sources of the newest ``package`` of ``suite``, Debian's patches applied.

    Raises:
        Unavailable: it can't be had.
    """
    return _package("deb-src", suite, package)


def package_names(suite: str, prefix: str) -> list[str]:
    """Return the names of the suite's binary packages that start with ``prefix``, sorted as text.

    Raises:
        Unavailable: the suite's list can't be had.
    """
    archive = _Archive("deb", suite)
    with locked(archive.folder):
        archive.update()
        return sorted(archive.apt("apt-cache", "pkgnames", prefix).split())


def find_mirror(etc: Path = Path("/etc")) -> Mirror:
    """Return the archive of Debian's main suites that the apt sources in ``etc`` name.

    Sources of other makers also name Debian's releases, so one that is signed by Debian's keyring is taken first, then
    one whose address ends as those of Debian's mirrors do.

    Raises:
        Unavailable: there is none.
    """
    codename = _os_release(etc).get("VERSION_CODENAME", "")
    for source in sorted(_sources(etc / "apt"), key=lambda source: KEYRING not in source.signed_by):
        known = KEYRING in source.signed_by or source.uris[0].rstrip("/").endswith("/debian")
        if known and "deb" in source.types and codename in source.suites and "main" in source.components:
            return Mirror(source.uris[0], source.signed_by)
    raise Unavailable("The machine's apt sources name no archive of Debian.")


class _Archive:
    """One suite's packages, of one kind, with apt's state for it.

    Attributes:
        folder: holds apt's configuration, lists and downloads for it, and the unpacked packages.
    """

    def __init__(self, kind: Literal["deb", "deb-src"], suite: str) -> None:
        self.kind = kind
        self.suite = suite
        self.folder = CACHE / "debian" / f"{suite}-{'binary' if kind == 'deb' else 'source'}"

    def update(self) -> None:
        """Fetch the suite's list, unless it was fetched within a day; an old list is better than none."""
        stamp = self.folder / "updated"
        if stamp.exists() and time.time() - stamp.stat().st_mtime < DAY:
            return
        self._configure()
        try:
            self.apt("apt-get", "update")
        except Unavailable:
            if not stamp.exists():
                raise
        else:
            stamp.touch()

    def apt(self, *command: str, cwd: Path | None = None) -> str:
        """Run one of apt's programs on this archive alone, and return its output.

        Raises:
            Unavailable: it is missing or failed.
        """
        return _run([command[0], *self._options(), *command[1:]], self.suite, cwd)

    def _configure(self) -> None:
        mirror = find_mirror()
        signed_by = f"[signed-by={mirror.signed_by}] " if mirror.signed_by else ""
        for name in ("lists/partial", "downloads/archives/partial"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "sources.list").write_text(f"{self.kind} {signed_by}{mirror.uri} {self.suite} main\n")
        (self.folder / "status").touch()

    def _options(self) -> Iterator[str]:
        settings = {
            "Dir::Etc::sourcelist": self.folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State::lists": self.folder / "lists",
            "Dir::State::status": self.folder / "status",  # what the machine has installed has no say
            "Dir::Cache": self.folder / "downloads",
            "Acquire::Check-Valid-Until": "false",  # a mirror that lags behind is good enough
            "Acquire::Languages": "none",
            "Acquire::Retries": 1,
            "Acquire::http::Timeout": 20,
            "Acquire::https::Timeout": 20,
            "APT::Sandbox::User": "root",  # the usual user can't write in the cache
            "APT::Update::Error-Mode": "any",  # without it an update that reached nobody succeeds
        }
        for name, value in settings.items():
            yield "-o"
            yield f"{name}={value}"


def _package(kind: Literal["deb", "deb-src"], suite: str, package: str) -> Path:
    archive = _Archive(kind, suite)
    folder = archive.folder / "packages" / package
    fill = partial(_unpack_binary if kind == "deb" else _unpack_source, archive, package)
    with locked(archive.folder):
        return made_once(folder, fill)


def _unpack_binary(archive: _Archive, package: str, folder: Path) -> None:
    archive.update()
    downloads = folder.with_name(f"{folder.name}.deb")
    downloads.mkdir(exist_ok=True)
    archive.apt("apt-get", "-q", "download", package, cwd=downloads)
    for file in downloads.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(file), str(folder)], archive.suite)
    shutil.rmtree(downloads)


def _unpack_source(archive: _Archive, package: str, folder: Path) -> None:
    archive.update()
    downloads = folder.with_name(f"{folder.name}.dsc")
    downloads.mkdir(exist_ok=True)
    archive.apt("apt-get", "-q", "source", "--download-only", package, cwd=downloads)
    for file in downloads.glob("*.dsc"):
        folder.rmdir()  # dpkg-source makes it
        _run(["dpkg-source", "-x", str(file), str(folder)], archive.suite)
    shutil.rmtree(downloads)


def _run(command: list[str], suite: str, cwd: Path | None = None) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise Unavailable(f"Debian's {suite} can't be had: there is no {error.filename} here.") from error
    except subprocess.CalledProcessError as error:
        # The first error is the cause, those after it are what came of it.
        said = re.search(r"^E: (.*?)\.*$", error.stderr, re.MULTILINE)
        reason = said[1] if said else f"it returned {error.returncode}"
        raise Unavailable(f"Debian's {suite} can't be had: {command[0]} said: {reason}.") from error
    return done.stdout


def _sources(apt: Path) -> Iterator[_Source]:
    parts = sorted((apt / "sources.list.d").glob("*"))
    for file in [apt / "sources.list", *parts]:
        if file.suffix == ".sources":
            yield from _deb822(file.read_text())
        elif file.suffix == ".list" and file.exists():
            yield from _one_line(file.read_text())


def _deb822(text: str) -> Iterator[_Source]:
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", lines):
        fields = {name.lower(): value for name, value in re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", stanza, re.M)}
        if fields.get("enabled", "yes").strip().lower() == "no" or "uris" not in fields:
            continue
        types, uris, suites, components = (
            fields.get(name, "").split() for name in ("types", "uris", "suites", "components")
        )
        signed_by = fields.get("signed-by", "").strip()
        # A key may also stand there itself; only a path can go into a one-line source.
        yield _Source(types, uris, suites, components, signed_by if signed_by.startswith("/") else "")


def _one_line(text: str) -> Iterator[_Source]:
    for line in text.splitlines():
        found = re.fullmatch(r"\s*(deb|deb-src)\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)\s*([^#]*).*", line)
        if found:
            kind, options, uri, suite, components = found.groups()
            signed_by = re.search(r"signed-by=(\S+)", options or "")
            yield _Source([kind], [uri], [suite], components.split(), signed_by[1] if signed_by else "")


def _os_release(etc: Path) -> Mapping[str, str]:
    try:
        text = (etc / "os-release").read_text()
    except FileNotFoundError:
        return {}
    return {name: value.strip("\"'") for name, _, value in (line.partition("=") for line in text.splitlines())}

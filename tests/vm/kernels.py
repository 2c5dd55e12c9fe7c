"""Debian's kernels: which are to be had, and their files.

A kernel is packaged in two ways. New ones have an image (``linux-binary-…``) and modules (``linux-modules-…``) in
packages of their own, older ones have both in ``linux-image-…``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.external import Unavailable
from tests.external.debian import binary_package, package_names

SUITE: Final = "trixie-backports"
FLAVOURS: Final = {"cloud": "-cloud-amd64", "generic": "-amd64", "rt": "-rt-amd64"}
"""Name of a flavour, and how its releases end."""
OLDEST: Final = (6, 14)
"""The first Linux with FUSE over io_uring."""

_RELEASE = re.compile(r"linux-(?:image|binary)-(\d+(?:\.\d+)+)\+\w+(-cloud-amd64|-rt-amd64|-amd64)")


@dataclass(frozen=True)
class Kernel:
    """A kernel whose files are here.

    Attributes:
        release: what ``uname -r`` says in it.
        image: the file that boots.
        overlay: its module for overlayfs.
    """

    release: str
    image: Path
    overlay: Path

    def module(self, name: str) -> Path:
        """Return the file of another module.

        Raises:
            Unavailable: the kernel has none of that name.
        """
        kernel = next(folder for folder in self.overlay.parents if folder.name == "kernel")
        return _file([kernel], f"{name}.ko*", self.release)


def find_kernel(wanted: str) -> Kernel:
    """Return the newest kernel that is meant by ``wanted``: a version or its beginning, then perhaps a flavour.

    Examples are ``7.3``, ``7.2.11`` and ``7.3-generic``; the flavour is ``cloud`` if none is named.

    Raises:
        Unavailable: there is none, or it can't be had.
    """
    version, _, flavour = wanted.partition("-")
    prefix = version_of(version)
    fitting = [release for release in _releases(flavour or "cloud") if version_of(release)[: len(prefix)] == prefix]
    if not fitting:
        raise Unavailable(f"Debian's {SUITE} has no kernel {wanted}.")
    return _fetch(fitting[-1])


def oldest_kernel(flavour: str = "cloud") -> Kernel:
    """Return the oldest kernel with FUSE over io_uring that is to be had.

    Raises:
        Unavailable: there is none, or it can't be had.
    """
    fitting = [release for release in _releases(flavour) if version_of(release) >= OLDEST]
    if not fitting:
        raise Unavailable(f"Debian's {SUITE} has no kernel with FUSE over io_uring.")
    return _fetch(fitting[0])


def releases_of(packages: Iterable[str], flavour: str) -> list[str]:
    """Return the releases of a flavour whose images are in packages of these names, from the oldest to the newest."""
    found = (_RELEASE.fullmatch(package) for package in packages)
    return sorted(
        {match[0].split("-", 2)[2] for match in found if match and match[2] == FLAVOURS[flavour]}, key=version_of
    )


def version_of(release: str) -> tuple[int, ...]:
    """Return the numbers with which a release, or a version, starts."""
    start = re.match(r"\d+(?:\.\d+)*", release)
    return tuple(map(int, start[0].split("."))) if start else ()


def _releases(flavour: str) -> list[str]:
    if flavour not in FLAVOURS:
        raise Unavailable(f"Debian's kernels have no flavour {flavour}; there are {', '.join(FLAVOURS)}.")
    return releases_of(package_names(SUITE, "linux-image-"), flavour)


def _fetch(release: str) -> Kernel:
    packages = set(package_names(SUITE, "linux-"))
    wanted = [name for kind in ("binary", "modules") if (name := f"linux-{kind}-{release}") in packages]
    folders = [binary_package(SUITE, name) for name in wanted or [f"linux-image-{release}"]]
    return Kernel(release, _file(folders, "vmlinuz*", release), _file(folders, "overlay.ko*", release))


def _file(folders: list[Path], pattern: str, release: str) -> Path:
    for folder in folders:
        for path in folder.rglob(pattern):
            return path
    raise Unavailable(f"Debian's packages of Linux {release} hold no {pattern}.")

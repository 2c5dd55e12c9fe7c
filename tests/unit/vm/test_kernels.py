"""Which kernel is meant, of those whose packages there are."""

from pathlib import Path
from typing import Final

import pytest

from tests.external import Unavailable
from tests.vm import kernels

PACKAGES: Final = [
    "linux-image-6.12.9+deb13-cloud-amd64",
    "linux-image-6.16.3+deb13-cloud-amd64",
    "linux-image-7.2.9+deb13-cloud-amd64",
    "linux-image-7.2.11+deb13-cloud-amd64",
    "linux-image-7.2.11+deb13-cloud-amd64-dbg",
    "linux-image-7.2.12+deb13-amd64",
    "linux-image-7.2.13+deb13-rt-amd64",
    "linux-image-7.20.1+deb13-cloud-amd64",
    "linux-image-cloud-amd64",
    "linux-binary-7.2.11+deb13-cloud-amd64",
    "linux-modules-7.2.11+deb13-cloud-amd64",
    "linux-binary-7.2.12+deb13-amd64",
    "linux-modules-7.2.12+deb13-amd64",
]


@pytest.fixture(autouse=True)
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive with these packages, of which each holds what its kind does."""

    def names(suite: str, prefix: str) -> list[str]:
        return [name for name in PACKAGES if name.startswith(prefix)]

    def package(suite: str, name: str) -> Path:
        assert name in PACKAGES
        folder = tmp_path / name
        folder.mkdir()
        if not name.startswith("linux-modules"):
            (folder / "vmlinuz-of-it").touch()
        if not name.startswith("linux-binary"):
            (folder / "overlay.ko.xz").touch()
        return folder

    monkeypatch.setattr(kernels, "package_names", names)
    monkeypatch.setattr(kernels, "binary_package", package)


@pytest.mark.parametrize(
    ("wanted", "release"),
    [
        ("7.2", "7.2.11+deb13-cloud-amd64"),
        ("7.2.9", "7.2.9+deb13-cloud-amd64"),
        ("7", "7.20.1+deb13-cloud-amd64"),
        ("7.2-generic", "7.2.12+deb13-amd64"),
        ("7.2-rt", "7.2.13+deb13-rt-amd64"),
    ],
)
def test_the_newest_that_fits(wanted: str, release: str) -> None:
    assert kernels.find_kernel(wanted).release == release


def test_the_oldest_with_io_uring() -> None:
    assert kernels.oldest_kernel().release == "6.16.3+deb13-cloud-amd64"


def test_files_are_of_the_packages_that_there_are() -> None:
    new = kernels.find_kernel("7.2")
    assert new.image.parent.name == "linux-binary-7.2.11+deb13-cloud-amd64"
    assert new.overlay.parent.name == "linux-modules-7.2.11+deb13-cloud-amd64"
    old = kernels.find_kernel("7.2.9")
    assert old.image.parent == old.overlay.parent
    assert old.image.parent.name == "linux-image-7.2.9+deb13-cloud-amd64"


@pytest.mark.parametrize("wanted", ["7.4", "7.2.1", "7.2-tiny", "6.16-generic"])
def test_what_is_not_there(wanted: str) -> None:
    with pytest.raises(Unavailable, match=r"no (kernel|flavour)"):
        kernels.find_kernel(wanted)

"""Which mirror the machine's apt sources name, and what happens without one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.external import Unavailable, debian, files

DEB822 = """\
# Types: deb
# URIs: http://commented.example/debian
Types: deb
URIs: http://security.example/debian-security
Suites: forky-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: forky
Components: main

Types: deb deb-src
URIs: http://mirror.example/debian http://second.example/debian
Suites: forky
 forky-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
VENDOR = "Types: deb\nURIs: https://vendor.example/node\nSuites: forky\nComponents: main\nSigned-By: /vendor.gpg\n"


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "os-release").write_text('ID=debian\nVERSION_CODENAME="forky"\n')
    return tmp_path


def test_mirror_of_stanzas(etc: Path) -> None:
    (etc / "apt/sources.list.d/a.sources").write_text(VENDOR)
    (etc / "apt/sources.list.d/debian.sources").write_text(DEB822)
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert debian.find_mirror(etc) == debian.Mirror("http://mirror.example/debian", keyring)


def test_mirror_of_lines(etc: Path) -> None:
    (etc / "apt/sources.list").write_text(
        "# deb http://commented.example/debian forky main\n"
        "deb-src http://source.example/debian forky main\n"
        "deb [arch=amd64 signed-by=/vendor.gpg] https://vendor.example/node forky main\n"
        "deb http://mirror.example/debian/ forky main contrib # a comment\n"
    )
    assert debian.find_mirror(etc) == debian.Mirror("http://mirror.example/debian/")


def test_a_key_that_stands_in_the_source_is_no_path(etc: Path) -> None:
    key = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDME\n"
    stanza = f"Types: deb\nURIs: http://mirror.example/debian\nSuites: forky\nComponents: main\n{key}"
    (etc / "apt/sources.list.d/debian.sources").write_text(stanza)
    assert debian.find_mirror(etc) == debian.Mirror("http://mirror.example/debian")


def test_other_makers_sources_are_no_mirror(etc: Path) -> None:
    (etc / "apt/sources.list.d/vendor.sources").write_text(VENDOR)
    with pytest.raises(Unavailable, match="name no archive of Debian"):
        debian.find_mirror(etc)


@pytest.mark.parametrize("get", [debian.binary_package, debian.source_package, debian.package_names])
def test_says_that_there_is_no_apt(
    get: Callable[[str, str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = debian.Mirror("http://mirror.example/debian")
    monkeypatch.setattr(debian, "CACHE", tmp_path)
    monkeypatch.setattr(debian, "find_mirror", lambda: mirror)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r"^Debian's sid can't be had: there is no apt-get here\.$"):
        get("sid", "package")


def test_a_package_that_is_there_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "debian/sid-binary/packages/package"
    folder.mkdir(parents=True)
    monkeypatch.setattr(debian, "CACHE", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert debian.binary_package("sid", "package") == folder


def test_a_folder_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "made"

    def fail(unfinished: Path) -> None:
        (unfinished / "half").touch()
        raise Unavailable("No more.")

    with pytest.raises(Unavailable):
        files.made_once(folder, fail)
    assert not folder.exists()
    assert files.made_once(folder, lambda unfinished: (unfinished / "whole").touch()) == folder
    assert files.made_once(folder, fail) == folder
    assert [path.name for path in folder.iterdir()] == ["whole"]

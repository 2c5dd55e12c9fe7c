"""FUSE mounts out of mountinfo."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from furtrace.probe.mounts import Mount, absolute, fuse_mounts, mount_names, mounted_at, parse_mountinfo

LINE = b"36 35 0:54 / /mnt/demo rw,nosuid,nodev,relatime shared:1 - fuse.furtrace furtrace-demo rw,user_id=0"


def _line(
    device: bytes = b"0:54",
    mountpoint: bytes = b"/mnt",
    optional: bytes = b"",
    fstype: bytes = b"fuse",
    source: bytes = b"src",
) -> bytes:
    return b" ".join(
        [b"36 35", device, b"/", mountpoint, b"rw", *([optional] if optional else []), b"-", fstype, source, b"rw"]
    )


def _only(text: bytes) -> Mount:
    (mount,) = parse_mountinfo(text)
    return mount


def test_a_line() -> None:
    assert _only(LINE) == Mount("/mnt/demo", 54, "fuse.furtrace", "furtrace-demo")


@pytest.mark.parametrize("fstype", ["fuse", "fuseblk", "fuse.sshfs", "fuseblk.ntfs", "fuse.a.b"])
def test_fuse_file_systems(fstype: str) -> None:
    assert _only(_line(fstype=fstype.encode())).fstype == fstype


@pytest.mark.parametrize("fstype", [b"virtiofs", b"fusectl", b"ext4", b"fusex", b"xfuse", b"tmpfs", b"FUSE", b""])
def test_others(fstype: bytes) -> None:
    assert parse_mountinfo(_line(fstype=fstype)) == []


@pytest.mark.parametrize("optional", [b"", b"shared:1", b"shared:1 master:2", b"propagate_from:3 unbindable"])
def test_optional_fields(optional: bytes) -> None:
    assert _only(_line(optional=optional)) == Mount("/mnt", 54, "fuse", "src")


@pytest.mark.parametrize(
    ("device", "number"),
    [(b"0:54", 54), (b"0:1048575", 1048575), (b"8:1", 8 << 20 | 1), (b"259:3", 259 << 20 | 3), (b"0:0", 0)],
)
def test_the_connection_is_the_device(device: bytes, number: int) -> None:
    assert _only(_line(device=device)).connection == number


def test_escapes() -> None:
    mount = _only(_line(mountpoint=rb"/a\040b\011c\012d\134e\043f", source=rb"x\040y"))
    assert mount == Mount("/a b\tc\nd\\e#f", 54, "fuse", "x y")


def test_what_is_no_escape_stays() -> None:
    assert _only(_line(mountpoint=rb"/a\400b\9c\04")).mountpoint == r"/a\400b\9c\04"
    assert _only(_line(mountpoint=rb"/a\134040")).mountpoint == r"/a\040"


def test_names_that_are_not_utf8() -> None:
    assert os.fsencode(_only(_line(mountpoint=b"/a\xff\\351")).mountpoint) == b"/a\xff\xe9"


@pytest.mark.parametrize("char", [b"\r", b"\x0b", b"\x1c", b"\x85", b"\x0c"])
def test_a_line_ends_with_a_newline_only(char: bytes) -> None:
    """The kernel escapes space, tab, newline and backslash, nothing else."""
    text = _line(mountpoint=b"/a" + char + b"b") + b"\n" + LINE + b"\n"
    assert [os.fsencode(mount.mountpoint) for mount in parse_mountinfo(text)] == [b"/a" + char + b"b", b"/mnt/demo"]


def test_order_stays_and_garbage_between_is_left_out() -> None:
    lines = [_line(mountpoint=b"/b"), b"", b"garbage", b" - fuse", b"- - -", _line(device=b"x:1"), _line(device=b"7")]
    lines += [_line(device=b"0:-1"), _line(mountpoint=b"/a"), LINE.replace(b" - ", b" ")]
    assert [mount.mountpoint for mount in parse_mountinfo(b"\n".join(lines))] == ["/b", "/a"]


def test_a_dash_in_the_source() -> None:
    assert _only(_line(source=b"-")).source == "-"


_WORDS = st.lists(
    st.sampled_from(
        [b" ", b" - ", b"\n", b"fuse", b"fuse.x", b"0:5", b":", b"\\040", b"\\777", b"\\", b"9" * 5000, b"/m", b"\xff"]
    )
    | st.binary(max_size=3),
    max_size=30,
).map(b"".join)


@given(st.binary() | _WORDS)
@example(_line(device=b"\xb2:1"))
@example(_line(mountpoint=rb"/\777"))
@example(_line(device=b"9" * 5000 + b":1"))
def test_never_raises(text: bytes) -> None:
    for mount in parse_mountinfo(text):
        assert mount.fstype.startswith("fuse")
        assert mount.connection >= 0


def test_this_machines_own() -> None:
    assert all(isinstance(mount, Mount) for mount in fuse_mounts())


def test_names_take_the_first_of_several() -> None:
    mounts = [Mount("/a", 5, "fuse", ""), Mount("/b", 6, "fuse", ""), Mount("/c", 5, "fuse", "")]
    assert mount_names(mounts) == {5: "/a", 6: "/b"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """``real/mount``, and ``link``, a symbolic link to ``real``."""
    root = tmp_path.resolve()
    (root / "real" / "mount").mkdir(parents=True)
    (root / "link").symlink_to("real")
    (root / "real" / "alias").symlink_to("mount")
    return root


def test_absolute(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert absolute("real/mount") == f"{tree}/real/mount"
    assert absolute("link/mount/") == f"{tree}/real/mount"
    assert absolute("link/../real/./mount") == f"{tree}/real/mount"
    assert absolute("link/none") == f"{tree}/real/none"
    assert absolute("/") == "/"


def test_absolute_does_not_look_at_the_last_part(tree: Path) -> None:
    assert absolute(f"{tree}/real/alias") == f"{tree}/real/alias"
    assert absolute(f"{tree}/link") == f"{tree}/link"


def test_mounted_at(tree: Path) -> None:
    below, top = Mount(f"{tree}/real/mount", 5, "fuse", ""), Mount(f"{tree}/real/mount", 6, "fuse", "")
    mounts = [below, Mount(f"{tree}/real", 7, "fuse", ""), top, Mount(f"{tree}/real/mount/sub", 8, "fuse", "")]
    for path in ("real/mount", "link/mount", "real/mount/", "real/../real/mount"):
        assert mounted_at(f"{tree}/{path}", mounts) is top
    assert mounted_at(f"{tree}/real/mount/file", mounts) is None
    assert mounted_at(f"{tree}/rea", mounts) is None


def test_mounted_at_takes_the_path_as_it_was_given_first(tree: Path) -> None:
    """What a mount point was called when it was mounted, another file system may have hidden since."""
    literal, resolved = Mount(f"{tree}/link/mount", 5, "fuse", ""), Mount(f"{tree}/real/mount", 6, "fuse", "")
    assert mounted_at(f"{tree}/link/mount", [literal, resolved]) is literal

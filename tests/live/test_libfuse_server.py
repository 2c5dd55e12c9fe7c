"""libfuse's own server over io_uring, which other live tests trace."""

import filecmp
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.external import Unavailable, libfuse

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("uring")]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / "small").write_bytes(b"x")
    (folder / "deep" / "empty").touch()
    (folder / "deep" / "deeper" / "large").write_bytes(os.urandom(3_000_001))
    return folder


@pytest.fixture
def server(source: Path) -> Iterator[libfuse.Server]:
    try:
        libfuse.examples()
        with libfuse.passthrough_hp(source) as server:
            yield server
    except Unavailable as reason:
        pytest.skip(str(reason))


def test_copies_a_tree_out_and_in_over_io_uring(server: libfuse.Server, source: Path, tmp_path: Path) -> None:
    assert list(server.mountpoint.iterdir())  # it is mounted before INIT, and has its rings once that is answered
    files = [link.readlink() for link in Path(f"/proc/{server.pid}/fd").iterdir()]
    assert Path("anon_inode:[io_uring]") in files
    subprocess.run(["cp", "-r", server.mountpoint, tmp_path / "out"], check=True, timeout=60)
    subprocess.run(["cp", "-r", tmp_path / "out", server.mountpoint / "in"], check=True, timeout=60)
    for folder in ("", "deep", "deep/deeper"):
        names = [path.name for path in (source / folder).iterdir() if path.is_file()]
        assert names
        assert filecmp.cmpfiles(source / folder, tmp_path / "out" / folder, names, shallow=False)[0] == names
        assert filecmp.cmpfiles(source / folder, source / "in" / folder, names, shallow=False)[0] == names


def test_the_connection_is_the_kernels_number(server: libfuse.Server) -> None:
    assert server.connection == server.mountpoint.stat().st_dev


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_leaves_nothing_behind(source: Path, end: signal.Signals) -> None:
    # A killed server leaves its mount, and a file that is in use keeps it busy.
    try:
        libfuse.examples()
        with libfuse.passthrough_hp(source) as server:
            in_use = os.open(server.mountpoint / "small", os.O_PATH)
            os.kill(server.pid, end)
    except Unavailable as reason:
        pytest.skip(str(reason))
    os.close(in_use)
    assert libfuse.mounted_device(server.mountpoint) is None
    assert not Path(f"/proc/{server.pid}").exists()
    assert not server.mountpoint.parent.exists()
    assert (source / "small").read_bytes() == b"x"


def test_says_why_a_server_did_not_start(tmp_path: Path) -> None:
    try:
        libfuse.examples()
    except Unavailable as reason:
        pytest.skip(str(reason))
    with pytest.raises(RuntimeError, match="did not mount"), libfuse.passthrough_hp(tmp_path / "absent"):
        pass

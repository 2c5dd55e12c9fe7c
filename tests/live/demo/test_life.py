"""How the server starts and ends, what it leaves (nothing), and whether its log tells the truth."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from furtrace.demo import enable, mounting
from furtrace.demo.affinity import possible_cpus
from furtrace.demo.errors import DemoError
from furtrace.demo.process import DemoServer
from furtrace.probe.mounts import Mount, all_mounts
from tests.live.demo.conftest import Start, eventually, witnessed

pytestmark = pytest.mark.live

NEVER_THROUGH_A_RING = {"INIT", "FORGET", "BATCH_FORGET", "INTERRUPT"}


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_it_says_what_it_is(server: DemoServer, uring: bool) -> None:
    assert server.transport == ("uring" if uring else "dev")
    assert server.queues == (possible_cpus() if uring else 0)
    (mount,) = mounting.find(server.mountpoint)
    assert mount == Mount(
        str(server.mountpoint), server.connection, "fuse.furtrace-demo", f"furtrace-demo:{server.pid}"
    )
    assert os.minor(server.mountpoint.stat().st_dev) == server.connection
    files = [link.readlink().name for link in Path(f"/proc/{server.pid}/fd").iterdir()]
    assert files.count("anon_inode:[io_uring]") == server.queues


def test_queue_threads_stay_on_their_cpus(start: Start) -> None:
    if not enable.PARAMETER.exists():
        pytest.skip("this kernel has no FUSE over io_uring")
    server = start()
    tasks = [int(task.name) for task in Path(f"/proc/{server.pid}/task").iterdir()]
    allowed = [frozenset(os.sched_getaffinity(task)) for task in tasks]
    for cpu in os.sched_getaffinity(0):
        assert frozenset({cpu}) in allowed


def test_the_log_is_what_was_done(server: DemoServer, log: Path, uring: bool) -> None:
    root = server.mountpoint
    code = (
        "import os,sys; r=sys.argv[1]; os.mkdir(r+'/d'); f=os.open(r+'/d/f', os.O_RDWR|os.O_CREAT);"
        "[os.pwrite(f, b'x'*1000, 4096*n) for n in range(7)]; os.fsync(f); os.close(f);"
        "os.symlink('t', r+'/l'); os.readlink(r+'/l'); os.rename(r+'/d/f', r+'/g'); os.unlink(r+'/g');"
        "os.rmdir(r+'/d'); os.path.exists(r+'/nothing'); os.setxattr(r, 'user.a', bytes(77)); print(os.getpid())"
    )
    said = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, timeout=30, check=True)
    server.stop()
    seen = witnessed(log)
    mine = [line for line in seen if line["pid"] == int(said.stdout)]
    done = Counter(line["op"] for line in mine)
    wanted = {"MKDIR": 1, "CREATE": 1, "WRITE": 7, "FSYNC": 1, "FLUSH": 1, "SYMLINK": 1, "READLINK": 1, "UNLINK": 1}
    wanted |= {"RENAME": 1, "RMDIR": 1, "SETXATTR": 1}
    assert {op: done[op] for op in wanted} == wanted
    assert [line["in"] for line in mine if line["op"] == "WRITE"] == [1000] * 7
    assert [line["out"] for line in mine if line["op"] == "WRITE"] == [8] * 7
    (xattr,) = [line for line in mine if line["op"] == "SETXATTR"]
    assert (xattr["in"], xattr["out"], xattr["nodeid"]) == (len("user.a") + 1 + 77, 0, 1)
    (link,) = [line for line in mine if line["op"] == "READLINK"]
    assert (link["in"], link["out"]) == (0, 1)
    assert -2 in [line["error"] for line in mine if line["op"] == "LOOKUP"]
    check_consistency(seen, uring)


def check_consistency(seen: list[dict[str, object]], uring: bool) -> None:
    """Check what must hold for every line, whatever was done."""
    assert seen[0]["op"] == "INIT"
    answered = [line for line in seen if line["op"] not in ("FORGET", "BATCH_FORGET")]
    assert len({line["unique"] for line in answered}) == len(answered)
    for line in seen:
        on_ring = uring and line["op"] not in NEVER_THROUGH_A_RING
        assert line["transport"] == ("uring" if on_ring else "dev")
        assert (line["queue"] is not None) == (line["entry"] is not None) == on_ring
        assert line["commit_id"] == (line["unique"] if on_ring else None)
        if line["op"] in ("FORGET", "BATCH_FORGET"):
            assert line["error"] is line["reply_ns"] is None
        else:
            assert isinstance(line["receipt_ns"], int)
            assert isinstance(line["reply_ns"], int)
            assert line["receipt_ns"] <= line["reply_ns"]


def test_forgotten_nodes_are_given_back(server: DemoServer, log: Path) -> None:
    before = os.statvfs(server.mountpoint)
    for number in range(50):
        path = server.mountpoint / f"f{number}"
        path.touch()
        path.unlink()
    # The server counts a node as long as it must keep it; the number of free ones never changes.
    assert eventually(lambda: os.statvfs(server.mountpoint).f_files == before.f_files)
    server.stop()
    seen = witnessed(log)
    assert sum(line["op"] in ("FORGET", "BATCH_FORGET") for line in seen) >= 1


def test_the_switch_is_as_found_as_soon_as_the_server_is_ready(start: Start) -> None:
    if not enable.PARAMETER.exists():
        pytest.skip("this kernel has no FUSE over io_uring")
    noted = enable.LOCKS / "enable_uring.found"
    found = noted.exists() or enable.is_enabled()
    server = start()
    held = [link.readlink() for link in Path(f"/proc/{server.pid}/fd").iterdir()]
    assert enable.LOCKS / "enable_uring.users" not in held
    # As long as another program on this machine keeps the switch on, it is on.
    assert noted.exists() or enable.is_enabled() == found
    (server.mountpoint / "f").write_text("served")
    assert (server.mountpoint / "f").read_text() == "served"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_it_in_order(server: DemoServer, log: Path, number: signal.Signals) -> None:
    (server.mountpoint / "f").write_text("x")
    guards = children(server.pid)
    os.kill(server.pid, number)
    assert server.wait(10) == 0
    assert server.said() == ""
    assert mounting.find(server.mountpoint) == []
    assert not [pid for pid in guards if alive(pid)]
    assert "CREATE" in [line["op"] for line in witnessed(log)]


def test_a_file_that_is_in_use_does_not_hinder_the_end(server: DemoServer) -> None:
    descriptor = os.open(server.mountpoint / "f", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"x")
    os.kill(server.pid, signal.SIGTERM)
    assert server.wait(10) == 0
    assert mounting.find(server.mountpoint) == []
    with pytest.raises(OSError, match=r"not connected|abort"):
        os.write(descriptor, b"y")
    with contextlib.suppress(OSError):
        os.close(descriptor)


def test_a_killed_server_leaves_no_mount_even_before_the_manager_ends(server: DemoServer) -> None:
    (guard,) = children(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(10) == -signal.SIGKILL
    assert eventually(lambda: mounting.find(server.mountpoint) == [])
    assert eventually(lambda: not alive(guard))


def test_a_server_killed_while_it_starts_leaves_no_mount(tmp_path: Path, uring: bool) -> None:
    command = [sys.executable, "-m", "furtrace.demo.server", str(tmp_path), *([] if uring else ["--no-uring"])]
    in_time = 0
    for _ in range(10):
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        # Without a pause: from here to being ready it takes the server few milliseconds.
        end = time.monotonic() + 10
        while not mounting.find(tmp_path) and time.monotonic() < end:
            pass
        server.kill()
        in_time += not server.communicate(timeout=10)[0]
        assert eventually(lambda: mounting.find(tmp_path) == [])
    # Else the kills came too late to say anything about starting.
    assert in_time


def test_the_largest_settings_work(start: Start, uring: bool) -> None:
    root = start(uring=uring, depth=1024, max_write=1 << 20).mountpoint
    data = bytes(range(256)) * 20_000
    (root / "f").write_bytes(data)
    assert (root / "f").read_bytes() == data


def test_the_manager_cleans_up_when_server_and_guard_are_killed(server: DemoServer) -> None:
    mountpoint = server.mountpoint
    (guard,) = children(server.pid)
    os.kill(guard, signal.SIGKILL)
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait(10) == -signal.SIGKILL
    assert mounting.find(mountpoint)
    server.stop()
    assert mounting.find(mountpoint) == []
    assert not mountpoint.exists()


def test_a_killed_manager_takes_the_server_and_the_mount_with_it(uring: bool) -> None:
    code = (
        "import sys; from furtrace.demo.process import DemoServer\n"
        f"with DemoServer(uring={uring}) as s: print(s.pid, s.mountpoint, flush=True); sys.stdin.read()"
    )
    manager = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert manager.stdin is not None
    assert manager.stdout is not None
    pid, mountpoint = manager.stdout.readline().split()
    assert mounting.find(Path(mountpoint))
    manager.kill()
    manager.wait(10)
    assert eventually(lambda: not alive(int(pid)))
    assert eventually(lambda: mounting.find(Path(mountpoint)) == [])
    manager.stdin.close()
    manager.stdout.close()
    Path(mountpoint).rmdir()


def test_an_unmount_from_outside_ends_it(server: DemoServer) -> None:
    subprocess.run(["umount", "-l", server.mountpoint], check=True, timeout=10)
    assert server.wait(10) == 0
    assert server.said() == ""


@pytest.fixture
def connections(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with the kernel's controls of all FUSE connections; they need not be mounted on this machine."""
    folder = tmp_path / "connections"
    folder.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "none", folder], check=True, timeout=10)
    yield folder
    subprocess.run(["umount", folder], check=True, timeout=10)


def test_an_abort_from_outside_ends_it(server: DemoServer, connections: Path) -> None:
    (connections / str(server.connection) / "abort").write_text("1")
    assert server.wait(10) == 0
    assert mounting.find(server.mountpoint) == []


def test_a_signal_while_clients_work_leaves_no_client_behind(server: DemoServer) -> None:
    command = [sys.executable, "-m", "furtrace.demo.traffic", str(server.mountpoint), "--scale", "50"]
    client = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert eventually(lambda: len(list(server.mountpoint.iterdir())) == 4)
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait(15) == 0
        _, complaint = client.communicate(timeout=20)
    finally:
        client.kill()
        client.wait()
    assert client.returncode == 1
    assert complaint.startswith("furtrace.demo.traffic: ")
    assert complaint.count("\n") == 1


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder under which the manager will make its mount points."""
    folder = tmp_path / "places"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def nothing_below(folder: Path) -> bool:
    return not [entry for entry in all_mounts() if entry.mountpoint.startswith(f"{folder}/")] and not any(
        folder.iterdir()
    )


def test_a_server_that_can_not_start_says_why_and_leaves_nothing(tmp_path: Path, places: Path) -> None:
    with pytest.raises(DemoError, match=r"did not start: .*can't be written: Is a directory"):
        DemoServer(uring=False, log=tmp_path).start()
    assert nothing_below(places)


def test_a_server_that_is_not_ready_in_time_is_ended(places: Path) -> None:
    with pytest.raises(DemoError, match=r"was not ready after 0\.001 seconds"):
        DemoServer(uring=False, timeout=0.001).start()
    assert nothing_below(places)


def test_what_a_client_puts_under_a_mount_that_is_gone_is_removed(server: DemoServer) -> None:
    mountpoint = server.mountpoint
    os.kill(server.pid, signal.SIGTERM)
    assert server.wait(10) == 0
    (mountpoint / "late").touch()
    server.stop()
    assert not mountpoint.exists()


def test_a_directory_of_the_callers_stays(tmp_path: Path, uring: bool) -> None:
    with DemoServer(uring=uring, directory=tmp_path) as server:
        assert server.mountpoint == tmp_path
        (tmp_path / "f").write_text("in memory")
    assert tmp_path.is_dir()
    assert list(tmp_path.iterdir()) == []
    assert mounting.find(tmp_path) == []


def test_a_directory_of_the_callers_that_holds_something_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    with pytest.raises(DemoError, match=r"did not start: .* is not empty"):
        DemoServer(uring=False, directory=tmp_path).start()
    assert (tmp_path / "precious").read_text() == "kept"


def test_another_server_on_a_callers_directory_is_not_disturbed(server: DemoServer) -> None:
    (server.mountpoint / "f").write_text("served")
    with pytest.raises(DemoError, match="is not empty"):
        DemoServer(uring=False, directory=server.mountpoint).start()
    assert (server.mountpoint / "f").read_text() == "served"


def test_a_foreign_mount_on_top_is_not_touched(server: DemoServer) -> None:
    mountpoint = server.mountpoint
    subprocess.run(["mount", "-t", "tmpfs", "none", mountpoint], check=True, timeout=10)
    (mountpoint / "precious").touch()
    with pytest.raises(DemoError, match="is covered by a mount that is not the demo's"):
        server.stop()
    assert (mountpoint / "precious").exists()
    subprocess.run(["umount", mountpoint], check=True, timeout=10)
    mounting.detach(mountpoint)
    mountpoint.rmdir()


def test_stopping_twice_is_harmless(server: DemoServer) -> None:
    assert server.stop() == 0
    assert server.stop() == 0

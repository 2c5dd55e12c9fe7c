"""Buffer pools and zero-copy: each mode serves right data and is what it says, by the server's own log."""

import mmap
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from furtrace.demo import traffic
from furtrace.demo.affinity import possible_cpus
from furtrace.demo.errors import DemoError
from furtrace.demo.modes import Mode
from furtrace.demo.process import DemoServer
from furtrace.probe.mounts import all_mounts
from tests.live.demo.conftest import Start, witnessed

pytestmark = pytest.mark.live

POOLED = [mode for mode in Mode if mode.pooled]
MAX_WRITE = 131_072
MIB = 1 << 20


@pytest.fixture
def sent_log(tmp_path: Path) -> Path:
    return tmp_path / "commands.jsonl"


@pytest.fixture
def zero_copy(pools: None, start: Start, sent_log: Path) -> DemoServer:
    return start(mode=Mode.ZERO_COPY, log_commands=sent_log)


def write_direct(path: Path, data: bytes, piece: int = MIB) -> None:
    """Write a file past the page cache, ``piece`` bytes a call."""
    with mmap.mmap(-1, len(data)) as memory, memoryview(memory) as view:
        view[:] = data
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
        for at in range(0, len(data), piece):
            with view[at : at + piece] as part:
                assert os.pwrite(descriptor, part, at) == len(part)
        os.close(descriptor)


def read_direct(path: Path, size: int, piece: int = MIB) -> bytes:
    """Read a file past the page cache, up to ``size`` bytes."""
    with mmap.mmap(-1, size) as memory, memoryview(memory) as view:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
        at = 0
        while at < size:
            with view[at : at + piece] as part:
                got = os.preadv(descriptor, [part], at)
            if not got:
                break
            at += got
        os.close(descriptor)
        return bytes(view[:at])


@pytest.mark.parametrize("buffers", [None, 1])
@pytest.mark.parametrize("mode", POOLED)
def test_traffic_finds_its_data(pools: None, start: Start, log: Path, mode: Mode, buffers: int | None) -> None:
    server = start(mode=mode, buffers=buffers)
    assert server.transport == "uring"
    assert traffic.run(server.mountpoint, "mixed", 4, 0.2).operations > 100
    assert server.said() == ""
    server.stop()
    offsets = {seen["offset"] for seen in witnessed(log) if seen["transport"] == "uring"}
    assert offsets <= {number * MAX_WRITE for number in range(buffers or 8)}
    assert all(seen["offset"] is None for seen in witnessed(log) if seen["transport"] == "dev")


@pytest.mark.parametrize(
    ("mode", "flags", "index", "slots"),
    [
        (Mode.POOL, 0, None, {None}),
        (Mode.FIXED_POOL, 0, 1, {None}),
        (Mode.ZERO_COPY, 1, None, {1, 2, 3}),
    ],
)
def test_the_kernel_takes_the_commands_of_each_mode(
    pools: None, start: Start, sent_log: Path, mode: Mode, flags: int, index: int | None, slots: set[int | None]
) -> None:
    server = start(mode=mode, depth=3, buffers=2, log_commands=sent_log)
    (server.mountpoint / "f").write_bytes(b"x")
    server.stop()
    sent = witnessed(sent_log)
    queues = possible_cpus()
    by_op = {op: [line for line in sent if line["op"] == op] for op in {line["op"] for line in sent}}
    assert [line["result"] for line in by_op["ADD_QUEUE"]] == [0] * queues
    assert {line["flags"] for line in by_op["ADD_QUEUE"]} == {flags}
    assert [(line["result"], line["bytes"]) for line in by_op["ADD_BUFPOOL"]] == [(0, 2 * MAX_WRITE)] * queues
    assert len(by_op["REGISTER"]) == 3 * queues
    assert {line["slot"] for line in by_op["REGISTER"]} == slots
    commands = [line for line in sent if not line["op"].endswith("_FIXED")]
    assert {line["buf_index"] for line in commands} == {index}
    refused = Counter(line["result"] for line in commands if line["result"] not in (0, -107, None))
    assert not refused


@pytest.mark.parametrize("mode", POOLED)
def test_fewer_buffers_than_entries_serve_many_clients(pools: None, start: Start, log: Path, mode: Mode) -> None:
    server = start(mode=mode, depth=8, buffers=2)

    def client(number: int) -> bool:
        chance = random.Random(number)
        data = chance.randbytes(600_000 + number)
        path = server.mountpoint / f"client{number}"
        for _ in range(2):
            path.write_bytes(data)
            os.posix_fadvise(descriptor := os.open(path, os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
            if path.read_bytes() != data:
                return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(client, range(16)))
    server.stop()
    seen = [line for line in witnessed(log) if line["transport"] == "uring"]
    assert {line["offset"] for line in seen} == {0, MAX_WRITE}
    assert {line["error"] for line in seen if line["op"] in ("READ", "WRITE")} == {0}


@pytest.mark.parametrize("mode", POOLED)
@pytest.mark.parametrize("max_write", [4096, 10_000, MIB])
def test_pools_are_cut_as_the_kernel_cuts_them(
    pools: None, start: Start, log: Path, mode: Mode, max_write: int
) -> None:
    server = start(mode=mode, max_write=max_write, buffers=2, depth=4)
    data = random.Random(7).randbytes(3_000_001)
    paths = [server.mountpoint / f"f{number}" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda path: path.write_bytes(data), paths))
        assert all(pool.map(lambda path: path.read_bytes() == data, paths))
    server.stop()
    buffer_size = {4096: 8192, 10_000: 12_288, MIB: MIB}[max_write]
    offsets = {line["offset"] for line in witnessed(log) if line["transport"] == "uring"}
    assert offsets == {0, buffer_size}


def of_file(log: Path, nodeid: int) -> dict[str, list[dict[str, Any]]]:
    """READs and WRITEs of one file, by operation."""
    seen = [line for line in witnessed(log) if line["nodeid"] == nodeid]
    return {op: [line for line in seen if line["op"] == op] for op in ("READ", "WRITE")}


@pytest.mark.parametrize("size", [4096, 300_032, 5 * MIB, 5 * MIB + 512])
def test_big_direct_io_is_zero_copied_and_right(zero_copy: DemoServer, log: Path, sent_log: Path, size: int) -> None:
    path = zero_copy.mountpoint / "direct"
    data = random.Random(size).randbytes(size)
    write_direct(path, data)
    assert read_direct(path, size) == data
    assert path.read_bytes() == data
    nodeid = path.stat().st_ino
    zero_copy.stop()
    done = of_file(log, nodeid)
    assert all(line["zero_copied"] for op in done.values() for line in op)
    assert sum(line["moved"] for line in done["WRITE"]) == sum(line["in"] for line in done["WRITE"]) == size
    assert [line["out"] for line in done["WRITE"]] == [8] * len(done["WRITE"])
    # Twice: past the page cache and through it.
    assert sum(line["moved"] for line in done["READ"]) == sum(line["out"] for line in done["READ"]) == 2 * size
    assert {line["in"] for line in done["READ"]} == {0}
    assert all(line["slot"] == line["entry"] + 1 for op in done.values() for line in op)
    fixed = Counter[str]()
    for line in witnessed(sent_log):
        if line["op"].endswith("_FIXED"):
            fixed[line["op"]] += line["result"]
    assert fixed == {"WRITE_FIXED": size, "READ_FIXED": 2 * size}


def test_a_file_at_a_time_is_zero_copied(zero_copy: DemoServer, log: Path) -> None:
    data = random.Random(1).randbytes(400_000)
    nodes = {}
    for name in ("a", "a.copy"):
        path = zero_copy.mountpoint / name
        path.write_bytes(data)
        assert read_direct(path, 409_600) == data
        nodes[name] = path.stat().st_ino
    # A name that is given later changes nothing.
    (zero_copy.mountpoint / "a").rename(zero_copy.mountpoint / "b.copy")
    assert read_direct(zero_copy.mountpoint / "b.copy", 409_600) == data
    zero_copy.stop()
    for name, zero_copied in (("a", True), ("a.copy", False)):
        done = of_file(log, nodes[name])
        assert done["READ"]
        assert done["WRITE"]
        for line in done["READ"] + done["WRITE"]:
            assert line["zero_copied"] == zero_copied
            assert (line["slot"] is None) == (line["moved"] is None) == (not zero_copied)
    assert {line["zero_copied"] for line in witnessed(log) if line["op"] not in ("READ", "WRITE")} == {False}


def test_unaligned_ends_and_holes_read_as_they_should(zero_copy: DemoServer) -> None:
    path = zero_copy.mountpoint / "f"
    path.write_bytes(b"x" * 10_001)
    assert read_direct(path, 65_536) == b"x" * 10_001
    os.truncate(path, 50_000)
    assert read_direct(path, 65_536) == b"x" * 10_001 + bytes(39_999)
    os.truncate(path, 5)
    assert read_direct(path, 65_536) == path.read_bytes() == b"xxxxx"
    os.truncate(path, 0)
    assert read_direct(path, 65_536) == b""


def test_writes_through_a_mapping_are_zero_copied(zero_copy: DemoServer, log: Path) -> None:
    path = zero_copy.mountpoint / "mapped"
    path.write_bytes(bytes(MIB))
    data = random.Random(3).randbytes(MIB)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), MIB) as mapped:
        mapped[:] = data
        mapped.flush()
        assert read_direct(path, MIB) == data
    nodeid = path.stat().st_ino
    zero_copy.stop()
    writes = of_file(log, nodeid)["WRITE"]
    assert sum(line["moved"] for line in writes) == 2 * MIB


@pytest.fixture
def no_pools(has_pools: bool) -> None:
    if has_pools:
        pytest.skip("this kernel has buffer pools")


@pytest.mark.parametrize("mode", POOLED)
def test_a_kernel_without_pools_is_named(
    no_pools: None, mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(DemoError, match=r"^the demo server did not start: this kernel has no buffer pools"):
        DemoServer(mode=mode).start()
    command = [sys.executable, "-m", "furtrace.demo.server", str(tmp_path), "--mode", mode]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    wanted = f"this kernel has no buffer pools, which mode {mode} needs; Linux has them since 7.3"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"furtrace.demo.server: {wanted}\n")
    assert not [entry for entry in all_mounts() if entry.mountpoint.startswith(str(tmp_path))]
    assert list(tmp_path.iterdir()) == []


def run_demo(*options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "furtrace", "demo", "--scale", "0.1", "--lines", "5", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_the_demo_says_it_too_and_shows_a_recording(no_pools: None) -> None:
    done = run_demo("--mode", "fixed-pool")
    assert done.returncode == 0
    assert "The demo can't run on this machine: its kernel has no buffer pools (Linux 7.3 on)." in done.stdout
    assert "a recording of it, made on Linux 7.3" in done.stdout
    assert "ADD_QUEUE" in done.stdout


@pytest.mark.parametrize("mode", Mode)
def test_the_demos_trace_agrees_with_the_log(pools: None, mode: Mode) -> None:
    done = run_demo("--mode", mode)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "They are the same, request by request" in done.stdout

"""The small parts: the mount table, the witness's lines, CPU lists, ring memory, the command lines."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from furtrace.demo import mounting, wire
from furtrace.demo.affinity import count_list
from furtrace.demo.errors import DemoError
from furtrace.demo.memory import Memory
from furtrace.demo.session import Limits
from furtrace.demo.uring import COMMAND_SIZE, OP_URING_CMD, SQE_SIZE, Ring
from furtrace.demo.witness import Seen, Witness
from furtrace.probe.mounts import Mount
from furtrace.wire.opcodes import Opcode

MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:41 / /tmp/with\\040space rw,nosuid shared:5 master:2 - fuse.furtrace-demo furtrace-demo:77 rw,user_id=0
41 22 0:42 / /tmp/other rw - fuse.furtrace-demo furtrace-demo:78 rw
42 40 0:43 / /tmp/with\\040space rw - tmpfs none rw
"""


def test_mounts_are_found_by_place_type_and_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda _: MOUNTINFO.encode())
    place = Path("/tmp/with space")
    assert mounting.find(place) == [Mount(str(place), 41, mounting.FSTYPE, "furtrace-demo:77")]
    assert mounting.find(place, "furtrace-demo:78") == []
    assert mounting.find(Path("/")) == []


def test_a_mount_that_covers_the_demos_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refuse:
        def umount2(self, *_: object) -> int:
            raise AssertionError("unmounted something that is not the demo's")

    monkeypatch.setattr(Path, "read_bytes", lambda _: MOUNTINFO.encode())
    monkeypatch.setattr(mounting, "_libc", Refuse())
    mounting.detach(Path("/tmp/with space"))
    mounting.detach(Path("/tmp/other"), "furtrace-demo:77")


def test_the_witness_writes_one_json_object_a_request(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "log")
    witness.add(Seen(1, 3, 8, 8, Opcode.WRITE, 5, 77, -28, 4096, 0, 1000, 2000))
    witness.drain()
    assert len((tmp_path / "log").read_text().splitlines()) == 1
    witness.add(Seen(None, None, 9, None, Opcode.FORGET, 5, 0, None, 0, 0, 3000, None))
    witness.add(Seen(0, 1, 12, 12, Opcode.READ, 5, 77, 0, 0, 4096, 1, 2, 8192, True, 3, 4096))
    witness.close()
    first, second, third = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert first == {
        "transport": "uring",
        "queue": 1,
        "entry": 3,
        "unique": 8,
        "commit_id": 8,
        "opcode": 16,
        "op": "WRITE",
        "nodeid": 5,
        "pid": 77,
        "error": -28,
        "in": 4096,
        "out": 0,
        "receipt_ns": 1000,
        "reply_ns": 2000,
        "offset": None,
        "zero_copied": False,
        "slot": None,
        "moved": None,
    }
    assert (second["transport"], second["queue"], second["error"], second["reply_ns"]) == ("dev", None, None, None)
    assert (third["offset"], third["zero_copied"], third["slot"], third["moved"]) == (8192, True, 3, 4096)


def test_a_log_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="can't be written: Is a directory"):
        Witness(tmp_path)


@pytest.mark.parametrize(("text", "count"), [("0", 1), ("0-3\n", 4), ("0-3,8,10-11", 7)])
def test_cpu_lists_are_counted(text: str, count: int) -> None:
    assert count_list(text) == count


@pytest.mark.parametrize(("max_write", "pages", "payload"), [(4096, 1, 8192), (131072, 32, 131072), (10000, 3, 12288)])
def test_payloads_are_as_large_as_the_kernel_demands(max_write: int, pages: int, payload: int) -> None:
    limits = Limits(max_write=max_write)
    assert (limits.max_pages, limits.payload_size) == (pages, payload)


def test_memory_is_page_aligned_and_where_it_says() -> None:
    memory = Memory(5000)
    assert memory.address % 4096 == 0
    memory.view[4999] = 77
    assert memory.view[4999] == 77
    assert len(memory.view) == 5000


def test_names_of_a_payload() -> None:
    assert wire.names(b"old\0new\0", 2) == [b"old", b"new"]
    assert wire.names(memoryview(b"\0value\0"), 1) == [b""]
    with pytest.raises(ValueError, match="fewer than 2 names"):
        wire.names(b"old\0new", 2)


STRUCTS = {
    "fuse_in_header": wire.IN_HEADER.size,
    "fuse_out_header": wire.OUT_HEADER.size,
    "fuse_attr": wire.ATTR.size,
    "fuse_entry_out": wire.ENTRY_OUT.size + wire.ATTR.size,
    "fuse_attr_out": wire.ATTR_OUT.size + wire.ATTR.size,
    "fuse_dirent": wire.DIRENT.size,
    "fuse_init_out": wire.INIT_OUT.size,
    "fuse_statfs_out": wire.STATFS_OUT.size,
    "fuse_open_out": wire.OPEN_OUT.size,
    "fuse_setattr_in": wire.SETATTR_IN.size,
    "fuse_read_in": wire.READ_IN.size,
    "fuse_write_in": wire.READ_IN.size,
    "fuse_mknod_in": wire.MKNOD_IN.size,
    "fuse_create_in": wire.CREATE_IN.size,
    "fuse_rename2_in": wire.RENAME2_IN.size,
    "fuse_fallocate_in": wire.FALLOCATE_IN.size,
    "fuse_lseek_in": wire.LSEEK_IN.size,
    "fuse_copy_file_range_in": wire.COPY_FILE_RANGE_IN.size,
    "fuse_forget_one": wire.FORGET_ONE.size,
}


@pytest.mark.skipif(
    shutil.which("cc") is None or not Path("/usr/include/linux/fuse.h").exists(),
    reason="needs cc and the header linux/fuse.h",
)
def test_structures_are_as_large_as_in_the_header(tmp_path: Path) -> None:
    lines = "".join(f'printf("{name} %zu\\n", sizeof(struct {name}));\n' for name in STRUCTS)
    source = tmp_path / "sizes.c"
    source.write_text(f"#include <stdio.h>\n#include <linux/fuse.h>\nint main(void) {{ {lines} }}\n")
    subprocess.run(["cc", "-o", tmp_path / "sizes", source], check=True, timeout=60)
    said = subprocess.run([tmp_path / "sizes"], check=True, capture_output=True, text=True, timeout=10).stdout
    assert {name: int(size) for name, size in (line.split() for line in said.splitlines())} == STRUCTS


@pytest.fixture
def ring() -> Ring:
    try:
        return Ring(4)
    except DemoError as problem:
        pytest.skip(str(problem))


def test_a_ring_completes_what_it_is_given(ring: Ring) -> None:
    nop = 0
    for round_number in range(5):
        for index in range(4):
            ring.push(nop, -1, user_data=round_number * 4 + index)
        ring.enter(4)
        assert sorted(ring.completions()) == [(round_number * 4 + index, 0) for index in range(4)]
    ring.close()


def test_a_ring_takes_a_command_of_80_bytes_and_leaves_none_behind(ring: Ring) -> None:
    with pytest.raises(ValueError, match=r"."):
        ring.push(OP_URING_CMD, -1, user_data=1, command=bytes(COMMAND_SIZE + 1))
    ring.push(OP_URING_CMD, -1, user_data=2, command=b"c" * COMMAND_SIZE)
    ring.enter(1)
    assert list(ring.completions()) == [(2, -9)]
    ring.close()


def test_a_full_ring_says_so(ring: Ring) -> None:
    for number in range(4):
        ring.push(0, -1, user_data=number)
    with pytest.raises(DemoError, match="full"):
        ring.push(0, -1, user_data=4)
    ring.close()
    assert SQE_SIZE == 128


@pytest.mark.parametrize(
    "arguments",
    [
        ["--depth", "0"],
        ["--max-write", "100"],
        ["--depth", "x"],
        ["--no"],
        ["--unknown"],
        ["another"],
        ["--mode", "bufring"],
        ["--mode", "pool", "--no-uring"],
        ["--buffers", "4"],
        ["--mode", "pool", "--buffers", "0"],
    ],
)
def test_misuse_of_the_server_ends_with_2(tmp_path: Path, arguments: list[str]) -> None:
    # The directory is none, so that nothing is mounted should the misuse go unnoticed.
    command = [sys.executable, "-m", "furtrace.demo.server", str(tmp_path / "absent"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_directory_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    command = [sys.executable, "-m", "furtrace.demo.server", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (1, f"furtrace.demo.server: {tmp_path} is not empty\n")


def test_a_directory_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "furtrace.demo.server", str(tmp_path / "absent")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"furtrace.demo.server: {tmp_path / 'absent'} is not a directory\n"

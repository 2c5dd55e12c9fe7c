"""The demo where it can't run: which recording is shown, and that those are what they are said to be."""

from pathlib import Path

import pytest

from furtrace.cli import shipped
from furtrace.demo.modes import Mode
from furtrace.model.conversation import Conversation
from furtrace.model.zerocopy import CopiedBecause
from furtrace.trace.merging import Recordings
from furtrace.wire.opcodes import Opcode


def read(mode: Mode) -> tuple[Recordings, Conversation]:
    conversation = Conversation()
    with Recordings([str(shipped.path_of(mode))]) as recordings:
        for batch in recordings.batches():
            conversation.feed(batch)
    return recordings, conversation


@pytest.mark.parametrize("mode", Mode)
def test_each_mode_has_one_that_is_whole(mode: Mode) -> None:
    recordings, conversation = read(mode)
    assert recordings.damages == {}
    assert (conversation.lost, len(conversation.requests.under_way)) == (0, 0)
    assert conversation.ended > 500
    assert recordings.info.dialect == ("bufpool" if mode.pooled else "plain")
    operations = {operation.opcode for operation in conversation.operations.table()}
    assert {Opcode.INIT, Opcode.LOOKUP, Opcode.READ, Opcode.WRITE, Opcode.RENAME} <= operations
    assert any(pool.pooled for pool in conversation.pools.table()) == mode.pooled


def test_zero_copy_is_in_its_own() -> None:
    _, conversation = read(Mode.ZERO_COPY)
    assert sum(pool.because.get(CopiedBecause.ZERO_COPIED, 0) for pool in conversation.pools.table()) > 50
    assert all(pool.slots_watched for pool in conversation.pools.table())


@pytest.mark.parametrize("mode", Mode)
def test_they_name_no_place_of_whoever_made_them(mode: Mode) -> None:
    recordings, _ = read(mode)
    info = recordings.info
    assert info.command_line.startswith("furtrace record -o ")
    assert info.host == "demo"
    assert all(mount.startswith("/tmp/furtrace-demo-") for mount in info.mounts.values())


def test_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert shipped.replay(Mode.PLAIN, "it takes root", 3) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "The demo can't run on this machine: it takes root."
    assert said[1].startswith("So here is a recording of it, made on Linux ")
    assert said[2] == f"To look at all of it: furtrace replay {shipped.path_of(Mode.PLAIN)}"
    assert " INIT kernel " in said[3]
    assert said[6].startswith("... ")


def test_obstacles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert shipped.obstacle(Mode.PLAIN, uring=True) == "it takes root"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(shipped, "_DEVICE", tmp_path / "fuse")
    assert shipped.obstacle(Mode.PLAIN, uring=True) == f"there is no {tmp_path}/fuse"
    (tmp_path / "fuse").touch()
    monkeypatch.setattr(shipped, "_ENABLE_URING", tmp_path / "enable_uring")
    assert shipped.obstacle(Mode.PLAIN, uring=True) == "its kernel has no FUSE over io_uring (Linux 6.14 on)"
    assert shipped.obstacle(Mode.PLAIN, uring=False) is None
    (tmp_path / "enable_uring").touch()
    assert shipped.obstacle(Mode.PLAIN, uring=True) is None

"""Requests by hand: what comes back, byte for byte, and what the kernel's references amount to."""

import errno
import os
import stat
import struct

import pytest

from furtrace.demo import wire
from furtrace.demo.session import Session
from furtrace.wire.opcodes import Opcode
from tests.unit.demo.conftest import Ask

ENTRY = struct.Struct("=QQQQII QQQqqqIIIIIIIIII")
"""``fuse_entry_out`` with its ``fuse_attr``: 128 bytes."""
OPEN = struct.Struct("=QIi")


def create(ask: Ask, name: bytes, parent: int = 1) -> tuple[int, int]:
    """Make a file and return its node and handle."""
    reply = ask(Opcode.CREATE, parent, struct.pack("=IIII", os.O_RDWR, 0o100644, 0, 0), name + b"\0")
    assert reply.error == 0
    return ENTRY.unpack_from(reply.body)[0], OPEN.unpack_from(reply.body, 128)[0]


def read_in(handle: int, offset: int, size: int) -> bytes:
    return struct.pack("=QQIIQII", handle, offset, size, 0, 0, 0, 0)


def test_an_entry_carries_node_validity_and_attributes(ask: Ask, session: Session) -> None:
    node, _handle = create(ask, b"a")
    ask(Opcode.WRITE, node, read_in(0, 0, 5), b"hello")
    reply = ask(Opcode.LOOKUP, payload=b"a\0")
    (nodeid, generation, entry_valid, attr_valid, entry_nsec, attr_nsec, *attr) = ENTRY.unpack(reply.body)
    held = session.tree.node(node)
    assert (nodeid, generation, entry_valid, attr_valid, entry_nsec, attr_nsec) == (node, 0, 1, 1, 0, 0)
    assert attr[:3] == [node, 5, 8]
    assert [attr[3] * 10**9 + attr[6], attr[4] * 10**9 + attr[7], attr[5] * 10**9 + attr[8]] == [
        held.atime,
        held.mtime,
        held.ctime,
    ]
    assert attr[9:] == [stat.S_IFREG | 0o644, 1, 1000, 100, 0, 4096, 0]


def test_times_before_1970_are_negative_seconds(ask: Ask) -> None:
    node, _handle = create(ask, b"a")
    valid = wire.FATTR_ATIME | wire.FATTR_MTIME_NOW
    setattr_in = struct.pack("=IIQQQqqqIIIIIIII", valid, 0, 0, 0, 0, -2, 0, 0, 500_000_000, 0, 0, 0, 0, 0, 0, 0)
    reply = ask(Opcode.SETATTR, node, setattr_in)
    attr = struct.unpack("=QIIQQQqqqIIIIIIIIII", reply.body)
    assert (attr[6], attr[9]) == (-2, 500_000_000)
    assert attr[7] == 1_600_000_000


def test_statx_tells_the_time_of_birth(ask: Ask, session: Session) -> None:
    node, _handle = create(ask, b"a")
    session.tree.node(node).btime = 77_000_000_005
    body = ask(Opcode.STATX, node, bytes(24)).body
    assert len(body) == 32 + 256
    mask = struct.unpack_from("=I", body, 32)[0]
    assert mask & 0x800
    assert struct.unpack_from("=qI", body, 32 + 80) == (77, 5)
    assert struct.unpack_from("=Q", body, 32 + 32)[0] == node


@pytest.mark.parametrize("opcode", [Opcode.IOCTL, Opcode.POLL, Opcode.ACCESS, Opcode.TMPFILE, 4000])
def test_unknown_operations_are_enosys(ask: Ask, opcode: int) -> None:
    assert ask(opcode) == (-errno.ENOSYS, b"")


@pytest.mark.parametrize("opcode", [Opcode.LOOKUP, Opcode.SYMLINK, Opcode.RENAME])
def test_names_without_an_end_are_refused(ask: Ask, opcode: Opcode) -> None:
    assert ask(opcode, op_in=struct.pack("=Q", 1), payload=b"abc").error == -errno.EINVAL


def test_a_stale_node_is_refused(ask: Ask) -> None:
    assert ask(Opcode.GETATTR, 99).error == -errno.ESTALE
    assert ask(Opcode.RELEASE, 1, struct.pack("=QIIQ", 5, 0, 0, 0)).error == -errno.EBADF


def test_forget_and_interrupt_get_no_answer(ask: Ask) -> None:
    for opcode in (Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT):
        assert ask(opcode, 77).error is None


def test_every_way_to_learn_of_a_node_counts_as_one_lookup(ask: Ask, session: Session) -> None:
    node, handle = create(ask, b"a")
    assert session.tree.node(node).lookups == 1
    ask(Opcode.LOOKUP, payload=b"a\0")
    assert ask(Opcode.LINK, 1, struct.pack("=Q", node), b"b\0").error == 0
    opened = OPEN.unpack(ask(Opcode.OPENDIR).body)[0]
    ask(Opcode.READDIRPLUS, 1, read_in(opened, 0, 4096))
    ask(Opcode.READDIR, 1, read_in(opened, 0, 4096))
    assert session.tree.node(node).lookups == 5
    for name in (b"a\0", b"b\0"):
        assert ask(Opcode.UNLINK, payload=name).error == 0
    ask(Opcode.BATCH_FORGET, 0, struct.pack("=II", 1, 0), struct.pack("=QQ", node, 3) + struct.pack("=QQ", node, 9))
    assert session.tree.node(node).lookups == 2
    ask(Opcode.RELEASE, node, struct.pack("=QIIQ", handle, 0, 0, 0))
    assert session.tree.node(node).lookups == 2
    ask(Opcode.FORGET, node, struct.pack("=Q", 2))
    assert ask(Opcode.GETATTR, node).error == -errno.ESTALE


def test_init_takes_only_what_is_offered(ask: Ask, session: Session) -> None:
    offered = wire.ASYNC_READ | wire.MAX_PAGES | wire.INIT_EXT
    reply = ask(Opcode.INIT, 0, struct.pack("=IIIII", 7, 40, 65536, offered, 0xFFFF_FFFF))
    major, minor, readahead, flags = struct.unpack_from("=IIII", reply.body)
    assert (major, minor, readahead, flags) == (7, 40, 65536, offered)
    assert struct.unpack_from("=I", reply.body, 20)[0] == 131072
    assert struct.unpack_from("=H", reply.body, 28)[0] == 32
    assert struct.unpack_from("=I", reply.body, 32)[0] == 1 << 9
    assert len(reply.body) == 64
    assert session.minor == 40


def test_init_asks_for_no_ring_without_the_extension(ask: Ask) -> None:
    reply = ask(Opcode.INIT, 0, struct.pack("=IIIII", 7, 99, 0, 0xFFFF_FFFF & ~wire.INIT_EXT, 0xFFFF_FFFF))
    assert struct.unpack_from("=I", reply.body, 4)[0] == 46
    assert struct.unpack_from("=I", reply.body, 32)[0] == 0


def test_extended_attributes_tell_their_size_first(ask: Ask) -> None:
    node, _handle = create(ask, b"a")
    value = bytes(range(100))

    def put(flags: int) -> int | None:
        return ask(Opcode.SETXATTR, node, struct.pack("=II", 100, flags), b"user.x\0" + value).error

    assert put(2) == -errno.ENODATA
    assert put(1) == 0
    assert put(1) == -errno.EEXIST
    assert put(2) == 0
    get = b"user.x\0"
    assert ask(Opcode.GETXATTR, node, struct.pack("=II", 0, 0), get).body == struct.pack("=II", 100, 0)
    assert ask(Opcode.GETXATTR, node, struct.pack("=II", 99, 0), get).error == -errno.ERANGE
    assert ask(Opcode.GETXATTR, node, struct.pack("=II", 100, 0), get).body == value
    assert ask(Opcode.LISTXATTR, node, struct.pack("=II", 0, 0)).body == struct.pack("=II", 7, 0)
    assert ask(Opcode.LISTXATTR, node, struct.pack("=II", 6, 0)).error == -errno.ERANGE
    assert ask(Opcode.LISTXATTR, node, struct.pack("=II", 7, 0)).body == b"user.x\0"
    assert ask(Opcode.REMOVEXATTR, node, payload=get).error == 0
    assert ask(Opcode.REMOVEXATTR, node, payload=get).error == -errno.ENODATA
    acl = b"system.posix_acl_access\0"
    assert ask(Opcode.SETXATTR, node, struct.pack("=II", 0, 0), acl).error == -errno.EOPNOTSUPP
    too_long = b"user." + b"n" * 300 + b"\0"
    assert ask(Opcode.SETXATTR, node, struct.pack("=II", 0, 0), too_long).error == -errno.ERANGE
    too_big = struct.pack("=II", 65537, 0)
    assert ask(Opcode.SETXATTR, node, too_big, b"user.y\0" + bytes(65537)).error == -errno.E2BIG


def test_an_open_with_truncation_empties_the_file(ask: Ask, session: Session) -> None:
    node, _handle = create(ask, b"a")
    ask(Opcode.WRITE, node, read_in(0, 0, 3), b"abc")
    assert ask(Opcode.OPEN, node, struct.pack("=II", os.O_WRONLY | os.O_TRUNC, 0)).error == 0
    assert session.tree.node(node).size == 0


def test_create_opens_what_is_there_unless_it_must_be_new(ask: Ask) -> None:
    node, _handle = create(ask, b"a")
    ask(Opcode.WRITE, node, read_in(0, 0, 3), b"abc")
    again, other = create(ask, b"a")
    assert again == node
    assert ask(Opcode.READ, node, read_in(other, 1, 100)).body == b"bc"
    new = struct.pack("=IIII", os.O_CREAT | os.O_EXCL, 0o100644, 0, 0)
    assert ask(Opcode.CREATE, 1, new, b"a\0").error == -errno.EEXIST


def test_a_written_payload_is_kept_when_its_memory_is_used_again(ask: Ask, session: Session) -> None:
    node, _handle = create(ask, b"a")
    memory = bytearray(b"x" * 4096)
    with memoryview(memory) as view:
        session.tree.write(session.tree.node(node), 0, view)
    memory[:] = b"y" * 4096
    assert session.tree.read(session.tree.node(node), 0, 4096) == b"x" * 4096


def test_copy_file_range_answers_in_both_widths(ask: Ask) -> None:
    source, _handle = create(ask, b"a")
    target, _other = create(ask, b"b")
    ask(Opcode.WRITE, source, read_in(0, 0, 10), b"0123456789")
    copy = struct.pack("=QQQQQQQ", 0, 2, target, 0, 1, 5, 0)
    assert ask(Opcode.COPY_FILE_RANGE, source, copy).body == struct.pack("=II", 5, 0)
    assert ask(Opcode.COPY_FILE_RANGE_64, source, copy).body == struct.pack("=Q", 5)
    assert ask(Opcode.READ, target, read_in(0, 0, 99)).body == b"\00023456"


def test_a_bug_in_an_operation_is_an_error_to_its_client_alone(
    ask: Ask, session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session.tree, "lookup", lambda *_: 1 // 0)
    assert ask(Opcode.LOOKUP, payload=b"a\0").error == -errno.EIO
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert ask(Opcode.GETATTR).error == 0


def test_statfs_follows_what_is_used(ask: Ask) -> None:
    free = struct.unpack_from("=QQQ", ask(Opcode.STATFS).body)
    node, _handle = create(ask, b"a")
    ask(Opcode.WRITE, node, read_in(0, 0, 5000), bytes(5000))
    after = struct.unpack_from("=QQQ", ask(Opcode.STATFS).body)
    assert free[0] == after[0] == 1 << 18
    assert free[1] - after[1] == free[2] - after[2] == 2

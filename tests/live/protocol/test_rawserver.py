"""What our raw server was asked, against what its client asked, and what it packed by hand."""

from collections.abc import Callable

import pytest

from furtrace.wire.notifications import Notification
from furtrace.wire.opcodes import Opcode
from tests.live.protocol.rawserver import ATIME, BLOCK_MOVED, CTIME, GROUP, MTIME, OPEN, ROOT
from tests.live.protocol.scenarios import Scenario

pytestmark = pytest.mark.live
Captured = Callable[[str], Scenario]

F_RDLCK, F_WRLCK, F_UNLCK = 0, 1, 2
TO_THE_END = 2**63 - 1


def test_locks_of_two_processes(captured: Captured) -> None:
    locks = captured("locks")
    said, pid, waiter = locks.capture, locks.facts["pid"], locks.facts["waiter"]

    def lock(opcode: Opcode, kind: int, asker: int) -> list[object]:
        asked = said.one(opcode, {"fuse_lk_in.lk.type": kind, "fuse_in_header.pid": asker}).asked
        return [asked[f"fuse_lk_in.{name}"] for name in ("lk.start", "lk.end", "lk.pid", "lk_flags")]

    assert lock(Opcode.SETLK, F_WRLCK, pid) == [1000, 1099, pid, 0]
    assert lock(Opcode.GETLK, F_RDLCK, waiter) == [0, TO_THE_END, 0, 0]
    assert lock(Opcode.SETLK, F_RDLCK, waiter) == [1099, TO_THE_END, waiter, 0]
    assert lock(Opcode.SETLKW, F_RDLCK, waiter) == [1050, 1050, waiter, 0]
    assert lock(Opcode.SETLKW, F_UNLCK, pid) == [0, TO_THE_END, 0, 0]
    told = said.one(Opcode.GETLK).answered
    assert [told[f"fuse_lk_out.lk.{name}"] for name in ("start", "end", "type", "pid")] == [1000, 1099, F_WRLCK, pid]
    assert said.one(Opcode.SETLK, {"fuse_in_header.pid": waiter}).error == 11
    # The client checked the same of what fcntl(2) told it.
    assert locks.facts["status"] == 0


def test_a_signal_interrupts_the_wait(captured: Captured) -> None:
    locks = captured("locks")
    waited = locks.capture.one(Opcode.SETLKW, {"fuse_in_header.pid": locks.facts["waiter"]})
    interrupt = locks.capture.one(Opcode.INTERRUPT)
    assert interrupt.asked["fuse_interrupt_in.unique"] == waited.asked["fuse_in_header.unique"]
    assert interrupt.reply is None
    assert waited.answered.words("fuse_out_header.error") == "-EINTR"


def test_extensions(captured: Captured) -> None:
    said = captured("groups").capture
    for opcode in (Opcode.CREATE, Opcode.MKDIR, Opcode.SYMLINK, Opcode.MKNOD):
        asked = said.one(opcode).asked
        assert (asked["fuse_in_header.uid"], asked["fuse_in_header.gid"]) == (1000, 500)
        assert asked["fuse_in_header.total_extlen"] == 3
        # There may be no security module that has contexts, but there is their header.
        assert asked["extension.fuse_secctx_header.size"] == 8
        assert asked["extension.fuse_secctx_header.nr_secctx"] == 0
        assert asked["extension.fuse_ext_header.size"] == 16
        assert asked.words("extension.fuse_ext_header.type") == "EXT_GROUPS"
        assert asked["extension.fuse_supp_groups.nr_groups"] == 1
        assert asked["extension.group"] == GROUP
    symlink = said.one(Opcode.SYMLINK).asked
    assert (symlink["name"], symlink["target"]) == (b"pointer", b"nowhere")


def test_attributes_that_were_packed_by_hand(captured: Captured) -> None:
    groups = captured("groups")
    told, prefix = groups.facts["stat"], "fuse_entry_out.attr"
    answered = groups.capture.one(Opcode.CREATE).answered
    for name, moment in (("atime", ATIME), ("mtime", MTIME), ("ctime", CTIME)):
        assert answered[f"{prefix}.{name}nsec"] == moment[1]
        assert moment[0] * 1_000_000_000 + moment[1] == told[f"st_{name}_ns"]
    assert answered.words(f"{prefix}.atime") == "2009-02-13T23:31:30.123456789Z"
    assert answered.words(f"{prefix}.mtime") == "1969-12-31T00:00:00.000000007Z"
    assert answered.words(f"{prefix}.ctime") == "2038-01-19T03:14:08.999999999Z"
    for name in ("ino", "mode", "uid", "gid", "nlink", "size", "blksize"):
        assert answered[f"{prefix}.{name}"] == told[f"st_{name}"]
    assert answered["fuse_entry_out.generation"] == 7
    assert answered.words("fuse_entry_out.entry_valid") == "3600 s"
    assert answered.words("fuse_entry_out.attr_valid") == "1.25 s"
    assert answered["fuse_open_out.fh"] == OPEN | answered.number("fuse_entry_out.nodeid")


def test_set_user_id_bits_are_dropped(captured: Captured) -> None:
    said = captured("groups").capture
    assert said.one(Opcode.WRITE).asked.words("fuse_write_in.write_flags") == "FUSE_WRITE_KILL_SUIDGID"
    assert said.one(Opcode.OPEN).asked.words("fuse_open_in.open_flags") == "FUSE_OPEN_KILL_SUIDGID"
    assert said.one(Opcode.OPEN).asked.words("fuse_open_in.flags") == "O_WRONLY|O_TRUNC|O_LARGEFILE"
    valid = [one.asked.words("fuse_setattr_in.valid") for one in said.all(Opcode.SETATTR)]
    assert "FATTR_SIZE|FATTR_FH|FATTR_LOCKOWNER|FATTR_KILL_SUIDGID" in valid


def test_an_acl(captured: Captured) -> None:
    groups = captured("groups")
    asked = groups.capture.one(Opcode.SETXATTR).asked
    assert asked["attribute"] == b"system.posix_acl_access"
    assert asked["value"] == bytes.fromhex(groups.facts["acl"])
    assert asked["fuse_setxattr_in.size"] == 44
    assert asked.words("fuse_setxattr_in.setxattr_flags") == "FUSE_SETXATTR_ACL_KILL_SGID"


def test_copying_more_than_32_bits_count(captured: Captured) -> None:
    copy = captured("copy")
    if copy.capture.minor < 45:
        pytest.skip("this kernel does not know COPY_FILE_RANGE_64")
    one = copy.capture.one(Opcode.COPY_FILE_RANGE_64)
    names = ("off_in", "off_out", "len", "flags", "nodeid_out", "fh_in", "fh_out")
    values = [one.asked[f"fuse_copy_file_range_in.{name}"] for name in names]
    assert values == [123, 456, 5 << 30, 0, 3, OPEN | 2, OPEN | 3]
    assert one.answered["fuse_copy_file_range_out.bytes_copied"] == copy.facts["copied"] == 5 << 30


def test_copying_as_much_as_32_bits_count(captured: Captured) -> None:
    copy = captured("copy_32")
    one = copy.capture.one(Opcode.COPY_FILE_RANGE)
    assert one.asked["fuse_copy_file_range_in.len"] == 0xFFFFF000
    assert one.answered["fuse_write_out.size"] == copy.facts["copied"] == 0xFFFFF000


def test_exchanging_names(captured: Captured) -> None:
    rename = captured("copy").capture.one(Opcode.RENAME2)
    assert rename.asked.words("fuse_rename2_in.flags") == "RENAME_EXCHANGE"
    assert (rename.asked["oldname"], rename.asked["newname"]) == (b"from", b"to")
    assert rename.asked["fuse_rename2_in.newdir"] == ROOT
    assert rename.error == 0


def test_a_block_device(captured: Captured) -> None:
    block = captured("block_raw")
    bmap = block.capture.one(Opcode.BMAP)
    assert bmap.asked["fuse_bmap_in.block"] == 3
    assert bmap.answered["fuse_bmap_out.block"] == block.facts["where"] == BLOCK_MOVED + 3
    statfs = block.capture.first(Opcode.STATFS).answered
    packed = {"blocks": 1 << 40, "bfree": 1 << 39, "bavail": 1 << 38, "files": 1 << 37, "ffree": 1 << 36}
    packed |= {"bsize": 65536, "namelen": 200, "frsize": 4096}
    assert {name: statfs[f"fuse_statfs_out.st.{name}"] for name in packed} == packed
    assert block.facts["block size"] == 65536
    if block.capture.minor >= 45:
        syncfs = block.capture.all(Opcode.SYNCFS)
        assert [(one.error, len(one.request)) for one in syncfs] == [(0, 48)] * len(syncfs)
    assert block.capture.one(Opcode.DESTROY).error == 0


def test_notifications(captured: Captured) -> None:
    scenario = captured("notified_raw")
    capture, facts = scenario.capture, scenario.facts
    (attributes,) = capture.told(Notification.INVAL_INODE)
    assert attributes.fields["fuse_notify_inval_inode_out.off"] == -1
    assert attributes.fields.words("fuse_notify_inval_inode_out.off") == "attributes only"
    assert attributes.taken == int(facts["attributes"]) == 40
    (delete,) = capture.told(Notification.DELETE)
    assert delete.fields["fuse_notify_delete_out.parent"] == ROOT
    assert delete.fields["fuse_notify_delete_out.child"] == facts["stat"]["st_ino"]
    assert delete.fields["name"] == b"doomed"
    assert delete.taken == int(facts["delete"]) == 47
    assert facts["gone"] == capture.all(Opcode.LOOKUP, {"name": b"doomed"})[-1].error == 2
    if capture.minor >= 45:
        (prune,) = capture.told(Notification.PRUNE)
        assert prune.fields.all("nodeid") == [2, OPEN]
        assert prune.taken == int(facts["prune"]) == 48


def test_a_request_is_sent_again(captured: Captured) -> None:
    scenario = captured("notified_raw")
    if scenario.capture.minor < 40:
        pytest.skip("this kernel does not know RESEND")
    first, again = scenario.capture.all(Opcode.GETXATTR, {"attribute": b"user.notify.resend"})
    assert first.reply is None
    assert again.asked["fuse_in_header.unique"] == first.asked.number("fuse_in_header.unique") | 1 << 63
    assert again.request[16:] == first.request[16:]
    assert again.answered["value"] == scenario.facts["resend"].encode() == b"resent"


@pytest.mark.parametrize(("name", "minor", "size"), [("init_22", 22, 24), ("init_4", 4, 8)])
def test_old_replies_to_init(captured: Captured, name: str, minor: int, size: int) -> None:
    init = captured(name).capture.one(Opcode.INIT)
    assert init.answered["fuse_init_out.minor"] == minor
    assert init.answered.decoded.size == 16 + size
    assert init.answered.all("fuse_init_out.max_write") == ([1 << 17] if size > 8 else [])

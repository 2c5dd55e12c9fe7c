"""What other examples of libfuse were asked, and said unasked, against what their clients were told."""

import stat
from collections.abc import Callable, Mapping
from typing import Final

import pytest

from furtrace.wire.notifications import Notification
from furtrace.wire.opcodes import Opcode
from tests.live.protocol.client import FIOC_GET_SIZE, FIOC_SET_SIZE
from tests.live.protocol.scenarios import Scenario

pytestmark = pytest.mark.live
Captured = Callable[[str], Scenario]

ROOT: Final = 1
NAMED_OTHERWISE: Final[Mapping[str, str]] = {
    "IOCTL_DIR": "HAS_IOCTL_DIR",
    "READDIRPLUS": "DO_READDIRPLUS",
    "EXPIRE_ONLY": "HAS_EXPIRE_ONLY",
}
"""libfuse's FUSE_CAP_* that the protocol calls something else."""


def flags(text: str) -> set[str]:
    return set(text.split("|"))


def test_init_offers_what_printcap_prints(captured: Captured) -> None:
    printcap = captured("printcap")
    init = printcap.capture.one(Opcode.INIT)
    for fields, name in ((init.asked, "fuse_init_in"), (init.answered, "fuse_init_out")):
        assert [fields[f"{name}.major"], fields[f"{name}.minor"]] == printcap.facts["version"]
    offered = flags(init.asked.words("fuse_init_in.flags")) | flags(init.asked.words("fuse_init_in.flags2"))
    printed = {f"FUSE_{NAMED_OTHERWISE.get(name, name)}" for name in printcap.facts["names"]}
    assert len(printed) > 20
    assert printed <= offered
    # printcap does not name these.
    unnamed = {"BIG_WRITES", "ABORT_ERROR", "MAX_PAGES", "INIT_EXT", "SECURITY_CTX", "CREATE_SUPP_GROUP", "HAS_RESEND"}
    unnamed |= {"ALLOW_IDMAP", "OVER_IO_URING", "REQUEST_TIMEOUT", "HAS_IO_URING_BUFPOOL", "FILE_OPS"}
    assert offered - printed <= {f"FUSE_{name}" for name in unnamed}


def test_hello(captured: Captured) -> None:
    hello = captured("hello")
    said, told = hello.capture, hello.facts
    entries, end = said.all(Opcode.READDIR)
    names = entries.answered.all("entry.name")
    assert names == [b".", b"..", *(name.encode() for name in told["names"])]
    assert entries.answered.all("entry.fuse_dirent.namelen") == [1, 2, 5]
    assert end.asked["fuse_read_in.offset"] == entries.answered.all("entry.fuse_dirent.off")[-1]
    assert len(end.answered.leaves) == 3
    lookup = said.first(Opcode.LOOKUP, {"name": b"hello"}).answered
    assert lookup.words("fuse_entry_out.attr.mode") == "0100444 " + stat.filemode(told["stat"]["st_mode"])
    assert lookup["fuse_entry_out.attr.size"] == told["stat"]["st_size"] == len(told["text"])
    assert lookup.words("fuse_entry_out.entry_valid") == "1 s"
    assert said.one(Opcode.READ).answered["data"] == told["text"].encode()
    refused, opened = sorted(said.all(Opcode.OPEN), key=lambda one: -one.error)
    assert (refused.error, opened.error) == (told["denied"], 0)
    assert refused.asked.words("fuse_open_in.flags") == "O_RDWR|O_LARGEFILE"


def test_ioctl(captured: Captured) -> None:
    ioctl = captured("ioctl")
    set_, get, unknown = ioctl.capture.all(Opcode.IOCTL)
    assert set_.asked["fuse_ioctl_in.cmd"] == FIOC_SET_SIZE
    assert (set_.asked["fuse_ioctl_in.in_size"], set_.asked["fuse_ioctl_in.out_size"]) == (8, 0)
    assert int.from_bytes(set_.asked.data("data"), "little") == ioctl.facts["size"] == 0x1234
    assert get.asked["fuse_ioctl_in.cmd"] == FIOC_GET_SIZE
    assert (get.asked["fuse_ioctl_in.in_size"], get.asked["fuse_ioctl_in.out_size"]) == (0, 8)
    assert get.answered["data"] == set_.asked["data"]
    assert get.answered["fuse_ioctl_out.result"] == 0
    assert unknown.asked["fuse_ioctl_in.arg"] == 77
    assert unknown.error == ioctl.facts["unknown"] == 22


def test_access_and_waiting_for_a_lock(captured: Captured) -> None:
    access = captured("access")
    masks = [one.asked.words("fuse_access_in.mask") for one in access.capture.all(Opcode.ACCESS)]
    assert [flags(words) for words in masks] == [{"X_OK"}, {"R_OK", "W_OK"}, {"0"}]
    assert access.facts["readable"]
    waited = access.capture.one(Opcode.SETLKW, {"fuse_lk_in.lk.pid": access.facts["waiter"]}).asked
    interrupt = access.capture.one(Opcode.INTERRUPT).asked
    assert interrupt["fuse_interrupt_in.unique"] == waited["fuse_in_header.unique"]
    assert interrupt["fuse_in_header.unique"] == waited.number("fuse_in_header.unique") | 1


def test_poll(captured: Captured) -> None:
    poll = captured("poll")
    asked = poll.capture.all(Opcode.POLL)
    handle = poll.capture.one(Opcode.OPEN).answered["fuse_open_out.fh"]
    assert {one.asked["fuse_poll_in.fh"] for one in asked} == {handle} == {8}
    # The kernel adds what poll(2) always reports.
    events = {one.asked.words("fuse_poll_in.events") for one in asked}
    assert [flags(words) for words in events] == [{"POLLIN", "POLLPRI", "POLLERR", "POLLHUP"}]
    assert asked[-1].answered.words("fuse_poll_out.revents") == "POLLIN"
    assert [revents for _, revents in poll.facts["ready"]] == [1]
    waited = [one.asked["fuse_poll_in.kh"] for one in asked if one.asked["fuse_poll_in.flags"] == 1]
    woken = {one.fields["fuse_notify_poll_wakeup_out.kh"] for one in poll.capture.told(Notification.POLL)}
    assert woken == set(waited)
    assert poll.capture.all(Opcode.READ)[-1].answered["data"] == poll.facts["read"].encode()


def test_an_inode_is_invalid(captured: Captured) -> None:
    capture = captured("notified_inode").capture
    told = capture.told(Notification.INVAL_INODE)[0].fields
    assert told["fuse_notify_inval_inode_out.ino"] == capture.node(b"current_time") == 2
    assert (told["fuse_notify_inval_inode_out.off"], told["fuse_notify_inval_inode_out.len"]) == (0, 0)


@pytest.mark.parametrize(("name", "words"), [("notified_entry", "0"), ("notified_expire", "FUSE_EXPIRE_ONLY")])
def test_an_entry_is_invalid(captured: Captured, name: str, words: str) -> None:
    scenario = captured(name)
    told = scenario.capture.told(Notification.INVAL_ENTRY)[0].fields
    assert told["fuse_notify_inval_entry_out.parent"] == ROOT
    assert told["name"] == scenario.facts["name"].encode()
    assert told["fuse_notify_inval_entry_out.namelen"] == len(scenario.facts["name"])
    assert told.words("fuse_notify_inval_entry_out.flags") == words


def test_a_new_epoch_has_nothing_to_say(captured: Captured) -> None:
    for sent in captured("notified_epoch").capture.told(Notification.INC_EPOCH):
        assert sent.data == b"\x10\0\0\0\x08\0\0\0" + bytes(8)
        assert len(sent.fields.leaves) == 3


def test_data_is_stored_and_retrieved(captured: Captured) -> None:
    scenario = captured("notified_store")
    capture = scenario.capture
    store = capture.told(Notification.STORE)[0].fields
    # What is stored before the client reads is not asked for any more.
    had = [one.answered["data"] for one in capture.all(Opcode.READ)] or [store["data"]]
    assert had == [scenario.facts["text"].encode()]
    assert store["fuse_notify_store_out.nodeid"] == 2
    assert store.data("data").startswith(b"The current time is ")
    assert store["fuse_notify_store_out.size"] == len(scenario.facts["text"])
    retrieve = capture.told(Notification.RETRIEVE)[0].fields
    back = capture.first(Opcode.NOTIFY_REPLY).asked
    # The kernel answers with what it calls a request, whose number the server chose.
    assert back["fuse_in_header.unique"] == retrieve["fuse_notify_retrieve_out.notify_unique"]
    assert back["fuse_in_header.nodeid"] == retrieve["fuse_notify_retrieve_out.nodeid"] == 2
    assert back["data"] == store["data"]
    assert back["fuse_notify_retrieve_in.offset"] == 0


def test_a_block_device(captured: Captured) -> None:
    block = captured("block").capture
    assert block.one(Opcode.BMAP).asked["fuse_bmap_in.block"] == 3
    destroy = block.one(Opcode.DESTROY)
    assert destroy.error == 0
    assert len(destroy.request) == 40

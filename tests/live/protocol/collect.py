"""Writes the messages that tests without root read, ``tests/data/messages.jsonl``; run as root::

    python -m tests.live.protocol.collect

One line a message: its operation or notification, whether it is a request, a reply or a notification, what is special
about it, which server and kernel exchanged it, and its bytes. What they say is written down by hand, in
``tests/unit/wire/test_corpus.py``, after the system calls of ``client`` and what ``rawserver`` packs.
"""

import errno
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from furtrace.wire.items import Value
from furtrace.wire.notifications import Notification
from furtrace.wire.opcodes import Opcode
from tests.live.protocol.capture import Exchange
from tests.live.protocol.scenarios import Scenario, scenario

CORPUS: Final = Path(__file__).resolve().parents[2] / "data" / "messages.jsonl"
FATTR_TIMES: Final = 1 << 4 | 1 << 5


@dataclass(frozen=True)
class Pick:
    """Which exchange is taken: the first of that operation that says all this.

    Attributes:
        scenario: where it was captured.
        opcode: its operation.
        about: what is special about it.
        wanted: what its request says.
        error: what its reply says, if there is one.

    """

    scenario: str
    opcode: Opcode
    about: str = ""
    wanted: Mapping[str, Value] | None = None
    error: int = 0


EXCHANGES: Final = (
    Pick("notified_raw", Opcode.LOOKUP, wanted={"name": b"doomed"}),
    Pick("files", Opcode.LOOKUP, "no such file", {"name": b"absent"}, errno.ENOENT),
    Pick("files", Opcode.FORGET),
    Pick("files", Opcode.GETATTR, wanted={"fuse_getattr_in.getattr_flags": 1}),
    Pick("files", Opcode.SETATTR, "times", {"fuse_setattr_in.valid": FATTR_TIMES}),
    Pick("files", Opcode.SETATTR, "owner", {"fuse_setattr_in.valid": 1 << 1 | 1 << 2}),
    Pick("groups", Opcode.SETATTR, "size", {"fuse_setattr_in.size": 10}),
    Pick("files", Opcode.READLINK),
    Pick("files", Opcode.SYMLINK),
    Pick("groups", Opcode.SYMLINK, "with extensions"),
    Pick("files", Opcode.MKNOD, wanted={"name": b"device"}),
    Pick("files", Opcode.MKDIR, wanted={"name": b"dir"}),
    Pick("groups", Opcode.MKDIR, "with extensions"),
    Pick("files", Opcode.UNLINK),
    Pick("files", Opcode.RMDIR, "not empty", {"name": b"dir"}, errno.ENOTEMPTY),
    Pick("files", Opcode.RENAME),
    Pick("files", Opcode.LINK),
    Pick("groups", Opcode.OPEN),
    Pick("files", Opcode.OPEN, "for direct I/O"),
    Pick("files", Opcode.READ),
    Pick("files", Opcode.WRITE),
    Pick("groups", Opcode.WRITE, "to a set-user-id file"),
    Pick("block_raw", Opcode.STATFS),
    Pick("files", Opcode.RELEASE, wanted={"fuse_release_in.release_flags": 2}),
    Pick("files", Opcode.FSYNC, wanted={"fuse_fsync_in.fsync_flags": 1}),
    Pick("files", Opcode.SETXATTR, "of 8 bytes", {"attribute": b"user.color"}),
    Pick("groups", Opcode.SETXATTR, "of 16 bytes"),
    Pick("files", Opcode.GETXATTR, "size", {"attribute": b"user.color", "fuse_getxattr_in.size": 0}),
    Pick("files", Opcode.GETXATTR, "value", {"attribute": b"user.color", "fuse_getxattr_in.size": 128}),
    Pick("files", Opcode.LISTXATTR, "size", {"fuse_getxattr_in.size": 0}),
    Pick("files", Opcode.LISTXATTR, "names", {"fuse_getxattr_in.size": 256}),
    Pick("files", Opcode.REMOVEXATTR),
    Pick("files", Opcode.FLUSH),
    Pick("printcap", Opcode.INIT),
    Pick("init_22", Opcode.INIT, "of 7.22"),
    Pick("init_4", Opcode.INIT, "of 7.4"),
    Pick("files", Opcode.OPENDIR),
    Pick("hello", Opcode.READDIR, wanted={"fuse_read_in.offset": 0}),
    Pick("hello", Opcode.READDIR, "the end", {"fuse_read_in.offset": 96}),
    Pick("files", Opcode.RELEASEDIR),
    Pick("files", Opcode.FSYNCDIR),
    Pick("locks", Opcode.GETLK),
    Pick("locks", Opcode.SETLK),
    Pick("files", Opcode.SETLK, "of flock"),
    Pick("locks", Opcode.SETLKW, "interrupted", {"fuse_lk_in.lk.start": 1050}, errno.EINTR),
    Pick("access", Opcode.ACCESS, wanted={"fuse_access_in.mask": 6}),
    Pick("files", Opcode.CREATE, wanted={"name": b"file"}),
    Pick("groups", Opcode.CREATE, "with extensions"),
    Pick("locks", Opcode.INTERRUPT),
    Pick("access", Opcode.INTERRUPT, "refused", error=errno.ENOSYS),
    Pick("block_raw", Opcode.BMAP),
    Pick("block", Opcode.DESTROY),
    Pick("ioctl", Opcode.IOCTL, "in", {"fuse_ioctl_in.in_size": 8}),
    Pick("ioctl", Opcode.IOCTL, "out", {"fuse_ioctl_in.out_size": 8}),
    Pick("poll", Opcode.POLL, wanted={"fuse_poll_in.flags": 1}),
    Pick("notified_store", Opcode.NOTIFY_REPLY),
    Pick("files", Opcode.BATCH_FORGET),
    Pick("files", Opcode.FALLOCATE, wanted={"fuse_fallocate_in.mode": 3}),
    Pick("files", Opcode.READDIRPLUS),
    Pick("copy", Opcode.RENAME2),
    Pick("files", Opcode.LSEEK, wanted={"fuse_lseek_in.whence": 4}),
    Pick("copy_32", Opcode.COPY_FILE_RANGE),
    Pick("block_raw", Opcode.SYNCFS),
    Pick("files", Opcode.TMPFILE),
    Pick("files", Opcode.STATX),
    Pick("copy", Opcode.COPY_FILE_RANGE_64),
)
NOTIFICATIONS: Final = (
    ("poll", Notification.POLL, ""),
    ("notified_inode", Notification.INVAL_INODE, ""),
    ("notified_raw", Notification.INVAL_INODE, "attributes"),
    ("notified_entry", Notification.INVAL_ENTRY, ""),
    ("notified_expire", Notification.INVAL_ENTRY, "expired"),
    ("notified_store", Notification.STORE, ""),
    ("notified_store", Notification.RETRIEVE, ""),
    ("notified_raw", Notification.DELETE, ""),
    ("notified_raw", Notification.RESEND, ""),
    ("notified_epoch", Notification.INC_EPOCH, ""),
    ("notified_raw", Notification.PRUNE, ""),
)


def lines() -> Iterator[str]:
    """All lines of the corpus."""
    for pick in EXCHANGES:
        source = scenario(pick.scenario)
        exchanges = source.capture.all(pick.opcode, pick.wanted)
        exchange = next(one for one in exchanges if one.reply is None or one.error == pick.error)
        for direction, data in _messages(exchange):
            yield _line(source, pick.opcode.name, direction, pick.about, data)
    for name, code, about in NOTIFICATIONS:
        source = scenario(name)
        yield _line(source, code.name, "notification", about, source.capture.told(code)[0].data)


def _messages(exchange: Exchange) -> Iterator[tuple[str, bytes]]:
    yield "request", exchange.request
    if exchange.reply:
        yield "reply", exchange.reply.data


def _line(source: Scenario, name: str, direction: str, about: str, data: bytes) -> str:
    kernel = ".".join(platform.release().split(".")[:2])
    # No two have all of the first three in common.
    return json.dumps(
        {
            "opcode": name,
            "direction": direction,
            "about": about,
            "server": source.server,
            "kernel": kernel,
            "hex": data.hex(),
        }
    )


def main() -> None:
    """Write the file, whole or not at all."""
    text = "".join(f"{line}\n" for line in lines())
    CORPUS.parent.mkdir(exist_ok=True)
    CORPUS.write_text(text)
    print(f"{text.count(chr(10))} messages, {len(text)} bytes: {CORPUS}")


if __name__ == "__main__":
    main()

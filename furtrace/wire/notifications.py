"""Notifications: what a server tells the kernel unasked (``include/uapi/linux/fuse.h``).

A notification is written to /dev/fuse like a reply, with 0 as ``unique`` and its code as ``error``.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from furtrace.wire import meaning
from furtrace.wire.flags import InvalEntryFlag
from furtrace.wire.layout import I64, U32, U64, Layout


class Notification(IntEnum):
    """``enum fuse_notify_code``, without its prefix."""

    POLL = 1
    INVAL_INODE = 2
    INVAL_ENTRY = 3
    STORE = 4
    RETRIEVE = 5
    DELETE = 6
    RESEND = 7
    INC_EPOCH = 8
    PRUNE = 9


@dataclass(frozen=True, slots=True)
class PollWakeupOut:
    """``struct fuse_notify_poll_wakeup_out``, 8 bytes: something has changed for a poll(2).

    Attributes:
        kh: of ``fuse_poll_in``.

    """

    kh: U64


@dataclass(frozen=True, slots=True)
class InvalInodeOut:
    """``struct fuse_notify_inval_inode_out``, 24 bytes: forget cached attributes and data.

    Attributes:
        ino: node id of the inode.
        off: first byte of data; negative: attributes only.
        len: bytes; 0 or less: to the end.

    """

    ino: Annotated[U64, meaning.node]
    off: Annotated[I64, lambda value, _: "attributes only" if value < 0 else ""]
    len: Annotated[I64, lambda value, _: "to the end" if value <= 0 else ""]


@dataclass(frozen=True, slots=True)
class InvalEntryOut:
    """``struct fuse_notify_inval_entry_out``, 16 bytes: forget a cached name, which follows, ended by NUL.

    Attributes:
        parent: node id of the directory.
        namelen: bytes of the name, without its NUL.
        flags: FUSE_EXPIRE_ONLY.

    """

    parent: Annotated[U64, meaning.node]
    namelen: U32
    flags: Annotated[U32, meaning.flags(InvalEntryFlag)]


@dataclass(frozen=True, slots=True)
class DeleteOut:
    """``struct fuse_notify_delete_out``, 24 bytes: a file is gone; its name follows, ended by NUL.

    Attributes:
        parent: node id of the directory.
        child: node id of what was removed.
        namelen: bytes of the name, without its NUL.
        padding: 0.

    """

    parent: Annotated[U64, meaning.node]
    child: U64
    namelen: U32
    padding: U32


@dataclass(frozen=True, slots=True)
class StoreOut:
    """``struct fuse_notify_store_out``, 24 bytes: data for the kernel's cache, which follows.

    Attributes:
        nodeid: the inode.
        offset: bytes.
        size: bytes.
        padding: 0.

    """

    nodeid: Annotated[U64, meaning.node]
    offset: U64
    size: U32
    padding: U32


@dataclass(frozen=True, slots=True)
class RetrieveOut:
    """``struct fuse_notify_retrieve_out``, 32 bytes: send what the kernel's cache has, as NOTIFY_REPLY.

    Attributes:
        notify_unique: names the request to come.
        nodeid: the inode.
        offset: bytes.
        size: bytes at most.
        padding: 0.

    """

    notify_unique: U64
    nodeid: Annotated[U64, meaning.node]
    offset: U64
    size: U32
    padding: U32


@dataclass(frozen=True, slots=True)
class RetrieveIn:
    """``struct fuse_notify_retrieve_in``, 40 bytes: NOTIFY_REPLY, which has no reply; the data follows.

    Attributes:
        dummy1: 0; the structure is as large as ``fuse_write_in``.
        offset: bytes.
        size: bytes of data.
        dummy2: 0.
        dummy3: 0.
        dummy4: 0.

    """

    dummy1: U64
    offset: U64
    size: U32
    dummy2: U32
    dummy3: U64
    dummy4: U64


@dataclass(frozen=True, slots=True)
class PruneOut:
    """``struct fuse_notify_prune_out``, 16 bytes: drop inodes that are not in use; node ids follow, 8 bytes each.

    Attributes:
        count: how many node ids.
        padding: 0.
        spare: 0.

    """

    count: U32
    padding: U32
    spare: U64


NOTIFY_POLL_WAKEUP_OUT = Layout("fuse_notify_poll_wakeup_out", PollWakeupOut)
NOTIFY_INVAL_INODE_OUT = Layout("fuse_notify_inval_inode_out", InvalInodeOut)
NOTIFY_INVAL_ENTRY_OUT = Layout("fuse_notify_inval_entry_out", InvalEntryOut)
NOTIFY_DELETE_OUT = Layout("fuse_notify_delete_out", DeleteOut)
NOTIFY_STORE_OUT = Layout("fuse_notify_store_out", StoreOut)
NOTIFY_RETRIEVE_OUT = Layout("fuse_notify_retrieve_out", RetrieveOut)
NOTIFY_RETRIEVE_IN = Layout("fuse_notify_retrieve_in", RetrieveIn)
NOTIFY_PRUNE_OUT = Layout("fuse_notify_prune_out", PruneOut)

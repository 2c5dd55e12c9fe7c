"""Requests about names and inodes: making, removing, renaming, forgetting, interrupting (``linux/fuse.h``).

The names themselves follow the structure (``opcodes.name_roles``).
"""

from dataclasses import dataclass
from typing import Annotated

from furtrace.wire import meaning
from furtrace.wire.layout import U32, U64, Layout
from furtrace.wire.vfs import AccessMask, RenameFlag


@dataclass(frozen=True, slots=True)
class ForgetIn:
    """``struct fuse_forget_in``, 8 bytes: FORGET, which has no reply.

    Attributes:
        nlookup: how many of the lookups that the kernel was answered are given back.

    """

    nlookup: U64


@dataclass(frozen=True, slots=True)
class ForgetOne:
    """``struct fuse_forget_one``, 16 bytes: one inode of BATCH_FORGET.

    Attributes:
        nodeid: the inode.
        nlookup: how many lookups are given back.

    """

    nodeid: Annotated[U64, meaning.node]
    nlookup: U64


@dataclass(frozen=True, slots=True)
class BatchForgetIn:
    """``struct fuse_batch_forget_in``, 8 bytes: BATCH_FORGET, which has no reply.

    Attributes:
        count: how many ``fuse_forget_one`` follow.
        dummy: 0.

    """

    count: U32
    dummy: U32


@dataclass(frozen=True, slots=True)
class MknodIn:
    """``struct fuse_mknod_in``, 16 bytes: MKNOD.

    Attributes:
        mode: type and permissions.
        rdev: of a device file, 32 bits (``new_encode_dev``).
        umask: the client's.
        padding: 0.

    """

    mode: Annotated[U32, meaning.mode]
    rdev: Annotated[U32, meaning.device]
    umask: Annotated[U32, meaning.octal]
    padding: U32


@dataclass(frozen=True, slots=True)
class MkdirIn:
    """``struct fuse_mkdir_in``, 8 bytes: MKDIR.

    Attributes:
        mode: permissions.
        umask: the client's.

    """

    mode: Annotated[U32, meaning.octal]
    umask: Annotated[U32, meaning.octal]


@dataclass(frozen=True, slots=True)
class RenameIn:
    """``struct fuse_rename_in``, 8 bytes: RENAME.

    Attributes:
        newdir: node id of the directory that the new name is in.

    """

    newdir: Annotated[U64, meaning.node]


@dataclass(frozen=True, slots=True)
class Rename2In:
    """``struct fuse_rename2_in``, 16 bytes: RENAME2.

    Attributes:
        newdir: node id of the directory that the new name is in.
        flags: RENAME_* of renameat2(2).
        padding: 0.

    """

    newdir: Annotated[U64, meaning.node]
    flags: Annotated[U32, meaning.flags(RenameFlag)]
    padding: U32


@dataclass(frozen=True, slots=True)
class LinkIn:
    """``struct fuse_link_in``, 8 bytes: LINK.

    Attributes:
        oldnodeid: the inode that gets another name.

    """

    oldnodeid: Annotated[U64, meaning.node]


@dataclass(frozen=True, slots=True)
class AccessIn:
    """``struct fuse_access_in``, 8 bytes: ACCESS.

    Attributes:
        mask: what is asked for, as of access(2); 0 is F_OK.
        padding: 0.

    """

    mask: Annotated[U32, meaning.flags(AccessMask)]
    padding: U32


@dataclass(frozen=True, slots=True)
class InterruptIn:
    """``struct fuse_interrupt_in``, 8 bytes: INTERRUPT.

    Attributes:
        unique: of the request to interrupt.

    """

    unique: U64


@dataclass(frozen=True, slots=True)
class SyncfsIn:
    """``struct fuse_syncfs_in``, 8 bytes: SYNCFS.

    Attributes:
        padding: 0.

    """

    padding: U64


FORGET_IN = Layout("fuse_forget_in", ForgetIn)
FORGET_ONE = Layout("fuse_forget_one", ForgetOne)
BATCH_FORGET_IN = Layout("fuse_batch_forget_in", BatchForgetIn)
MKNOD_IN = Layout("fuse_mknod_in", MknodIn)
MKDIR_IN = Layout("fuse_mkdir_in", MkdirIn)
RENAME_IN = Layout("fuse_rename_in", RenameIn)
RENAME2_IN = Layout("fuse_rename2_in", Rename2In)
LINK_IN = Layout("fuse_link_in", LinkIn)
ACCESS_IN = Layout("fuse_access_in", AccessIn)
INTERRUPT_IN = Layout("fuse_interrupt_in", InterruptIn)
SYNCFS_IN = Layout("fuse_syncfs_in", SyncfsIn)

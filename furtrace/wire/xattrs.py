"""Requests about extended attributes (``include/uapi/linux/fuse.h``). Names and values follow the structure."""

from dataclasses import dataclass
from typing import Annotated

from furtrace.wire import meaning
from furtrace.wire.flags import SetxattrFlag
from furtrace.wire.layout import U32, Layout
from furtrace.wire.vfs import XattrFlag


@dataclass(frozen=True, slots=True)
class SetxattrInCompat:
    """``struct fuse_setxattr_in`` of 8 bytes (FUSE_COMPAT_SETXATTR_IN_SIZE), where FUSE_SETXATTR_EXT was not agreed on.

    Attributes:
        size: bytes of the value.
        flags: XATTR_* of setxattr(2).

    """

    size: U32
    flags: Annotated[U32, meaning.flags(XattrFlag)]


@dataclass(frozen=True, slots=True)
class SetxattrIn(SetxattrInCompat):
    """``struct fuse_setxattr_in``, 16 bytes; begins with ``SetxattrInCompat``.

    Attributes:
        setxattr_flags: FUSE_SETXATTR_*.
        padding: 0.

    """

    setxattr_flags: Annotated[U32, meaning.flags(SetxattrFlag)]
    padding: U32


@dataclass(frozen=True, slots=True)
class GetxattrIn:
    """``struct fuse_getxattr_in``, 8 bytes: GETXATTR and LISTXATTR.

    Attributes:
        size: bytes at most; 0: only the size is asked for.
        padding: 0.

    """

    size: Annotated[U32, lambda value, _: "" if value else "only the size is asked for"]
    padding: U32


@dataclass(frozen=True, slots=True)
class GetxattrOut:
    """``struct fuse_getxattr_out``, 8 bytes: the reply to GETXATTR and LISTXATTR that asked for the size alone.

    Attributes:
        size: bytes.
        padding: 0.

    """

    size: U32
    padding: U32


SETXATTR_IN_COMPAT = Layout("fuse_setxattr_in", SetxattrInCompat)
SETXATTR_IN = Layout("fuse_setxattr_in", SetxattrIn)
GETXATTR_IN = Layout("fuse_getxattr_in", GetxattrIn)
GETXATTR_OUT = Layout("fuse_getxattr_out", GetxattrOut)

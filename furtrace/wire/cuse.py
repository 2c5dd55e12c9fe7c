"""CUSE_INIT: a character device begins (``include/uapi/linux/fuse.h``)."""

from dataclasses import dataclass
from typing import Annotated

from furtrace.wire import meaning
from furtrace.wire.flags import CuseFlag
from furtrace.wire.layout import U32, Layout, U32x10


@dataclass(frozen=True, slots=True)
class CuseInitIn:
    """``struct cuse_init_in``, 16 bytes.

    Attributes:
        major: version of the protocol.
        minor: the same.
        unused: 0.
        flags: CUSE_*.

    """

    major: U32
    minor: U32
    unused: U32
    flags: Annotated[U32, meaning.flags(CuseFlag)]


@dataclass(frozen=True, slots=True)
class CuseInitOut:
    """``struct cuse_init_out``, 72 bytes; strings about the device follow, such as ``DEVNAME=…``, each ended by NUL.

    Attributes:
        major: version of the protocol.
        minor: the same.
        unused: 0.
        flags: CUSE_*.
        max_read: bytes.
        max_write: bytes.
        dev_major: of the device to make; 0: any.
        dev_minor: the same.
        spare: 0.

    """

    major: U32
    minor: U32
    unused: U32
    flags: Annotated[U32, meaning.flags(CuseFlag)]
    max_read: U32
    max_write: U32
    dev_major: U32
    dev_minor: U32
    spare: U32x10


CUSE_INIT_IN = Layout("cuse_init_in", CuseInitIn)
CUSE_INIT_OUT = Layout("cuse_init_out", CuseInitOut)

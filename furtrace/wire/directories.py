"""Entries of directories, as READDIR and READDIRPLUS bring them (``include/uapi/linux/fuse.h``)."""

from dataclasses import dataclass
from typing import Annotated, Final

from furtrace.wire import meaning
from furtrace.wire.attributes import EntryOut
from furtrace.wire.layout import U32, U64, Layout
from furtrace.wire.vfs import DirentType

ALIGNMENT: Final = 8
"""Each entry is filled up to this (``FUSE_REC_ALIGN``)."""


@dataclass(frozen=True, slots=True)
class Dirent:
    """``struct fuse_dirent``, 24 bytes; the name follows, without a NUL, filled up to 8 bytes.

    Attributes:
        ino: the inode number that clients see.
        off: where the next entry is: what the next request's offset will be.
        namelen: bytes of the name.
        type: DT_*.

    """

    ino: U64
    off: U64
    namelen: U32
    type: Annotated[U32, meaning.number_of(DirentType)]


@dataclass(frozen=True, slots=True)
class Direntplus:
    """``struct fuse_direntplus``, 152 bytes; the name follows as after ``fuse_dirent``.

    Attributes:
        entry_out: as LOOKUP of that name would say; ``nodeid`` 0: no lookup was made.
        dirent: as READDIR would say.

    """

    entry_out: EntryOut
    dirent: Dirent


DIRENT = Layout("fuse_dirent", Dirent)
DIRENTPLUS = Layout("fuse_direntplus", Direntplus)

"""Extensions at the end of a request, ``total_extlen`` of its header counts them (``include/uapi/linux/fuse.h``).

They come with requests that make a file: CREATE, TMPFILE, MKDIR, MKNOD, SYMLINK.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from furtrace.wire.layout import U32, Layout

MAX_NR_SECCTX: Final = 31
"""FUSE_MAX_NR_SECCTX: up to here the second word of an extension is a number of security contexts, above it a type."""
EXT_GROUPS: Final = 32
"""FUSE_EXT_GROUPS: the type of supplementary groups."""


@dataclass(frozen=True, slots=True)
class ExtHeader:
    """``struct fuse_ext_header``, 8 bytes: the head of an extension.

    Attributes:
        size: bytes of the extension, this header included.
        type: ``enum fuse_ext_type``.

    """

    size: U32
    type: Annotated[U32, lambda value, _: "EXT_GROUPS" if value == EXT_GROUPS else "unknown"]


@dataclass(frozen=True, slots=True)
class SecctxHeader:
    """``struct fuse_secctx_header``, 8 bytes: the head of the security contexts.

    Attributes:
        size: bytes of all of them, this header included.
        nr_secctx: how many ``fuse_secctx`` follow.

    """

    size: U32
    nr_secctx: U32


@dataclass(frozen=True, slots=True)
class Secctx:
    """``struct fuse_secctx``, 8 bytes; name (ended by NUL) and context follow, filled up to 8 bytes.

    Attributes:
        size: bytes of the context.
        padding: 0.

    """

    size: U32
    padding: U32


@dataclass(frozen=True, slots=True)
class SuppGroups:
    """``struct fuse_supp_groups``, 4 bytes; the groups follow, 4 bytes each.

    Attributes:
        nr_groups: how many.

    """

    nr_groups: U32


EXT_HEADER = Layout("fuse_ext_header", ExtHeader)
SECCTX_HEADER = Layout("fuse_secctx_header", SecctxHeader)
SECCTX = Layout("fuse_secctx", Secctx)
SUPP_GROUPS = Layout("fuse_supp_groups", SuppGroups)

"""One file, directory, link or special file of the tree, without any rule about where it may stand."""

import stat
from typing import TYPE_CHECKING, NamedTuple

from furtrace.demo.content import PAGE, Content

if TYPE_CHECKING:
    from furtrace.demo.backing import Backing

BLOCK = 512


class Owner(NamedTuple):
    """Who a new node belongs to."""

    uid: int
    gid: int


class Entry(NamedTuple):
    """A name's place in its directory: the cookie that readdir goes on after, and the node that it names."""

    cookie: int
    node: "Node"


class Node:
    """A node of the tree. Times are nanoseconds since 1970; ``ino`` is its FUSE node id too and is never used again.

    ``lookups`` counts what the kernel holds (and gives back with FORGET), ``opens`` the open files.
    """

    __slots__ = (
        "atime",
        "btime",
        "content",
        "ctime",
        "entries",
        "gid",
        "ino",
        "lookups",
        "mode",
        "mtime",
        "next_cookie",
        "nlink",
        "opens",
        "parent",
        "rdev",
        "target",
        "uid",
        "xattrs",
    )

    def __init__(self, ino: int, mode: int, owner: Owner, now: int) -> None:
        self.ino = ino
        self.mode = mode
        self.uid, self.gid = owner
        self.rdev = 0
        self.nlink = 1
        self.atime = self.mtime = self.ctime = self.btime = now
        self.content: Content | Backing | None = None
        self.entries: dict[bytes, Entry] | None = None
        self.next_cookie = 3
        """The first two cookies are those of "." and ".."."""
        self.parent: Node | None = None
        self.target = b""
        self.xattrs: dict[bytes, bytes] = {}
        self.lookups = 0
        self.opens = 0

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return self.entries is not None

    @property
    def size(self) -> int:
        """``st_size``: a file's bytes, a symbolic link's target, one page for a directory."""
        if self.content is not None:
            return self.content.size
        return PAGE if self.is_dir else len(self.target)

    @property
    def blocks(self) -> int:
        """``st_blocks``, of 512 bytes: what the file really holds, holes not counted."""
        return 0 if self.content is None else self.content.pages * (PAGE // BLOCK)

    @property
    def file_type(self) -> int:
        """The type as a directory entry tells it (``DT_…``, which is ``mode >> 12``)."""
        return stat.S_IFMT(self.mode) >> 12

"""The file system in memory: names, links, times and lifetimes. No input or output, no knowledge of FUSE's structures.

Every refusal is a ``TreeError`` with the number that POSIX gives. Nothing here locks: the caller serializes.
"""

import errno
import stat
import time
from collections.abc import Callable
from typing import NamedTuple

from furtrace.demo.backing import Backing
from furtrace.demo.content import PAGE, Content, Space
from furtrace.demo.errors import TreeError
from furtrace.demo.node import Entry, Node, Owner
from furtrace.demo.wire import ROOT_ID, Buffer

NAME_MAX = 255
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
FALLOC_KEEP_SIZE = 0x01
FALLOC_PUNCH_HOLE = 0x02
FALLOC_ZERO_RANGE = 0x10
COPY_AT_ONCE = 16 << 20
"""``copy_range`` may copy less than it was asked for; this bounds how long one request holds all others up."""

ROOT = Owner(0, 0)
_DEFAULT_SPACE = 1 << 30
_DAY = 86_400 * 1_000_000_000
_NODE_KINDS = (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK)


class Attributes(NamedTuple):
    """What setattr changes; ``None`` leaves a field as it is. Times are nanoseconds since 1970."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime: int | None = None
    mtime: int | None = None
    ctime: int | None = None


class Tree:
    """A tree with its root directory, which belongs to ``owner``.

    ``space`` is the number of bytes that all files together may hold; ``clock`` returns the time in nanoseconds;
    ``contents`` makes what a new regular file's bytes are kept in, from its name and the space that all share.
    """

    def __init__(
        self,
        owner: Owner = ROOT,
        *,
        space: int = _DEFAULT_SPACE,
        clock: Callable[[], int] = time.time_ns,
        contents: Callable[[bytes, Space], Content | Backing] = lambda _name, space: Content(space),
    ) -> None:
        self.space = Space(space // PAGE)
        self.now = clock
        self._contents = contents
        self._nodes: dict[int, Node] = {}
        self._next_ino = ROOT_ID
        self.root = self._new_node(stat.S_IFDIR | 0o755, owner)
        self._make_directory(self.root, self.root)
        # The kernel holds the root as long as the mount lives and never forgets it.
        self.root.lookups = 1

    def __len__(self) -> int:
        return len(self._nodes)

    def node(self, ino: int) -> Node:
        """Return a node by its number; ``TreeError(ESTALE)`` when it is gone."""
        try:
            return self._nodes[ino]
        except KeyError:
            raise TreeError(errno.ESTALE) from None

    def lookup(self, parent: Node, name: bytes) -> Node:
        """Return the node that ``name`` names; ENOENT, ENOTDIR, ENAMETOOLONG."""
        return self._entry(parent, name).node

    def create(self, parent: Node, name: bytes, mode: int, owner: Owner) -> Node:
        """Make a regular file, FIFO or socket (no type in ``mode``: a regular file); EEXIST, EPERM for devices."""
        kind = stat.S_IFMT(mode) or stat.S_IFREG
        if kind not in _NODE_KINDS:
            raise TreeError(errno.EPERM)
        node = self._add_new(parent, name, kind | stat.S_IMODE(mode), owner)
        if kind == stat.S_IFREG:
            node.content = self._contents(name, self.space)
        return node

    def mkdir(self, parent: Node, name: bytes, mode: int, owner: Owner) -> Node:
        """Make a directory; it takes the set-group-ID bit over from its parent."""
        inherited = parent.mode & stat.S_ISGID
        node = self._add_new(parent, name, stat.S_IFDIR | stat.S_IMODE(mode) | inherited, owner)
        self._make_directory(node, parent)
        parent.nlink += 1
        return node

    def symlink(self, parent: Node, name: bytes, target: bytes, owner: Owner) -> Node:
        """Make a symbolic link to ``target``."""
        node = self._add_new(parent, name, stat.S_IFLNK | 0o777, owner)
        node.target = target
        return node

    def link(self, node: Node, parent: Node, name: bytes) -> None:
        """Give ``node`` another name; EPERM for directories, ENOENT for a file that has no name left."""
        if node.is_dir:
            raise TreeError(errno.EPERM)
        if node.nlink == 0:
            raise TreeError(errno.ENOENT)
        self._check_free(parent, name)
        self._add(parent, name, node)
        node.nlink += 1
        node.ctime = self.now()

    def unlink(self, parent: Node, name: bytes) -> None:
        """Remove a name of anything but a directory (EISDIR); what is open or known to the kernel lives on."""
        node = self.lookup(parent, name)
        if node.is_dir:
            raise TreeError(errno.EISDIR)
        self._remove(parent, name)
        self._unlinked(node)

    def rmdir(self, parent: Node, name: bytes) -> None:
        """Remove an empty directory; ENOTDIR, ENOTEMPTY."""
        node = self.lookup(parent, name)
        if node.entries is None:
            raise TreeError(errno.ENOTDIR)
        if node.entries:
            raise TreeError(errno.ENOTEMPTY)
        self._remove(parent, name)
        self._unlinked(node)

    def rename(self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int = 0) -> None:
        """Move a name; ``flags`` 0, ``RENAME_NOREPLACE`` or ``RENAME_EXCHANGE``, with the errors of renameat2(2)."""
        node = self.lookup(parent, name)
        if flags not in (0, RENAME_NOREPLACE, RENAME_EXCHANGE):
            raise TreeError(errno.EINVAL)
        self._check_not_below(node, new_parent)
        if flags == RENAME_EXCHANGE:
            other = self.lookup(new_parent, new_name)
            self._check_not_below(other, parent)
            self._exchange((parent, name, node), (new_parent, new_name, other))
            return
        target = self._live_entries(new_parent, new_name).get(new_name)
        if target is not None:
            if flags & RENAME_NOREPLACE:
                raise TreeError(errno.EEXIST)
            if target.node is node:
                return
            self._replace_check(node, target.node)
            self._remove(new_parent, new_name)
            self._unlinked(target.node)
        self._move(node, (parent, name), (new_parent, new_name))

    def remember(self, node: Node) -> None:
        """Count one more reference of the kernel's, given to it by an entry in a reply."""
        node.lookups += 1

    def forget(self, ino: int, count: int) -> None:
        """Take ``count`` of the kernel's references back; a node that is gone already is passed over."""
        node = self._nodes.get(ino)
        if node is None or node is self.root:
            return
        node.lookups = max(0, node.lookups - count)
        self._reap(node)

    def opened(self, node: Node) -> None:
        """Count one more open file."""
        node.opens += 1

    def closed(self, node: Node) -> None:
        """Count one open file less."""
        node.opens -= 1
        self._reap(node)

    def read(self, node: Node, offset: int, length: int) -> bytes:
        """Return bytes of a regular file, fewer at its end."""
        data = self.content(node).read(offset, length)
        self.accessed(node)
        return data

    def accessed(self, node: Node) -> None:
        """Take down that a file was read, as with the mount option relatime: else every read would change it."""
        now = self.now()
        if node.atime <= node.mtime or now - node.atime > _DAY:
            node.atime = now

    def write(self, node: Node, offset: int, data: Buffer) -> None:
        """Put bytes into a regular file; ENOSPC."""
        self.content(node).write(offset, data)
        self.modified(node)

    def truncate(self, node: Node, size: int) -> None:
        """Set a regular file's size."""
        self.content(node).resize(size)
        self.modified(node)

    def allocate(self, node: Node, offset: int, length: int, mode: int) -> None:
        """Do as fallocate(2): reserve, punch a hole or zero a range; EOPNOTSUPP for other modes, EINVAL if empty."""
        content = self.content(node)
        if length <= 0:
            raise TreeError(errno.EINVAL)
        keep_size = bool(mode & FALLOC_KEEP_SIZE)
        if mode & ~FALLOC_KEEP_SIZE == 0:
            content.allocate(offset, length, keep_size=keep_size)
        elif mode == FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE:
            content.punch(offset, length)
        elif mode & ~FALLOC_KEEP_SIZE == FALLOC_ZERO_RANGE:
            content.zero(offset, length, keep_size=keep_size)
        else:
            raise TreeError(errno.EOPNOTSUPP)
        self.modified(node)

    def copy_range(self, source: tuple[Node, int], target: tuple[Node, int], length: int) -> int:
        """Copy up to ``length`` bytes from one (file, offset) to another; return how many were copied."""
        data = self.read(*source, min(length, COPY_AT_ONCE))
        self.write(*target, data)
        return len(data)

    def set_attributes(self, node: Node, wanted: Attributes) -> None:
        """Change what ``wanted`` names; the change time follows."""
        if wanted.size is not None:
            self.truncate(node, wanted.size)
        if wanted.mode is not None:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(wanted.mode)
        for field in ("uid", "gid", "atime", "mtime"):
            value = getattr(wanted, field)
            if value is not None:
                setattr(node, field, value)
        node.ctime = self.now() if wanted.ctime is None else wanted.ctime

    def entries(self, node: Node) -> list[tuple[bytes, Entry]]:
        """Return a directory's names as they are now, in the order of their cookies."""
        if node.entries is None:
            raise TreeError(errno.ENOTDIR)
        return list(node.entries.items())

    @staticmethod
    def content(node: Node) -> Content | Backing:
        """Return a regular file's bytes; EISDIR and EINVAL for everything else."""
        if node.content is None:
            raise TreeError(errno.EISDIR if node.is_dir else errno.EINVAL)
        return node.content

    def _new_node(self, mode: int, owner: Owner) -> Node:
        node = Node(self._next_ino, mode, owner, self.now())
        self._next_ino += 1
        self._nodes[node.ino] = node
        return node

    @staticmethod
    def _make_directory(node: Node, parent: Node) -> None:
        node.entries = {}
        node.parent = parent
        node.nlink = 2

    @staticmethod
    def _live_entries(parent: Node, name: bytes) -> dict[bytes, Entry]:
        if parent.entries is None:
            raise TreeError(errno.ENOTDIR)
        if len(name) > NAME_MAX:
            raise TreeError(errno.ENAMETOOLONG)
        return parent.entries

    def _entry(self, parent: Node, name: bytes) -> Entry:
        entry = self._live_entries(parent, name).get(name)
        if entry is None:
            raise TreeError(errno.ENOENT)
        return entry

    def _check_free(self, parent: Node, name: bytes) -> None:
        if name in self._live_entries(parent, name):
            raise TreeError(errno.EEXIST)
        if parent.nlink == 0:
            raise TreeError(errno.ENOENT)

    def _add_new(self, parent: Node, name: bytes, mode: int, owner: Owner) -> Node:
        self._check_free(parent, name)
        gid = parent.gid if parent.mode & stat.S_ISGID else owner.gid
        node = self._new_node(mode, Owner(owner.uid, gid))
        self._add(parent, name, node)
        return node

    def _add(self, parent: Node, name: bytes, node: Node) -> None:
        self._live_entries(parent, name)[name] = Entry(parent.next_cookie, node)
        parent.next_cookie += 1
        self.modified(parent)

    def _remove(self, parent: Node, name: bytes) -> None:
        del self._live_entries(parent, name)[name]
        self.modified(parent)

    def _unlinked(self, node: Node) -> None:
        """Account for a name that is gone; for a directory that was its only one."""
        if node.is_dir:
            node.nlink = 0
            if node.parent is not None:
                node.parent.nlink -= 1
        else:
            node.nlink -= 1
        node.ctime = self.now()
        self._reap(node)

    def _reap(self, node: Node) -> None:
        if node.nlink or node.lookups or node.opens:
            return
        self._nodes.pop(node.ino, None)
        if node.content is not None:
            node.content.release()

    def modified(self, node: Node) -> None:
        """Take down that a node's content was changed."""
        node.mtime = node.ctime = self.now()

    def _check_not_below(self, node: Node, directory: Node) -> None:
        """Refuse to make a directory its own descendant."""
        if not node.is_dir:
            return
        above: Node | None = directory
        while above is not None and above is not self.root:
            if above is node:
                raise TreeError(errno.EINVAL)
            above = above.parent

    @staticmethod
    def _replace_check(node: Node, target: Node) -> None:
        if target.is_dir and not node.is_dir:
            raise TreeError(errno.EISDIR)
        if node.is_dir and not target.is_dir:
            raise TreeError(errno.ENOTDIR)
        if target.entries:
            raise TreeError(errno.ENOTEMPTY)

    def _move(self, node: Node, old: tuple[Node, bytes], new: tuple[Node, bytes]) -> None:
        self._check_free(*new)
        self._remove(*old)
        self._add(*new, node)
        self._moved(node, old[0], new[0])

    def _moved(self, node: Node, old_parent: Node, new_parent: Node) -> None:
        if node.is_dir:
            node.parent = new_parent
            old_parent.nlink -= 1
            new_parent.nlink += 1
        node.ctime = self.now()

    def _exchange(self, one: tuple[Node, bytes, Node], other: tuple[Node, bytes, Node]) -> None:
        for (parent, name, _), (_, _, node) in ((one, other), (other, one)):
            entries = self._live_entries(parent, name)
            entries[name] = Entry(entries[name].cookie, node)
            self.modified(parent)
        self._moved(one[2], one[0], other[0])
        self._moved(other[2], other[0], one[0])

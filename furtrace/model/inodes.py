"""The inodes of one connection and their names, as the kernel was told them.

A name leads from a directory to an inode: ``(directory's node id, name)``. An inode may have several (hard links), or
none any more. What was learnt before something was missed (events lost, a reply that can't be seen) may be out of date
since, and is marked so until it is learnt anew.

A number may stand for another inode later. FORGET says so where it is seen; else the generation does, or that an inode
with a single link has got another name.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from furtrace.wire.text import printable

ROOT: Final = 1
"""FUSE_ROOT_ID."""
MOST_INODES: Final = 200_000
"""Inodes that are remembered of a connection; past that those learnt first are dropped."""
_DEEPEST: Final = 1000
_MOST_TRIES: Final = 100
_MISLEADING: Final = re.compile(r'[ "()?]')
_CUT: Final = b"\0..."  # no name has a NUL, so that no whole name looks like one that was cut off

Name = tuple[int, bytes]
"""A directory's node id, and a name in it as :func:`whole_or_cut` gives it."""


def whole_or_cut(name: bytes, *, cut: bool) -> bytes:
    """A name, marked if it was cut off."""
    return name + _CUT if cut else name


@dataclass(slots=True)
class _Inode:
    names: dict[Name, None] = field(default_factory=dict)  # the newest last
    last: Name | None = None  # the name that was removed last
    lookups: int = 0
    epoch: int = 0
    generation: int | None = None  # None: not known


class Path(NamedTuple):
    """Where an inode is.

    Attributes:
        raw: from the mount's root on; ``#5`` at its start stands for an inode whose name is not known.
        deleted: it, or a directory on the way, has no name any more; ``raw`` has its last.
        sure: nothing was missed since it was learnt.
        exact: every name in it is known to its end; of one that was cut off ``raw`` has three dots behind what is
            known, and a question mark for one that is not known at all, which only the last can be.

    """

    raw: bytes
    deleted: bool = False
    sure: bool = True
    exact: bool = True

    @property
    def known(self) -> bool:
        """Whether it leads to the root, and is exact."""
        return self.exact and self.raw.startswith(b"/")

    def child(self, name: bytes, *, cut: bool = False) -> "Path":
        """The path of a name in this directory; ``cut``: not all of the name is known."""
        start = b"" if self.raw == b"/" else self.raw
        return Path(start + b"/" + name + (b"..." if cut else b""), self.deleted, self.sure, self.exact and not cut)

    def unknown_child(self) -> "Path":
        """Stands for a name in this directory that is not known."""
        return self.child(b"?")._replace(exact=False)

    @property
    def shown(self) -> str:
        """Escaped; quoted where a blank or a quote would mislead, ``?`` behind it where it is not sure."""
        return _shown(*self)


@lru_cache(maxsize=1 << 14)
def _shown(raw: bytes, deleted: bool, sure: bool, exact: bool) -> str:
    text = printable(raw)
    if _MISLEADING.search(text if exact else text.removesuffix("?")):
        text = '"' + text.replace('"', '\\"') + '"'
    return text + ("" if sure else "?") + (" (deleted)" if deleted else "")


NO_INODE: Final = Path(b"-")
"""Stands where a request is about none."""
_ROOT_PATH: Final = Path(b"/")


class Inodes:
    """What is known of the inodes of one connection."""

    def __init__(self, *, doubtful: bool = False) -> None:
        self._inodes: dict[int, _Inode] = {}
        self._named: dict[int, dict[bytes, int]] = {}
        self._paths: dict[int, Path] = {}
        self._epoch = 0
        self._doubtful = doubtful

    def __len__(self) -> int:
        return len(self._inodes)

    def path(self, node: int) -> Path:
        """Where an inode is, as far as it is known."""
        if not node:
            return NO_INODE
        known = self._paths.get(node)
        return known if known is not None else self._find(node)

    def doubt(self, *, doubtful: bool) -> None:
        """Begin or end a time in which something is not seen; when is not known, so that nothing is sure."""
        self._doubtful = doubtful
        self.missed()

    def missed(self) -> None:
        """Something was not seen: what is known may be out of date."""
        self._epoch += 1
        self._paths.clear()

    def found(self, name: Name, node: int, *, generation: int = 0, alone: bool = False) -> None:
        """A name leads to an inode: the kernel was answered so, which counts as one lookup of it.

        ``generation``: which of the inodes that have had this number. ``alone``: it can have no other name.
        """
        inode = self._count(node)
        if inode.epoch != self._epoch or inode.generation != generation:
            self._begin_anew(node, inode, generation)
        names = inode.names
        if self._leads_to(name) != node or next(reversed(names)) != name:
            self._bind(name, node, inode)
        if alone and len(names) > 1:
            self._keep_one_name(node, inode)

    def _begin_anew(self, node: int, inode: _Inode, generation: int) -> None:
        """What was known of an inode may be out of date: the number may have been another file's."""
        is_other = inode.generation not in (None, generation)
        if is_other:
            self._empty(node)
        if is_other or inode.epoch != self._epoch:
            self._drop_names(node, inode)
        inode.epoch, inode.generation = self._epoch, generation

    def found_unnamed(self, directory: int, node: int, *, generation: int = 0) -> None:
        """An inode was made in a directory without a name (TMPFILE)."""
        self._drop(node)
        self._empty(node)
        inode = self._count(node)
        inode.last, inode.generation = (directory, b""), generation

    def found_again(self, node: int) -> None:
        """An inode was found by a name that is none of its own, ``.`` or ``..``: that is a lookup as well."""
        self._count(node)

    def removed(self, name: Name) -> None:
        """There is no such name any more."""
        if name[1].endswith(_CUT):
            self._forget_cut(name)
            return
        node = self._leads_to(name)
        if node is not None:
            self._unbind(name, self._inodes[node])

    def renamed(self, old: Name, new: Name) -> None:
        """A name has become another one, and what that led to lost it."""
        node = self._leads_to(old)
        self.removed(old)
        self.removed(new)
        self._rebind(new, node)

    def exchanged(self, one: Name, other: Name) -> None:
        """Two names lead to each other's inode."""
        nodes = self._leads_to(other), self._leads_to(one)
        self.removed(one)
        self.removed(other)
        for name, node in zip((one, other), nodes, strict=True):
            self._rebind(name, node)

    def forgotten(self, node: int, lookups: int) -> None:
        """The kernel gives lookups of an inode back (FORGET); with the last of them its number is free."""
        inode = self._inodes.get(node)
        if inode is None or node == ROOT:
            return
        inode.lookups -= lookups
        if inode.lookups <= 0:
            self._drop(node)
            self._empty(node)

    def _count(self, node: int) -> _Inode:
        inode = self._inodes.get(node)
        if inode is None:
            if len(self._inodes) >= MOST_INODES:
                self._make_room()
            inode = self._inodes[node] = _Inode(epoch=self._epoch)
        inode.lookups += 1
        return inode

    def _make_room(self) -> None:
        """Drop the inode that was learnt first, but rather a file than a directory on the way to others."""
        for _ in range(_MOST_TRIES):
            oldest = next(iter(self._inodes))
            if oldest not in self._named:
                break
            self._inodes[oldest] = self._inodes.pop(oldest)
        self._drop(oldest)

    def _leads_to(self, name: Name) -> int | None:
        within = self._named.get(name[0])
        return within.get(name[1]) if within is not None else None

    def _bind(self, name: Name, node: int, inode: _Inode) -> None:
        before = self._leads_to(name)
        if before is not None and before != node:
            self._unbind(name, self._inodes[before])
        if not name[1].endswith(_CUT):  # several may begin alike
            self._named.setdefault(name[0], {})[name[1]] = node
        inode.names.pop(name, None)
        inode.names[name] = None
        inode.last = None
        # A path that leads over this inode can only have been made if it was asked for itself.
        if node in self._paths:
            self._paths.clear()

    def _rebind(self, name: Name, node: int | None) -> None:
        inode = self._inodes.get(node) if node is not None else None
        if node is not None and inode is not None:
            self._bind(name, node, inode)

    def _unbind(self, name: Name, inode: _Inode) -> None:
        self._lose(name)
        inode.names.pop(name, None)
        inode.last = name
        self._paths.clear()

    def _lose(self, name: Name) -> None:
        directory, last = name
        within = self._named.get(directory)
        if within is not None:
            within.pop(last, None)
            if not within:
                del self._named[directory]

    def _drop_names(self, node: int, inode: _Inode) -> None:
        for name in inode.names:
            if self._leads_to(name) == node:
                self._lose(name)
        if inode.names:
            inode.names.clear()
            self._paths.clear()

    def _keep_one_name(self, node: int, inode: _Inode) -> None:
        """Drop all names but the newest."""
        newest = next(reversed(inode.names))
        self._drop_names(node, inode)
        self._bind(newest, node, inode)

    def _drop(self, node: int) -> None:
        inode = self._inodes.pop(node, None)
        if inode is not None:
            self._drop_names(node, inode)
            self._paths.clear()

    def _empty(self, directory: int) -> None:
        """The number is another directory's now, or may be: what was known of names in it is not true of that."""
        within = self._named.pop(directory, None)
        if within is not None:
            for name, node in within.items():
                del self._inodes[node].names[directory, name]
            self._paths.clear()

    def _forget_cut(self, name: Name) -> None:
        """A name of which the end is not known was removed or moved: all that it may have been are not known now."""
        directory, stem = name[0], name[1].removesuffix(_CUT)
        for node, inode in list(self._inodes.items()):
            if any(where == directory and known.startswith(stem) for where, known in inode.names):
                self._drop(node)

    def _find(self, node: int) -> Path:
        """Follow the names up to a directory whose path is known, then make the paths of all on the way."""
        way: dict[int, _Inode] = {}
        # What is out of date may even lead in a circle.
        while node != ROOT and node not in self._paths and node not in way and len(way) < _DEEPEST:
            inode = self._inodes.get(node)
            if inode is None or not (inode.names or inode.last):
                break
            way[node] = inode
            node = _name_of(inode)[0]
        path = self._paths.setdefault(node, _ROOT_PATH if node == ROOT else Path(b"#%d" % node))
        for number, inode in reversed(way.items()):
            name = _name_of(inode)[1] or b"#%d" % number
            above, deleted, sure, exact = path.child(name.removesuffix(_CUT), cut=name.endswith(_CUT))
            sure = sure and inode.epoch == self._epoch and not self._doubtful
            path = self._paths[number] = Path(above, deleted or not inode.names, sure, exact)
        return path


def _name_of(inode: _Inode) -> Name:
    """The name that is shown of several: the newest; of none: the last."""
    name = next(reversed(inode.names)) if inode.names else inode.last
    assert name is not None
    return name

"""The inodes of one connection and their names, as the kernel was told them.

A name leads from a directory to an inode: ``(directory's node id, name)``. An inode may have several (hard links), or
none any more. What was learnt before something was missed (events lost, a reply that can't be seen) may be out of date
since, and is marked so until it is learnt anew.
"""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from furtrace.wire.text import printable

ROOT: Final = 1
"""FUSE_ROOT_ID."""
MOST_INODES: Final = 200_000
"""Inodes that are remembered of a connection; past that those learnt first are dropped."""
_DEEPEST: Final = 1000
_MISLEADING: Final = re.compile(r'[ "()?]')
_CUT: Final = b"\0..."  # no name has a NUL, so that no whole name looks like one that was cut off

Name = tuple[int, bytes]


@dataclass(slots=True)
class _Inode:
    names: dict[Name, None] = field(default_factory=dict)  # the newest last
    last: Name | None = None  # the name that was removed last
    lookups: int = 0
    epoch: int = 0


@dataclass(frozen=True)
class Path:
    """Where an inode is.

    Attributes:
        raw: from the mount's root on; ``#5`` at its start stands for an inode whose name is not known.
        deleted: it, or a directory on the way, has no name any more; ``raw`` has its last.
        sure: nothing was missed since it was learnt.

    """

    raw: bytes
    deleted: bool = False
    sure: bool = True

    @property
    def known(self) -> bool:
        """Whether it leads to the root."""
        return self.raw.startswith(b"/")

    def child(self, name: bytes, *, cut: bool = False) -> "Path":
        """The path of a name in this directory; ``cut``: not all of the name is known."""
        start = b"" if self.raw == b"/" else self.raw
        return Path(start + b"/" + name + (b"..." if cut else b""), self.deleted, self.sure)

    @cached_property
    def shown(self) -> str:
        r"""Escaped; quoted where a blank or a quote would mislead, ``?`` behind it where it is not sure."""
        text = printable(self.raw)
        if _MISLEADING.search(text):
            text = '"' + text.replace('"', '\\"') + '"'
        return text + ("" if self.sure else "?") + (" (deleted)" if self.deleted else "")


NO_INODE: Final = Path(b"-")
"""Stands where a request is about none."""
_ROOT_PATH: Final = Path(b"/")


class Inodes:
    """What is known of the inodes of one connection."""

    def __init__(self) -> None:
        self._inodes: dict[int, _Inode] = {}
        self._named: dict[Name, int] = {}
        self._paths: dict[int, Path] = {}
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._inodes)

    def path(self, node: int) -> Path:
        """Where an inode is, as far as it is known."""
        if not node:
            return NO_INODE
        known = self._paths.get(node)
        return known if known is not None else self._find(node)

    def missed(self) -> None:
        """Something was not seen: what is known may be out of date."""
        self._epoch += 1
        self._paths.clear()

    def found(self, directory: int, name: bytes, node: int, *, cut: bool = False) -> None:
        """A name leads to an inode: the kernel was answered so, which counts as one lookup of it."""
        inode = self._inodes.get(node)
        if inode is None:
            inode = self._inodes[node] = _Inode(epoch=self._epoch)
        inode.lookups += 1
        key = (directory, name + _CUT if cut else name)
        if self._named.get(key) == node and inode.epoch == self._epoch and next(reversed(inode.names)) == key:
            return
        if inode.epoch != self._epoch:
            # What was known of it is out of date: the number may have been another file's.
            self._drop_names(node, inode)
            inode.epoch = self._epoch
        self._bind(key, node, inode, shared=cut)
        if len(self._inodes) > MOST_INODES:
            self._drop(next(iter(self._inodes)))

    def found_unnamed(self, directory: int, node: int) -> None:
        """An inode was made in a directory without a name (TMPFILE)."""
        self._drop(node)
        self._inodes[node] = _Inode(last=(directory, b""), lookups=1, epoch=self._epoch)

    def removed(self, directory: int, name: bytes, *, cut: bool = False) -> None:
        """There is no such name any more."""
        if cut:
            self._forget_cut(directory, name)
            return
        node = self._named.pop((directory, name), None)
        if node is not None:
            self._unbind((directory, name), self._inodes[node])

    def renamed(self, old: Name, new: Name, *, cut: bool = False) -> None:
        """A name has become another one, and what that led to lost it."""
        if cut:
            self._forget_cut(*old)
            self._forget_cut(*new)
            return
        node = self._named.get(old)
        if node is None:
            self.removed(*new)
            return
        self._unbind(old, self._inodes[node])
        del self._named[old]
        self._bind(new, node, self._inodes[node])

    def exchanged(self, one: Name, other: Name, *, cut: bool = False) -> None:
        """Two names lead to each other's inode."""
        if cut:
            self._forget_cut(*one)
            self._forget_cut(*other)
            return
        nodes = {one: self._named.pop(other, None), other: self._named.pop(one, None)}
        for old, node in ((other, nodes[one]), (one, nodes[other])):
            if node is not None:
                self._unbind(old, self._inodes[node])
        for name, node in nodes.items():
            if node is not None:
                self._bind(name, node, self._inodes[node])

    def forgotten(self, node: int, lookups: int) -> None:
        """The kernel gives lookups of an inode back (FORGET); with the last of them its number is free."""
        inode = self._inodes.get(node)
        if inode is None:
            return
        inode.lookups -= lookups
        if inode.lookups <= 0:
            self._drop(node)

    def _bind(self, key: Name, node: int, inode: _Inode, *, shared: bool = False) -> None:
        before = self._named.get(key)
        if before is not None and before != node:
            self._unbind(key, self._inodes[before])
        if not shared:
            self._named[key] = node
        inode.names.pop(key, None)
        inode.names[key] = None
        inode.last = None
        # A path that leads over this inode can only have been made if it was asked for itself.
        if node in self._paths:
            self._paths.clear()

    def _unbind(self, key: Name, inode: _Inode) -> None:
        inode.names.pop(key, None)
        inode.last = key
        self._paths.clear()

    def _drop_names(self, node: int, inode: _Inode) -> None:
        for key in inode.names:
            if self._named.get(key) == node:
                del self._named[key]
        inode.names.clear()

    def _drop(self, node: int) -> None:
        inode = self._inodes.pop(node, None)
        if inode is not None:
            self._drop_names(node, inode)
            self._paths.clear()

    def _forget_cut(self, directory: int, name: bytes) -> None:
        """A name of which the end is not known was removed or moved: all that it may have been are not known now."""
        stem = name.removesuffix(_CUT)
        for node, inode in list(self._inodes.items()):
            if any(where == directory and known.startswith(stem) for where, known in inode.names):
                self._drop(node)

    def _find(self, node: int) -> Path:
        """Follow the names up to a directory whose path is known, then make the paths of all on the way."""
        way: list[tuple[int, _Inode]] = []
        while node != ROOT and node not in self._paths and len(way) < _DEEPEST:
            inode = self._inodes.get(node)
            if inode is None or not (inode.names or inode.last):
                break
            way.append((node, inode))
            node = _name_of(inode)[0]
        path = self._paths.setdefault(node, _ROOT_PATH if node == ROOT else Path(b"#%d" % node))
        for number, inode in reversed(way):
            name = _name_of(inode)[1] or b"#%d" % number
            path = path.child(name.removesuffix(_CUT), cut=name.endswith(_CUT))
            path = Path(path.raw, path.deleted or not inode.names, path.sure and inode.epoch == self._epoch)
            self._paths[number] = path
        return path


def _name_of(inode: _Inode) -> Name:
    """The name that is shown of several: the newest; of none: the last."""
    name = next(reversed(inode.names)) if inode.names else inode.last
    assert name is not None
    return name

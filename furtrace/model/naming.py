"""What files are called at the end of a trace.

:class:`~furtrace.model.paths.Paths` says what an inode was called at any time. Statistics ask at the end alone, and
only for some, so that here each inode has its newest name, and a name its inode, and nothing else: a sixth of the work.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.model.briefs import Briefs_
from furtrace.model.inodes import NO_INODE, ROOT, Path, whole_or_cut
from furtrace.model.paths import FINDERS, OWN_ENTRIES, REMOVERS, RENAMERS, changing, directory_entries
from furtrace.model.requests import Places
from furtrace.trace.record import (
    ARGUMENT_OFFSET,
    HEADER_SIZE,
    OPERATION_OFFSET,
    RECORD,
    Flag,
    Kind,
    Records,
    Transport,
    among,
    names_cut,
    part,
)
from furtrace.wire.attributes import ENTRY_OUT
from furtrace.wire.errnos import Errno
from furtrace.wire.opcodes import Opcode
from furtrace.wire.vfs import RenameFlag

FileKey = tuple[int, int]
"""A connection, and which of those that had its number (:meth:`Naming.places`); a node id."""

MOST_FILES: Final = 200_000
"""Files of a connection that are remembered; past that those learnt first are dropped."""
_MOST_TRIES: Final = 100
_DEEPEST: Final = 1000
_TIMES: Final = 32

_Name = tuple[int, bytes]
"""A directory's node id, and a name in it, marked if it was cut off."""


class _Tree:
    """Names of one connection."""

    def __init__(self) -> None:
        self._nodes: dict[_Name, int] = {}
        self._names: dict[int, _Name] = {}
        self._others: dict[int, list[_Name]] = {}  # older names of what had several
        self._unsure: set[int] = set()
        self._directories: set[int] = set()

    def miss(self) -> None:
        """Something was not seen: all that is known may be out of date."""
        self._unsure.update(self._names)

    def bind(self, directory: int, name: bytes, node: int) -> None:
        """A name leads to a file."""
        key = directory, name
        before = self._names.get(node)
        if before != key:
            if before is None:
                self._make_room()
                self._directories.add(directory)
            elif self._nodes.get(before) == node:
                self._others.setdefault(node, []).append(before)
            self._names[node] = key
        self._nodes[key] = node
        self._unsure.discard(node)

    def unbind(self, directory: int, name: bytes) -> None:
        """There is no such name any more."""
        self._nodes.pop((directory, name), None)

    def move(self, old: _Name, new: _Name) -> None:
        """A name has become another one."""
        node = self._nodes.pop(old, None)
        self._nodes.pop(new, None)
        if node is not None:
            self.bind(*new, node)

    def exchange(self, one: _Name, other: _Name) -> None:
        """Two names lead to each other's file."""
        nodes = self._nodes.pop(other, None), self._nodes.pop(one, None)
        for name, node in zip((one, other), nodes, strict=True):
            if node is not None:
                self.bind(*name, node)

    def _make_room(self) -> None:
        """Drop the file that was learnt first, but rather a file than a directory on the way to others."""
        if len(self._names) < MOST_FILES:
            return
        for _ in range(_MOST_TRIES):
            oldest = next(iter(self._names))
            if oldest not in self._directories:
                break
            self._names[oldest] = self._names.pop(oldest)
        for name in (self._names.pop(oldest), *self._others.pop(oldest, ())):
            if self._nodes.get(name) == oldest:
                del self._nodes[name]
        self._unsure.discard(oldest)

    def path(self, node: int) -> Path:
        """Where a file is, or was last."""
        way: list[bytes] = []
        deleted = unsure = False
        while node != ROOT and node in self._names and len(way) < _DEEPEST:
            name = self._name(node)
            deleted |= self._nodes.get(name) != node
            unsure |= node in self._unsure
            node = name[0]
            way.append(name[1])
        path = Path(b"/" if node == ROOT else b"#%d" % node)
        for last in reversed(way):
            text, mark, _ = last.partition(_MARK)
            path = path.child(text, cut=bool(mark))
        return path._replace(deleted=deleted, sure=not unsure)

    def _name(self, node: int) -> _Name:
        """The newest of its names that it still has, else the newest that it had."""
        names: list[_Name] = [*self._others.get(node, ()), self._names[node]]
        return next((name for name in reversed(names) if self._nodes.get(name) == node), names[-1])


_MARK: Final = b"\0"  # no name has one but in the mark of one that was cut off


class Naming:
    """Learns what files are called while a trace is read."""

    def __init__(self) -> None:
        self._times_used: dict[int, int] = {}
        self._trees: dict[int, _Tree] = {}
        self._parts: dict[tuple[int, int], bytes] = {}

    def feed(self, events: Briefs_, records: Callable[[Places], Records], lost: bool = False) -> None:
        """Take in a part of a batch; an INIT among its events is the first.

        Args:
            events: the part.
            records: gives the whole of those at some places of it.
            lost: some events are missing before, after or between these.
        """
        if len(events) and events["kind"][0] == Kind.INIT:
            connection = int(events["connection"][0])
            self._times_used[connection] = self._times_used.get(connection, 0) + 1
        at = changing(events)
        failed = events["error"][at] != 0
        failed &= (events["opcode"][at] != Opcode.LOOKUP) | (events["error"][at] != -Errno.ENOENT)
        at = at[~failed]
        if len(at):
            whole = records(at)
            order = np.argsort(whole["ns"], kind="stable")
            self._learn(whole.view(_WHOLE)[order].view(RECORD))
        if lost:
            self._parts.clear()
            for tree in self._trees.values():
                tree.miss()

    def places(self, connections: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
        """Numbers that tell connections apart, also those that had the same number one after the other."""
        places = connections.astype(np.uint64)
        for connection, times in self._times_used.items():
            places[connections == connection] |= np.uint64(times << _TIMES)
        return places

    def path(self, key: FileKey) -> Path:
        """Where a file is, or was last, at the end of the trace or of its connection."""
        place, node = key
        if not node:
            return NO_INODE
        tree = self._trees.get(place)
        return tree.path(node) if tree is not None else _Tree().path(node)

    def _learn(self, records: Records) -> None:
        """Take in events that tell of names, in the order of time."""
        doings, nodes = _doings(records)
        names = _first_names(records)
        places = self.places(records["connection"]).tolist()
        directories = records["node_id"].tolist()
        for at, doing in enumerate(doings.tolist()):
            tree = self._trees.get(places[at])
            if tree is None:
                tree = self._trees[places[at]] = _Tree()
            if doing == _BIND:
                if names[at] not in OWN_ENTRIES:
                    tree.bind(directories[at], names[at], nodes[at])
            elif doing == _UNBIND:
                tree.unbind(directories[at], names[at])
            elif doing:
                self._learn_rarer(tree, doing, records[at], nodes[at])

    def _learn_rarer(self, tree: _Tree, doing: int, record: np.void, other: int) -> None:
        if doing == _PART:
            self._list_part(tree, record)
        elif doing == _MISS:
            tree.miss()
        else:
            old, new = _all_names(record)
            (tree.exchange if doing == _EXCHANGE else tree.move)((int(record["node_id"]), old), (other, new))

    def _list_part(self, tree: _Tree, record: np.void) -> None:
        """Collect a reply to READDIRPLUS; once it is whole, learn from it."""
        request = int(record["connection"]), int(record["unique"])
        parts = self._parts.pop(request, b"")
        if len(parts) == record["length"]:
            parts += part(record)
        if len(parts) != record["payload_size"]:
            self._parts[request] = parts
            return
        directory = int(record["node_id"])
        for name, (node, _, _, _) in directory_entries(parts):
            if node and name not in OWN_ENTRIES:
                tree.bind(directory, name, node)


# What is to be done with what an event tells.
_BIND, _UNBIND, _MOVE, _EXCHANGE, _PART, _MISS = range(1, 7)


def _doings(records: Records) -> tuple[npt.NDArray[np.uint8], list[int]]:
    """What each event changes; and which node its name leads to, or into which directory it is moved."""
    kinds, opcodes = records["kind"], records["opcode"]
    header = np.ascontiguousarray(records["header"]).view(np.uint8).reshape(len(records), HEADER_SIZE)
    ends, renames = _IS_END[kinds], np.isin(opcodes, list(RENAMERS))
    finds, removes = np.isin(opcodes, list(FINDERS)), np.isin(opcodes, list(REMOVERS))
    replied = (records["header_size"] >= OPERATION_OFFSET + ENTRY_OUT.size) & (records["error"] == 0)
    nodes = np.where(replied, _numbers(header, OPERATION_OFFSET), 0)
    unseen = (records["transport"] == Transport.DEV) & (records["length"] > _OUT_HEADER)
    nameless = np.where(renames, records["second"], records["extra_size"]) == 0
    doings = np.zeros(len(records), np.uint8)
    doings[ends & finds] = _BIND
    doings[ends & (removes | (finds & (nodes == 0)))] = _UNBIND
    doings[ends & renames] = _MOVE
    exchanges = (header[:, _RENAME_FLAGS] & RenameFlag.EXCHANGE) != 0
    doings[ends & (opcodes == Opcode.RENAME2) & exchanges] = _EXCHANGE
    doings[ends & (finds | removes | renames) & nameless] = _MISS
    doings[ends & (opcodes == Opcode.READDIRPLUS) & unseen] = _MISS
    doings[(kinds == Kind.ENTRIES) & (opcodes == Opcode.READDIRPLUS)] = _PART
    return doings, np.where(renames, _numbers(header, ARGUMENT_OFFSET), nodes).tolist()


def _numbers(header: npt.NDArray[np.uint8], offset: int) -> npt.NDArray[np.uint64]:
    """The number of 8 bytes that stands there in each header."""
    return np.ascontiguousarray(header[:, offset : offset + 8]).view("<u8")[:, 0]


def _first_names(records: Records) -> list[bytes]:
    """The first name of each event, marked if it was cut off; empty where it has none."""
    ends = np.where(records["second"] != 0, records["second"], records["extra_size"])
    names = [
        extra[:end].split(b"\0", 1)[0] for extra, end in zip(records["extra"].tolist(), ends.tolist(), strict=True)
    ]
    for at in np.flatnonzero(records["flags"] & Flag.NAME_CUT).tolist():
        names[at] = next(iter(_all_names(records[at])), b"")
    return names


def _all_names(record: np.void) -> list[bytes]:
    """The names of an event, marked if they were cut off."""
    cut = bool(record["flags"] & Flag.NAME_CUT)
    found = names_cut(record["extra"].tobytes(), int(record["extra_size"]), int(record["second"]), cut=cut)
    return [whole_or_cut(name, cut=was_cut) for name, was_cut in found]


_WHOLE: Final = np.dtype(f"V{RECORD.itemsize}")
_IS_END: Final = among((Kind.ENDED, Kind.NAMED))
_RENAME_FLAGS: Final = ARGUMENT_OFFSET + 8  # fuse_rename2_in.flags
_OUT_HEADER: Final = 16

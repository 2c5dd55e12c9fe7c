"""Paths of inodes, learnt from what requests asked and replies answered.

Names come with LOOKUP, CREATE, MKNOD, MKDIR, SYMLINK, LINK, TMPFILE and READDIRPLUS, move with RENAME, go with UNLINK
and RMDIR, and their inodes go with FORGET. Events are taken in their order, so that a request is given the path that
held when it ended.
"""

import stat
import struct
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import numpy as np

from furtrace.model.inodes import Inodes, Path, whole_or_cut
from furtrace.model.requests import Requests_
from furtrace.trace.record import (
    ARGUMENT_OFFSET,
    OPERATION_OFFSET,
    PART_SIZE,
    RECORD,
    Flag,
    Kind,
    Records,
    Transport,
    among,
    names_cut,
)
from furtrace.wire.directories import ALIGNMENT, DIRENTPLUS
from furtrace.wire.errnos import Errno
from furtrace.wire.files import COPY_FILE_RANGE_IN
from furtrace.wire.inodes import FORGET_IN, FORGET_ONE, LINK_IN, RENAME2_IN
from furtrace.wire.opcodes import Opcode
from furtrace.wire.vfs import RenameFlag

FINDERS: Final = frozenset({Opcode.LOOKUP, Opcode.MKNOD, Opcode.MKDIR, Opcode.SYMLINK, Opcode.LINK, Opcode.CREATE})
"""Operations whose reply says which inode a name leads to (``fuse_entry_out``)."""
REMOVERS: Final = frozenset({Opcode.UNLINK, Opcode.RMDIR})
RENAMERS: Final = frozenset({Opcode.RENAME, Opcode.RENAME2})
NAMERS: Final = FINDERS | REMOVERS | RENAMERS
"""Operations about a name in the request's directory."""
_CHANGERS: Final = tuple(map(int, NAMERS | {Opcode.TMPFILE, Opcode.READDIRPLUS, Opcode.INIT}))
OWN_ENTRIES: Final = (b".", b"..")
"""Names of a directory itself and its parent: READDIRPLUS makes no lookup of them, LOOKUP for a file handle does."""
_MOST_UNANSWERED: Final = 10_000


class Subject(NamedTuple):
    """What a request is about: its path; of RENAME, LINK and COPY_FILE_RANGE also the other one."""

    path: Path
    other: Path | None = None


UNKNOWN: Final = Path(b"?", exact=False)
"""Stands where the request itself does not tell what it is about."""


class _Change(NamedTuple):
    """What changes paths: an event, of which only this is needed. Plain values cost a tenth of numpy's."""

    ns: int
    unique: int
    node_id: int
    connection: int
    opcode: int
    error: int
    length: int
    payload_size: int
    kind: int
    transport: int
    flags: int
    header_size: int
    extra_size: int
    second: int
    header: bytes
    extra: bytes


class _Asking(NamedTuple):
    """What a request is about, by names: its columns."""

    connection: int
    opcode: int
    node_id: int
    flags: int
    second: int
    name_size: int
    operation_size: int
    name: bytes
    operation: bytes


class Paths:
    """Follows the paths of every connection's inodes."""

    def __init__(self) -> None:
        self._connections: dict[int, Inodes] = {}
        self._pending: list[_Change] = []
        self._whens: list[int] = []
        self._next = 0
        self._doubtful = False
        self._parts: dict[tuple[int, int], bytes] = {}
        self._listed: set[tuple[int, int]] = set()

    def feed(self, batch: Records, lost: bool = False) -> None:
        """Take in a batch in the order of the ring buffer; what it changes counts from its time on, not at once.

        Args:
            batch: dtype RECORD.
            lost: some events are missing, before the batch, after it or in between.
        """
        self._settle()
        if lost:
            self._doubtful = True
            for inodes in self._connections.values():
                inodes.doubt(doubtful=True)
            self._parts.clear()
        changes = changing(batch)
        changes = changes[np.argsort(batch["ns"][changes], kind="stable")]
        columns = (batch[name][changes].tolist() for name in _Change._fields)
        self._pending, self._next = list(map(_Change, *columns)), 0
        self._whens = [change.ns for change in self._pending]

    def subjects(self, rows: Requests_) -> list[Subject]:
        """What requests are about that ended in the last batch, given in the order in which they ended."""
        subjects: list[Subject] = []
        known: dict[tuple[int, int], Subject] = {}
        changes = self._changes_at()
        compound = iter(_askings(rows[np.isin(rows["opcode"], _COMPOUND_CODES)]))
        columns = (rows[name].tolist() for name in ("ended_ns", "connection", "node_id", "opcode"))
        for ended, connection, node, opcode in zip(*columns, strict=True):
            if ended > changes:
                self.go_to(ended)
                changes = self._changes_at()
                known.clear()
            if opcode in _COMPOUND:
                subjects.append(self._of(next(compound)))
                continue
            subject = known.get((connection, node))
            if subject is None:
                subject = known[connection, node] = Subject(self._inodes(connection).path(node))
            subjects.append(subject)
        return subjects

    def _changes_at(self) -> int:
        """When the next change comes that is not taken in yet."""
        return self._whens[self._next] if self._next < len(self._whens) else _NEVER

    def present(self, rows: Requests_) -> list[Subject]:
        """What requests are about that are under way now."""
        self._settle()
        return [self._of(asking) for asking in _askings(rows)]

    def of_events(self, events: Records) -> list[Subject | None]:
        """What events of the last batch are about, given in their order: None where that is no request.

        A QUEUED brings names; any other is about its inode.
        """
        subjects: list[Subject | None] = []
        known: dict[tuple[int, int], Subject] = {}
        changes = self._changes_at()
        named = (events["kind"] == Kind.QUEUED) & np.isin(events["opcode"], _COMPOUND_CODES)
        askings = iter(_asked_by(events[named & (events["unique"] != 0)]))
        columns = (events[name].tolist() for name in ("ns", "unique", "connection", "node_id"))
        for ns, unique, connection, node, is_named in zip(*columns, named.tolist(), strict=True):
            if ns > changes:
                self.go_to(ns)
                changes = self._changes_at()
                known.clear()
            if not unique or is_named:
                subjects.append(self._of(next(askings)) if unique else None)
                continue
            subject = known.get((connection, node))
            if subject is None:
                subject = known[connection, node] = Subject(self._inodes(connection).path(node))
            subjects.append(subject)
        return subjects

    def go_to(self, ns: int) -> None:
        """Take in what happened before a point in time."""
        while self._next < len(self._whens) and self._whens[self._next] < ns:
            self._apply_next()

    def _of(self, asking: _Asking) -> Subject:
        opcode, inodes = asking.opcode, self._inodes(asking.connection)
        path = inodes.path(asking.node_id)
        if opcode not in _COMPOUND:
            return Subject(path)
        body = asking.operation[: asking.operation_size]
        if opcode in _COPIERS:
            whole = len(body) >= COPY_FILE_RANGE_IN.size
            return Subject(path, inodes.path(COPY_FILE_RANGE_IN.unpack(body).nodeid_out) if whole else UNKNOWN)
        given = _names(asking.name, asking.name_size, asking.second, asking.flags)
        first = _entry(path, given[:1])
        if opcode not in _OF_TWO_NAMES:
            return Subject(first)
        if len(body) < LINK_IN.size:
            return Subject(first, UNKNOWN)
        other = inodes.path(LINK_IN.unpack(body).oldnodeid)  # fuse_rename_in begins with newdir in its place
        return Subject(first, other if opcode == Opcode.LINK else _entry(other, given[1:]))

    def path(self, connection: int, node: int) -> Path:
        """Where an inode is after all that was fed."""
        self._settle()
        return self._inodes(connection).path(node)

    def inodes(self, connection: int) -> int:
        """How many inodes of a connection are known."""
        self._settle()
        return len(self._inodes(connection))

    def _inodes(self, connection: int) -> Inodes:
        known = self._connections.get(connection)
        if known is None:
            known = self._connections[connection] = Inodes(doubtful=self._doubtful)
        return known

    def _settle(self) -> None:
        while self._next < len(self._whens):
            self._apply_next()
        if self._doubtful:
            self._doubtful = False
            for inodes in self._connections.values():
                inodes.doubt(doubtful=False)

    def _apply_next(self) -> None:
        event = self._pending[self._next]
        self._next += 1
        opcode = event.opcode
        if event.kind == _INIT or opcode == _INIT_REQUEST:
            self._begin(event.connection)
            return
        inodes = self._inodes(event.connection)
        if event.kind == _ENTRIES:
            self._list_part(event, inodes)
        elif opcode in _LEARNT:
            _LEARNT[opcode](event, inodes)
        elif opcode == _READDIRPLUS:
            self._listed_by(event, inodes)
        else:
            _forget(event, inodes)

    def _begin(self, connection: int) -> None:
        """The number is that of a new connection."""
        self._connections.pop(connection, None)
        self._parts = {request: parts for request, parts in self._parts.items() if request[0] != connection}
        self._listed = {request for request in self._listed if request[0] != connection}

    def _list_part(self, event: _Change, inodes: Inodes) -> None:
        """Collect a reply to READDIRPLUS, or a BATCH_FORGET; once it is whole, learn from it."""
        request = event.connection, event.unique
        parts = self._parts.pop(request, b"")
        if len(parts) != event.length:
            self._parts[request] = parts
            return
        parts += (event.header + event.extra)[: event.header_size]
        if len(parts) != event.payload_size:
            self._parts[request] = parts
        elif event.opcode == _BATCH_FORGET:
            _forget_several(parts, inodes)
        else:
            self._listed.add(request)
            directory = event.node_id
            for name, (node, generation, mode, links) in directory_entries(parts):
                if node and name not in OWN_ENTRIES:
                    inodes.found((directory, name), node, generation=generation, alone=_is_alone(mode, links))

    def _listed_by(self, event: _Change, inodes: Inodes) -> None:
        """READDIRPLUS has ended: if not all of its entries were seen, numbers may have been given anew."""
        request = event.connection, event.unique
        self._parts.pop(request, None)
        empty = event.transport == Transport.DEV and event.length <= _OUT_HEADER
        if request in self._listed:
            self._listed.discard(request)
        elif not event.error and not empty:
            inodes.missed()
        if len(self._listed) > _MOST_UNANSWERED:
            self._listed.clear()


def _askings(rows: Requests_) -> Iterable[_Asking]:
    """Each request's columns."""
    return map(_Asking, *(rows[name].tolist() for name in _Asking._fields))


def _asked_by(events: Records) -> Iterable[_Asking]:
    """The same of QUEUED."""
    columns = (events[name].tolist() for name in ("connection", "opcode", "node_id", "flags", "second", "extra_size"))
    bodies = [
        header[OPERATION_OFFSET:size]
        for header, size in zip(events["header"].tolist(), events["header_size"].tolist(), strict=True)
    ]
    return map(_Asking, *columns, map(len, bodies), events["extra"].tolist(), bodies)


_NEVER: Final = 1 << 64
# Plain numbers: to look one up among members of an enumeration costs several times as much.
_INIT, _ENTRIES, _NAME_CUT = int(Kind.INIT), int(Kind.ENTRIES), int(Flag.NAME_CUT)
_INIT_REQUEST, _READDIRPLUS, _BATCH_FORGET = int(Opcode.INIT), int(Opcode.READDIRPLUS), int(Opcode.BATCH_FORGET)
_COPIERS: Final = frozenset({Opcode.COPY_FILE_RANGE, Opcode.COPY_FILE_RANGE_64})
_COMPOUND: Final = frozenset(map(int, NAMERS | _COPIERS))
_COMPOUND_CODES: Final = tuple(_COMPOUND)
_OF_TWO_NAMES: Final = frozenset(map(int, RENAMERS | {Opcode.LINK}))
OF_TWO: Final = RENAMERS | _COPIERS | {Opcode.LINK}
"""Operations about two inodes."""
_OUT_HEADER: Final = 16


def changing(batch: Records) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    """Where a batch has what changes paths; of its members only ``kind`` and ``opcode`` are looked at."""
    kinds, opcodes = batch["kind"], batch["opcode"]
    ends = np.flatnonzero(_IS_END[kinds])
    forgets = np.flatnonzero(_MAY_FORGET[kinds])
    found = (
        ends[np.isin(opcodes[ends], _CHANGERS)],
        forgets[opcodes[forgets] == Opcode.FORGET],
        np.flatnonzero(_CHANGES_ALWAYS[kinds]),
    )
    return np.unique(np.concatenate(found))


def _forget(event: _Change, inodes: Inodes) -> None:
    body = event.header[OPERATION_OFFSET : event.header_size]
    if len(body) >= FORGET_IN.size:
        inodes.forgotten(event.node_id, FORGET_IN.unpack(body).nlookup)


def _forget_several(data: bytes, inodes: Inodes) -> None:
    """Take in the ``fuse_forget_one`` of a BATCH_FORGET."""
    for at in range(0, len(data) - FORGET_ONE.size + 1, FORGET_ONE.size):
        one = FORGET_ONE.unpack(data, at)
        inodes.forgotten(one.nodeid, one.nlookup)


_IS_END: Final = among((Kind.ENDED, Kind.NAMED))
_MAY_FORGET: Final = among((Kind.DELIVERED, Kind.NAMED))
_CHANGES_ALWAYS: Final = among((Kind.INIT, Kind.ENTRIES))
_ENTRY_OUT: Final = struct.Struct("<QQ84xII")
"""Of ``fuse_entry_out``: nodeid, generation, attr.mode, attr.nlink."""


def _is_alone(mode: int, links: int) -> bool:
    """Whether an inode can have but one name: a directory, or what has a single link."""
    return links == 1 or stat.S_ISDIR(mode)


# Requests about names that have ended. One whose names are not known makes nothing that was known sure any more.


def _learn_lookup(event: _Change, inodes: Inodes) -> None:
    if event.error == _ENOENT:
        name = _first_name(event)
        if name is not None:
            inodes.removed((event.node_id, name))
    else:
        _learn_found(event, inodes)


def _learn_found(event: _Change, inodes: Inodes) -> None:
    if event.error:
        return
    name = _first_name(event)
    if name is None:
        inodes.missed()
        return
    node, generation, mode, links = _entry_out(event)
    if not node:
        inodes.removed((event.node_id, name))
    elif name in OWN_ENTRIES:
        inodes.found_again(node)
    else:
        alone = event.opcode != _LINK and _is_alone(mode, links)
        inodes.found((event.node_id, name), node, generation=generation, alone=alone)


def _learn_removed(event: _Change, inodes: Inodes) -> None:
    if event.error:
        return
    name = _first_name(event)
    if name is None:
        inodes.missed()
    else:
        inodes.removed((event.node_id, name))


def _learn_unnamed(event: _Change, inodes: Inodes) -> None:
    node, generation, _, _ = _entry_out(event)
    if node and not event.error:
        inodes.found_unnamed(event.node_id, node, generation=generation)


def _learn_renamed(event: _Change, inodes: Inodes) -> None:
    if event.error:
        return
    found = _names(event.extra, event.extra_size, event.second, event.flags)
    if len(found) < 2:
        inodes.missed()
        return
    asked = RENAME2_IN.unpack(event.header[ARGUMENT_OFFSET : ARGUMENT_OFFSET + RENAME2_IN.size])
    exchange = event.opcode == Opcode.RENAME2 and asked.flags & RenameFlag.EXCHANGE
    old, new = (whole_or_cut(name, cut=cut) for name, cut in found)
    (inodes.exchanged if exchange else inodes.renamed)((event.node_id, old), (asked.newdir, new))


_LEARNT: Final[dict[int, Callable[[_Change, Inodes], None]]] = {
    **dict.fromkeys(map(int, FINDERS), _learn_found),
    **dict.fromkeys(map(int, REMOVERS), _learn_removed),
    **dict.fromkeys(map(int, RENAMERS), _learn_renamed),
    int(Opcode.LOOKUP): _learn_lookup,
    int(Opcode.TMPFILE): _learn_unnamed,
}
_LINK, _ENOENT = int(Opcode.LINK), -int(Errno.ENOENT)


def _entry_out(event: _Change) -> tuple[int, int, int, int]:
    """Node id, generation, mode and number of links of what the reply found; all 0 if it is not known."""
    if event.header_size - OPERATION_OFFSET < _ENTRY_OUT.size:
        return 0, 0, 0, 0
    node, generation, mode, links = _ENTRY_OUT.unpack_from(event.header, OPERATION_OFFSET)
    return node, generation, mode, links


def _first_name(event: _Change) -> bytes | None:
    """The first of its names, as :class:`~furtrace.model.inodes.Inodes` wants it; None: it has none."""
    if not event.extra_size:
        return None
    if event.second or event.flags & _NAME_CUT:
        name, cut = _names(event.extra, event.extra_size, event.second, event.flags)[0]
        return whole_or_cut(name, cut=cut)
    return event.extra[: event.extra_size].split(b"\0", 1)[0]


def _names(field: bytes, size: int, second: int, flags: int) -> list[tuple[bytes, bool]]:
    """The names of a request, each with whether it was cut off."""
    return names_cut(field, size, second, cut=bool(flags & _NAME_CUT))


def _entry(directory: Path, given: list[tuple[bytes, bool]]) -> Path:
    """The path of a name in a directory; a question mark where the name is not known."""
    if not given:
        return directory.unknown_child()
    name, cut = given[0]
    return directory.child(name, cut=cut)


_DIRENTPLUS: Final = struct.Struct("<QQ84xII36xI4x")
"""Of ``fuse_direntplus``: nodeid, generation, attr.mode, attr.nlink; the length of the name behind it."""
assert _DIRENTPLUS.size == DIRENTPLUS.size


def directory_entries(data: bytes) -> Iterable[tuple[bytes, tuple[int, int, int, int]]]:
    """Name, and node id, generation, mode and links, of each entry of a reply to READDIRPLUS that is whole."""
    at = 0
    while at + _DIRENTPLUS.size <= len(data):
        *entry, length = _DIRENTPLUS.unpack_from(data, at)
        start = at + _DIRENTPLUS.size
        end = start + length
        if end > len(data):
            return
        node, generation, mode, links = entry
        yield data[start:end], (node, generation, mode, links)
        at = end + -end % ALIGNMENT


assert RECORD["header"].itemsize + RECORD["extra"].itemsize == PART_SIZE

"""Paths of inodes, learnt from what requests asked and replies answered.

Names come with LOOKUP, CREATE, MKNOD, MKDIR, SYMLINK, LINK, TMPFILE and READDIRPLUS, move with RENAME, go with UNLINK
and RMDIR, and their inodes go with FORGET. Events are taken in their order, so that a request is given the path that
held when it ended.
"""

import stat
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from furtrace.model.inodes import Inodes, Name, Path, whole_or_cut
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
    names_cut,
    no_records,
)
from furtrace.wire.attributes import EntryOut
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


class Paths:
    """Follows the paths of every connection's inodes."""

    def __init__(self) -> None:
        self._connections: dict[int, Inodes] = {}
        self._pending: Records = no_records()
        self._whens: list[int] = []
        self._next = 0
        self._doubtful = False
        self._parts: dict[tuple[int, int], bytearray] = {}
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
        changes = _changes(batch)
        changes = changes[np.argsort(batch["ns"][changes], kind="stable")]
        self._pending, self._next = batch[changes], 0
        self._whens = self._pending["ns"].tolist()

    def subjects(self, rows: Requests_) -> list[Subject]:
        """What requests are about that ended in the last batch, given in the order in which they ended."""
        subjects: list[Subject] = []
        known: dict[tuple[int, int], Subject] = {}
        changes = self._changes_at()
        columns = (rows[name].tolist() for name in ("ended_ns", "connection", "node_id", "opcode"))
        for at, (ended, connection, node, opcode) in enumerate(zip(*columns, strict=True)):
            if ended > changes:
                self.go_to(ended)
                changes = self._changes_at()
                known.clear()
            if opcode in _COMPOUND:
                subjects.append(self._of_row(rows[at]))
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
        return [self._of_row(row) for row in rows]

    def of_event(self, event: np.void) -> Subject:
        """What an event of the last batch is about: with the names that it brings if it is QUEUED, else its inode."""
        self.go_to(int(event["ns"]))
        body = event["header"].tobytes()[OPERATION_OFFSET : int(event["header_size"])]
        inodes = self._inodes(int(event["connection"]))
        if event["kind"] != Kind.QUEUED:
            return Subject(inodes.path(int(event["node_id"])))
        return _subject(inodes, int(event["opcode"]), int(event["node_id"]), _names(event, "extra", "extra_size"), body)

    def go_to(self, ns: int) -> None:
        """Take in what happened before a point in time."""
        while self._next < len(self._whens) and self._whens[self._next] < ns:
            self._apply_next()

    def _of_row(self, row: np.void) -> Subject:
        body = row["operation"].tobytes()[: int(row["operation_size"])]
        inodes = self._inodes(int(row["connection"]))
        return _subject(inodes, int(row["opcode"]), int(row["node_id"]), _names(row, "name", "name_size"), body)

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
        kind, opcode = Kind(event["kind"]), int(event["opcode"])
        connection = int(event["connection"])
        if kind is Kind.INIT or opcode == Opcode.INIT:
            self._begin(connection)
        elif kind is Kind.ENTRIES:
            self._list_part(event)
        elif opcode == Opcode.FORGET:
            self._forget(event, self._inodes(connection))
        elif opcode == Opcode.READDIRPLUS:
            self._listed_by(event, self._inodes(connection))
        else:
            _learn(event, opcode, self._inodes(connection))

    def _begin(self, connection: int) -> None:
        """The number is that of a new connection."""
        self._connections.pop(connection, None)
        self._parts = {request: parts for request, parts in self._parts.items() if request[0] != connection}
        self._listed = {request for request in self._listed if request[0] != connection}

    def _forget(self, event: np.void, inodes: Inodes) -> None:
        body = event["header"].tobytes()[OPERATION_OFFSET : int(event["header_size"])]
        if len(body) >= FORGET_IN.size:
            inodes.forgotten(int(event["node_id"]), FORGET_IN.unpack(body).nlookup)

    def _list_part(self, event: np.void) -> None:
        """Collect a reply to READDIRPLUS, or a BATCH_FORGET; once it is whole, learn from it."""
        request = int(event["connection"]), int(event["unique"])
        parts = self._parts.setdefault(request, bytearray())
        if len(parts) != event["length"]:
            return
        data = event["header"].tobytes() + event["extra"].tobytes()
        parts += data[: int(event["header_size"])]
        if len(parts) != event["payload_size"]:
            return
        del self._parts[request]
        if event["opcode"] == Opcode.BATCH_FORGET:
            _forget_several(bytes(parts), self._inodes(request[0]))
            return
        self._listed.add(request)
        inodes, directory = self._inodes(request[0]), int(event["node_id"])
        for name, entry in entries(bytes(parts)):
            if entry.nodeid and name not in OWN_ENTRIES:
                alone = _is_alone(entry.attr.mode, entry.attr.nlink)
                inodes.found((directory, name), entry.nodeid, generation=entry.generation, alone=alone)

    def _listed_by(self, event: np.void, inodes: Inodes) -> None:
        """READDIRPLUS has ended: if not all of its entries were seen, numbers may have been given anew."""
        request = int(event["connection"]), int(event["unique"])
        self._parts.pop(request, None)
        empty = event["transport"] == Transport.DEV and event["length"] <= _OUT_HEADER
        if request in self._listed:
            self._listed.discard(request)
        elif not event["error"] and not empty:
            inodes.missed()
        if len(self._listed) > _MOST_UNANSWERED:
            self._listed.clear()


_NEVER: Final = 1 << 64
_COPIERS: Final = frozenset({Opcode.COPY_FILE_RANGE, Opcode.COPY_FILE_RANGE_64})
_COMPOUND: Final = NAMERS | _COPIERS
OF_TWO: Final = RENAMERS | _COPIERS | {Opcode.LINK}
"""Operations about two inodes."""
_OUT_HEADER: Final = 16


def _changes(batch: Records) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    """Where a batch has what changes paths."""
    kinds, opcodes = batch["kind"], batch["opcode"]
    changes = np.isin(kinds, (Kind.ENDED, Kind.NAMED)) & np.isin(opcodes, _CHANGERS)
    changes |= np.isin(kinds, (Kind.INIT, Kind.ENTRIES))
    changes |= np.isin(kinds, (Kind.DELIVERED, Kind.NAMED)) & (opcodes == Opcode.FORGET)
    return np.flatnonzero(changes)


def _forget_several(data: bytes, inodes: Inodes) -> None:
    """Take in the ``fuse_forget_one`` of a BATCH_FORGET."""
    for at in range(0, len(data) - FORGET_ONE.size + 1, FORGET_ONE.size):
        one = FORGET_ONE.unpack(data, at)
        inodes.forgotten(one.nodeid, one.nlookup)


_ENTRY_OUT: Final = struct.Struct("<QQ84xII")
"""Of ``fuse_entry_out``: nodeid, generation, attr.mode, attr.nlink."""


def _is_alone(mode: int, links: int) -> bool:
    """Whether an inode can have but one name: a directory, or what has a single link."""
    return stat.S_ISDIR(mode) or links == 1


def _learn(event: np.void, opcode: int, inodes: Inodes) -> None:
    """Take in a request about names that has ended."""
    given = [whole_or_cut(name, cut=cut) for name, cut in _names(event, "extra", "extra_size")]
    directory, error = int(event["node_id"]), int(event["error"])
    if opcode == Opcode.LOOKUP and error == -Errno.ENOENT and given:
        inodes.removed((directory, given[0]))
    if error:
        return
    if opcode in RENAMERS:
        _rename(event, given, inodes)
    elif opcode in REMOVERS and given:
        inodes.removed((directory, given[0]))
    elif opcode in FINDERS and given:
        _found(event, (directory, given[0]), inodes)
    elif opcode == Opcode.TMPFILE:
        node, generation, *_ = _entry_out(event)
        if node:
            inodes.found_unnamed(directory, node, generation=generation)
    else:
        # What was named is not known; so nothing that was is sure any more.
        inodes.missed()


def _entry_out(event: np.void) -> tuple[int, int, int, int]:
    """Node id, generation, mode and number of links of what the reply found; all 0 if it is not known."""
    body = event["header"].tobytes()[OPERATION_OFFSET : int(event["header_size"])]
    if len(body) < _ENTRY_OUT.size:
        return 0, 0, 0, 0
    node, generation, mode, links = _ENTRY_OUT.unpack_from(body)
    return node, generation, mode, links


def _found(event: np.void, name: Name, inodes: Inodes) -> None:
    node, generation, mode, links = _entry_out(event)
    if not node:
        inodes.removed(name)
    elif name[1] in OWN_ENTRIES:
        inodes.found_again(node)
    else:
        alone = event["opcode"] != Opcode.LINK and _is_alone(mode, links)
        inodes.found(name, node, generation=generation, alone=alone)


def _rename(event: np.void, given: list[bytes], inodes: Inodes) -> None:
    argument = event["header"].tobytes()[ARGUMENT_OFFSET : ARGUMENT_OFFSET + RENAME2_IN.size]
    asked = RENAME2_IN.unpack(argument)
    if len(given) < 2:
        inodes.missed()
        return
    exchange = event["opcode"] == Opcode.RENAME2 and asked.flags & RenameFlag.EXCHANGE
    change = inodes.exchanged if exchange else inodes.renamed
    change((int(event["node_id"]), given[0]), (asked.newdir, given[1]))


def _names(row: np.void, field: str, size_field: str) -> list[tuple[bytes, bool]]:
    """The names of a request, each with whether it was cut off."""
    cut = bool(row["flags"] & Flag.NAME_CUT)
    return names_cut(row[field].tobytes(), int(row[size_field]), int(row["second"]), cut=cut)


def _subject(inodes: Inodes, opcode: int, node: int, given: list[tuple[bytes, bool]], body: bytes) -> Subject:
    """What a request is about, by the names that it brings and its operation's structure."""
    path = inodes.path(node)
    if opcode in _COPIERS:
        whole = len(body) >= COPY_FILE_RANGE_IN.size
        return Subject(path, inodes.path(COPY_FILE_RANGE_IN.unpack(body).nodeid_out) if whole else UNKNOWN)
    if opcode not in NAMERS:
        return Subject(path)
    first = _entry(path, given[:1])
    if opcode not in RENAMERS and opcode != Opcode.LINK:
        return Subject(first)
    if len(body) < LINK_IN.size:
        return Subject(first, UNKNOWN)
    other = inodes.path(LINK_IN.unpack(body).oldnodeid)  # fuse_rename_in begins with newdir in its place
    return Subject(first, other if opcode == Opcode.LINK else _entry(other, given[1:]))


def _entry(directory: Path, given: list[tuple[bytes, bool]]) -> Path:
    """The path of a name in a directory; a question mark where the name is not known."""
    if not given:
        return directory.unknown_child()
    name, cut = given[0]
    return directory.child(name, cut=cut)


def entries(data: bytes) -> Iterable[tuple[bytes, EntryOut]]:
    """Name and ``fuse_entry_out`` of each entry of a reply to READDIRPLUS, as far as they are whole."""
    at = 0
    while at + DIRENTPLUS.size <= len(data):
        entry = DIRENTPLUS.unpack(data, at)
        start = at + DIRENTPLUS.size
        end = start + entry.dirent.namelen
        if end > len(data):
            return
        yield data[start:end], entry.entry_out
        at = end + -end % ALIGNMENT


assert RECORD["header"].itemsize + RECORD["extra"].itemsize == PART_SIZE

"""A file system at random, and what its kernel says of it: which path each inode has is known by another way.

Inodes are objects that know their directories; the events only have numbers. The kernel looks up what it does not know
before it uses it, and forgets what it likes to, so that numbers come again for other inodes.
"""

import struct
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from furtrace.trace.record import PART_SIZE, Kind, Records, Transport
from furtrace.wire.opcodes import Opcode
from furtrace.wire.vfs import RenameFlag
from tests.unit import events

_NAMES = (b"a", b"b", b"c", b"d")


@dataclass(eq=False)
class Inode:
    """``told``: the names by which the kernel knows it, the newest last. ``last``: the one that was removed last."""

    is_directory: bool
    names: list[tuple["Inode", bytes]] = field(default_factory=list)
    told: list[tuple["Inode", bytes]] = field(default_factory=list)
    last: "tuple[Inode, bytes] | None" = None
    node: int = 0
    generation: int = 0
    lookups: int = 0

    def path(self) -> tuple[bytes, bool]:
        """The path, and whether it or a directory on the way is removed."""
        place = self.told[-1] if self.told else self.last
        if place is None:
            return b"/", False
        directory, name = place
        above, deleted = directory.path()
        return joined(above, name or b"#%d" % self.node), deleted or not self.told

    def is_below(self, other: "Inode") -> bool:
        """Whether it is ``other`` or lies in it."""
        return self is other or any(directory.is_below(other) for directory, _ in self.names)


def joined(directory: bytes, name: bytes) -> bytes:
    """A path of a name in a directory."""
    return directory.removesuffix(b"/") + b"/" + name


@dataclass(frozen=True)
class Expected:
    """What a request is about; ``names``: all paths that the inode has, where it may have several."""

    path: bytes
    deleted: bool
    other: bytes | None = None
    names: frozenset[bytes] = frozenset()


@dataclass(frozen=True)
class Server:
    """How a server numbers inodes, and whether FORGET is seen."""

    generations: bool
    forgets: bool
    links: bool


class World:
    """Makes ``events``, and for each request by its unique what it is ``expected`` to be about."""

    def __init__(self, server: Server) -> None:
        self.events: list[Records] = []
        self.expected: dict[int, Expected] = {}
        self._server = server
        self._root = Inode(is_directory=True, node=1)
        self._all = [self._root]
        self._free = list(range(9, 1, -1))  # few numbers, so that they come again
        self._generation = 0
        self._ns = 1000
        self._unique = 0

    # ---- what happens ----

    def use_all(self) -> None:
        """A request about each inode that the kernel knows, which need not have a name any more."""
        for inode in self._all:
            if inode.node:
                names = frozenset(joined(directory.path()[0], name) for directory, name in inode.told)
                self._request(Opcode.GETATTR, inode, Expected(*inode.path(), names=names))

    def look(self, pick: tuple[int, int, int]) -> None:
        """LOOKUP of a name that is there or not."""
        directory, name = self._place(pick[0], pick[1])
        self._look(directory, name)

    def make(self, pick: tuple[int, int, int]) -> None:
        """CREATE, MKDIR, MKNOD or SYMLINK, where there is no such name yet."""
        directory, name = self._place(pick[0], pick[1])
        if self._at(directory, name) or not self._free:
            return
        opcode = (Opcode.CREATE, Opcode.MKDIR, Opcode.MKDIR, Opcode.MKNOD, Opcode.SYMLINK)[pick[2] % 5]
        inode = Inode(is_directory=opcode == Opcode.MKDIR)
        inode.names.append((directory, name))
        self._all.append(inode)
        self._entry(opcode, directory, name, inode)

    def make_unnamed(self, pick: tuple[int, int, int]) -> None:
        """TMPFILE."""
        directory, _ = self._place(pick[0], pick[1])
        if not self._free:
            return
        inode = Inode(is_directory=False, last=(directory, b""))
        self._all.append(inode)
        expected = Expected(*directory.path())
        self._number(inode)
        self._request(Opcode.TMPFILE, directory, expected, header=self._reply(inode))

    def link(self, pick: tuple[int, int, int]) -> None:
        """LINK: a file gets another name, or the first if it is an unnamed one."""
        directory, name = self._place(pick[0], pick[1])
        files = [inode for inode in self._all if inode.node and not inode.is_directory]
        if not files or self._at(directory, name):
            return
        inode = files[pick[2] % len(files)]
        if (inode.names and not self._server.links) or not (inode.names or (inode.last and not inode.last[1])):
            return
        expected = Expected(joined(directory.path()[0], name), directory.path()[1], inode.path()[0])
        inode.names.append((directory, name))
        self._told(inode, directory, name)
        asked = events.operation_header(inode.node.to_bytes(8, "little"))
        self._request(Opcode.LINK, directory, expected, asked, **events.one_name(name), header=self._reply(inode))

    def remove(self, pick: tuple[int, int, int]) -> None:
        """UNLINK or RMDIR."""
        directory, name = self._place(pick[0], pick[1])
        inode = self._at(directory, name)
        if inode is None or not self._is_empty(inode) or not self._need(directory, name):
            return
        expected = Expected(joined(directory.path()[0], name), directory.path()[1])
        self._lose(inode, directory, name)
        opcode = Opcode.RMDIR if inode.is_directory else Opcode.UNLINK
        self._request(opcode, directory, expected, **events.one_name(name))

    def rename(self, pick: tuple[int, int, int]) -> None:
        """RENAME or RENAME2, over what there may be; or both exchanged."""
        old = self._place(pick[0], pick[1])
        new = self._place(pick[2], pick[2] // 7)
        one, other = self._at(*old), self._at(*new)
        exchange = pick[1] % 3 == 0
        if one is None or one is other or new[0].is_below(one) or (exchange and other is None):
            return
        if other is not None and (old[0].is_below(other) if exchange else not self._may_replace(one, other)):
            return
        if not self._need(*old) or not self._need(*new):
            return
        expected = Expected(*self._joined(old), self._joined(new)[0])
        if other is not None:
            self._lose(other, *new)
        self._lose(one, *old)
        self._win(one, *new)
        if exchange and other is not None:
            self._win(other, *old)
        flags = None if pick[0] % 2 and not exchange else int(RenameFlag.EXCHANGE) if exchange else 0
        self._renamed(old, new, flags, expected)

    def list_(self, pick: tuple[int, int, int]) -> None:
        """READDIRPLUS; of some entries the server says no number."""
        directory, _ = self._place(pick[0], pick[1])
        inside = [(name, inode) for inode in self._all for where, name in inode.names if where is directory]
        data = entry(b".", directory.node, events.entry_out(directory.node))
        data += entry(b"..", 1, events.entry_out(1))
        for number, (name, inode) in enumerate(inside):
            told = bool(inode.node or (pick[2] >> number & 1 and self._free))  # before the number is taken
            if told:
                self._told(inode, directory, name)
            data += entry(name, inode.node if told else 0, self._entry_out(inode))
        self._unique += 2
        self.expected[self._unique] = Expected(*directory.path())
        for at in range(0, len(data), PART_SIZE):
            self._add(part(self._unique, self._now(), data, at, node_id=directory.node))
        self._add(events.ended(self._unique, self._now(), Opcode.READDIRPLUS, node_id=directory.node))

    def forget(self, pick: tuple[int, int, int]) -> None:
        """The kernel drops an inode, and what lies in it."""
        known = [inode for inode in self._all[1:] if inode.node and not self._is_held(inode)]
        if known:
            self._forget(known[pick[0] % len(known)])

    # ---- parts of it ----

    def _is_held(self, inode: Inode) -> bool:
        """Whether a removed file that is still open lies in it: its place holds the directory."""
        return any(
            one.node and not one.told and one.last and self._lies_in(one.last[0], inode) for one in self._all[1:]
        )

    def _lies_in(self, one: Inode | None, other: Inode) -> bool:
        """Whether the kernel knows it to be in ``other``, or to have been when it was removed."""
        while one is not None and one is not other:
            place = one.told[-1] if one.told else one.last
            one = place[0] if place else None
        return one is other

    def _forget(self, inode: Inode) -> None:
        for one in list(self._all):
            inside = [(where, name) for where, name in one.told if where is inode]
            if inside:
                one.told = [place for place in one.told if place not in inside]
                if one.node and not one.told:
                    self._forget(one)
        if self._server.forgets:
            self._forgotten(inode)
        self._free.append(inode.node)
        inode.node, inode.lookups, inode.told = 0, 0, []
        if not inode.names:
            self._all.remove(inode)  # nobody can find it any more

    def _forgotten(self, inode: Inode) -> None:
        count = inode.lookups.to_bytes(8, "little")
        if self._ns % 2:
            members: dict[str, Any] = {"node_id": inode.node, "header": events.operation_header(count)}
            self._add(events.event(Kind.NAMED, self._now(), opcode=Opcode.FORGET, unique=1, **members))
        else:
            data = inode.node.to_bytes(8, "little") + count
            self._add(part(1, self._now(), data, 0, opcode=Opcode.BATCH_FORGET))

    def _place(self, first: int, second: int) -> tuple[Inode, bytes]:
        """A directory that the kernel knows and that is not removed, and a name."""
        directories = [inode for inode in self._all if inode.is_directory and inode.node and not inode.path()[1]]
        return directories[first % len(directories)], _NAMES[second % len(_NAMES)]

    def _at(self, directory: Inode, name: bytes) -> Inode | None:
        return next((one for one in self._all if (directory, name) in one.names), None)

    def _may_replace(self, one: Inode, other: Inode) -> bool:
        return one.is_directory == other.is_directory and self._is_empty(other)

    def _is_empty(self, inode: Inode) -> bool:
        return not any(where is inode for one in self._all for where, _ in one.names)

    def _need(self, directory: Inode, name: bytes) -> bool:
        """Look up a name that the kernel does not know; False: there are no numbers left."""
        inode = self._at(directory, name)
        return (inode is not None and (directory, name) in inode.told) or self._look(directory, name)

    def _look(self, directory: Inode, name: bytes) -> bool:
        inode = self._at(directory, name)
        if inode is None:
            self._look_absent(directory, name)
        elif inode.node or self._free:
            self._entry(Opcode.LOOKUP, directory, name, inode)
        return inode is None or inode.node != 0

    def _look_absent(self, directory: Inode, name: bytes) -> None:
        expected = Expected(*self._joined((directory, name)))
        members = events.one_name(name)
        if self._ns % 2:  # an absent name is told by an error, or by the number 0
            self._request(Opcode.LOOKUP, directory, expected, error=-2, **members)
        else:
            self._request(
                Opcode.LOOKUP, directory, expected, header=events.operation_header(events.entry_out(0)), **members
            )

    def _entry(self, opcode: int, directory: Inode, name: bytes, inode: Inode) -> None:
        expected = Expected(*self._joined((directory, name)))
        self._told(inode, directory, name)
        names = events.two_names(name, b"target") if opcode == Opcode.SYMLINK else events.one_name(name)
        self._request(opcode, directory, expected, header=self._reply(inode), **names)

    def _told(self, inode: Inode, directory: Inode, name: bytes) -> None:
        self._number(inode)
        inode.told = [place for place in inode.told if place != (directory, name)] + [(directory, name)]

    def _number(self, inode: Inode) -> None:
        if not inode.node:
            inode.node = self._free.pop()
            self._generation += self._server.generations
            inode.generation = self._generation
        inode.lookups += 1

    def _entry_out(self, inode: Inode) -> bytes:
        mode = 0o40755 if inode.is_directory else 0o100644
        return events.entry_out(inode.node, generation=inode.generation, mode=mode, links=len(inode.names))

    def _reply(self, inode: Inode) -> bytes:
        return events.operation_header(self._entry_out(inode))

    def _joined(self, place: tuple[Inode, bytes]) -> tuple[bytes, bool]:
        path, deleted = place[0].path()
        return joined(path, place[1]), deleted

    def _lose(self, inode: Inode, directory: Inode, name: bytes) -> None:
        inode.names.remove((directory, name))
        inode.told = [place for place in inode.told if place != (directory, name)]
        inode.last = directory, name
        if not inode.names and not inode.node:
            self._all.remove(inode)

    def _win(self, inode: Inode, directory: Inode, name: bytes) -> None:
        inode.names.append((directory, name))
        inode.told.append((directory, name))

    def _renamed(
        self, old: tuple[Inode, bytes], new: tuple[Inode, bytes], flags: int | None, expected: Expected
    ) -> None:
        end = events.renamed(0, 0, (old[0].node, old[1]), (new[0].node, new[1]), flags)
        opcode = int(end["opcode"][0])
        asked = events.operation_header(struct.pack("<QII", new[0].node, flags or 0, 0))
        members = {"header": end["header"][0].tobytes()[:128], **events.two_names(old[1], new[1])}
        self._request(opcode, old[0], expected, asked, **members)

    def _request(
        self, opcode: int, inode: Inode, expected: Expected, asked: bytes = b"", error: int = 0, **end: Any
    ) -> None:
        self._unique += 2
        self.expected[self._unique] = expected
        names = {name: end[name] for name in ("extra", "second") if name in end}
        about = {"unique": self._unique, "opcode": opcode, "node_id": inode.node}
        self._add(events.queued(ns=self._now(), **about, header=asked, **names))
        self._add(events.ended(ns=self._now(), error=error, **about, **end))

    def _add(self, event: Records) -> None:
        self.events.append(event)

    def _now(self) -> int:
        self._ns += 1 + self._ns % 3
        return self._ns


def entry(name: bytes, node: int, entry_out: bytes) -> bytes:
    """``fuse_direntplus``; ``node`` instead of the number in ``entry_out``."""
    head = node.to_bytes(8, "little") + entry_out[8:] + struct.pack("<QQII", 77, 1, len(name), 8)
    return (head + name).ljust((len(head) + len(name) + 7) // 8 * 8, b"\0")


def part(unique: int, ns: int, data: bytes, at: int, **members: Any) -> Records:
    """ENTRIES: what of ``data`` a record has from ``at`` on."""
    piece = data[at : at + PART_SIZE]
    known = {"opcode": Opcode.READDIRPLUS, "header": piece[:288], "extra": piece[288:], "header_size": len(piece)}
    known |= {"length": at, "payload_size": len(data), "unique": unique, "transport": Transport.URING}
    return events.event(Kind.ENTRIES, ns, **(known | members))


_PICKS = st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
_STEPS = {
    "l": World.look,
    "m": World.make,
    "t": World.make_unnamed,
    "n": World.link,
    "x": World.remove,
    "r": World.rename,
    "p": World.list_,
    "f": World.forget,
}
_WHAT = st.lists(st.tuples(st.sampled_from("lmmmmtnnxrrrrpff"), _PICKS), max_size=40)


@st.composite
def worlds(draw: st.DrawFn, servers: st.SearchStrategy[Server]) -> World:
    """A world in which something has happened; after each step every inode that the kernel knows is asked about."""
    world = World(draw(servers))
    for what, pick in draw(_WHAT):
        _STEPS[what](world, pick)
        world.use_all()
    return world

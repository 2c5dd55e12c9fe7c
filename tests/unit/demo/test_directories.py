"""Listings: offsets that stay right, small buffers, names that come and go while someone reads."""

import struct
from collections.abc import Iterator

import pytest

from furtrace.demo.session import Session
from furtrace.wire.opcodes import Opcode
from tests.unit.demo.conftest import Ask

PLUS = 128


def records(body: bytes, plus: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield name, offset, type and node id (0 without one) of each entry."""
    at = 0
    while at < len(body):
        nodeid = struct.unpack_from("=Q", body, at)[0] if plus else 0
        _ino, offset, length, kind = struct.unpack_from("=QQII", body, at + plus)
        start = at + plus + 24
        yield bytes(body[start : start + length]), offset, kind, nodeid
        at = start + length
        at += -at % 8
    assert at == len(body)


class Listing:
    """One open directory that is read piece by piece."""

    def __init__(self, ask: Ask, opcode: Opcode, size: int) -> None:
        self._ask, self._opcode, self._size = ask, opcode, size
        self._handle = struct.unpack_from("=Q", ask(Opcode.OPENDIR).body)[0]
        self.offset = 0

    def piece(self) -> list[tuple[bytes, int, int, int]]:
        read_in = struct.pack("=QQIIQII", self._handle, self.offset, self._size, 0, 0, 0, 0)
        reply = self._ask(self._opcode, 1, read_in)
        assert reply.error == 0
        assert len(reply.body) <= self._size
        found = list(records(bytes(reply.body), PLUS if self._opcode == Opcode.READDIRPLUS else 0))
        if found:
            self.offset = found[-1][1]
        return found

    def rest(self) -> list[bytes]:
        names = []
        while piece := self.piece():
            names += [name for name, *_ in piece]
        return names


def fill(ask: Ask, count: int) -> list[bytes]:
    names = [b"n" * (number % 30 + 1) + b"%d" % number for number in range(count)]
    for name in names:
        assert ask(Opcode.MKNOD, 1, struct.pack("=IIII", 0o100644, 0, 0, 0), name + b"\0").error == 0
    return names


@pytest.mark.parametrize("size", [200, 1000, 131072])
@pytest.mark.parametrize("opcode", [Opcode.READDIR, Opcode.READDIRPLUS])
def test_every_name_comes_once_whatever_the_buffer(ask: Ask, opcode: Opcode, size: int) -> None:
    names = fill(ask, 100)
    assert Listing(ask, opcode, size).rest() == [b".", b"..", *names]


@pytest.mark.parametrize("opcode", [Opcode.READDIR, Opcode.READDIRPLUS])
def test_removing_while_reading_skips_and_repeats_nothing(ask: Ask, opcode: Opcode) -> None:
    names = fill(ask, 60)
    listing = Listing(ask, opcode, 700)
    seen: list[bytes] = []
    while piece := listing.piece():
        for name, *_ in piece:
            if name not in (b".", b".."):
                seen.append(name)
                assert ask(Opcode.UNLINK, payload=name + b"\0").error == 0
    assert seen == names


def test_a_name_that_went_is_left_out_and_one_that_was_swapped_is_not(ask: Ask) -> None:
    names = fill(ask, 40)
    listing = Listing(ask, Opcode.READDIR, 300)
    seen = [name for name, *_ in listing.piece()]
    gone, one, two = names[-1], names[-2], names[-3]
    assert ask(Opcode.UNLINK, payload=gone + b"\0").error == 0
    exchange = struct.pack("=QII", 1, 2, 0)
    assert ask(Opcode.RENAME2, 1, exchange, one + b"\0" + two + b"\0").error == 0
    assert seen + listing.rest() == [b".", b"..", *names[:-1]]


def test_rewinding_shows_what_is_new(ask: Ask) -> None:
    listing = Listing(ask, Opcode.READDIR, 4096)
    assert listing.rest() == [b".", b".."]
    fill(ask, 1)
    assert listing.rest() == []
    listing.offset = 0
    assert listing.rest() == [b".", b"..", b"n0"]


def test_a_listing_can_start_in_the_middle(ask: Ask) -> None:
    names = fill(ask, 10)
    first = Listing(ask, Opcode.READDIR, 4096).piece()
    second = Listing(ask, Opcode.READDIR, 4096)
    second.offset = first[5][1]
    assert second.rest() == names[4:]


def test_types_and_lookups_come_with_the_entries(ask: Ask, session: Session) -> None:
    ask(Opcode.MKDIR, 1, struct.pack("=II", 0o755, 0), b"d\0")
    ask(Opcode.SYMLINK, 1, payload=b"l\0target\0")
    held = {name: entry.node for name, entry in session.tree.entries(session.tree.root)}
    found = {name: (kind, nodeid) for name, _offset, kind, nodeid in Listing(ask, Opcode.READDIRPLUS, 4096).piece()}
    assert found == {b".": (4, 0), b"..": (4, 0), b"d": (4, held[b"d"].ino), b"l": (10, held[b"l"].ino)}
    assert held[b"d"].lookups == held[b"l"].lookups == 2


def test_an_entry_that_does_not_fit_is_not_counted(ask: Ask, session: Session) -> None:
    fill(ask, 1)
    node = session.tree.lookup(session.tree.root, b"n0")
    known = node.lookups
    # "." and ".." take 160 bytes each, the file would take as much again.
    assert [name for name, *_ in Listing(ask, Opcode.READDIRPLUS, 479).piece()] == [b".", b".."]
    assert node.lookups == known

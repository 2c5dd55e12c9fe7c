"""Which paths requests are given: against a file system at random, and case by case."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from furtrace.model.conversation import Conversation
from furtrace.model.paths import Paths, Subject
from furtrace.trace.record import Flag, Kind, Records, Transport
from furtrace.wire.opcodes import Opcode
from furtrace.wire.vfs import RenameFlag
from tests.unit.events import (
    after_loss,
    batch,
    delivered,
    ended,
    entry_out,
    event,
    found,
    one_name,
    operation_header,
    queued,
    removed,
    renamed,
    two_names,
)
from tests.unit.model.world import Server, World, entry, part, worlds

# ---- against a file system at random ----

_SEEN = st.builds(Server, generations=st.booleans(), forgets=st.just(value=True), links=st.just(value=True))
_UNSEEN = st.builds(Server, generations=st.booleans(), forgets=st.just(value=False), links=st.just(value=False))
_NO_LINKS = st.builds(Server, generations=st.booleans(), forgets=st.just(value=True), links=st.just(value=False))
_CUTS = st.lists(st.floats(0, 1), max_size=8)


def _cut(events: Any, cuts: list[float]) -> list[Any]:
    return np.split(events, sorted(int(cut * len(events)) for cut in cuts))


def _subjects(conversation: Conversation, events: Records, lost: int = 0) -> dict[int, Subject]:
    finished = conversation.feed(after_loss(events, lost))
    return dict(zip(finished["unique"].tolist(), conversation.paths.subjects(finished), strict=True))


def _assert_right(world: World, cuts: list[float]) -> None:
    conversation = Conversation()
    given_: dict[int, Subject] = {}
    for part_ in _cut(batch(*world.events), cuts):
        given_ |= _subjects(conversation, part_)
    assert given_.keys() == world.expected.keys()
    for unique, (path, other) in given_.items():
        expected = world.expected[unique]
        assert (path.raw, path.deleted) == (expected.path, expected.deleted)
        assert path.known
        assert path.sure
        assert (other.raw if other else None) == expected.other


@settings(deadline=None, max_examples=300)
@given(worlds(_SEEN | _UNSEEN), _CUTS)
def test_every_request_is_given_the_path_that_held_at_its_end(world: World, cuts: list[float]) -> None:
    _assert_right(world, cuts)


def test_a_list_gives_out_the_last_free_number() -> None:
    world = World(Server(generations=False, forgets=True, links=True))
    for name in range(4):
        world.make((0, name, 0))
        world.make_unnamed((0, 0, 0))
    world.forget((0, 0, 0))
    world.list_((0, 0, 0b1111))
    world.use_all()
    assert len(world.expected) == 10 + 8  # the root and all eight numbers are asked about
    _assert_right(world, [])


@settings(deadline=None, max_examples=300)
@given(worlds(_NO_LINKS | _UNSEEN), _CUTS, st.lists(st.tuples(st.floats(0, 1), st.integers(1, 30)), max_size=3))
def test_after_a_loss_a_path_is_right_or_not_sure(
    world: World, cuts: list[float], holes: list[tuple[float, int]]
) -> None:
    """Events are missing anywhere: at the edge of a batch, within one, or a whole one."""
    events = batch(*world.events)
    there = np.ones(len(events), bool)
    for begin, length in holes:
        there[int(begin * len(events)) :][:length] = False
    conversation = Conversation()
    for places in _cut(np.arange(len(events)), cuts):
        kept = events[places][there[places]]
        for unique, (path, _) in _subjects(conversation, kept, lost=len(places) - len(kept)).items():
            if path.known and path.sure:
                expected = world.expected[unique]
                assert (path.raw, path.deleted) == (expected.path, expected.deleted)


@settings(deadline=None, max_examples=50)
@given(worlds(_SEEN), st.floats(0, 1))
def test_a_trace_that_begins_late_knows_no_wrong_path(world: World, begin: float) -> None:
    """What was not named since is ``#5``; of what was, the newest name is known, which may be all that is removed."""
    events = batch(*world.events)
    for unique, (path, _) in _subjects(Conversation(), events[int(begin * len(events)) :]).items():
        expected = world.expected[unique]
        if path.known and not path.deleted and not expected.deleted:
            assert path.raw in (expected.names or {expected.path})


# ---- case by case ----


def _path(*parts: Records, node: int = 5, **members: Any) -> str:
    """What is shown for an inode after all that."""
    conversation = Conversation()
    *before, last = [*parts, ended(999, 10**6, node_id=node, **members)]
    finished = conversation.feed(batch(*before, last))
    return conversation.paths.subjects(finished)[-1].path.shown


def _with(event_: Records, **members: Any) -> Records:
    """The event, but with other members."""
    changed = event_.copy()
    for name, value in members.items():
        changed[name] = value
    return changed


_DIR = found(2, 1, Opcode.MKDIR, 1, b"d", 6)
_FILE = found(4, 2, Opcode.CREATE, 6, b"f", 5)


@pytest.mark.parametrize(
    "opcode", [Opcode.LOOKUP, Opcode.MKNOD, Opcode.MKDIR, Opcode.SYMLINK, Opcode.LINK, Opcode.CREATE]
)
def test_operations_that_find(opcode: Opcode) -> None:
    assert _path(_DIR, found(4, 2, opcode, 6, b"f", 5)) == "/d/f"
    assert _path(_DIR, found(4, 2, opcode, 6, b"f", 5, error=-17)) == "#5"
    assert _path(_DIR, _with(found(4, 2, opcode, 6, b"f", 5), kind=Kind.NAMED)) == "/d/f"
    assert _path(_DIR, _with(found(4, 2, opcode, 6, b"f", 5), kind=Kind.QUEUED)) == "#5"


def test_the_root_and_no_inode() -> None:
    assert _path(node=1) == "/"
    assert _path(node=0) == "-"
    assert _path(node=77) == "#77"


def test_a_directory_that_is_not_known() -> None:
    assert _path(_FILE) == "#6/f"
    assert _path(_FILE, found(6, 3, Opcode.LOOKUP, 1, b"late", 6)) == "/late/f"


def test_an_unnamed_file() -> None:
    made = found(4, 2, Opcode.TMPFILE, 6, b"", 5, extra=b"")
    assert _path(_DIR, made) == "/d/#5 (deleted)"
    assert _path(_DIR, made, found(6, 3, Opcode.LINK, 1, b"n", 5)) == "/n"
    # The number was another's before.
    assert _path(_DIR, _FILE, found(6, 3, Opcode.TMPFILE, 1, b"", 5, extra=b"")) == "/#5 (deleted)"
    assert _path(_DIR, found(6, 3, Opcode.TMPFILE, 6, b"", 0, extra=b"")) == "#5"


@pytest.mark.parametrize("opcode", [Opcode.UNLINK, Opcode.RMDIR])
def test_operations_that_remove(opcode: Opcode) -> None:
    gone = removed(6, 3, 6, b"f", opcode=opcode)
    assert _path(_DIR, _FILE, gone) == "/d/f (deleted)"
    assert _path(_DIR, _FILE, removed(6, 3, 6, b"f", opcode=opcode, error=-39)) == "/d/f"
    assert _path(_DIR, _FILE, removed(6, 3, 6, b"g", opcode=opcode)) == "/d/f"
    assert _path(_DIR, _FILE, removed(6, 3, 1, b"f", opcode=opcode)) == "/d/f"
    assert _path(_DIR, _FILE, found(5, 2, Opcode.LINK, 1, b"h", 5), removed(6, 3, 1, b"h")) == "/d/f"


def test_a_name_that_is_not_there_is_removed() -> None:
    asked = one_name(b"f") | {"node_id": 6}
    assert _path(_DIR, _FILE, ended(6, 3, Opcode.LOOKUP, -2, **asked)) == "/d/f (deleted)"
    assert _path(_DIR, _FILE, ended(6, 3, Opcode.LOOKUP, -5, **asked)) == "/d/f"
    assert _path(_DIR, _FILE, found(6, 3, Opcode.LOOKUP, 6, b"f", 0)) == "/d/f (deleted)"
    assert _path(_DIR, _FILE, ended(6, 3, Opcode.GETXATTR, -2, **asked)) == "/d/f"


def test_an_absent_name_is_no_inode() -> None:
    conversation = Conversation()
    conversation.feed(batch(_DIR, found(6, 3, Opcode.LOOKUP, 1, b"absent", 0)))
    assert conversation.paths.inodes(7) == 1


def test_renames() -> None:
    other = found(6, 3, Opcode.CREATE, 1, b"o", 7)
    assert _path(_DIR, _FILE, renamed(8, 4, (6, b"f"), (1, b"n"))) == "/n"
    assert _path(_DIR, _FILE, renamed(8, 4, (6, b"f"), (1, b"n"), error=-13)) == "/d/f"
    assert _path(_DIR, _FILE, renamed(8, 4, (1, b"d"), (1, b"e"), 0)) == "/e/f"
    over = renamed(8, 4, (6, b"f"), (1, b"o"), int(RenameFlag.NOREPLACE))
    assert _path(_DIR, _FILE, other, over) == "/o"
    assert _path(_DIR, _FILE, other, over, node=7) == "/o (deleted)"
    # What is not known to be there is moved over what is.
    assert _path(_DIR, other, renamed(8, 4, (6, b"unknown"), (1, b"o")), node=7) == "/o (deleted)"
    swap = renamed(8, 4, (6, b"f"), (1, b"o"), int(RenameFlag.EXCHANGE))
    assert _path(_DIR, _FILE, other, swap) == "/o"
    assert _path(_DIR, _FILE, other, swap, node=7) == "/d/f"
    assert _path(_DIR, _FILE, renamed(8, 4, (6, b"f"), (1, b"o"), int(RenameFlag.EXCHANGE))) == "/o"
    # RENAME has no flags: what lies behind its structure is none of its.
    rename = _with(swap, opcode=Opcode.RENAME)
    assert _path(_DIR, _FILE, other, rename, node=7) == "/o (deleted)"


def test_names_that_are_not_known_make_all_unsure() -> None:
    for opcode in (Opcode.LOOKUP, Opcode.UNLINK, Opcode.MKDIR, Opcode.RENAME):
        assert _path(_DIR, _FILE, ended(6, 3, opcode, node_id=1)) == "/d/f?"
        assert _path(_DIR, _FILE, ended(6, 3, opcode, -2, node_id=1)) == "/d/f"
    one = renamed(8, 4, (6, b"f"), (1, b"n"), extra=b"f\0", second=0)
    assert _path(_DIR, _FILE, one) == "/d/f?"
    again = found(8, 4, Opcode.LOOKUP, 6, b"f", 5)
    unsure = ended(6, 3, Opcode.UNLINK, node_id=1)
    assert _path(_DIR, _FILE, unsure, again) == "/d/f?"
    assert _path(_DIR, _FILE, unsure, again, found(10, 5, Opcode.LOOKUP, 1, b"d", 6)) == "/d/f"


def test_a_directorys_own_entries_are_no_names() -> None:
    """LOOKUP of ``.`` and ``..``, as for a file handle."""
    for name in (b".", b".."):
        assert _path(found(4, 2, Opcode.LOOKUP, 5, name, 5)) == "#5"
        assert _path(_DIR, _FILE, found(6, 3, Opcode.LOOKUP, 6, name, 5)) == "/d/f"
        assert _path(_DIR, _FILE, found(6, 3, Opcode.LOOKUP, 6, name, 1), node=1) == "/"


def test_two_lookups_are_given_back_one_by_one() -> None:
    again = found(6, 3, Opcode.LOOKUP, 6, b".", 5)
    assert _path(_DIR, _FILE, again, _forget(4, 5, 1)) == "/d/f"
    assert _path(_DIR, _FILE, again, _forget(4, 5, 2)) == "#5"


# ---- what forgets ----


def _forget(ns: int, node: int, lookups: int, **members: Any) -> Records:
    known = {"node_id": node, "header": operation_header(lookups.to_bytes(8, "little")), "transport": Transport.DEV}
    return delivered(ns * 100, ns, Opcode.FORGET, **(known | members))


def test_forget() -> None:
    assert _path(_DIR, _FILE, _forget(4, 5, 1)) == "#5"
    assert _path(_DIR, _FILE, _with(_forget(4, 5, 1), kind=Kind.NAMED)) == "#5"
    assert _path(_DIR, _FILE, _forget(4, 6, 1)) == "#5"
    assert _path(_DIR, _FILE, _forget(4, 5, 1, header=operation_header(bytes(7)))) == "/d/f"
    assert _path(_DIR, _FILE, _forget(4, 77, 1)) == "/d/f"
    assert _path(_DIR, _FILE, found(6, 3, Opcode.LOOKUP, 6, b"f", 5), _forget(4, 5, 1)) == "/d/f"
    of_the_root = found(6, 3, Opcode.LOOKUP, 6, b"..", 1)
    assert _path(_DIR, of_the_root, _forget(4, 1, 9), node=6) == "/d"
    # What is in a directory that is forgotten is not there if its number comes again; nor is what was there before.
    first = found(8, 1, Opcode.CREATE, 1, b"first", 5), removed(10, 2, 1, b"first")
    assert _path(*first, _DIR, _with(_FILE, ns=3), _forget(4, 6, 1)) == "#5"


def test_batch_forget() -> None:
    data = struct.pack("<QQQQQQ", 77, 1, 5, 2, 6, 9)
    whole_ = part(50, 4, data, 0, opcode=Opcode.BATCH_FORGET)
    assert _path(_DIR, _FILE, whole_) == "#5"
    assert _path(_DIR, _FILE, whole_, node=6) == "#6"
    two = found(6, 3, Opcode.LOOKUP, 6, b"f", 5), found(8, 3, Opcode.LOOKUP, 6, b"f", 5)
    assert _path(_DIR, _FILE, *two, part(50, 4, data[:32], 0, opcode=Opcode.BATCH_FORGET)) == "/d/f"
    long = struct.pack("<QQ", 77, 1) * 40 + struct.pack("<QQ", 5, 1)
    parts = [part(50, 4, long, at, opcode=Opcode.BATCH_FORGET) for at in (0, 480)]
    assert _path(_DIR, _FILE, *parts) == "#5"
    assert _path(_DIR, _FILE, parts[0]) == _path(_DIR, _FILE, parts[1]) == "/d/f"


def test_a_number_that_is_another_files_now() -> None:
    """Without FORGET, other signs tell: another generation, or a single link by another name."""
    was = found(4, 2, Opcode.LOOKUP, 1, b"was", 5, reply=entry_out(5, generation=1))
    now = {"generation": 2, "links": 2}, {"generation": 1, "links": 1}, {"generation": 1, "mode": 0o40700}
    for sign in now:
        other = found(6, 3, Opcode.LOOKUP, 1, b"now", 5, reply=entry_out(5, **sign))
        assert _path(was, other, removed(8, 4, 1, b"now")) == "/now (deleted)"
    same = found(6, 3, Opcode.LOOKUP, 1, b"now", 5, reply=entry_out(5, generation=1))
    assert _path(was, same, removed(8, 4, 1, b"now")) == "/was"


def test_a_links_reply_may_count_as_before_it() -> None:
    linked = found(6, 3, Opcode.LINK, 1, b"n", 5, reply=entry_out(5, links=1))
    assert _path(_DIR, _FILE, linked) == "/n"
    assert _path(_DIR, _FILE, linked, removed(8, 4, 1, b"n")) == "/d/f"


def test_a_number_that_is_another_directorys_now() -> None:
    old = found(2, 1, Opcode.MKDIR, 1, b"d", 6, reply=entry_out(6, generation=1))
    new = found(6, 3, Opcode.MKDIR, 1, b"e", 6, reply=entry_out(6, generation=2))
    assert _path(old, _FILE, new) == "#5"
    assert _path(old, _FILE, new, node=6) == "/e"
    assert _path(old, _FILE, _forget(3, 6, 1), found(6, 4, Opcode.MKDIR, 1, b"e", 6)) == "#5"


# ---- READDIRPLUS ----


def _listed(*names: tuple[bytes, int]) -> bytes:
    return b"".join(entry(name, node, entry_out(node)) for name, node in names)


def _parts(data: bytes, **members: Any) -> list[Records]:
    return [part(50, 4, data, at, node_id=6, **members) for at in range(0, len(data), 480) or (0,)]


def _list_end(**members: Any) -> Records:
    return ended(50, 5, Opcode.READDIRPLUS, **({"node_id": 6} | members))


_LISTING = _listed((b".", 6), (b"..", 1), (b"g", 8), (b"none", 0), *((b"x%d" % n, 20 + n) for n in range(9)))


def test_entries_of_a_directory() -> None:
    conversation = Conversation()
    conversation.feed(batch(_DIR, _FILE, *_parts(_LISTING), _list_end()))
    shown = [_shown(conversation, node) for node in (1, 6, 5, 8, 20, 28)]
    assert shown == ["/", "/d", "/d/f", "/d/g", "/d/x0", "/d/x8"]
    assert conversation.paths.inodes(7) == 12


def _shown(conversation: Conversation, node: int) -> str:
    (subject,) = conversation.paths.present(Conversation().feed(ended(1, 1, node_id=node)))
    return subject.path.shown


def test_an_entry_without_a_number_says_nothing_of_its_name() -> None:
    """Unlike with LOOKUP, it does not mean that there is no such name."""
    unnumbered, numbered = _parts(_listed((b"f", 0))), _parts(_listed((b"f", 5)))
    assert _path(_DIR, _FILE, *unnumbered, _list_end()) == "/d/f"
    assert _path(_DIR, _FILE, _forget(3, 5, 1), *unnumbered, _list_end()) == "#5"
    assert _path(_DIR, _FILE, _forget(3, 5, 1), *numbered, _list_end()) == "/d/f"


def test_a_reply_of_which_a_part_is_missing() -> None:
    parts = _parts(_LISTING)
    assert len(parts) > 2
    for missing in range(len(parts)):
        seen = [one for number, one in enumerate(parts) if number != missing]
        assert _path(_DIR, _FILE, *seen, _list_end()) == "/d/f?"
        assert _path(_DIR, _FILE, *seen, _list_end(), node=8) == "#8"
    unread = part(50, 4, _LISTING, 0, node_id=6, header_size=0)
    assert _path(_DIR, _FILE, unread, *parts[1:], _list_end()) == "/d/f?"


def test_replies_of_two_requests_do_not_mix() -> None:
    mine = _parts(_LISTING)
    other = [_with(one, unique=52, node_id=1) for one in _parts(_listed(*((b"y%d" % n, 40 + n) for n in range(13))))]
    assert len(mine) == len(other)
    mixed = [one for pair in zip(mine, other, strict=True) for one in pair]
    assert _path(_DIR, *mixed, _list_end(), node=28) == "/d/x8"
    assert _path(_DIR, *mixed, _list_end(), node=50) == "/y10"


def test_an_entry_that_is_cut_off_ends_the_list() -> None:
    data = _listed((b"g", 8), (b"h", 9))
    for size in (len(data) - 16, len(data) - 8):
        assert _path(_DIR, *_parts(data[:size]), _list_end(), node=8) == "/d/g"
    assert _path(_DIR, *_parts(data[: len(data) - 8]), _list_end(), node=9) == "#9"
    assert _path(_DIR, *_parts(data[:-7]), _list_end(), node=9) == "/d/h"


def test_an_empty_reply_leaves_all_sure() -> None:
    empty = _parts(b"")
    assert len(empty) == 1
    assert _path(_DIR, _FILE, *empty, _list_end()) == "/d/f"
    assert _path(_DIR, _FILE, _list_end()) == "/d/f?"
    assert _path(_DIR, _FILE, _list_end(error=-5)) == "/d/f"


def test_a_reply_by_dev_is_not_seen() -> None:
    by_dev = {"transport": Transport.DEV}
    assert _path(_DIR, _FILE, _list_end(length=17, **by_dev)) == "/d/f?"
    assert _path(_DIR, _FILE, _list_end(length=16, **by_dev)) == "/d/f"
    assert _path(_DIR, _FILE, _list_end(length=16, error=-5, **by_dev)) == "/d/f"


def test_a_single_link_in_a_list_tells_that_older_names_are_gone() -> None:
    data = entry(b"now", 5, entry_out(5, links=1))
    assert _path(_DIR, _FILE, *_parts(data), _list_end(), removed(60, 6, 6, b"now")) == "/d/now (deleted)"
    data = entry(b"now", 5, entry_out(5, links=2))
    assert _path(_DIR, _FILE, *_parts(data), _list_end(), removed(60, 6, 6, b"now")) == "/d/f"


# ---- connections ----


def test_connections_have_their_own_numbers() -> None:
    there = found(4, 2, Opcode.CREATE, 1, b"there", 5, connection=8)
    assert _path(_DIR, _FILE, there) == "/d/f"
    assert _path(_DIR, _FILE, there, connection=8) == "/there"
    assert _path(_DIR, _FILE, connection=8) == "#5"
    assert _path(_DIR, _FILE, ended(6, 3, Opcode.UNLINK, node_id=1, connection=8)) == "/d/f"


def test_requests_of_two_connections_one_after_another() -> None:
    conversation = Conversation()
    there = found(4, 2, Opcode.CREATE, 1, b"there", 5, connection=8)
    asked = [ended(8, 10), ended(8, 11, connection=8), ended(10, 12), ended(10, 13, connection=8)]
    finished = conversation.feed(batch(_DIR, _FILE, there, *asked))
    shown = [subject.path.shown for subject in conversation.paths.subjects(finished)]
    assert shown[-4:] == ["/d/f", "/there"] * 2


_INITS = (
    event(Kind.INIT, 3, opcode=Opcode.INIT, unique=2),
    event(Kind.NAMED, 3, opcode=Opcode.INIT, unique=2),
    ended(2, 3, Opcode.INIT, node_id=0),
)


@pytest.mark.parametrize("init", _INITS, ids=["INIT", "hint", "ENDED"])
def test_a_connections_number_comes_again(init: Records) -> None:
    assert _path(_DIR, _FILE, init) == "#5"
    assert _path(_DIR, found(4, 2, Opcode.CREATE, 1, b"there", 5, connection=8), init, connection=8) == "/there"
    # A list that had been seen, or begun, was the old connection's.
    later = found(8, 4, Opcode.CREATE, 1, b"new", 5)
    listed = _with(_list_end(), ns=9)
    assert _path(*_seen_at(2), init, later, listed) == "/new?"
    assert _path(_seen_at(2)[0], init, later, *_seen_at(6)[1:], listed) == "/new?"


def _seen_at(ns: int) -> list[Records]:
    return [_with(one, ns=ns) for one in _parts(_LISTING)]


# ---- loss ----


def test_loss_makes_unsure_what_was_learnt_before_it_and_with_it() -> None:
    conversation = Conversation()
    paths = conversation.paths
    conversation.feed(batch(_DIR, _FILE))
    again = found(8, 10, Opcode.LOOKUP, 1, b"d", 6)
    finished = conversation.feed(
        after_loss(batch(ended(6, 9), again, ended(10, 11, node_id=6), ended(12, 12, node_id=1)), 1)
    )
    assert [subject.path.shown for subject in paths.subjects(finished)] == ["/d/f?", "/?", "/d?", "/"]
    finished = conversation.feed(batch(ended(14, 20, node_id=6), found(16, 21, Opcode.LOOKUP, 1, b"d", 6)))
    assert [subject.path.shown for subject in paths.subjects(finished)] == ["/d?", "/?"]
    assert _shown(conversation, 6) == "/d"
    assert _shown(conversation, 5) == "/d/f?"


def test_loss_while_nothing_comes() -> None:
    conversation = Conversation()
    conversation.feed(batch(_DIR))
    conversation.feed(after_loss(batch(), 3))
    assert _shown(conversation, 6) == "/d?"


def test_a_new_connection_in_a_batch_with_loss_is_not_sure() -> None:
    conversation = Conversation()
    conversation.feed(after_loss(batch(_DIR, _INITS[0], found(8, 4, Opcode.MKDIR, 1, b"e", 6)), 1))
    assert _shown(conversation, 6) == "/e?"


def test_entries_of_both_sides_of_a_loss_are_not_put_together() -> None:
    conversation = Conversation()
    first, *rest = _parts(_LISTING)
    conversation.feed(batch(_DIR, first))
    conversation.feed(after_loss(batch(*rest, _list_end()), 1))
    assert _shown(conversation, 8) == "#8"


# ---- what requests are about ----


def _subject(*parts: Records) -> tuple[str, str | None]:
    """The last request's; it may be under way."""
    conversation = Conversation()
    finished = conversation.feed(batch(*parts))
    under_way = conversation.requests.under_way
    found_ = conversation.paths.present(under_way) if len(under_way) else conversation.paths.subjects(finished)
    return found_[-1].path.shown, found_[-1].other.shown if found_[-1].other else None


def _asked(opcode: Opcode, operation: bytes = b"", **members: Any) -> Records:
    return queued(100, 50, opcode, **({"node_id": 6, "header": operation_header(operation)} | members))


@pytest.mark.parametrize(
    ("opcode", "operation", "names", "shown"),
    [
        (Opcode.GETATTR, b"", {}, ("/d", None)),
        (Opcode.LOOKUP, b"", one_name(b"n"), ("/d/n", None)),
        (Opcode.LOOKUP, b"", {}, ("/d/?", None)),
        (Opcode.CREATE, bytes(16), one_name(b"?"), ('"/d/?"', None)),
        (Opcode.MKNOD, bytes(16), one_name(b"n"), ("/d/n", None)),
        (Opcode.SYMLINK, b"", two_names(b"n", b"target"), ("/d/n", None)),
        (Opcode.UNLINK, b"", one_name(b"f"), ("/d/f", None)),
        (Opcode.TMPFILE, bytes(16), {}, ("/d", None)),
        (Opcode.GETXATTR, bytes(8), one_name(b"user.a"), ("/d", None)),
        (Opcode.RENAME, struct.pack("<Q", 1), two_names(b"n", b"m"), ("/d/n", "/m")),
        (Opcode.RENAME, struct.pack("<Q", 77), two_names(b"n", b"m"), ("/d/n", "#77/m")),
        (Opcode.RENAME, bytes(7), two_names(b"n", b"m"), ("/d/n", "?")),
        (Opcode.RENAME, struct.pack("<Q", 1), one_name(b"n"), ("/d/n", "/?")),
        (Opcode.RENAME2, struct.pack("<QQ", 1, 0), two_names(b"n", b"m"), ("/d/n", "/m")),
        (Opcode.LINK, struct.pack("<Q", 5), one_name(b"n"), ("/d/n", "/d/f")),
        (Opcode.LINK, bytes(7), one_name(b"n"), ("/d/n", "?")),
        (Opcode.COPY_FILE_RANGE, struct.pack("<7Q", 0, 0, 5, 0, 0, 0, 0), {}, ("/d", "/d/f")),
        (Opcode.COPY_FILE_RANGE_64, struct.pack("<7Q", 0, 0, 5, 0, 0, 0, 0), {}, ("/d", "/d/f")),
        (Opcode.COPY_FILE_RANGE, bytes(55), {}, ("/d", "?")),
    ],
)
def test_subjects(opcode: Opcode, operation: bytes, names: dict[str, Any], shown: tuple[str, str | None]) -> None:
    asked = _asked(opcode, operation, **names)
    assert _subject(_DIR, _FILE, asked) == shown
    assert _subject(_DIR, _FILE, asked, ended(100, 60, opcode, node_id=6)) == shown


def test_two_names_of_which_one_is_cut() -> None:
    both = {"extra": b"n" * 96 + b"m\0", "second": 96, "flags": Flag.NAME_CUT}
    asked = _asked(Opcode.RENAME, struct.pack("<Q", 1), **both)
    assert _subject(_DIR, asked) == (f"/d/{'n' * 96}...", "/m")


def test_an_event_is_about_its_names_only_where_it_brings_them() -> None:
    events = batch(
        _with(_asked(Opcode.RENAME, struct.pack("<Q", 1), **two_names(b"n", b"m")), ns=0),
        _DIR,
        _asked(Opcode.RENAME, struct.pack("<Q", 1), **two_names(b"n", b"m")),
        delivered(100, 51, Opcode.RENAME, node_id=6),
        renamed(100, 52, (6, b"n"), (1, b"m")),
    )
    paths = Paths()
    paths.feed(events)
    shown = [(subject.path.shown, subject.other) for subject in paths.of_events(events) if subject]
    assert [path for path, _ in shown] == ["#6/n", "/", "/d/n", "/d", "/d"]
    assert [bool(other) for _, other in shown] == [True, False, True, False, False]


def test_changes_count_in_the_order_of_their_times() -> None:
    """Records of two CPUs may stand in the ring a little out of order."""
    assert _path(ended(30, 20, Opcode.UNLINK, 0, node_id=1, **one_name(b"z")), _DIR, ended(8, 15), node=6) == "/d"
    conversation = Conversation()
    finished = conversation.feed(batch(removed(30, 20, 1, b"z"), _DIR, ended(8, 15, node_id=6)))
    assert [subject.path.shown for subject in conversation.paths.subjects(finished)] == ["/?", "/d", "/?"]

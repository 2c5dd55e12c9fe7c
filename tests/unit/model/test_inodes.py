"""Names of inodes, and how a path is shown."""

from collections.abc import Callable

import pytest

from furtrace.model import inodes as module
from furtrace.model.inodes import NO_INODE, Inodes, Path, whole_or_cut

# ---- paths ----


def test_children() -> None:
    root = Path(b"/")
    assert root.child(b"a") == Path(b"/a")
    assert root.child(b"a").child(b"b") == Path(b"/a/b")
    assert Path(b"#5", deleted=True, sure=False).child(b"b") == Path(b"#5/b", deleted=True, sure=False)
    assert root.child(b"a", cut=True) == Path(b"/a...", exact=False)
    assert root.child(b"a", cut=True).child(b"b") == Path(b"/a.../b", exact=False)
    assert Path(b"/d").unknown_child() == Path(b"/d/?", exact=False)


@pytest.mark.parametrize(
    ("path", "known"),
    [
        (Path(b"/"), True),
        (Path(b"/a", deleted=True, sure=False), True),
        (Path(b"/a..."), True),
        (Path(b"/a...", exact=False), False),
        (Path(b"#5/a"), False),
        (NO_INODE, False),
    ],
)
def test_a_path_is_known_from_the_root_to_its_end(path: Path, known: bool) -> None:
    assert path.known is known


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (Path(b"/a/b"), "/a/b"),
        (Path(b"/a b"), '"/a b"'),
        (Path(b'/"a"'), r'"/\"a\""'),
        (Path(b"/a?"), '"/a?"'),
        (Path(b"/a?", exact=False), "/a?"),
        (Path(b"/a b/?", exact=False), '"/a b/?"'),
        (Path(b"/a?/?", exact=False), '"/a?/?"'),
        (Path(b"?", exact=False), "?"),
        (Path(b"/a?...", exact=False), '"/a?..."'),
        (Path(b"/(a)"), '"/(a)"'),
        (Path(b"/a", sure=False), "/a?"),
        (Path(b"/a?", sure=False), '"/a?"?'),
        (Path(b"/a", deleted=True), "/a (deleted)"),
        (Path(b"/a (deleted)"), '"/a (deleted)"'),
        (Path(b"/a", deleted=True, sure=False), "/a? (deleted)"),
        (Path(b"/\xff\n\\"), r"/\xff\n\\"),
        (NO_INODE, "-"),
    ],
)
def test_shown(path: Path, shown: str) -> None:
    assert path.shown == shown


def test_names_that_were_cut_off_are_no_others() -> None:
    assert whole_or_cut(b"a...", cut=False) == b"a..."
    assert whole_or_cut(b"a", cut=True) != whole_or_cut(b"a...", cut=False)


# ---- inodes ----


def _tree() -> Inodes:
    """``/d/e/f`` by the numbers 2, 3 and 4."""
    known = Inodes()
    known.found((1, b"d"), 2)
    known.found((2, b"e"), 3)
    known.found((3, b"f"), 4)
    return known


def _shown(known: Inodes, *nodes: int) -> list[str]:
    return [known.path(node).shown for node in nodes]


def test_a_path_follows_its_directories_at_once() -> None:
    known = _tree()
    assert _shown(known, 4, 3, 2, 1) == ["/d/e/f", "/d/e", "/d", "/"]
    known.renamed((1, b"d"), (1, b"x"))
    assert _shown(known, 4, 3, 2) == ["/x/e/f", "/x/e", "/x"]
    known.removed((1, b"x"))
    assert _shown(known, 4, 2) == ["/x/e/f (deleted)", "/x (deleted)"]
    known.found((1, b"y"), 2)
    assert _shown(known, 4, 2) == ["/y/e/f", "/y"]
    known.forgotten(3, 1)
    assert _shown(known, 4, 3, 2) == ["#4", "#3", "/y"]
    assert len(known) == 2


def test_the_newest_of_several_names_is_shown() -> None:
    known = _tree()
    known.found((1, b"link"), 4)
    assert _shown(known, 4) == ["/link"]
    known.found((3, b"f"), 4)
    assert _shown(known, 4) == ["/d/e/f"]
    known.removed((3, b"f"))
    assert _shown(known, 4) == ["/link"]
    known.removed((1, b"link"))
    assert _shown(known, 4) == ["/link (deleted)"]


def test_a_name_that_leads_to_another_inode_is_lost_to_the_first() -> None:
    known = _tree()
    assert _shown(known, 4) == ["/d/e/f"]
    known.found((3, b"f"), 5)
    assert _shown(known, 4, 5) == ["/d/e/f (deleted)", "/d/e/f"]
    known.removed((3, b"f"))
    assert _shown(known, 4, 5) == ["/d/e/f (deleted)", "/d/e/f (deleted)"]


def test_an_inode_that_can_have_one_name_has_the_newest() -> None:
    known = _tree()
    known.found((1, b"link"), 4)
    known.found((1, b"link"), 4, alone=True)
    known.removed((1, b"link"))
    assert _shown(known, 4) == ["/link (deleted)"]
    known.found((1, b"other"), 5)
    known.renamed((3, b"f"), (1, b"other"))  # not known to lead to 4 any more
    assert _shown(known, 4, 5) == ["/link (deleted)", "/other (deleted)"]


def test_what_was_learnt_before_something_was_missed_is_replaced_by_what_is_learnt_then() -> None:
    known = _tree()
    known.found((1, b"link"), 4)
    known.missed()
    assert _shown(known, 4) == ["/link?"]
    known.found((1, b"d"), 2)
    known.found((2, b"e"), 3)
    assert _shown(known, 2, 3, 4) == ["/d", "/d/e", "/link?"]
    known.found((3, b"f"), 4)
    known.removed((3, b"f"))
    assert _shown(known, 4) == ["/d/e/f (deleted)"]


def test_what_is_out_of_date_stays_so_wherever_it_is_moved() -> None:
    known = _tree()
    known.missed()
    known.renamed((1, b"d"), (1, b"x"))
    known.found((1, b"o"), 9)
    known.exchanged((1, b"o"), (1, b"x"))
    assert _shown(known, 2, 4, 9) == ["/o?", "/o/e/f?", "/x"]


def test_a_doubt_begins_and_ends() -> None:
    known = _tree()
    known.doubt(doubtful=True)
    known.found((1, b"d"), 2)
    assert _shown(known, 1, 2, 77) == ["/", "/d?", "#77"]
    known.missed()
    known.found((1, b"d"), 2)
    assert _shown(known, 2) == ["/d?"]
    known.doubt(doubtful=False)
    assert _shown(known, 2) == ["/d?"]
    known.found((1, b"d"), 2)
    assert _shown(known, 2) == ["/d"]


def test_a_circle_of_names_that_are_out_of_date() -> None:
    """A directory was moved into one that was in it; one half of that was not seen."""
    known = Inodes()
    known.found((1, b"a"), 2)
    known.found((2, b"b"), 3)
    known.missed()
    known.found((3, b"a"), 2)
    for node in (2, 3):
        path = known.path(node)
        assert not path.sure
        assert not path.known
        assert len(path.raw) < 10


def test_a_path_that_is_very_deep() -> None:
    known = Inodes()
    for node in range(1, 5000):
        known.found((node, b"d"), node + 1)
    assert known.path(5000).raw == b"#4000" + b"/d" * 1000
    assert _shown(known, 3, 4001) == ["/d/d", "#4000/d"]


# ---- names that were cut off ----

_LONG = b"n" * 192


def test_names_that_begin_alike_are_shown_alike() -> None:
    known = _tree()
    cut = whole_or_cut(_LONG, cut=True)
    known.found((2, cut), 5)
    known.found((2, cut), 6)
    assert _shown(known, 5, 6) == [f"/d/{'n' * 192}..."] * 2
    known.found((2, cut), 5)
    assert len(known) == 5


_CUT = (2, whole_or_cut(_LONG[:96], cut=True))
_CHANGES: tuple[Callable[[Inodes], None], ...] = (
    lambda known: known.removed(_CUT),
    lambda known: known.renamed(_CUT, (1, b"short")),
    lambda known: known.renamed((1, b"short"), _CUT),
    lambda known: known.exchanged(_CUT, (1, b"short")),
    lambda known: known.exchanged((1, b"short"), _CUT),
)


@pytest.mark.parametrize("change", _CHANGES)
def test_what_a_removed_name_may_have_been_is_not_known(change: Callable[[Inodes], None]) -> None:
    known = _tree()
    known.found((2, whole_or_cut(_LONG, cut=True)), 5)
    known.found((2, _LONG[:100]), 6)
    known.found((2, _LONG[:90]), 7)
    known.found((1, _LONG), 8)
    change(known)
    assert _shown(known, 5, 6) == ["#5", "#6"]
    assert _shown(known, 7, 8, 4) == [f"/d/{'n' * 90}", f"/{'n' * 192}", "/d/e/f"]


def test_a_rename_to_a_name_that_is_cut_is_followed() -> None:
    known = _tree()
    known.renamed((3, b"f"), (1, whole_or_cut(_LONG, cut=True)))
    assert _shown(known, 4) == [f"/{'n' * 192}..."]
    known.renamed((1, b"d"), (1, b"dd"))  # a whole name: no others that begin alike
    known.found((1, b"ddd"), 9)
    known.removed((1, b"dd"))
    assert _shown(known, 9) == ["/ddd"]


# ---- how many are remembered ----


def test_past_a_bound_files_that_were_learnt_first_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_INODES", 10)
    known = _tree()
    for node in range(5, 30):
        known.found((3, b"f%d" % node), node)
        assert _shown(known, node) == [f"/d/e/f{node}"]
        assert len(known) <= 10
    assert _shown(known, 4, 21, 22, 29) == ["#4", "#21", "/d/e/f22", "/d/e/f29"]


def test_past_a_bound_directories_are_dropped_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_INODES", 300)
    known = Inodes()
    for node in range(1, 1000):
        known.found((node, b"d"), node + 1)
    assert len(known) == 300
    assert _shown(known, 5) == ["#5"]
    known.removed((999, b"d"))
    assert known.path(1000).deleted

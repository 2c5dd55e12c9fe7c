"""A file's bytes against a plain bytearray, and the pages that they take."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from furtrace.demo.content import PAGE, SEEK_DATA, SEEK_HOLE, Content, Space
from furtrace.demo.errors import TreeError

LIMIT = 5 * PAGE

offsets = st.integers(0, LIMIT)
lengths = st.integers(1, LIMIT)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), offsets, st.binary(min_size=1, max_size=2 * PAGE)),
        st.tuples(st.just("resize"), offsets, st.none()),
        st.tuples(st.just("punch"), offsets, lengths),
        st.tuples(st.just("zero"), offsets, lengths),
        st.tuples(st.just("allocate"), offsets, lengths),
    ),
    max_size=12,
)


def model(wanted: bytearray, kind: str, offset: int, what: object) -> None:
    """Do to plain memory what the step does to the file; sizes kept where fallocate would keep them."""
    if isinstance(what, bytes):
        wanted.extend(bytes(max(0, offset + len(what) - len(wanted))))
        wanted[offset : offset + len(what)] = what
    elif kind == "resize":
        wanted.extend(bytes(max(0, offset - len(wanted))))
        del wanted[offset:]
    elif isinstance(what, int) and kind in ("punch", "zero"):
        end = min(offset + what, len(wanted))
        if offset < end:
            wanted[offset:end] = bytes(end - offset)


def apply(content: Content, kind: str, offset: int, what: object) -> None:
    if isinstance(what, bytes):
        content.write(offset, what)
    elif kind == "resize":
        content.resize(offset)
    elif isinstance(what, int) and kind == "punch":
        content.punch(offset, what)
    elif isinstance(what, int):
        {"zero": content.zero, "allocate": content.allocate}[kind](offset, what, keep_size=True)


@settings(max_examples=300, deadline=None)
@given(steps, offsets, st.integers(0, LIMIT))
def test_reads_what_plain_memory_holds(
    done: list[tuple[str, int, bytes | int | None]], offset: int, length: int
) -> None:
    space = Space(1000)
    content, wanted = Content(space), bytearray()
    for kind, at, what in done:
        apply(content, kind, at, what)
        model(wanted, kind, at, what)
    assert content.size == len(wanted)
    assert content.read(0, 2 * LIMIT + PAGE) == wanted
    assert content.read(offset, length) == wanted[offset : offset + length]
    assert space.used == content.pages
    content.resize(len(wanted) + 3 * PAGE)
    assert content.read(len(wanted), 3 * PAGE) == bytes(3 * PAGE)
    content.release()
    assert (space.used, content.size, content.pages) == (0, 0, 0)


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(0, 12)), st.integers(0, 13 * PAGE - 1))
def test_seek_finds_the_borders_of_the_pages_that_are_there(pages: set[int], offset: int) -> None:
    content = Content(Space(100))
    for page in pages:
        content.write(page * PAGE + 7, b"x")
    size = 13 * PAGE - 100
    content.resize(size)
    if offset >= size:
        with pytest.raises(TreeError) as refusal:
            content.seek(offset, SEEK_HOLE)
        assert refusal.value.errno == errno.ENXIO
        return
    is_data = [at // PAGE in pages for at in range(size)]
    hole = next((at for at in range(offset, size) if not is_data[at]), size)
    data = next((at for at in range(offset, size) if is_data[at]), None)
    assert content.seek(offset, SEEK_HOLE) == hole
    if data is None:
        with pytest.raises(TreeError):
            content.seek(offset, SEEK_DATA)
    else:
        assert content.seek(offset, SEEK_DATA) == data


def test_punching_gives_whole_pages_back() -> None:
    space = Space(10)
    content = Content(space)
    content.write(0, b"x" * (4 * PAGE))
    content.punch(100, 3 * PAGE)
    assert content.pages == space.used == 2
    assert content.size == 4 * PAGE


def test_a_full_space_refuses_and_changes_nothing() -> None:
    content = Content(Space(2))
    content.write(0, b"a" * PAGE)
    with pytest.raises(TreeError) as refusal:
        content.write(PAGE - 1, b"b" * (2 * PAGE))
    assert refusal.value.errno == errno.ENOSPC
    assert content.read(0, 3 * PAGE) == b"a" * PAGE
    content.write(PAGE, b"c" * PAGE)
    with pytest.raises(TreeError):
        content.allocate(0, 1 << 60, keep_size=True)


def test_allocating_grows_the_file_unless_told_not_to() -> None:
    content = Content(Space(10))
    content.allocate(0, 5000, keep_size=True)
    assert (content.size, content.pages) == (0, 2)
    content.allocate(0, 5000, keep_size=False)
    assert (content.size, content.pages) == (5000, 2)
    assert content.read(0, 9999) == bytes(5000)


def test_a_hole_takes_no_room() -> None:
    content = Content(Space(1))
    content.resize(1 << 40)
    content.write((1 << 40) - 1, b"x")
    assert content.size == 1 << 40
    assert content.seek(0, SEEK_DATA) == (1 << 40) - PAGE


def test_an_unknown_whence_is_refused() -> None:
    content = Content(Space(1))
    content.write(0, b"x")
    with pytest.raises(TreeError) as refusal:
        content.seek(0, 0)
    assert refusal.value.errno == errno.EINVAL

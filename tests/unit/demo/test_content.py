"""A file's bytes, in memory and in a memfd, against a plain bytearray, and the pages that they take."""

import errno
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from furtrace.demo.backing import COPIED_SUFFIX, Backing, unless_copied
from furtrace.demo.content import PAGE, SEEK_DATA, SEEK_HOLE, Content, Space
from furtrace.demo.errors import TreeError

LIMIT = 5 * PAGE

Kind = type[Content] | type[Backing]
both_kinds = pytest.mark.parametrize("kind", [Content, Backing])

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


def apply(content: Content | Backing, kind: str, offset: int, what: object) -> None:
    if isinstance(what, bytes):
        content.write(offset, what)
    elif kind == "resize":
        content.resize(offset)
    elif isinstance(what, int) and kind == "punch":
        content.punch(offset, what)
    elif isinstance(what, int):
        {"zero": content.zero, "allocate": content.allocate}[kind](offset, what, keep_size=True)


@both_kinds
@settings(max_examples=300, deadline=None)
@given(done=steps, offset=offsets, length=st.integers(0, LIMIT))
def test_reads_what_plain_memory_holds(
    kind: Kind, done: list[tuple[str, int, bytes | int | None]], offset: int, length: int
) -> None:
    space = Space(1000)
    content, wanted = kind(space), bytearray()
    for step, at, what in done:
        apply(content, step, at, what)
        model(wanted, step, at, what)
    assert content.size == len(wanted)
    assert content.read(0, 2 * LIMIT + PAGE) == wanted
    assert content.read(offset, length) == wanted[offset : offset + length]
    assert space.used == content.pages
    content.resize(len(wanted) + 3 * PAGE)
    assert content.read(len(wanted), 3 * PAGE) == bytes(3 * PAGE)
    content.release()
    assert (space.used, content.size, content.pages) == (0, 0, 0)


@both_kinds
@settings(max_examples=100, deadline=None)
@given(pages=st.sets(st.integers(0, 12)), offset=st.integers(0, 13 * PAGE - 1))
def test_seek_finds_the_borders_of_the_pages_that_are_there(kind: Kind, pages: set[int], offset: int) -> None:
    content = kind(Space(100))
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


@both_kinds
def test_punching_gives_whole_pages_back(kind: Kind) -> None:
    space = Space(10)
    content = kind(space)
    content.write(0, b"x" * (4 * PAGE))
    content.punch(100, 3 * PAGE)
    assert content.pages == space.used == 2
    assert content.size == 4 * PAGE


@both_kinds
def test_a_full_space_refuses_and_changes_nothing(kind: Kind) -> None:
    content = kind(Space(2))
    content.write(0, b"a" * PAGE)
    with pytest.raises(TreeError) as refusal:
        content.write(PAGE - 1, b"b" * (2 * PAGE))
    assert refusal.value.errno == errno.ENOSPC
    assert content.read(0, 3 * PAGE) == b"a" * PAGE
    content.write(PAGE, b"c" * PAGE)
    with pytest.raises(TreeError):
        content.allocate(0, 1 << 60, keep_size=True)


@both_kinds
def test_allocating_grows_the_file_unless_told_not_to(kind: Kind) -> None:
    content = kind(Space(10))
    content.allocate(0, 5000, keep_size=True)
    assert (content.size, content.pages) == (0, 2)
    content.allocate(0, 5000, keep_size=False)
    assert (content.size, content.pages) == (5000, 2)
    assert content.read(0, 9999) == bytes(5000)


@both_kinds
def test_a_hole_takes_no_room(kind: Kind) -> None:
    content = kind(Space(1))
    content.resize(1 << 40)
    content.write((1 << 40) - 1, b"x")
    assert content.size == 1 << 40
    assert content.seek(0, SEEK_DATA) == (1 << 40) - PAGE


@both_kinds
def test_an_unknown_whence_is_refused(kind: Kind) -> None:
    content = kind(Space(1))
    content.write(0, b"x")
    with pytest.raises(TreeError) as refusal:
        content.seek(0, 0)
    assert refusal.value.errno == errno.EINVAL


@both_kinds
def test_what_is_there_can_be_written_again_when_the_space_is_full(kind: Kind) -> None:
    content = kind(Space(3))
    content.write(0, b"a" * (3 * PAGE))
    content.write(PAGE - 1, b"b" * PAGE)
    assert content.read(0, 3 * PAGE) == b"a" * (PAGE - 1) + b"b" * PAGE + b"a" * (PAGE + 1)
    content.punch(PAGE, PAGE)
    content.write(PAGE, b"c")
    with pytest.raises(TreeError) as refusal:
        content.write(3 * PAGE, b"d")
    assert refusal.value.errno == errno.ENOSPC


def test_room_that_was_reserved_is_not_there_for_others() -> None:
    space = Space(4)
    one, other = Backing(space), Backing(space)
    one.reserve(100, 2 * PAGE)
    assert (one.size, one.pages, space.used) == (0, 3, 3)
    with pytest.raises(TreeError):
        other.reserve(0, PAGE + 1)
    one.release()
    other.reserve(0, PAGE + 1)
    assert space.used == 2
    other.release()


def test_a_memfd_is_closed_with_its_file(tmp_path: Path) -> None:
    content = Backing(Space(1))
    content.write(0, b"x")
    descriptor = content.fd
    assert "furtrace-demo" in str(Path(f"/proc/self/fd/{descriptor}").readlink())
    content.release()
    assert not Path(f"/proc/self/fd/{descriptor}").exists()


@pytest.mark.parametrize(
    ("name", "kind"), [(b"a", Backing), (b"a.copy", Content), (b".copy", Content), (b"a.copy.b", Backing)]
)
def test_the_name_chooses_the_kind(name: bytes, kind: Kind) -> None:
    assert type(unless_copied(name, Space(1))) is kind
    assert name.endswith(COPIED_SUFFIX) == (kind is Content)

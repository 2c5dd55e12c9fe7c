"""Names that others chose, as they are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from furtrace.trace.record import EXTRA_SIZE
from furtrace.views.names import comm, quoted, quoted_names


def _field(text: bytes) -> bytes:
    return text.ljust(EXTRA_SIZE, b"\0")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain", '"plain"'),
        (b"", '""'),
        (b'a "quoted" one', r'"a \"quoted\" one"'),
        (b"back\\slash", r'"back\\slash"'),
        (b"\x1b[31mred\n", r'"\x1b[31mred\n"'),
        (b"[red]x[/red]", '"[red]x[/red]"'),
        (b"\xff\xc3\xa9", '"\\xffé"'),
        ("\u202egnp.exe".encode(), '"\\u202egnp.exe"'),
    ],
)
def test_quoted(name: bytes, shown: str) -> None:
    assert quoted(name) == shown
    assert quoted(name, cut=True) == f"{shown}..."


@given(st.binary())
def test_what_is_shown_does_nothing_to_a_terminal(name: bytes) -> None:
    assert quoted(name).isprintable()
    assert comm(name[:16].ljust(16, b"\0")).isprintable()


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_different_names_look_different(first: bytes, second: bytes) -> None:
    assert (quoted(first) == quoted(second)) == (first == second)


def test_comm() -> None:
    assert comm(b"fio\0\0\0\0\0\0\0\0\0\0\0\0\0") == "fio"
    assert comm(b"0123456789abcde\0") == "0123456789abcde"
    assert comm(b"\x1b]0;x\0rest\0\0\0\0\0\0") == r"\x1b]0;x"


def test_quoted_names() -> None:
    assert quoted_names(_field(b"a\0"), 0, 0, cut=False) == []
    assert quoted_names(_field(b"a\0"), 2, 0, cut=False) == ['"a"']
    both = b"old\0".ljust(96, b"\0") + b"new\0"
    assert quoted_names(_field(both), 100, 96, cut=False) == ['"old"', '"new"']


def test_the_name_that_was_cut_has_the_dots() -> None:
    long = b"x" * 96
    dots = f'"{"x" * 96}"...'
    assert quoted_names(b"y" * 192, 192, 0, cut=True) == [f'"{"y" * 192}"...']
    assert quoted_names(_field(long + b"new\0"), 100, 96, cut=True) == [dots, '"new"']
    assert quoted_names(b"old\0".ljust(96, b"\0") + long, 192, 96, cut=True) == ['"old"', dots]
    assert quoted_names(long + long, 192, 96, cut=True) == [dots, dots]


def test_a_name_that_fills_its_place_is_not_cut_by_that() -> None:
    assert quoted_names(b"y" * 192, 192, 0, cut=False) == [f'"{"y" * 192}"']

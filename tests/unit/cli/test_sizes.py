"""Sizes as users write them."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from furtrace.cli.sizes import FileRing, Size, size_of, size_text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("1", 1), ("4096", 4096), ("64K", 65536), ("64k", 65536), ("1.5M", 1572864), ("2GiB", 2 << 30)),
        *((" 3 MB ", 3 << 20), ("1T", 1 << 40), ("0.5K", 512), ("7b", 7)),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "0", "0.0001", "1X", "1 2", "1e6", "٣M", "9" * 30, "1.5.2K", "0x10"])
def test_no_sizes(text: str) -> None:
    assert size_of(text) is None
    with pytest.raises(click.BadParameter, match="is no size, such as 100M"):
        Size().convert(text, None, None)


@given(st.text())
def test_whatever_is_written(text: str) -> None:
    size = size_of(text)
    assert size is None or size > 0


def test_rings() -> None:
    assert FileRing().convert("10x100M", None, None) == (10, 100 << 20)
    assert FileRing().convert("2 X 1k", None, None) == (2, 1024)
    for text in ("10", "x10M", "0x100M", "10x", "10x0", "1.5x1M", "-1x1M", "999999x1M"):
        with pytest.raises(click.BadParameter, match="is no ring of files, such as 10x100M"):
            FileRing().convert(text, None, None)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.977 KiB"),
        (1 << 20, "1 MiB"),
        (5 << 40, "5 TiB"),
    ],
)
def test_texts(size: int, text: str) -> None:
    assert size_text(size) == text

"""Sizes as users write them: ``64M``, ``1.5GiB``, ``4096``."""

import re
from typing import Any, Final

import click

_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
_RING: Final = re.compile(r"([0-9]{1,5}) *x *(.+)", re.IGNORECASE | re.ASCII)
_FACTORS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_MOST: Final = 1 << 60


def size_of(text: str) -> int | None:
    """Bytes, by powers of 1024; None: it is no size."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    size = int(float(found[1]) * _FACTORS[found[2].upper()])
    return size if 0 < size <= _MOST else None


def size_text(size: float) -> str:
    """A size in three digits: ``1.25 MiB``."""
    units = ["TiB", "GiB", "MiB", "KiB", "B"]
    while size >= 1000 and len(units) > 1:
        size /= 1024
        units.pop()
    return f"{size:.0f} B" if units[-1] == "B" else f"{size:.3g} {units[-1]}"


class Size(click.ParamType[int]):
    """A size in bytes, with or without a unit."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes."""
        if isinstance(value, int):
            return value
        size = size_of(str(value))
        if size is None:
            self.fail(f"{value!r} is no size, such as 100M", param, ctx)
        return size


class FileRing(click.ParamType[tuple[int, int]]):
    """A number of files and the size of each: ``10x100M``."""

    name = "nxsize"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return number and bytes."""
        if isinstance(value, tuple):
            return value
        found = _RING.fullmatch(str(value).strip())
        size = size_of(found[2]) if found else None
        if found is None or size is None or not int(found[1]):
            self.fail(f"{value!r} is no ring of files, such as 10x100M", param, ctx)
        return int(found[1]), size

"""What bytes say, as one JSON object."""

from typing import Any

from furtrace.wire.decode import Decoded
from furtrace.wire.dialect import Dialect
from furtrace.wire.items import Item


def decoded_object(decoded: Decoded, data: bytes, dialect: Dialect, form: str, *, guessed: bool) -> dict[str, Any]:
    """All that was read out of bytes.

    Args:
        decoded: what they say.
        data: the bytes.
        dialect: as which they were read.
        form: in which they were given.
        guessed: what they are was found out from them.
    """
    return {
        "type": "decoded",
        "title": decoded.title,
        "part": str(decoded.part),
        "guessed": guessed,
        "dialect": str(dialect),
        "form": form,
        "size": decoded.size,
        "hex": data.hex(),
        "items": [_item(item, data) for item in decoded.items],
        "problems": [{"offset": problem.offset, "reason": problem.reason} for problem in decoded.problems],
    }


def _item(item: Item, data: bytes) -> dict[str, Any]:
    """A piece, with those in it; ``text`` has bytes that are not UTF-8 as lone surrogates (PEP 383)."""
    value = item.value
    is_bytes = isinstance(value, bytes)
    return {
        "name": item.name,
        "offset": item.offset,
        "size": item.size,
        "value": None if is_bytes else list(value) if isinstance(value, tuple) else value,
        "hex": None if item.items else data[item.offset : item.offset + item.size].hex(),
        "text": value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else None,
        "meaning": item.meaning,
        "items": [_item(inner, data) for inner in item.items],
    }

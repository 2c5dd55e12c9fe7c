"""Bytes from what people paste: the forms of hex, and which of them a text is.

A text is looked at in this order: a dump with offsets (:mod:`furtrace.cli.hexdump`), an array, strings
(:mod:`furtrace.cli.hexstring`), plain hex digits. What fits none of them, or two, is refused with its place.
"""

import re
from dataclasses import dataclass
from typing import Final

from furtrace.cli import hexdump, hexstring
from furtrace.cli.hextext import LIMIT, HexError, Text

_CONTROLS: Final = re.compile(rb"[^\t-\r\x1b -\x7e\x80-\xff]")
"""What no text has; ESC may be there, of a coloured dump, which is then refused where it stands."""

_TOKEN: Final = re.compile(r"(?P<prefix>0[xX]|\\x)?(?P<digits>[0-9a-fA-F]+)(?: <repeats (?P<times>\d{1,9}) times>)?")
_BETWEEN: Final = re.compile(r"[\s:,]*")
_ARRAY: Final = re.compile(
    r"""(?P<head>[^{}"'\\]*?)        # a declaration, if anything
        [{\[] \s* (?P<body>0[xX][^{}\[\]"']*) [}\]]
        \s*;?\s*
        (?:[\w\s]+=\s*(?P<size>\d+)\s*;\s*)?  # as xxd -i says it
        """,
    re.VERBOSE,
)
_WORDS: Final = (4, 8, 16)
"""Digits of numbers that have a byte order."""


@dataclass(frozen=True, slots=True)
class Given:
    """Bytes, and in which form they came.

    Attributes:
        data: the bytes.
        form: ``binary``, ``hex dump``, ``array``, ``string`` or ``hex``.

    """

    data: bytes
    form: str


def is_text(given: bytes) -> bool:
    """Whether an input is text, which has to be hex then; all else is binary."""
    if _CONTROLS.search(given):
        return False
    try:
        given.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def from_bytes(given: bytes, *, binary: bool | None = None) -> Given:
    """Take what a file holds: the bytes themselves, or hex.

    Args:
        given: all of it.
        binary: True: the bytes themselves. False: hex. None: the bytes themselves unless they are a text.

    Raises:
        HexError: it is hex, and can't be read.
    """
    if binary or (binary is None and not is_text(given)):
        return Given(given, "binary")
    return from_text(given.decode("utf-8", "replace"))


def from_text(text: str) -> Given:
    """Read hex in any form.

    Raises:
        HexError: it is in none, or in two; the message is a sentence with the place.
    """
    text = text.removeprefix("\N{BYTE ORDER MARK}")
    if not text.strip():
        raise HexError("there are no hex digits in it")
    if (data := hexdump.read(Text(text))) is not None:
        return Given(data, "hex dump")
    text = hexdump.without_log(text)
    whole = Text(text)
    if re.search(r"[{\[]", text) and not hexstring.has_quotes(text):
        return Given(_array(whole), "array")
    if hexstring.has_quotes(text):
        return Given(hexstring.read(whole), "string")
    return Given(_digits(whole, 0, len(text)), "hex")


def _array(whole: Text) -> bytes:
    """Numbers in braces or brackets, with what a compiler wants around them."""
    match = _ARRAY.fullmatch(whole.content)
    if match is None or re.search(r"0[xX]", match["head"]):
        bracket = min(at for at in map(whole.content.find, "{[") if at >= 0)
        raise whole.error("this is not one array of bytes in hex, such as {0x38, 0x00}", bracket)
    data = _digits(whole, match.start("body"), match.end("body"), numbers=True)
    if match["size"] is not None and int(match["size"]) != len(data):
        raise whole.error(f"the array has {len(data)} bytes, not {match['size']}", match.start("size"))
    return data


def _digits(whole: Text, start: int, end: int, *, numbers: bool = False) -> bytes:
    """Hex digits with spaces, colons, commas, 0x or a backslash and x; ``numbers``: each has to have 0x."""
    data = bytearray()
    at = _skip(whole, start, end)
    while at < end:
        match = _TOKEN.match(whole.content, at, end)
        if match is None:
            raise whole.error(f"{whole.content[at]!r} is no hex digit", at)
        if numbers and not match["prefix"]:
            raise whole.error(f"{match[0]!r} has no 0x, so it may be hex or decimal", at)
        data += _token(whole, match)
        if len(data) > LIMIT:
            raise whole.error(f"more than {LIMIT >> 20} MiB", at)
        at = _skip(whole, match.end(), end)
    return bytes(data)


def _skip(whole: Text, at: int, end: int) -> int:
    match = _BETWEEN.match(whole.content, at, end)
    assert match is not None  # it matches nothing as well
    return match.end()


def _token(whole: Text, match: re.Match[str]) -> bytes:
    digits, prefix = match["digits"], match["prefix"]
    shown = match[0] if len(match[0]) <= 20 else match[0][:20] + "..."
    if prefix in ("0x", "0X") and len(digits) == 1:
        digits = "0" + digits  # as gdb writes it
    if len(digits) % 2:
        raise whole.error(f"{shown!r} has an odd number of hex digits", match.start())
    if prefix and len(digits) in _WORDS:
        reason = f"{shown!r} is a number of {len(digits) // 2} bytes, whose order is not known; write single bytes"
        raise whole.error(reason, match.start())
    times = int(match["times"] or 1)
    if len(digits) // 2 * times > LIMIT:
        raise whole.error(f"more than {LIMIT >> 20} MiB", match.start())
    return bytes.fromhex(digits) * times

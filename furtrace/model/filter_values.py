"""Values in display filters: numbers with units, names, texts with escapes, patterns."""

import difflib
import re
import warnings
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from lark import Token

from furtrace.model.fields import FIELDS, Field, Sort

_LONGEST_NUMBER: Final = 40

_DURATIONS: Final = {
    "ns": 1,
    **dict.fromkeys(("us", "\N{MICRO SIGN}s", "\N{GREEK SMALL LETTER MU}s"), 10**3),
    "ms": 10**6,
    "s": 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
}
_SIZES: Final = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_NUMBER: Final = re.compile(r"(-?)(0[xX][0-9a-fA-F]+|([0-9]+(?:\.[0-9]+)?)([A-Za-z\u00b5\u03bc]*))")
_SIZE_UNIT: Final = re.compile(r"([kmgt])(?:i?b)?", re.IGNORECASE)
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED: Final = {"n": b"\n", "t": b"\t", "r": b"\r", "0": b"\0", "\\": b"\\", '"': b'"', "'": b"'"}


class FilterError(Exception):
    """A filter can't be understood.

    Attributes:
        at: the place in its text, counted from 0, that the message is about.

    """

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


def place_of(token: Token) -> int:
    """Where a token begins in the filter's text."""
    return token.start_pos or 0


def is_unit(text: str) -> bool:
    """Whether it is a unit of durations or sizes."""
    return text in _DURATIONS or _SIZE_UNIT.fullmatch(text) is not None


def like(name: str, known: Iterable[str]) -> str:
    """What may have been meant, in parentheses; empty: nothing that is known is like it."""
    found = difflib.get_close_matches(name, known, 1)
    return f" (is it {found[0]}?)" if found else ""


def span_of(wanted: Field, first: Token, last: Token | None) -> tuple[Any, Any]:
    """A value, or the two ends of a range."""
    if wanted.sort is Sort.TEXT:
        if last is not None:
            raise FilterError(f"{wanted.name} is text, which has no ranges", place_of(last))
        return text_of(wanted, first), None
    if last is None:
        return value_of(wanted, first, equal=True), None
    if wanted.sort is Sort.CODE and not first.type == last.type == "NUMBER":
        raise FilterError("names have no order, so they have no ranges", place_of(last))
    return value_of(wanted, first, equal=False), value_of(wanted, last, equal=False)


def text_of(wanted: Field, token: Token) -> str:
    """The text that a token stands for."""
    if token.type != "STRING":
        raise FilterError(f"{wanted.name} is text, which stands in quotes", place_of(token))
    return _unescaped(token)


def value_of(wanted: Field, token: Token, *, equal: bool) -> Any:
    """The number that a token stands for, as values of this field have it.

    ``equal``: values are to be equal to it.
    """
    if token.type == "NUMBER":
        value, unit = _number_of(token)
        _check_unit(wanted, token, value, unit)
        if wanted.name == "error" and value > 0 and equal:
            raise FilterError("an error is 0 or negative: -2, or ENOENT", place_of(token))
        return value
    if wanted.sort is Sort.CODE:
        return _code_of(wanted, token)
    if token.type == "STRING":
        raise FilterError(f"{wanted.name} is {wanted.sort.value}, and this is text", place_of(token))
    known = [name for name, each in FIELDS.items() if each.sort is wanted.sort]
    raise FilterError(f"{token} is neither a value nor a field{like(str(token), known)}", place_of(token))


def _check_unit(wanted: Field, token: Token, value: Any, unit: str) -> None:
    is_duration, number = unit in _DURATIONS, token.removesuffix(unit)
    if wanted.sort is Sort.DURATION and not is_duration and (unit or value):
        raise FilterError(f"{wanted.name} is a duration, which has a unit: {number}us, {number}ms", place_of(token))
    if wanted.sort is not Sort.DURATION and is_duration:
        raise FilterError(f"{wanted.name} is {wanted.sort.value}, and {token} is a duration", place_of(token))


def _number_of(token: Token) -> tuple[Any, str]:
    """The number, an int where it is whole, and its unit; a duration is in nanoseconds, a size in bytes."""
    found = _NUMBER.fullmatch(token)
    if found is None:
        raise FilterError(f"{token} is no number", place_of(token))
    if len(token) > _LONGEST_NUMBER:
        raise FilterError("the number is too long", place_of(token))
    sign = -1 if found[1] else 1
    if found[3] is None:
        return sign * int(found[2], 16), ""
    unit, size_unit = found[4], _SIZE_UNIT.fullmatch(found[4])
    if unit in _DURATIONS:
        factor = _DURATIONS[unit]
    elif size_unit:
        factor = _SIZES[size_unit[1].lower()]
    elif unit:
        known = "ns, us, ms, s, min, h of time, or k, M, G, T of size"
        raise FilterError(f"{unit} is no unit; there are {known}", place_of(token))
    else:
        factor = 1
    value = sign * Decimal(found[3]) * factor
    return int(value) if value == value.to_integral_value() else float(value), unit


def _code_of(wanted: Field, token: Token) -> int:
    """The number that a name stands for, in quotes or not."""
    given = _unescaped(token) if token.type == "STRING" else str(token)
    name = given.upper().removeprefix("FUSE_" if wanted.codes.get("LOOKUP") else "-" if wanted.name == "error" else "")
    numbered = re.fullmatch(r"OP_([0-9]{1,10})", name)
    if name in wanted.codes:
        return wanted.codes[name]
    if "LOOKUP" in wanted.codes and numbered:
        return int(numbered[1])
    what = {"op": "operation", "opcode": "operation", "error": "error"}.get(wanted.name, f"value of {wanted.name}")
    likely = like(name, wanted.codes) or (
        f" ({', '.join(map(str.lower, wanted.codes))})" if len(wanted.codes) < 8 else ""
    )
    raise FilterError(f"there is no {what} {ascii(given)[1:-1]}{likely}", place_of(token))


def _unescaped(token: Token) -> str:
    """The text of a token in quotes; several escapes of bytes can make one character of UTF-8."""
    text, data, end = str(token)[1:-1], b"", 0
    for found in _ESCAPE.finditer(text):
        data += text[end : found.start()].encode("utf-8", "surrogateescape") + _escaped(found, place_of(token) + 1)
        end = found.end()
    return (data + text[end:].encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _escaped(found: "re.Match[str]", begin: int) -> bytes:
    byte, character, sign = found.groups()
    if byte is not None:
        return bytes.fromhex(byte)
    if character is None and sign in _ESCAPED:
        return _ESCAPED[sign]
    try:
        return chr(int(character, 16)).encode()
    except (TypeError, UnicodeEncodeError):
        what = f"{found[0]} stands for nothing; a backslash itself is \\\\"
        raise FilterError(what, begin + found.start()) from None


def pattern_of(token: Token) -> "re.Pattern[str]":
    """A regular expression: backslashes are its own, but before the quote that the text stands in."""
    quote = str(token)[0]
    source = str(token)[1:-1].replace(f"\\{quote}", quote)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # FutureWarning of what it may mean in a later Python
            return re.compile(source)
    except (re.error, OverflowError, RecursionError) as problem:
        why = problem.msg if isinstance(problem, re.error) else "it is too large"
        raise FilterError(f"this is no regular expression: {why}", place_of(token)) from None

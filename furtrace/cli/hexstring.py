r"""Bytes from string literals: of C, of Python (``b"\x38"``), as strace shows them.

Several of them are joined, as C does. Around them may stand what a call of read(2), write(2), readv(2) or writev(2)
has in strace's output; nothing else.
"""

import re
from string import hexdigits
from typing import Final

from furtrace.cli.hextext import HexError, Text

_LITERAL: Final = re.compile(
    r"""(?P<bytes>\b[bB])?(?P<quote>["'])(?P<body>(?:\\.|(?!(?P=quote))[^\\\n])*)(?P=quote)(?P<cut>\.\.\.)?"""
)
_ESCAPE: Final = re.compile(
    r"""\\(?:x(?P<hex>[0-9a-fA-F]{2})|(?P<octal>[0-7]{1,3})|(?P<char>[abfnrtv\\"'?]))|(?P<plain>[ -\[\]-~])""", re.ASCII
)
_CHARS: Final = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_AROUND: Final = re.compile(r"[\s+();\\]*")
_CALL: Final = re.compile(r"""[^"'\n]*\b(?P<call>readv?|writev?)\([^"'\n]*?(?:\)\ *=\ *(?P<result>\d+)[^"'\n]*)?\s*""")


def has_quotes(text: str) -> bool:
    """Whether there are strings in a text."""
    return '"' in text or "'" in text


def read(whole: Text) -> bytes:
    """Return the bytes of all strings in a text.

    Raises:
        HexError: one of them can't be read, or was cut off, or something else stands around them.
    """
    literals = list(_LITERAL.finditer(whole.content))
    around = _LITERAL.sub("", whole.content)
    call = None if _AROUND.fullmatch(around) else _CALL.fullmatch(around)
    if not literals or not (call or _AROUND.fullmatch(around)):
        raise _stray(whole, literals)
    data = b"".join(_literal(whole, literal) for literal in literals)
    if call and call["result"] and int(call["result"]) != len(data):
        reason = f"the strings have {len(data)} bytes, but {call['call']} returned {call['result']}"
        raise whole.error(reason, literals[0].start())
    return data


def _stray(whole: Text, literals: list[re.Match[str]]) -> HexError:
    """What stands around the strings that should not be there."""
    at = 0
    for start, end in [*(literal.span() for literal in literals), (len(whole.content), 0)]:
        stray = _AROUND.match(whole.content, at, start)
        assert stray is not None  # it matches nothing as well
        if whole.content[stray.end() : stray.end() + 1] in ("'", '"') and stray.end() < start:
            return whole.error("this string has no end", stray.end())
        if stray.end() < start:
            reason = "beside strings there may only be one call of read, write, readv or writev, as strace shows it"
            return whole.error(reason, stray.end())
        at = end
    return whole.error("there is no string", 0)


def _literal(whole: Text, literal: re.Match[str]) -> bytes:
    if literal["cut"]:
        raise whole.error("the string was cut off ('...'); strace -s takes a longer one", literal.start("cut"))
    data = bytearray()
    at, end = literal.span("body")
    while at < end:
        match = _ESCAPE.match(whole.content, at, end)
        if match is None:
            raise whole.error(f"{whole.content[at : at + 2]!r} is not known in a string of bytes", at)
        byte = _byte(match)
        # C takes as many hex digits as there are, Python two.
        longer = match["hex"] and not literal["bytes"] and whole.content[match.end()] in hexdigits
        if byte > 0xFF or longer:
            raise whole.error(f"{whole.content[at : match.end() + 1]!r} is no single byte in C; split the string", at)
        data.append(byte)
        at = match.end()
    return bytes(data)


def _byte(match: re.Match[str]) -> int:
    if match["hex"]:
        return int(match["hex"], 16)
    if match["octal"]:
        return int(match["octal"], 8)
    char = match["char"] or match["plain"]
    return _CHARS.get(char, ord(char)) if match["char"] else ord(char)

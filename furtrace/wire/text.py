"""Text of a traced process, made safe to print."""

import re

_PLAIN = re.compile(rb"[ -\[\]-~]*")  # printable ASCII but the backslash


def printable(data: bytes) -> str:
    r"""Show bytes that a traced process chose, such as a file's name, so that a terminal shows them and does nothing.

    Valid UTF-8 that Unicode calls printable stays as it is. The rest is escaped: control characters and bytes that
    are not UTF-8 as ``\n``, ``\t``, ``\r``, ``\x1b``, ``\xff``; other characters (controls from U+0080 on, bidi and
    other format characters, unusual spaces, private use, unassigned) as ``\u202e`` or ``\U000e0001``; the backslash
    as ``\\``. Different bytes never look alike: ``\x85`` is a stray byte, ``\u0085`` the character.
    """
    if _PLAIN.fullmatch(data):
        return data.decode("ascii")
    return "".join(map(_shown, data.decode("utf-8", "surrogateescape")))


_SHORT = {"\\": r"\\", "\n": r"\n", "\t": r"\t", "\r": r"\r"}


def _shown(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # "surrogateescape" puts a byte that is not UTF-8 here
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"

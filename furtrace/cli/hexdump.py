"""Bytes from dumps with offsets: of xxd, hexdump -C, od -t x1z, gdb's x/b, the kernel's print_hex_dump, tcpdump -x.

An offset is checked against the bytes before it, the characters beside the bytes against the bytes; where groups of
bytes may be words in another order, the characters decide. What contradicts itself is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from furtrace.cli.hextext import LIMIT, HexError, Text

_LOG: Final = re.compile(
    r"(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?|\w{3} +\d+ [\d:]{8} \S+ kernel: (?:\[ *\d+\.\d+\] )?"
)
"""What dmesg or the journal puts before a line of the kernel."""
_COLON: Final = re.compile(
    r"""(?P<prefix>[^"'{}\\|<>]*?)\b(?P<offset>(?:0[xX])?[0-9a-fA-F]{4,16})(?:[ ]<[^>]*>)?:(?=\s|$)"""
)
_BARE: Final = re.compile(r"(?P<prefix>\s*)(?P<offset>(?:0[xX])?[0-9a-fA-F]{4,16})(?=\s|$)")
_OF_WORDS: Final = re.compile(
    r"\s*[0-9a-fA-F]{7}(?:\s+(?:[0-9a-fA-F]{4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8,22}))+\s*"
    r"|\s*[0-9a-fA-F]{6}(?:(?:\s+[0-9a-fA-F]{4})+|(?:\s+[0-9a-fA-F]{8})+|(?:\s+[0-9a-fA-F]{16})+)\s*"
)
"""A line of plain hexdump, or of od without -t x1."""
_BYTES: Final = re.compile(r"\s*(?:(?:0[xX])?[0-9a-fA-F]{2}\s+)*(?:0[xX])?[0-9a-fA-F]{2}\s*")
_GROUPS: Final = re.compile(r"(?:\s*(?:0[xX])?(?:[0-9a-fA-F]{2})+(?=\s|$))*\s*")
_GAP: Final = re.compile(r"(?: {2,}|\t+)(?=\S)")
_WORD_DIGITS: Final = range(4, 17)
"""Hex digits of a group that may be one number; less than 16 but no power of two: the last of a dump."""
_SHOWN: Final = bytes(byte if 0x20 <= byte < 0x7F else ord(".") for byte in range(256))
"""What dumps show beside the bytes."""
_SENTENCE: Final = (
    "groups of bytes whose order is not known; use `xxd -g1`, `hexdump -C`, `od -A x -t x1` or gdb's x/xb"
)


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a dump.

    Attributes:
        at: where it starts in the text.
        prefix: what stands before the offset.
        offset: its digits; empty for ``*``.
        body: where the rest starts in the text.
        rest: what follows the offset.
        colon: the offset ends with one.
        logged: it is the kernel's.

    """

    at: int
    prefix: str
    offset: str
    body: int
    rest: str
    colon: bool
    logged: bool


@dataclass(frozen=True, slots=True)
class _Reading:
    """One way to read the rest of a line.

    Attributes:
        groups: hex digits.
        beside: what stands behind them, the space before it included; None: nothing.
        barred: it stood between bars, so that no space was lost.

    """

    groups: tuple[str, ...]
    beside: str | None = None
    barred: bool = False

    def data(self, *, swapped: bool) -> bytes:
        """The bytes, as they stand or with those of each group the other way round."""
        if not swapped:
            return bytes.fromhex("".join(self.groups))
        return b"".join(bytes.fromhex(group)[::-1] for group in self.groups)

    def fits(self, *, swapped: bool, trimmed: bool = False) -> bool:
        """Whether what stands beside the bytes are their characters; ``trimmed``: but for spaces at the ends."""
        if self.beside is None:
            return False
        shown = self.data(swapped=swapped).translate(_SHOWN).decode("ascii")
        if self.barred:
            return self.beside == shown
        if self.beside.strip() != shown.strip():
            return False
        before, after = _spaces(self.beside)
        wanted_before, wanted_after = _spaces(shown)
        return trimmed or (before >= 2 + wanted_before and after >= wanted_after)


@dataclass(frozen=True, slots=True)
class _Row:
    """The bytes of a line; ``told``: the characters beside them say the same."""

    data: bytes
    told: bool


def _spaces(text: str) -> tuple[int, int]:
    """How many spaces a text begins and ends with."""
    return len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))


def read(whole: Text) -> bytes | None:
    """Return the bytes of a dump with offsets; None if the text is none.

    Raises:
        HexError: it is one, and contradicts itself, or could be read in two ways.
    """
    pieces = [(match.start(), match[0]) for match in re.finditer(r"[^\n]+", whole.content) if not match[0].isspace()]
    first = _line(*pieces[0], _COLON) or _line(*pieces[0], _BARE)
    if first is None:
        return None
    pattern = _COLON if _line(*pieces[0], _COLON) else _BARE
    if pattern is _BARE and not _is_dump(whole, first):
        return None
    lines = [_matching(whole, at, text, pattern, first) for at, text in pieces]
    # xxd -e puts a short group to the right.
    in_order = first.colon and not first.logged and not first.rest.startswith("   ")
    return _joined(whole, lines, _rows(whole, lines, in_order=in_order))


def without_log(text: str) -> str:
    """Blank out what the kernel's log puts before its lines, so that all else keeps its place."""
    return re.sub(rf"^(?:{_LOG.pattern})", lambda match: " " * len(match[0]), text, flags=re.MULTILINE)


def _line(at: int, text: str, pattern: re.Pattern[str]) -> _Line | None:
    text = text.rstrip("\r")
    log = _LOG.match(text)
    start = log.end() if log else 0
    match = pattern.match(text, start)
    if match is None:
        return None
    offset = match["offset"].lower().removeprefix("0x")
    return _Line(at, match["prefix"], offset, at + match.end(), text[match.end() :], pattern is _COLON, bool(log))


def _matching(whole: Text, at: int, text: str, pattern: re.Pattern[str], first: _Line) -> _Line:
    """A line that looks like the first, or one that says that the one before repeats."""
    if text.strip() == "*":
        return _Line(at, "", "", at, "", first.colon, first.logged)
    line = _line(at, text, pattern)
    if line is None or line.prefix != first.prefix:
        raise whole.error("here an offset is missing, such as the first line has", at)
    return line


def _is_dump(whole: Text, first: _Line) -> bool:
    """Whether a number without a colon is an offset: with bytes one by one, or with characters beside the bytes."""
    if _OF_WORDS.fullmatch(first.offset + first.rest):
        raise whole.error(_SENTENCE, first.body)
    ways = list(_readings(first.rest))
    if any(one.barred or one.fits(swapped=False) or one.fits(swapped=True) for one in ways):
        return True
    if not _BYTES.fullmatch(first.rest):
        return False
    if "\n" not in whole.content.strip():
        raise whole.error(f"{first.offset!r} may be an offset or bytes; end it with a colon, or leave it out", first.at)
    return True


def _readings(rest: str) -> Iterator[_Reading]:
    """The ways to read what follows an offset."""
    bars = re.fullmatch(r"([\s0-9a-fA-F]*)(?:\|(.*)\||>(.*)<)\s*", rest)
    if bars and bars[1].strip() and _GROUPS.fullmatch(bars[1]):
        barred = _Reading(_groups(bars[1]), bars[2] if bars[2] is not None else bars[3], barred=True)
        yield barred
        if barred.fits(swapped=False):
            return
    for gap in _GAP.finditer(rest):
        if rest[: gap.start()].strip() and _GROUPS.fullmatch(rest, 0, gap.start()):
            yield _Reading(_groups(rest[: gap.start()]), rest[gap.start() :])
    if _GROUPS.fullmatch(rest):
        yield _Reading(_groups(rest))


def _groups(text: str) -> tuple[str, ...]:
    return tuple(text.lower().replace("0x", "").split())


def _rows(whole: Text, lines: list[_Line], *, in_order: bool) -> list[bytes]:
    """The bytes of each line; none where there is an offset alone, or ``*``.

    Args:
        whole: all of the text.
        lines: of it.
        in_order: groups of two bytes are taken as they stand if nothing speaks against it, as xxd writes them.
    """
    for line in lines:
        if match := re.match(r"\s*(?=0[xX][0-9a-fA-F]{3})", line.rest):
            raise whole.error(_SENTENCE, line.body + match.end())
    ways = [(line, list(_readings(line.rest))) for line in lines]
    widest = max((len(group) for _, readings in ways for one in readings for group in one.groups), default=2)
    if widest not in _WORD_DIGITS:
        return [_row(whole, *way, swapped=False).data for way in ways]
    orders = [_attempt(whole, ways, swapped=swapped) for swapped in (False, True)]
    held = [rows for rows in orders if rows is not None]
    if not held:
        return [_row(whole, *way, swapped=False).data for way in ways]
    if len(held) == 1 or held[0] == held[1]:
        return [row.data for row in held[0]]
    as_it_stands, swapped = map(_told, held)
    # Characters that look like hex digits can be read as one more group, which makes the widest too wide for xxd's.
    if as_it_stands > swapped or (in_order and widest == 4 and as_it_stands == swapped):
        return [row.data for row in held[0]]
    raise whole.error(_SENTENCE, lines[0].body)


def _attempt(whole: Text, ways: list[tuple[_Line, list[_Reading]]], *, swapped: bool) -> list[_Row] | None:
    try:
        return [_row(whole, *way, swapped=swapped) for way in ways]
    except HexError:
        return None


def _told(rows: list[_Row]) -> int:
    """For how many rows the characters bear it out."""
    return sum(row.told for row in rows)


def _row(whole: Text, line: _Line, readings: list[_Reading], *, swapped: bool) -> _Row:
    """The bytes of a line by the likeliest reading that holds."""
    for one in readings:
        if one.fits(swapped=swapped):
            return _Row(one.data(swapped=swapped), told=True)
    held = [one for one in readings if one.beside is None or one.fits(swapped=swapped, trimmed=True)]
    found = {one.data(swapped=swapped) for one in held}
    if len(found) > 1:
        raise whole.error("it can't be told where the bytes end and the characters beside them begin", line.body)
    if found:
        return _Row(found.pop(), told=False)
    if readings:
        raise whole.error("the characters beside the bytes are not those of the bytes", line.body)
    wrong = re.match(r"(?:\s*(?:0[xX])?(?:[0-9a-fA-F]{2})+(?=\s))*\s*", line.rest)
    at = wrong.end() if wrong else 0
    raise whole.error(f"{line.rest[at : at + 8].split()[0]!r} is no group of hex digits", line.body + at)


def _joined(whole: Text, lines: list[_Line], rows: list[bytes]) -> bytes:
    """The rows one after the other, those that ``*`` stands for as well, if the offsets agree."""
    found, errors = [], []
    for radix in _radixes(lines):
        try:
            data = _by_offsets(whole, lines, rows, radix)
        except HexError as error:
            errors.append(error)
            continue
        if data not in found:
            found.append(data)
    if not found:
        raise errors[0]
    if len(found) > 1:
        raise whole.error("the offsets may be hex, decimal or octal; use `xxd` or `od -A x`", lines[0].at)
    return found[0]


def _radixes(lines: list[_Line]) -> list[int]:
    """How the offsets may be written.

    Other than in hex only as od (7 digits) and xxd -d (8, a colon) do it: in hex the same digits may tell of missing
    lines.
    """
    digits = "".join(line.offset for line in lines)
    widths = {len(line.offset) for line in lines if line.offset}
    if re.search("[a-f]", digits) or widths not in ({7}, {8}) or (widths == {8} and not lines[0].colon):
        return [16]
    return [16, 10, 8] if widths == {7} and not re.search("[89]", digits) else [16, 10]


def _by_offsets(whole: Text, lines: list[_Line], rows: list[bytes], radix: int) -> bytes:
    """As :func:`_joined`, with offsets of one radix.

    Raises:
        HexError: an offset is not where the bytes before it end.
    """
    data, repeated = bytearray(), b""
    base = int(lines[0].offset, radix)
    for index, (line, row) in enumerate(zip(lines, rows, strict=True)):
        if not line.offset:
            repeated = rows[index - 1]
            if not repeated or index + 1 == len(lines):
                raise whole.error("'*' needs a line before it that it repeats, and an offset after it", line.at)
            continue
        gap = int(line.offset, radix) - base - len(data)
        if repeated:
            if len(data) + gap > LIMIT:
                raise whole.error(f"more than {LIMIT >> 20} MiB", line.at)
            data += _repeated(whole, line, repeated, gap)
            gap = 0
        if gap:
            due = f"{base + len(data):#x}" if radix == 16 else str(base + len(data))
            raise whole.error(f"offset {line.offset} stands where {due} is due; a line may be missing", line.at)
        if not row and (index + 1 < len(lines) or index == 0):
            raise whole.error("an offset without bytes", line.at)
        data += row
        repeated = b""
    return bytes(data)


def _repeated(whole: Text, line: _Line, row: bytes, gap: int) -> bytes:
    """What ``*`` stands for: a row again and again, up to the next offset."""
    if gap <= 0 or gap % len(row):
        raise whole.error(f"'*' can't stand for {gap} bytes if a line has {len(row)}", line.at)
    return row * (gap // len(row))

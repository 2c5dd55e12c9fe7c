"""The tree beside the bytes: right at every width, and nothing of it lost."""

import io
import re
import struct
from collections.abc import Iterator
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from furtrace.views.decoded import DecodedView
from furtrace.views.wrapping import wrapped
from furtrace.wire.decode import Context, Decoded, Part, decode
from furtrace.wire.dialect import Dialect
from furtrace.wire.items import Item, Problem
from furtrace.wire.opcodes import Opcode

NAME = "na[red]me [/] \x1b[31m\x07 字字字 a  b " + "long " * 8 + "x" * 70 + ".txt"
PIPE = 1 << 20


def request(opcode: int, body: bytes) -> bytes:
    return struct.pack("<IIQQIIIHH", 40 + len(body), opcode, 2, 1, 1000, 0xFFFFFFFF, 4242, 0, 0) + body


CREATE = request(Opcode.CREATE, struct.pack("<IIII", 0o102, 0o100644, 0o22, 0) + NAME.encode() + b"\0")
INIT = request(Opcode.INIT, struct.pack("<IIIII11I", 7, 46, 131072, 0xFFFFFFFF, 0xFFF, *[0] * 11))
WRITE = request(Opcode.WRITE, struct.pack("<QQIIQII", 2**64 - 1, 65536, 300, 3, 7, 0x8002, 0) + bytes(range(150)) * 2)
SLOT = WRITE[:40].ljust(128, b"\0") + WRITE[40:80].ljust(128, b"\0") + struct.pack("<QQIIQ", 0, 2, 300, 0, 0)
CUT = CREATE[:60]
LISTING = b"".join(
    struct.pack("<QQII", 5, at, len(name), 8) + name.ljust(-(-len(name) // 8) * 8, b"\0")
    for at, name in enumerate([b"a", b"[bold]x[/bold]", "é\u202e".encode()])
)

MESSAGES: dict[str, tuple[bytes, Part | None, Context | None]] = {
    "CREATE": (CREATE, None, None),
    "INIT": (INIT, None, None),
    "WRITE": (WRITE, None, None),
    "slot": (SLOT, None, Context(Dialect.BUFPOOL)),
    "slot with payload": (SLOT + bytes(100), None, Context(Dialect.PLAIN)),
    "READDIR": (LISTING, Part.OUT, Context(opcode=int(Opcode.READDIR))),
    "STATX": (bytes(range(256)) + bytes(32), Part.OUT, Context(opcode=int(Opcode.STATX))),
    "command": (bytes(range(80)), Part.COMMAND, Context(Dialect.BUFPOOL)),
    "cut": (CUT, None, None),
    "nothing of it": (b"\1", None, None),
}
WIDTHS = [60, 80, 100, 160, PIPE]


def shown(data: bytes, decoded: Decoded, width: int, encoding: str = "utf-8", *, colours: bool = False) -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    system: Literal["256"] | None = "256" if colours else None
    console = Console(file=file, width=width, height=50, force_terminal=colours, highlight=False, color_system=system)
    console.print(DecodedView(decoded, data, ["a note"]), soft_wrap=True)
    file.seek(0)
    return file.read()


def message(name: str) -> tuple[bytes, Decoded]:
    data, part, context = MESSAGES[name]
    return data, decode(data, part, context)


def flat(items: tuple[Item, ...]) -> Iterator[Item]:
    for item in items:
        yield item
        yield from flat(item.items)


def table(text: str) -> tuple[str, list[list[str]]]:
    """The line of heads, then the lines of each piece."""
    heads, *lines = text.split("\n\n")[1].splitlines()
    pieces: list[list[str]] = []
    for line in lines:
        if line.startswith("0x"):
            pieces.append([])
        pieces[-1].append(line)
    return heads, pieces


def column(lines: list[str], start: int, end: int | None = None) -> str:
    """What stands in a column, without any space."""
    return re.sub(r"\s", "", "".join(line[start:end] for line in lines))


def joined(*texts: str) -> str:
    return re.sub(r"\s", "", "".join(texts))


def value_of(item: Item) -> str:
    if isinstance(item.value, tuple):
        return ", ".join(map(str, item.value))
    return str(item.value) if isinstance(item.value, int) else ""


def meaning_of(item: Item) -> str:
    return item.meaning if item.meaning != value_of(item) else ""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", MESSAGES)
def test_nothing_is_lost(name: str, width: int) -> None:
    """Each piece has its offset, size, name, bytes, and the whole of value and meaning; where bytes end is marked."""
    data, decoded = message(name)
    heads, found = table(shown(data, decoded, width))
    pieces = list(flat(decoded.items))
    assert len(found) == len(pieces)
    at_bytes, at_value, at_meaning = heads.index("bytes"), heads.index("value"), heads.index("meaning")
    for item, lines in zip(pieces, found, strict=True):
        offset, size, rest = lines[0].split(maxsplit=2)
        assert (int(offset, 16), int(size)) == (item.offset, item.size)
        assert rest.lstrip("│├└ ").startswith(item.name)
        if item.items or not item.size:
            assert column(lines, at_value) == joined(meaning_of(item))
            continue
        more = item.size - 16
        mark = f"...{more}more" if more > 0 else ""
        assert column(lines, at_bytes, at_value) == data[item.offset :][: item.size][:16].hex() + mark
        if "value  meaning" in heads:
            assert column(lines, at_value) == joined(value_of(item), meaning_of(item))
        else:
            assert column(lines, at_value, at_meaning) == joined(value_of(item))
            assert column(lines, at_meaning) == joined(meaning_of(item))


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("name", MESSAGES)
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    data, decoded = message(name)
    for line in shown(data, decoded, width).splitlines():
        assert cell_len(line) <= width, line


def test_a_pipe_has_a_line_a_field() -> None:
    data, decoded = message("INIT")
    assert re.search(
        r"^0x0034 +4  ├ flags .*  FUSE_ASYNC_READ\|.*\|FUSE_MAX_PAGES\|.*$", shown(data, decoded, PIPE), re.M
    )


def test_flags_are_broken_between_their_names() -> None:
    data, decoded = message("INIT")
    lines = table(shown(data, decoded, 80))[1]
    names = [name for lines_ in lines for line in lines_ for name in line.split()[-1].strip("|").split("|")]
    assert {"FUSE_ASYNC_READ", "FUSE_EXPLICIT_INVAL_DATA", "FUSE_HAS_IO_URING_BUFPOOL"} <= set(names)


def test_value_and_meaning_have_columns_where_there_is_room() -> None:
    data, decoded = message("CREATE")
    narrow, wide = shown(data, decoded, 80), shown(data, decoded, 160)
    assert "e8030000           1000\n" in narrow
    assert "02000000 00000000  2\n" in narrow
    assert "02 00 00 00 00 00 00 00  2\n" in wide
    assert re.search(r"^0x0004     4  ├ opcode        23 00 00 00              35          CREATE$", wide, re.M)


def test_the_tree() -> None:
    data, decoded = message("slot")
    lines = shown(data, decoded, 80).splitlines()
    assert "0x0000   128  in_out" in lines
    assert "0x0000    40  └ fuse_in_header" in lines
    assert any(line.startswith("0x0000     4    ├ len ") for line in lines)
    assert any(line.startswith("0x0026     2    └ padding ") for line in lines)


def test_a_branch_goes_on_past_a_long_meaning() -> None:
    data, decoded = message("INIT")
    assert re.search(r"^ {14}│ +FUSE_POSIX_LOCKS\|$", shown(data, decoded, 80), re.M)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_locale_without_utf8(encoding: str) -> None:
    for name in MESSAGES:
        data, decoded = message(name)
        assert not re.search(r"\\u25", shown(data, decoded, 80, encoding))  # where box drawing begins
    data, decoded = message("CREATE")
    text = shown(data, decoded, 80, encoding)
    assert "\n0x0004     4  |-opcode " in text
    assert "\n0x0034     4  `-open_flags " in text
    assert "\\u5b57" in text


def test_what_a_process_chose_does_nothing() -> None:
    """Neither markup nor control characters: a name is shown as it is."""
    data, decoded = message("CREATE")
    text = shown(data, decoded, PIPE, colours=True)
    assert "na[red]me [/] \\x1b[31m\\x07 字" in text
    assert set(re.findall(r"[\x00-\x09\x0b-\x1f\x7f]", text)) == {"\x1b"}
    assert "\x1b[31m\\x07" not in text
    data, decoded = message("READDIR")
    text = shown(data, decoded, 160)
    assert '"[bold]x[/bold]"' in text
    assert "\u202e" not in text
    assert '"é\\u202e"' in text


def test_problems_are_told_at_both_ends() -> None:
    data, decoded = message("cut")
    assert len(decoded.problems) == 2
    for width in WIDTHS:
        text = shown(data, decoded, width)
        assert "\n2 problems, at the end\n" in text
        tail = text.split("\n2 problems:\n")[1]
        for problem in decoded.problems:
            assert f"  0x{problem.offset:04x}  " in tail
            assert joined(problem.reason) in joined(tail)


def test_no_problems_are_no_heading() -> None:
    data, decoded = message("CREATE")
    assert "problem" not in shown(data, decoded, 80)


def test_one_problem() -> None:
    decoded = Decoded(Part.REPLY, "x", 1, (), (Problem(0, "why [not]"),))
    assert shown(b"0", decoded, 80).endswith("\n1 problem:\n  0x0000  why [not]\n")


def test_title_and_notes_come_first() -> None:
    data, decoded = message("CREATE")
    assert shown(data, decoded, 80).startswith("request CREATE\na note\n\noffset  size  field")


def test_fillers_are_dim() -> None:
    data, decoded = message("CREATE")
    (line,) = (line for line in shown(data, decoded, 80, colours=True).splitlines() if "padding" in line)
    assert set(re.findall(r"\x1b\[([0-9;]*)m", line)) == {"2", "0"}


def test_a_long_name_of_a_structure_may_use_the_place_of_bytes() -> None:
    inner = Item("x", 0, 2, 7)
    decoded = Decoded(
        Part.REPLY, "t", 2, (Item("a structure with a name that is long", 0, 2, None, "words", (inner,)),), ()
    )
    lines = shown(b"\7\0", decoded, 80).splitlines()
    assert lines[4] == "0x0000     2  a structure with a name that is long"
    assert lines[5].strip() == "words"
    assert lines[6] == "0x0000     2  └ x    0700   7"


@given(st.text(alphabet="ab |.字\\x", max_size=60), st.integers(8, 30), st.integers(0, 4))
def test_wrapping_leaves_nothing_out(text: str, width: int, hang: int) -> None:
    lines = wrapped(text, width, hang)
    assert "".join(lines) == text
    assert cell_len(lines[0]) <= width
    assert all(cell_len(line) <= width - hang for line in lines[1:])
    assert all(lines) or not text


def test_wrapping_prefers_the_ends_of_words() -> None:
    assert wrapped("FUSE_A|FUSE_BB|FUSE_C", 14) == ["FUSE_A|", "FUSE_BB|FUSE_C"]
    assert wrapped("one two three", 8) == ["one two ", "three"]
    assert wrapped("x" * 10 + " y", 8) == ["x" * 8, "xx y"]
    assert wrapped(r"\x00\x01\x02", 9) == [r"\x00\x01", r"\x02"]

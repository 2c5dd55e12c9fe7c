"""Names of codes, flags and errors, and text that is safe to print."""

import re
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from furtrace.wire.dialect import Dialect
from furtrace.wire.errnos import Errno, errno_name
from furtrace.wire.flags import cmd_flag_names, ent_flag_names
from furtrace.wire.opcodes import Opcode, UringCommand, command_name, name_roles, opcode_name
from furtrace.wire.text import printable


def test_codes() -> None:
    assert opcode_name(16) == "WRITE"
    assert opcode_name(4096) == "CUSE_INIT"
    assert opcode_name(7) == "OP_7"
    assert command_name(2) == "COMMIT_AND_FETCH"
    assert command_name(0) == "CMD_0"


def test_which_requests_bring_names() -> None:
    two = {Opcode.RENAME, Opcode.RENAME2, Opcode.SYMLINK}
    one = {Opcode.LOOKUP, Opcode.MKNOD, Opcode.MKDIR, Opcode.UNLINK, Opcode.RMDIR, Opcode.LINK, Opcode.CREATE}
    one |= {Opcode.TMPFILE, Opcode.SETXATTR, Opcode.GETXATTR, Opcode.REMOVEXATTR}
    assert {code for code in Opcode if len(name_roles(code)) == 2} == two
    assert {code for code in Opcode if len(name_roles(code)) == 1} == one


@pytest.mark.parametrize(
    ("value", "dialect", "command", "names"),
    [
        (1, Dialect.PLAIN, UringCommand.REGISTER, ("0x1",)),
        (0, Dialect.PLAIN, UringCommand.REGISTER, ()),
        (15, Dialect.BUFRING, UringCommand.REGISTER, ("BUF_RING", "PINNED_HEADERS", "PINNED_BUFFERS", "ZERO_COPY")),
        (17, Dialect.BUFRING, UringCommand.REGISTER, ("BUF_RING", "0x10")),
        (3, Dialect.BUFPOOL, UringCommand.ADD_QUEUE, ("ZERO_COPY", "0x2")),
        (1, Dialect.BUFPOOL, UringCommand.REGISTER, ("0x1",)),
    ],
)
def test_command_flags(value: int, dialect: Dialect, command: int, names: tuple[str, ...]) -> None:
    assert cmd_flag_names(value, dialect, command) == names


def test_entry_flags() -> None:
    assert ent_flag_names(1, Dialect.BUFPOOL) == ("ZERO_COPY",)
    assert ent_flag_names(1, Dialect.PLAIN) == ent_flag_names(1, Dialect.BUFRING) == ("0x1",)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (-2, "ENOENT"),
        (2, "ENOENT"),
        (-95, "EOPNOTSUPP"),
        (-512, "ERESTARTSYS"),
        (-513, "ERESTARTNOINTR"),
        (-524, "ENOTSUPP"),
        (-529, "EIOCBQUEUED"),
        (0, "0"),
        (-41, "-41"),
        (-(2**31), "-2147483648"),
    ],
)
def test_errors(error: int, name: str) -> None:
    assert errno_name(error) == name


def test_errors_are_those_of_c(gcc: str) -> None:
    macros = subprocess.check_output(
        [gcc, "-E", "-dM", "-include", "asm-generic/errno.h", "-xc", "/dev/null"], text=True
    )
    theirs = {name: int(value) for name, value in re.findall(r"^#define (E\w+) (\d+)$", macros, re.MULTILINE)}
    assert theirs
    assert {error.name: error.value for error in Errno if error < 512} == theirs


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain name.txt", "plain name.txt"),
        (b"", ""),
        ("größe 日本 🦀".encode(), "größe 日本 🦀"),
        (b"a\nb\tc\rd", r"a\nb\tc\rd"),
        (b"\x1b[31mred\x07\x00\x7f", r"\x1b[31mred\x07\x00\x7f"),
        ("\u202eexe.txt\u200b\ufeff".encode(), r"\u202eexe.txt\u200b\ufeff"),
        ("\u2028\u00a0\U000e0041".encode(), r"\u2028\u00a0\U000e0041"),
        ("\ue000\u0378\uffff".encode(), r"\ue000\u0378\uffff"),
        (b"\xff\xc3", r"\xff\xc3"),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),
        (b"\x85", r"\x85"),
        ("\x85".encode(), r"\u0085"),
        (rb"back\slash", r"back\\slash"),
    ],
)
def test_text(data: bytes, text: str) -> None:
    assert printable(data) == text


def _unescaped(text: str) -> bytes:
    """Return the bytes that ``printable`` was given, which proves that it loses nothing."""
    short = {"\\": b"\\", "n": b"\n", "t": b"\t", "r": b"\r"}
    parts = re.findall(r"\\(?:([\\ntr])|x(..)|u(.{4})|U(.{8}))|([^\\])", text)
    return b"".join(
        short[mark] if mark else bytes.fromhex(byte) if byte else plain.encode() or chr(int(low or high, 16)).encode()
        for mark, byte, low, high, plain in parts
    )


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"\\x1b")
@example(b"\x1b")
@example("\u202e\\u202e".encode())
def test_text_holds_no_control_characters_and_loses_nothing(data: bytes) -> None:
    text = printable(data)
    assert text.isprintable()
    assert _unescaped(text) == data

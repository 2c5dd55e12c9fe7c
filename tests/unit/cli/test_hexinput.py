"""Every form of hex that people paste gives its bytes back, and what is none says so, with its place."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from furtrace.cli.hexinput import from_bytes, from_text, is_text
from furtrace.cli.hextext import LIMIT, HexError

BYTES = st.binary(min_size=1, max_size=100)
TEXTS = st.lists(st.sampled_from(b" 0aF|<>.x\0:"), min_size=1, max_size=70).map(bytes)
"""Bytes whose characters look like a dump's own."""
BOTH = st.one_of(BYTES, TEXTS)


def chunks(data: bytes, size: int = 16) -> Iterator[tuple[int, bytes]]:
    for at in range(0, len(data), size):
        yield at, data[at : at + size]


def characters(data: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)


def dump(data: bytes, line: Callable[[int, bytes], str], size: int = 16) -> str:
    return "\n".join(line(at, row) for at, row in chunks(data, size)) + "\n"


def starred(data: bytes, line: Callable[[int, bytes], str], end: str) -> str:
    """As hexdump and od do it: rows that repeat become ``*``, and the last line is an offset alone."""
    lines: list[str] = []
    before = None
    for at, row in chunks(data):
        if row != before:
            lines.append(line(at, row))
        elif lines[-1] != "*":
            lines.append("*")
        before = row
    return "\n".join([*lines, end.format(len(data))]) + "\n"


def xxd(data: bytes, group: int = 2) -> str:
    width = 32 + 16 // group
    return dump(data, lambda at, row: f"{at:08x}: {row.hex(' ', -group):<{width}} {characters(row)}")


def xxd_c(data: bytes) -> str:
    return (
        "unsigned char x_bin[] = {\n  "
        + ", ".join(f"0x{byte:02x}" for byte in data)
        + (f"\n}};\nunsigned int x_bin_len = {len(data)};\n")
    )


def hexdump(data: bytes) -> str:
    def line(at: int, row: bytes) -> str:
        return f"{at:08x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  |{characters(row)}|"

    return starred(data, line, "{:08x}")


def od(data: bytes) -> str:
    return starred(data, lambda at, row: f"{at:06x} {row.hex(' '):<47}  >{characters(row)}<", "{:06x}")


def gdb(data: bytes) -> str:
    def line(at: int, row: bytes) -> str:
        return f"{0x7FFE1230 + at:#x} <buf+{at}>:\t" + "\t".join(f"0x{byte:02x}" for byte in row)

    return dump(data, line, 8)


def gdb_array(data: bytes) -> str:
    runs = [match[0] for match in re.finditer(rb"(?s)(.)\1*", data)]
    words = []
    for run in runs:
        many = [f"{run[0]:#x} <repeats {len(run)} times>"]
        words += many if len(run) > 9 else [f"{run[0]:#x}"] * len(run)
    return "$1 = {" + ", ".join(words) + "}"


def dmesg(data: bytes) -> str:
    def line(at: int, row: bytes) -> str:
        return f"[  1{at % 10}.345678] fuse 2: {at:08x}: {row.hex(' '):<47}  {characters(row)}"

    return dump(data, line)


def dmesg_words(data: bytes) -> str:
    """groupsize 4, which the kernel takes only where it fits."""

    def line(at: int, row: bytes) -> str:
        words = " ".join(row[start : start + 4][::-1].hex() for start in range(0, len(row), 4))
        return f"fuse: {at:08x}: {words:<35}  {characters(row)}"

    return dump(data, line)


def tshark(data: bytes) -> str:
    return dump(data, lambda at, row: f"{at:04x}  {row.hex(' '):<47}   {characters(row)}")


def strace(data: bytes) -> str:
    text = "".join(f"\\x{byte:02x}" for byte in data)
    return f'[pid  4242] read(3</dev/fuse>, "{text}", 1052672) = {len(data)}\n'


def strace_vectors(data: bytes) -> str:
    text = "".join(f"\\x{byte:02x}" for byte in data)
    first, rest = text[:4], text[4:]
    vectors = f'{{iov_base="{first}", iov_len=1}}, {{iov_base="{rest}", iov_len={len(data) - 1}}}'
    return f"4242  writev(3, [{vectors}], 2) = {len(data)}\n"


def c_string(data: bytes) -> str:
    return "\n".join('"' + "".join(f"\\x{byte:02X}" for byte in row) + '"' for _, row in chunks(data)) + ";\n"


def octal_string(data: bytes) -> str:
    return '"' + "".join(f"\\{byte:03o}" for byte in data) + '"'


FORMS: dict[str, tuple[Callable[[bytes], str], str]] = {
    "plain": (lambda data: data.hex(), "hex"),
    "upper": (lambda data: data.hex(" ").upper(), "hex"),
    "colons": (lambda data: data.hex(":"), "hex"),
    "commas": (lambda data: data.hex(","), "hex"),
    "lines": (lambda data: "\r\n".join(row.hex() for _, row in chunks(data, 30)), "hex"),
    "0x": (lambda data: ", ".join(f"0x{byte:02x}" for byte in data), "hex"),
    "0x, one digit": (lambda data: " ".join(f"{byte:#x}" for byte in data), "hex"),
    "backslashes": (lambda data: "".join(f"\\x{byte:02x}" for byte in data), "hex"),
    "dmesg without offsets": (lambda data: dump(data, lambda at, row: f"<7>[  1.{at:06}] {row.hex(' ')}"), "hex"),
    "C array": (lambda data: "{ " + ", ".join(f"0x{byte:02X}" for byte in data) + ", };", "array"),
    "xxd -i": (xxd_c, "array"),
    "Rust": (lambda data: "let x: [u8; 9] = [" + ", ".join(f"0x{byte:02x}" for byte in data) + "];", "array"),
    "Go": (lambda data: "[]byte{" + ", ".join(f"0x{byte:02x}" for byte in data) + "}", "array"),
    "gdb array": (gdb_array, "array"),
    "C string": (c_string, "string"),
    "octal string": (octal_string, "string"),
    "Python": (repr, "string"),
    "strace": (strace, "string"),
    "strace writev": (strace_vectors, "string"),
    "xxd": (xxd, "hex dump"),
    "xxd -g1": (lambda data: xxd(data, 1), "hex dump"),
    "hexdump -C": (hexdump, "hex dump"),
    "od": (od, "hex dump"),
    "gdb x/b": (gdb, "hex dump"),
    "dmesg": (dmesg, "hex dump"),
    "tshark": (lambda data: tshark(data + bytes(16)), "hex dump"),
}


@pytest.mark.parametrize("form", FORMS)
@given(data=BOTH)
@example(data=b" " * 16 + b" 0")
@example(data=b"||" * 16)
@example(data=b"\0" * 50 + b"ab")
@example(data=b"a" * 48)
@example(data=b"00000a")
def test_every_form_gives_its_bytes_back(form: str, data: bytes) -> None:
    write, name = FORMS[form]
    found = from_text(write(data))
    assert found.data == (data + bytes(16) if form == "tshark" else data)
    assert found.form == name


WORDS = st.lists(st.sampled_from([b"WXYZ", b"PQ23", b"xy\0\1", b"\0\0\0\0"]), min_size=1, max_size=20).map(b"".join)


@given(WORDS)
def test_words_of_the_kernel_are_turned_by_the_characters(data: bytes) -> None:
    if data.strip(b"\0"):
        assert from_text(dmesg_words(data)).data == data
        assert from_text(xxd(data, 4)).data == data


TOOLS = [
    ("xxd", True), ("xxd -g1", True), ("xxd -u -c 24", True), ("xxd -p", True), ("xxd -i", True), ("xxd -a", True),
    ("hexdump -C", True), ("od -A x -t x1z", True), ("od -A x -t x1", True), ("od -A d -t x1", True),
    ("od -t x1 -v", True), ("hexdump", False), ("hexdump -x", False), ("od", False), ("od -x", False),
    ("od -A x -t x4", False), ("od -A x -t x8", False),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "is_read"), TOOLS, ids=[tool for tool, _ in TOOLS])
def test_real_dumps(tool: str, is_read: bool) -> None:
    """Those of words are refused with the name of a dump that is read."""
    words = tool.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"There is no {words[0]} here.")
    for data in (bytes(range(256)), b"8\0\0\0\x0f\0\0\0" * 3, bytes(40) + b"abc ", b"  ", os.urandom(77)):
        text = subprocess.run(words, input=data, capture_output=True,
                              check=True).stdout.decode()  # fmt: skip
        if is_read:
            assert from_text(text).data == data, text
        else:
            with pytest.raises(HexError, match="order is not known; use `xxd -g1`"):
                from_text(text)


def test_little_endian_xxd() -> None:
    assert from_text("00000000: 64636261 68676665  abcdefgh\n00000008:     6a69           ij\n").data == b"abcdefghij"


REFUSED = [
    ("", "there are no hex digits"),
    (" \n ", "there are no hex digits"),
    ("38 0", "line 1, column 4: '0' has an odd number"),
    ("3800\n38 zz", "line 2, column 4: 'z' is no hex digit"),
    ("hello", "line 1, column 1: 'h' is no hex digit"),
    ("38 \N{NO-BREAK SPACE}00 \N{LEFT DOUBLE QUOTATION MARK}", "line 1, column 8: "),
    ("0x38000000", "line 1, column 1: '0x38000000' is a number of 4 bytes, whose order is not known"),
    ("[ 1.000000] 38 zz", "line 1, column 16: 'z'"),
    # arrays
    ("{56, 0}", "line 1, column 1: this is not one array"),
    ("{0x38, 10}", "line 1, column 8: '10' has no 0x"),
    ("{0x38} {0x39}", "line 1, column 1: this is not one array"),
    ("0x38 {0x39}", "line 1, column 6: this is not one array"),
    ("x = {0x38}; unsigned int x_len = 2;", "line 1, column 34: the array has 1 bytes, not 2"),
    # strings
    ('"\\x38', "line 1, column 1: this string has no end"),
    ('"\\x38a"', "line 1, column 2: .* is no single byte in C"),
    ('"\\400"', "line 1, column 2: .* is no single byte in C"),
    ('"\\u0038"', r"line 1, column 2: '\\\\u' is not known"),
    ('"\N{LATIN SMALL LETTER E WITH ACUTE}"', "line 1, column 2: .* is not known"),
    ('read(3, "\\x38"..., 100) = 56', r"line 1, column 15: the string was cut off \('...'\); strace -s"),
    ('read(3, "\\x38", 100) = 56', "line 1, column 9: the strings have 1 bytes, but read returned 56"),
    ('openat(3, "\\x38") = 3', "line 1, column 1: beside strings there may only be one call of read"),
    ('read(3, "8", 1) = 1\nread(3, "8", 1) = 1', "line 1, column 1: beside strings there may only be one call"),
    ('"8" 39', "line 1, column 5: beside strings"),
    # dumps
    ("00000000: 38\n00000002: 39", "line 2, column 1: offset 00000002 stands where 0x1 is due"),
    ("00000000: 38\n00000001: 39\n00000001: 39", "line 3, column 1: offset 00000001 stands where 0x2 is due"),
    ("00000000: 38\nnonsense", "line 2, column 1: here an offset is missing"),
    ("fuse: 0000: 38\nfuse2: 0001: 39", "line 2, column 1: here an offset is missing"),
    ("0000: 38\n0001:\n0001: 38", "line 2, column 1: an offset without bytes"),
    ("0000:", "line 1, column 1: an offset without bytes"),
    ("0000: 38 zz", "line 1, column 10: 'zz' is no group"),
    ("0000: 3", "line 1, column 7: '3' is no group"),
    ("0000: 38 39  8!", "line 1, column 6: the characters beside the bytes are not those"),
    ("0000  38 39  |8!|\n0002\n", "line 1, column 5: the characters beside the bytes are not those"),
    ("0000: 3839\n*", "line 2, column 1: '\\*' needs a line before it"),
    ("0000: 38\n*\n*\n0010: 38", "line 3, column 1: '\\*' needs a line before it"),
    ("0000: 3839\n*\n0005: 38", "line 3, column 1: '\\*' can't stand for 3 bytes"),
    ("0000: 38\n*\nffffffff: 38", "line 3, column 1: more than 16 MiB"),
    ("000000 38 39", "line 1, column 1: '000000' may be an offset or bytes"),
    ("0x7f00:\t0x00000038\t0x00000000", "line 1, column 9: groups of bytes whose order is not known"),
    ("00000000: 00000038 00000001  9.......", "line 1, column 10: the characters"),
    ("00000000: 00000001 00000002  ........", "line 1, column 10: groups of bytes whose order is not known"),
    ("00000000: 4161  aA", "line 1, column 10: groups of bytes whose order is not known"),
    ("00000000:     0001  ..", "line 1, column 10: groups of bytes whose order is not known"),
    ("[ 1.000000] 00000000: 0001 0002  ....", "line 1, column 22: groups of bytes whose order is not known"),
    ("0000000 00 01\n*\n0001000\n", "line 1, column 1: the offsets may be hex, decimal or octal"),
    ("0000000 0038 0000\n0000004\n", "groups of bytes whose order is not known; use `xxd -g1`"),
    ("00000000: 30 30 20   00", "it can't be told where the bytes end"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), REFUSED, ids=[text or "nothing" for text, _ in REFUSED])
def test_what_is_no_hex_says_where(text: str, sentence: str) -> None:
    with pytest.raises(HexError, match=sentence) as refused:
        from_text(text)
    assert "\n" not in str(refused.value)


@given(st.text(alphabet="0123456789abcdefxz :*|<>.\n\t'\"\\{}[],()=", max_size=60))
def test_nothing_but_a_sentence_is_raised(text: str) -> None:
    said = ""
    try:
        from_text(text)
    except HexError as refused:
        said = str(refused)
    assert re.match(r"line \d+, column \d+: \S|there are no hex digits|$", said)


def test_a_dump_with_a_line_left_out_is_never_taken() -> None:
    lines = xxd(bytes(range(160))).splitlines()
    for gone in range(1, len(lines) - 1):
        with pytest.raises(HexError, match="a line may be missing"):
            from_text("\n".join(lines[:gone] + lines[gone + 1 :]))


def test_groups_of_two_are_in_order_as_xxd_writes_them() -> None:
    assert from_text("00000000: 0001 0002  ....").data == b"\0\1\0\2"
    assert from_text("\t0x0000:  3800 0000\n\t0x0004:  0f00").data == b"8\0\0\0\x0f\0"
    assert from_text("00000000: 0038 0061  8.a.").data == b"8\0a\0"  # only so do the characters fit


def test_a_repeated_byte_counts_towards_the_limit() -> None:
    with pytest.raises(HexError, match="more than 16 MiB"):
        from_text("{0x00 <repeats 99999999 times>}")
    with pytest.raises(HexError, match="more than 16 MiB"):
        from_text("{" + ", ".join(["0x00 <repeats 9999999 times>"] * 2) + "}")
    assert len(from_text("{0x00 <repeats 9999999 times>}").data) < LIMIT


@given(st.binary(min_size=1, max_size=60))
def test_what_is_no_text_is_binary(data: bytes) -> None:
    if not is_text(data):
        found = from_bytes(data)
        assert (found.data, found.form) == (data, "binary")


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"38 00\n", True), (b"8\0\0\0", False), (b"\x80", False), ("38 é".encode(), True), (b"\x1b[32m38\x1b[0m", True),
     (b"\x7f", False), (b"\t\r\n\f38", True), (b"\x07", False)],
)  # fmt: skip
def test_text_or_binary(data: bytes, expected: bool) -> None:
    assert is_text(data) is expected


def test_the_form_can_be_forced() -> None:
    assert from_bytes(b"3800", binary=True).data == b"3800"
    assert from_bytes(b"3800", binary=False).data == b"8\0"
    with pytest.raises(HexError, match="is no hex digit"):
        from_bytes(b"\xff\0", binary=False)
    assert from_bytes("\N{BYTE ORDER MARK}38 00".encode()).data == b"8\0"

"""``furtrace decode``: what it is given, what it says, and how it ends."""

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from furtrace.cli import furtrace
from furtrace.cli.inputs import read_input
from furtrace.wire.opcodes import Opcode

REPLY = struct.pack("<IiQ", 16, -2, 4)
NAME = "na[red]me\x1b é"
CREATE = struct.pack("<IIQQIIIHH", 56 + 14, 35, 2, 1, 1000, 1000, 4242, 0, 0)
CREATE += struct.pack("<IIII", 0o102, 0o100644, 0o22, 0) + NAME.encode() + b"\0"
TERMINAL = ("COLUMNS", "LINES", "FORCE_COLOR")
"""What tells programs of a terminal that they do not write to."""
HEADER = struct.pack("<IIQQIIIHH", 41, 1, 7, 1, 0, 0, 0, 0, 0).ljust(128, b"\0") + bytes(128)


def run(
    *arguments: str | Path, given: bytes | None = b"", env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """As a process of its own; without input standard input is closed."""
    environment = {key: value for key, value in os.environ.items() if key not in TERMINAL}
    program = "from furtrace.cli import run; run()"
    if given is None:
        program = f"import sys; sys.stdin = None; {program}"
    return subprocess.run(
        [sys.executable, "-c", program, "decode", *map(str, arguments)],
        input=given or b"", capture_output=True, check=False, env={**environment, "PYTHONUTF8": "1", **(env or {})},
    )  # fmt: skip


def within(*arguments: str | Path, given: bytes = b"") -> tuple[int, str, str]:
    """Exit status, output and errors of the command within this process."""
    nowhere = dict.fromkeys(TERMINAL)
    result = CliRunner().invoke(furtrace, ["decode", *map(str, arguments)], input=given, env=nowhere)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def message(tmp_path: Path) -> Path:
    file = tmp_path / "create.bin"
    file.write_bytes(CREATE)
    return file


def test_a_file(message: Path) -> None:
    status, out, err = within(message)
    assert (status, err) == (0, "")
    head = f"request CREATE\n70 bytes from '{message}' (binary), read as --part request (found out)\n\noffset "
    assert out.startswith(head)
    assert '"na[red]me\\x1b é"' in out
    assert "\x1b" not in out


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_standard_input(arguments: tuple[str, ...]) -> None:
    status, out, _ = within(*arguments, given=CREATE.hex(" ").encode())
    assert status == 0
    assert "70 bytes from standard input (hex), read as --part request (found out)" in out


def test_hex_as_an_argument() -> None:
    status, out, _ = within("--hex", "10000000 feffffff 0400000000000000", "--part", "reply")
    assert status == 0
    assert out.startswith("reply: -ENOENT\n16 bytes from --hex (hex), read as --part reply\n")


def test_a_file_whose_name_is_hex_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "3800").write_bytes(REPLY)
    monkeypatch.chdir(tmp_path)
    assert "16 bytes from '3800' (binary)" in within("3800")[1]
    assert "'38' can't be read: No such file" in run("38").stderr.decode()


def test_the_format_can_be_forced(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_text(REPLY.hex())
    assert re.search(r"^32 bytes from .* \(binary\), ", within("--format", "binary", file)[1], re.M)
    assert re.search(r"^16 bytes from .* \(hex\), ", within("--format", "hex", file)[1], re.M)
    file.write_bytes(REPLY)
    done = run("--format", "hex", file)
    assert (done.returncode, done.stdout) == (1, b"")
    assert re.fullmatch(r"furtrace: '.*text' can't be read as hex: line 1, column 1: .* is no hex digit\.\n",
                        done.stderr.decode())  # fmt: skip


def test_problems_are_exit_status_1() -> None:
    status, out, err = within(given=CREATE[:60])
    assert (status, err) == (1, "")
    assert "2 problems, at the end" in out
    assert "fuse_create_in" in out
    assert re.search(r"\n2 problems:\n  0x003c  len says 70 bytes, 60 are given\n", out)


def test_json() -> None:
    status, out, _ = within("--json", given=CREATE)
    assert status == 0
    assert out.count("\n") == 1
    whole = json.loads(out)
    assert (whole["type"], whole["form"], whole["guessed"]) == ("decoded", "binary", True)
    assert whole["items"][-1]["text"] == NAME
    status, out, _ = within("--json", "--part", "request", given=CREATE[:60])
    assert status == 1
    whole = json.loads(out)
    assert (len(whole["problems"]), whole["guessed"]) == (2, False)


@pytest.mark.parametrize(("dialect", "field"), [("plain", "padding"), ("bufring", "buf_id"), ("bufpool", "offset")])
def test_dialects(dialect: str, field: str) -> None:
    entry = struct.pack("<QQIIQ", 0, 7, 0, 0, 0)
    status, out, _ = within("--dialect", dialect, "--json", given=entry)
    assert status == 0
    whole = json.loads(out)
    assert (whole["part"], whole["dialect"]) == ("entry", dialect)
    assert whole["items"][0]["items"][3]["name"] == field


def test_plain_is_the_default() -> None:
    assert json.loads(within("--json", given=REPLY)[1])["dialect"] == "plain"
    assert "plain dialect" in within(given=HEADER + struct.pack("<QQIIQ", 0, 7, 0, 0, 0))[1]


def test_the_size_of_a_ring_s_buffers() -> None:
    entry = struct.pack("<QQIHHQ", 0, 7, 100, 3, 0, 0)
    out = within("--dialect", "bufring", "--buf-size", "4096", given=entry)[1]
    assert "at buf_id * buf_size = 0x3000" in out


def test_the_operation_of_a_reply() -> None:
    data = struct.pack("<IiQ", 24, 0, 4) + struct.pack("<II", 4096, 0)
    assert within(given=data)[0] == 1  # its body stays undecoded
    for name in ("WRITE", "write", "FUSE_WRITE", "16"):
        status, out, _ = within("--opcode", name, given=data)
        assert status == 0
        assert "fuse_write_out" in out
    status, out, _ = within("--part", "out", "--opcode", "WRITE", given=data[16:])
    assert status == 0
    assert out.startswith("body of the reply to WRITE\n")


@pytest.mark.parametrize("name", ["REGISTER", "register", "1", "FUSE_IO_URING_CMD_REGISTER"])
def test_a_command_makes_a_command_area(name: str) -> None:
    out = within("--command", name, "--dialect", "bufpool", given=bytes(26))[1]
    assert out.startswith("command REGISTER, bufpool dialect\n26 bytes")
    assert "ent_zero_copy_buf_index" in out


MISUSE = [
    (["--part", "in"], "--part in needs --opcode"),
    (["--part", "out"], "--part out needs --opcode"),
    (["--hex", "38", "00"], "put quotes around what has spaces"),
    (["--hex", "38", "--format", "hex"], "--hex takes the place"),
    (["--command", "REGISTER", "--part", "sqe"], "--part of something else: sqe"),
    (["--buf-size", "4096"], "--buf-size belongs to --dialect bufring"),
    (["--buf-size", "0", "--dialect", "bufring"], "Invalid value for '--buf-size'"),
    (["--opcode", "READ,WRITE"], "give one operation"),
    (["--opcode", "REED"], "is no FUSE operation"),
    (["--command", "REGISTR"], "there are REGISTER, COMMIT_AND_FETCH, ADD_QUEUE, ADD_BUFPOOL"),
    (["--command", "4294967296"], "is no command"),
    (["--part", "body"], "Invalid value for '--part'"),
    (["--dialect", "auto"], "Invalid value for '--dialect'"),
    (["--list", "--part", "in"], "--list lists the protocol"),
    (["--list", "--hex", "38"], "--list lists the protocol"),
    (["--list", "file"], "--list lists the protocol"),
    (["--list", "--opcode", "7"], "There is no operation 7"),
]


@pytest.mark.parametrize(("arguments", "sentence"), MISUSE, ids=[" ".join(arguments) for arguments, _ in MISUSE])
def test_misuse(arguments: list[str], sentence: str) -> None:
    status, out, err = within(*arguments, given=REPLY)
    assert (status, out) == (2, "")
    assert sentence in re.sub(r"\s+", " ", err)


def test_no_input_on_a_terminal_is_misuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("furtrace.cli.decode.has_stdin", lambda: False)
    status, _, err = within()
    assert status == 2
    assert "Give a FILE, - or --hex." in err
    assert within("-", given=REPLY)[0] == 0


def failed(*arguments: str | Path, given: bytes | None = b"") -> str:
    """The one sentence that a run ends with."""
    done = run(*arguments, given=given)
    assert (done.returncode, done.stdout) == (1, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("furtrace: ")
    assert line.endswith(".")
    return line.removeprefix("furtrace: ")


def test_what_can_t_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    odd = tmp_path / "a\nb\x1b"
    assert failed(tmp_path / "missing").endswith("missing' can't be read: No such file or directory.")
    assert failed(tmp_path).endswith("can't be read: Is a directory.")
    assert failed(tmp_path / "empty").endswith("empty' is empty.")
    assert "a\\nb\\x1b' can't be read" in failed(odd)
    assert failed("") == "'' can't be read: No such file or directory."
    assert failed() == "Standard input is empty."
    assert failed(given=None) == "Standard input is closed."
    assert failed("/dev/zero") == "'/dev/zero' has more than 16 MiB, which is too long for a message."
    assert failed("--hex", "") == "--hex can't be read as hex: there are no hex digits in it."
    assert failed("--hex", '""') == "There are no bytes in --hex."
    assert failed(given=b"38 zz") == (
        "Standard input can't be read as hex: line 1, column 4: 'z' is no hex digit; "
        "if it is no hex, say --format binary."
    )


def test_sixteen_mib_are_not_too_many(tmp_path: Path) -> None:
    file = tmp_path / "big"
    with file.open("wb") as big:
        big.truncate(16 << 20)
    assert len(read_input(str(file))) == 16 << 20
    status, out, _ = within("--part", "out", "--opcode", "READ", file)
    assert status == 0
    assert "16777200 more" in out


def test_an_output_that_can_t_be_written() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "furtrace", "decode", "--list"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"furtrace: The output can't be written (No space left on device).\n"


@pytest.mark.parametrize("arguments", [("--list",), ("--list", "--json")])
def test_a_broken_pipe_is_quiet(arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "furtrace", "decode", *arguments], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_pipe_has_no_colours_and_long_lines() -> None:
    out = run(given=CREATE, env={"TERM": "xterm-256color"}).stdout.decode()
    assert "\x1b" not in out
    assert re.search(r"^0x0028     4  ├ flags .*  O_RDWR\|O_CREAT$", out, re.M)
    dumb = run(given=CREATE, env={"TERM": "dumb"}).stdout.decode()
    assert dumb == out


def test_columns_are_obeyed() -> None:
    out = run(given=CREATE, env={"COLUMNS": "80"}).stdout.decode()
    assert max(map(len, out.splitlines())) <= 80
    assert "02000000 00000000" in out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_locale_that_lacks_characters(encoding: str) -> None:
    done = run(given=CREATE, env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})
    assert (done.returncode, done.stderr) == (0, b"")
    out = done.stdout.decode(encoding)
    assert "  |-opcode " in out
    assert ("\\xe9" in out) == (encoding == "ascii")


def test_neither_bcc_nor_the_live_view_is_loaded() -> None:
    program = "import sys; from furtrace.cli import furtrace as f; f(['decode', '--list'], standalone_mode=False); "
    program += "print([name for name in sys.modules if name.startswith(('bcc', 'furtrace.model', 'furtrace.trace'))])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_list() -> None:
    status, out, _ = within("--list")
    assert status == 0
    assert out.startswith("FUSE protocol 7.46\n")
    for code in Opcode:
        assert re.search(rf"^ *{int(code)}  {code.name} ", out, re.M)
    assert re.search(r"^ +2  FORGET +fuse_forget_in +no reply *$", out, re.M)
    assert re.search(r"^ +3  INVAL_ENTRY +fuse_notify_inval_entry_out, name *$", out, re.M)
    assert "\nfuse_uring_ent_in_out, 32 bytes, bufring dialect\n  offset  size  field\n  0x0000     8  flags\n" in out
    assert "\n  0x0014     2  buf_id\n" in out
    assert "\n  0x0028     8  attr.ino\n" in out
    assert re.search(r"^OpenReplyFlag\n +0x1  FOPEN_DIRECT_IO$", out, re.M)


def test_the_list_narrowed() -> None:
    out = within("--list", "--opcode", "write")[1]
    assert re.findall(r"^(\w+), \d+ bytes", out, re.M) == ["fuse_write_in", "fuse_write_out"]
    out = within("--list", "--dialect", "bufpool")[1]
    assert set(re.findall(r"bytes, (\w+) dialect", out)) == {"bufpool"}
    whole = json.loads(within("--list", "--json", "--opcode", "16")[1])
    assert [one["name"] for one in whole["structures"]] == ["fuse_write_in", "fuse_write_out"]


def test_the_list_fits_80_columns() -> None:
    out = run("--list", env={"COLUMNS": "80"}).stdout.decode()
    assert max(map(len, out.splitlines())) <= 80
    words = out.split("Notifications")[0].replace(",", "").split()
    assert "fuse_removemapping_one" in words
    assert "fuse_copy_file_range_out" in words

"""Codes and flags are those of the kernel's header: none is missing, none is extra."""

import re
from pathlib import Path

import pytest

from furtrace.wire.flags import EntFlag, InitFlag, QueueFlag
from furtrace.wire.opcodes import Opcode, UringCommand


@pytest.fixture(scope="module")
def header(fuse_header: Path) -> str:
    return fuse_header.read_text()


def _enum(header: str, name: str) -> dict[str, int]:
    body = re.search(rf"enum {name} {{(.*?)}};", header, re.DOTALL)
    assert body
    return {member: int(value) for member, value in re.findall(r"^\s*(\w+)\s*=\s*(\d+),", body[1], re.MULTILINE)}


def _bits(text: str, prefix: str) -> dict[str, int]:
    found = re.findall(rf"^#define {prefix}(\w+)\s+\(1(?:ULL)? << (\d+)\)", text, re.MULTILINE)
    return {name: 1 << int(bit) for name, bit in found}


def test_opcodes(header: str) -> None:
    # The two *_BSWAP_RESERVED keep a number free by which a reader notices the other byte order; nobody sends them.
    theirs = {name: code for name, code in _enum(header, "fuse_opcode").items() if "_BSWAP_" not in name}
    assert {code.name: code.value for code in Opcode} == {
        name.removeprefix("FUSE_"): code for name, code in theirs.items()
    }


def test_uring_commands(header: str) -> None:
    theirs = {
        name.removeprefix("FUSE_IO_URING_CMD_"): code
        for name, code in _enum(header, "fuse_uring_cmd").items()
        if code  # 0 is no command: FUSE_IO_URING_CMD_INVALID
    }
    assert {command.name: command.value for command in UringCommand} == theirs


def test_init_flags(header: str) -> None:
    section = header[header.index("* INIT request/reply flags") : header.index("* CUSE INIT request/reply flags")]
    assert {flag.name: flag.value for flag in InitFlag} == _bits(section, "FUSE_")


def test_ring_flags(header: str) -> None:
    theirs = _bits(header, "FUSE_URING_")
    ours = {str(flag.name): flag.value for flag in QueueFlag} | {f"ENT_{flag.name}": flag.value for flag in EntFlag}
    assert ours == theirs

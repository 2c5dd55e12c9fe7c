"""furtrace-recording(5) says what the code does: offsets, sizes and numbers."""

import json
import re
from dataclasses import replace
from enum import IntEnum, IntFlag
from pathlib import Path

import pytest

from furtrace import __version__
from furtrace.trace import packets, pcapng
from furtrace.trace.record import HINTS, PART_SIZE, RECORD, Flag, Kind, Step, Transport
from tests.unit.trace.pcapng_file import INFO, PACKET, random_records, walk, write

_PAGE = Path(__file__).parents[3] / "man" / "furtrace-recording.5"


def _section(title: str) -> list[str]:
    """Lines from a heading to the next."""
    text = _PAGE.read_text().splitlines()
    start = text.index(title) + 1
    return text[start : next((at for at in range(start, len(text)) if text[at].startswith((".Sh", ".Ss"))), None)]


def _items(title: str) -> list[list[str]]:
    """The words of each term that a section explains."""
    return [line.split()[1:] for line in _section(title) if line.startswith(".It ")]


def _words(title: str) -> str:
    return " ".join(line for line in _section(title))


def test_it_is_of_this_version() -> None:
    assert f'.Os "furtrace {__version__}"' in _PAGE.read_text()


def test_every_member_of_the_record() -> None:
    told = [(name, int(offset), int(size)) for offset, size, _, name in _items(".Sh RECORD")]
    assert told == [(name, offset, dtype.itemsize) for name, (dtype, offset, *_) in (RECORD.fields or {}).items()]
    assert f"A record has {RECORD.itemsize} bytes." in _section(".Sh RECORD")


@pytest.mark.parametrize(
    ("title", "enum"), [("Kinds", Kind), ("Transports", Transport), ("Flags", Flag), ("Steps", Step)]
)
def test_numbers(title: str, enum: type[IntEnum] | type[IntFlag]) -> None:
    told = {name: int(number) for number, name in _items(f".Ss {title}")}
    assert told == {one.name: int(one) for one in enum if one.name != "NONE"}


def test_the_functions_of_steps() -> None:
    section = _section(".Ss Steps")
    functions = [line.removesuffix("()") for line in section if line.endswith("()")]
    assert functions == [step.function for step in Step if step is not Step.NONE]


def test_hints() -> None:
    (line,) = [line for line in _section(".Ss Kinds") if "hints" in line]
    assert set(re.findall(r"[A-Z_]{4,}", line)) == {kind.name for kind in HINTS}


def test_types_of_blocks() -> None:
    told = {int(number, 16) for (number,) in _items(".Ss Blocks")}
    assert told == {pcapng.SECTION, pcapng.INTERFACE, pcapng.CHECKSUM, pcapng.PACKET, pcapng.STATISTICS}
    assert f"in pieces of up to {packets.PIECE}." in _words(".Ss Blocks")


def test_options_are_those_that_are_written(tmp_path: Path) -> None:
    info = replace(INFO, filters="op READ")
    content = write(tmp_path / "one.pcapng", random_records(1, seed=1), info).read_bytes()
    bodies = {kind: content[begin + 8 : end - 4] for kind, begin, end in walk(content)}
    titles = {
        "Section Header Block": (pcapng.SECTION, 16),
        "Interface Description Block": (pcapng.INTERFACE, 8),
        "Interface Statistics Block": (pcapng.STATISTICS, 12),
    }
    for title, (kind, start) in titles.items():
        told = [int(words[0]) for words in _items(f".Ss {title}") if words[0].isdigit()]
        assert told == [code for code, _ in pcapng.options(bodies[kind], start)], title
    assert f"The link type is {pcapng.USER0}" in _words(".Ss Interface Description Block")


def test_members_of_the_description() -> None:
    told = [words[1] for words in _items(".Ss Interface Description Block") if words[0] == "Cm"]
    assert told == list(json.loads(INFO.to_json())["furtrace"])


def test_sizes_of_blocks(tmp_path: Path) -> None:
    content = write(tmp_path / "one.pcapng", random_records(3, seed=2)).read_bytes()
    (size,) = {end - begin for kind, begin, end in walk(content) if kind == PACKET}
    assert f"has {size} bytes: 28, the record, and 4." in _words(".Ss Enhanced Packet Block")
    assert f"Its length is {pcapng.CHECKSUM_SIZE} bytes." in _section(".Ss Checksum")
    assert f"Type 0x{pcapng.CHECKSUM:08x}," in _words(".Ss Checksum")
    assert f"one array of {PART_SIZE} bytes" in _words(".Ss What lies in header and extra")

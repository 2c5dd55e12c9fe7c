"""The record in Python is the record in C: asked of the C compiler, member by member."""

import re
import shutil
import subprocess
from enum import IntEnum, IntFlag
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from furtrace.trace import record
from furtrace.trace.record import RECORD, Flag, Kind, Step, Transport

HEADER = Path(__file__).parents[3] / "probes" / "record.h"
_TYPES = """
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64; typedef int32_t s32;
"""
_MACROS = (
    *(
        "FT_HEADER_SIZE",
        "FT_COMMAND_SIZE",
        "FT_EXTRA_SIZE",
        "FT_NO_QUEUE",
        "FT_NO_BUFFER",
        "FT_NOT_COUNTED",
        "FT_NO_CPU",
    ),
    *("FT_ARGUMENT", "FT_PART_SIZE"),
)


def _body(opening: str) -> str:
    """What stands between the braces after ``opening`` in record.h, without comments."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    found = re.search(rf"{opening} {{(.*?)}};", text, re.DOTALL)
    assert found
    return found[1]


def _members() -> list[str]:
    return re.findall(r"(\w+)(?:\[\w+\])?;", _body("struct ft_record"))


def _enumerators(enum: str) -> list[str]:
    return re.findall(r"^\s*(FT_\w+)", _body(f"enum {enum}"), re.MULTILINE)


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, ...]]:
    """What C says: of each member offset, size and whether it is signed; of each constant its value."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("There is no gcc here to ask for C's layouts.")
    lines = ['printf("sizeof %zu\\n", sizeof(struct ft_record));']
    for name in _members():
        member = f"((struct ft_record *)0)->{name}"
        lines.append(
            f'printf(".{name} %zu %zu %d\\n", offsetof(struct ft_record, {name}), sizeof({member}), '
            f"_Generic({member}, s32: 1, default: 0));"
        )
    constants = [name for enum in ("ft_kind", "ft_step", "ft_transport", "ft_flag") for name in _enumerators(enum)]
    lines += [f'printf("{name} %lld\\n", (long long){name});' for name in (*constants, *_MACROS)]
    folder = tmp_path_factory.mktemp("c")
    source, program = folder / "layout.c", folder / "layout"
    source.write_text(f'{_TYPES}#include "{HEADER}"\nint main(void) {{\n' + "\n".join(lines) + "\n}\n")
    subprocess.run([gcc, "-Wall", "-Werror", "-o", program, source], check=True)
    said = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    words = [line.split() for line in said.splitlines()]
    return {name: tuple(map(int, numbers)) for name, *numbers in words}


def test_every_member(c: dict[str, tuple[int, ...]]) -> None:
    assert RECORD.names is not None
    assert RECORD.fields is not None
    ours = {}
    for name in RECORD.names:
        dtype, offset, *_ = RECORD.fields[name]
        ours[name] = (offset, dtype.itemsize, int(dtype.kind == "i"))
    theirs = {name.removeprefix("."): numbers for name, numbers in c.items() if name.startswith(".")}
    assert list(ours) == list(theirs)
    assert ours == theirs


def test_size(c: dict[str, tuple[int, ...]]) -> None:
    assert c["sizeof"] == (RECORD.itemsize,)


def test_bytes_and_numbers_are_told_apart() -> None:
    kinds = {name: RECORD[name].kind for name in RECORD.names or ()}
    arrays = re.findall(r"(\w+)\[\w+\];", _body("struct ft_record"))
    assert [name for name, kind in kinds.items() if kind == "V"] == arrays


@pytest.mark.parametrize(
    ("enum", "ours", "prefix"),
    [
        ("ft_kind", Kind, "FT_"),
        ("ft_step", Step, "FT_STEP_"),
        ("ft_transport", Transport, "FT_"),
        ("ft_flag", Flag, "FT_"),
    ],
)
def test_enums(c: dict[str, tuple[int, ...]], enum: str, ours: type[IntEnum] | type[IntFlag], prefix: str) -> None:
    theirs = {name.removeprefix(prefix): c[name][0] for name in _enumerators(enum)}
    assert {name: int(member) for name, member in ours.__members__.items()} == theirs


def test_constants(c: dict[str, tuple[int, ...]]) -> None:
    ours = [record.HEADER_SIZE, record.COMMAND_SIZE, record.EXTRA_SIZE]
    ours += [
        record.NO_QUEUE,
        record.NO_BUFFER,
        record.NOT_COUNTED,
        record.NO_CPU,
        record.ARGUMENT_OFFSET,
        record.PART_SIZE,
    ]
    assert [c[name][0] for name in _MACROS] == ours
    assert RECORD["header"].itemsize == record.HEADER_SIZE
    assert RECORD["extra"].itemsize == record.EXTRA_SIZE


def test_steps_are_the_functions_that_the_header_names() -> None:
    text = HEADER.read_text()
    told = dict(re.findall(r"FT_STEP_(\w+),\s*/\* (\w+)\(\)", text))
    assert {step.name: step.function for step in Step if step is not Step.NONE} == told


def test_no_records_is_an_empty_batch() -> None:
    assert len(record.no_records()) == 0
    assert record.no_records().dtype == RECORD


def test_hints_are_no_events() -> None:
    batch = np.zeros(len(Kind), RECORD)
    batch["kind"] = list(Kind)
    left = record.events_only(batch)
    assert [Kind(kind).name for kind in left["kind"]] == [kind.name for kind in Kind if kind.name not in _HINTS]
    assert record.events_only(left) is left
    assert set(record.HINTS).isdisjoint(record.EVENTS)
    assert {*record.HINTS, *record.EVENTS} == set(Kind)


_HINTS = ("NAMED", "ENTRIES", "MOUNTED", "REQUEST_PAYLOAD", "REPLY_PAYLOAD")
_NAME = st.binary(max_size=95).map(lambda name: name.replace(b"\0", b"x"))


@given(_NAME)
def test_one_name(name: bytes) -> None:
    field = (name + b"\0").ljust(192, b"\xee")  # what lies behind the valid part is no name
    assert record.names(field, len(name) + 1, 0) == [name]


@given(_NAME, _NAME)
def test_two_names(first: bytes, second: bytes) -> None:
    field = ((first + b"\0").ljust(96, b"\0") + second + b"\0").ljust(192, b"\xee")
    assert record.names(field, 96 + len(second) + 1, 96) == [first, second]


def test_cut_names_fill_their_place() -> None:
    assert record.names(b"a" * 192, 192, 0) == [b"a" * 192]
    assert record.names(b"a" * 96 + b"b" * 96, 192, 96) == [b"a" * 96, b"b" * 96]
    assert record.names(b"a" * 96 + b"b" * 96, 150, 96) == [b"a" * 96, b"b" * 54]
    assert record.names(b"a" * 192, 150, 0) == [b"a" * 150]


def test_no_name() -> None:
    assert record.names(b"x" * 192, 0, 0) == []


@given(st.binary(min_size=192, max_size=192), st.integers(0, 192), st.integers(0, 192))
def test_whatever_is_there_a_name_has_no_nul(field: bytes, size: int, second: int) -> None:
    found = record.names(field, size, second)
    assert len(found) == (0 if not size else 2 if second else 1)
    assert all(b"\0" not in name and name in field for name in found)


@given(st.binary(max_size=16))
def test_comm(name: bytes) -> None:
    assert record.comm(name.ljust(16, b"\0")) == name.partition(b"\0")[0]

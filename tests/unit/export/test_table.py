"""CSV: valid, lossless, and harmless in a spreadsheet."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from furtrace.export import formats
from furtrace.export.columns import EVENT_COLUMNS, REQUEST_COLUMNS
from furtrace.model.conversation import Conversation
from furtrace.trace.reading import Origin
from furtrace.trace.record import Flag, Kind, Records, lost_record
from furtrace.wire.opcodes import Opcode
from tests.unit.events import (
    batch,
    committed,
    delivered,
    ended,
    event,
    found,
    one_name,
    queued,
    read_in,
    two_names,
    whole,
)
from tests.unit.export.reckoning import SHIPPED, reckoned, recorded
from tests.unit.export.test_parquet import INFO, Read, exported, rows_of

_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))")
_SHORT = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"\\": b"\\"}
NAMES = st.binary(min_size=1, max_size=15).filter(lambda name: b"\0" not in name and b"/" not in name)


def text_of(records: Sequence[Records], *, events: bool = False, read: Read | None = None) -> str:
    """Export batches."""
    written = io.BytesIO()
    conversation = Conversation()
    source = formats.Source(conversation, {7: "/mnt"}, read or Read(), 0)
    form = formats.CsvForm(source, written.write, events=events)
    for each in records:
        for part in conversation.cut(each):
            form.batch(part, conversation.feed(part))
    form.end(5, 0)
    return written.getvalue().decode()


def rows(*records: Records, **options: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text_of(records, **options), newline="")))


def unescaped(text: str) -> bytes:
    """Undo what the manual page says of names."""

    def one(match: re.Match[bytes]) -> bytes:
        byte, short, long, letter = match.groups()
        if byte:
            return bytes([int(byte, 16)])
        return _SHORT[letter] if letter else chr(int(short or long, 16)).encode()

    return _ESCAPE.sub(one, text.encode())


def test_a_line_a_request_and_one_of_names() -> None:
    text = text_of([batch(*whole(2, 1000), *whole(4, 2000, Opcode.READ, error=-2))])
    lines = text.split("\r\n")
    assert lines[0] == ",".join(column.name for column in REQUEST_COLUMNS)
    assert (len(lines), lines[-1]) == (4, "")
    first, second = rows(batch(*whole(2, 1000), *whole(4, 2000, Opcode.READ, error=-2)))
    assert (first["op"], first["error"], first["error_name"], first["queue"]) == ("GETATTR", "0", "", "3")
    assert (second["op"], second["error"], second["error_name"]) == ("READ", "-2", "ENOENT")
    assert (first["time"], first["end_time"]) == ("2023-11-14T22:13:20.000001000Z", "2023-11-14T22:13:20.000001115Z")
    assert (first["queued_ns"], first["phase_server_ns"], first["uncertain"]) == ("1000", "100", "false")
    assert (first["mount"], first["host"], first["client_comm"]) == ("/mnt", "alpha", "client")


def test_requests_under_way_are_the_last() -> None:
    found_ = rows(batch(queued(2, 1000, Opcode.WRITE)), batch(*whole(4, 2000)))
    assert [(row["unique"], row["ended_ns"], row["error"]) for row in found_] == [("4", "2115", "0"), ("2", "", "")]


def test_an_empty_recording_has_the_header_alone() -> None:
    assert text_of([]) == ",".join(column.name for column in REQUEST_COLUMNS) + "\r\n"


@given(name=NAMES, comm=st.binary(max_size=16).map(lambda data: data.split(b"\0")[0]))
def test_names_come_back_byte_by_byte(name: bytes, comm: bytes) -> None:
    asked = queued(2, 1000, Opcode.LOOKUP, node_id=1, comm=comm, **one_name(name))
    (row,) = rows(batch(asked, found(2, 1100, Opcode.LOOKUP, 1, name, 5)))
    assert unescaped(row["path"]) == b"/" + name
    assert unescaped(row["client_comm"]) == comm
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", row["path"] + row["client_comm"])


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_with_a_name_is_a_formula(start: str) -> None:
    name = f"{start}cmd|' /C calc'!A0".encode()
    asked = queued(2, 1000, Opcode.GETXATTR, comm=name[:15], **one_name(name))
    (row,) = rows(batch(asked, ended(2, 1100, Opcode.GETXATTR)))
    for cell, exact in ((row["name"], name), (row["client_comm"], name[:15])):
        assert cell[0] == "\\"
        assert unescaped(cell) == exact


def test_quotes_and_commas_are_quoted() -> None:
    name = b'a,"b",c'
    asked = queued(2, 1000, Opcode.LOOKUP, node_id=1, **one_name(name))
    text = text_of([batch(asked, found(2, 1100, Opcode.LOOKUP, 1, name, 5))])
    assert '"/a,""b"",c"' in text


def test_names_that_are_no_part_of_a_path() -> None:
    link = queued(2, 1000, Opcode.SYMLINK, node_id=1, **two_names(b"link", b"../target"))
    cut = queued(4, 1010, Opcode.GETXATTR, extra=b"x" * 192, flags=Flag.CURRENT_IS_CLIENT | Flag.NAME_CUT)
    look = queued(6, 1020, Opcode.LOOKUP, node_id=1, **one_name(b"name"))
    found_ = {row["unique"]: row for row in rows(batch(link, cut, look))}
    assert (found_["2"]["name"], found_["2"]["name_cut"]) == ("../target", "false")
    assert (found_["4"]["name"], found_["4"]["name_cut"]) == ("x" * 192, "true")
    assert (found_["6"]["name"], found_["6"]["name_cut"]) == ("", "")


def test_offset_and_size_of_what_reads_and_writes() -> None:
    read = queued(2, 1000, Opcode.READ, header=read_in(65536, 4096))
    other = queued(4, 1010, Opcode.FSYNC, header=read_in(65536, 4096))
    found_ = {row["unique"]: (row["fh"], row["offset"], row["size"]) for row in rows(batch(read, other))}
    assert found_ == {"2": ("1", "65536", "4096"), "4": ("", "", "")}


def test_events() -> None:
    loss = lost_record(900, 950, 12, cpu=1)
    refused = event(Kind.REFUSED, 1200, queue=3, error=-22, flags=Flag.HAS_ERROR, command_op=2, pid=9, tid=9)
    hint = event(Kind.NAMED, 1150)
    text = text_of([batch(loss, *whole(2, 1000), hint, refused)], events=True)
    assert text.split("\r\n")[0] == ",".join(column.name for column in EVENT_COLUMNS)
    found_ = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["event"] for row in found_] == ["LOST", "QUEUED", "DELIVERED", "COMMITTED", "ENDED", "REFUSED"]
    assert (found_[0]["lost"], found_[0]["lost_until_ns"], found_[0]["cpu"]) == ("12", "950", "1")
    assert (found_[-1]["command"], found_[-1]["error"], found_[-1]["error_name"]) == (
        *("COMMIT_AND_FETCH", "-22", "EINVAL"),
    )
    assert bytes.fromhex(found_[3]["header"])[264:272] == (2).to_bytes(8, "little")
    assert (found_[1]["header"], found_[1]["lost"]) == ("", "")


def test_a_real_recording_against_its_events() -> None:
    records = recorded(SHIPPED / "pool.pcapng.zst")
    requests = reckoned(records)
    found_ = rows(records)
    assert len(found_) == len(requests)
    for row in found_:
        told = requests[int(row["connection"]), int(row["unique"])]
        for step, ns in told.times.items():
            assert row[f"{step}_ns"] == (str(ns) if ns else ""), step
        assert row["moved"] == ("" if told.moved is None else str(told.moved))
        assert row["error"] == (str(told.error) if told.times["ended"] else "")


@pytest.mark.parametrize("events", [False, True])
def test_csv_and_parquet_say_the_same(tmp_path: Any, events: bool) -> None:
    records = recorded(SHIPPED / "zero-copy.pcapng.zst")[:5000]
    read = Read(Origin(INFO))
    told = rows(records, events=events, read=read)
    table = exported(tmp_path / "file", [records], events=events, read=read)
    same = [{name: _cell(name, value) for name, value in row.items()} for row in rows_of(table.read())]
    ours = [{name: cell for name, cell in row.items() if name not in ("time", "end_time", "mount")} for row in told]
    assert ours == [{name: cell for name, cell in row.items() if cell is not None} for row in same]


def _cell(name: str, value: Any) -> str | None:
    """As CSV has it; None: a time or a name, which other tests are about."""
    if name in ("time", "end_time", "mount"):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.hex()
    return "" if value is None else str(value)


def test_what_is_delivered_late_counts_once() -> None:
    parts = [batch(queued(2, 1000)), batch(delivered(2, 1010), committed(2, 1110)), batch(ended(2, 1115))]
    (row,) = rows(*parts)
    assert [row[f"{step}_ns"] for step in ("queued", "delivered", "committed", "ended")] == [
        *("1000", "1010", "1110", "1115"),
    ]

"""Parquet: what is computed from the file is what the events say, and every type is as documented."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import parquet as pq

from furtrace.export import formats, parquet
from furtrace.export.columns import EVENT_COLUMNS, REQUEST_COLUMNS
from furtrace.model.conversation import Conversation
from furtrace.trace.info import TraceInfo
from furtrace.trace.reading import FOREIGN_CONNECTIONS, Origin
from furtrace.trace.record import HINTS, Kind, Records, lost_record
from furtrace.wire.opcodes import Opcode, opcode_name
from tests.unit.events import batch, delivered, queued, whole
from tests.unit.export.reckoning import NAMES, SHIPPED, Request, reckoned, recorded

INFO = TraceInfo("7.3.0", "bufpool", "functions", 1_700_000_000_000_000_000, boot="b1", host="alpha", version="0.1.0")


class Read:
    """Stands for recordings that were read."""

    def __init__(self, *origins: Origin) -> None:
        self.origins = list(origins) or [Origin(INFO)]


def exported(
    path: Path, records: Sequence[Records], *, events: bool = False, read: Read | None = None
) -> pq.ParquetFile:
    """Export batches."""
    conversation = Conversation()
    source = formats.Source(conversation, {7: "/mnt/\udcff"}, read or Read(), 0)
    with path.open("wb") as file:
        form = formats.ParquetForm(source, file, events=events)
        for each in records:
            for part in conversation.cut(each):
                form.batch(part, conversation.feed(part))
        form.end(5, 0)
    return pq.ParquetFile(path)


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as Python has them; times as nanoseconds since 1970."""
    for name in ("time", "end_time"):
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.int64()))
    found: list[dict[str, Any]] = table.to_pylist()
    return found


# ---- held against the events ----


@pytest.fixture(scope="module", params=NAMES)
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, list[Request]]:
    """The table of a recording that ships with furtrace, and what its events say."""
    records = recorded(SHIPPED / f"{request.param}.pcapng.zst")
    assert not (records["kind"] == Kind.LOST).any()
    folder = tmp_path_factory.mktemp("parquet")
    parts = [records[at : at + 5000] for at in range(0, len(records), 5000)]
    return exported(folder / "requests.parquet", parts).read(), list(reckoned(records).values())


def test_the_requests_are_counted(shipped: tuple[pa.Table, list[Request]]) -> None:
    table, requests = shipped
    ended = [one for one in requests if one.times["ended"]]
    assert len(ended) > 500
    assert table.num_rows == len(requests)
    assert pc.sum(pc.is_valid(table["ended_ns"])).as_py() == len(ended)
    counts = pc.value_counts(table["op"].cast(pa.string())).to_pylist()
    assert {one["values"]: one["counts"] for one in counts} == Counter(opcode_name(one.opcode) for one in requests)


def test_the_errors_are_counted(shipped: tuple[pa.Table, list[Request]]) -> None:
    table, requests = shipped
    errors = Counter(one.error for one in requests if one.error)
    assert len(errors) > 2
    failed = table.filter(pc.not_equal(table["error"], 0))
    assert {one["values"]: one["counts"] for one in pc.value_counts(failed["error"]).to_pylist()} == errors
    assert pc.sum(pc.is_valid(table["error_name"])).as_py() == failed.num_rows


@pytest.mark.parametrize(
    ("column", "begin", "end"),
    [
        ("phase_wait_ns", "queued", "delivered"),
        ("phase_server_ns", "delivered", "committed"),
        ("phase_commit_ns", "committed", "ended"),
        ("phase_total_ns", "queued", "ended"),
    ],
)
def test_percentiles_of_phases(shipped: tuple[pa.Table, list[Request]], column: str, begin: str, end: str) -> None:
    table, requests = shipped
    durations = sorted(ns for one in requests if (ns := one.lasted(begin, end)) is not None)
    assert len(durations) > 500
    shares = [0.5, 0.9, 0.99, 0.999, 1]
    found = pc.quantile(table[column], shares, interpolation="lower").to_pylist()
    assert found == [durations[math.floor(share * (len(durations) - 1))] for share in shares]


def test_the_bytes_are_summed(shipped: tuple[pa.Table, list[Request]]) -> None:
    table, requests = shipped
    for opcode in (Opcode.READ, Opcode.WRITE, Opcode.READDIRPLUS):
        mine = table.filter(pc.equal(table["op"].cast(pa.string()), opcode.name))
        moved = [one.moved for one in requests if one.opcode == opcode]
        assert (pc.sum(mine["moved"]).as_py() or 0) == sum(filter(None, moved)), opcode
    assert pc.sum(table["moved"]).as_py() > 100_000


def test_zero_copied_requests_are_told_apart(shipped: tuple[pa.Table, list[Request]]) -> None:
    table, requests = shipped
    zero_copied = [one for one in requests if one.zero_copied]
    mine = table.filter(table["zero_copied"])
    assert mine.num_rows == len(zero_copied)
    assert (pc.sum(mine["moved"]).as_py() or 0) == sum(one.moved or 0 for one in zero_copied)


def test_there_are_zero_copied_ones() -> None:
    requests = reckoned(recorded(SHIPPED / "zero-copy.pcapng.zst")).values()
    assert sum(one.zero_copied for one in requests) > 20


def test_every_event_is_a_row(tmp_path: Path) -> None:
    records = recorded(SHIPPED / "zero-copy.pcapng.zst")
    table = exported(tmp_path / "events.parquet", [records], events=True).read()
    events = records[~np.isin(records["kind"], HINTS)]
    assert table["event"].cast(pa.string()).to_pylist() == [Kind(kind).name for kind in events["kind"]]
    assert table["ns"].to_pylist() == events["ns"].tolist()
    assert table["unique"].fill_null(0).to_pylist() == events["unique"].tolist()
    headers = [record["header"].tobytes()[: record["header_size"]] or None for record in events]
    assert table["header"].to_pylist() == headers


# ---- the file ----


def test_the_types(tmp_path: Path) -> None:
    found = exported(tmp_path / "file", [batch(*whole(2, 1000))]).schema_arrow
    word = pa.dictionary(pa.int32(), pa.string())
    expected = {
        "host": word,
        "boot": word,
        "mount": word,
        "op": word,
        "error_name": word,
        "client_comm": word,
        "path": pa.string(),
        "time": pa.timestamp("ns", "UTC"),
        "end_time": pa.timestamp("ns", "UTC"),
        "unique": pa.uint64(),
        "error": pa.int32(),
        "queued_ns": pa.int64(),
        "phase_server_ns": pa.int64(),
        "zero_copied": pa.bool_(),
    }
    assert {name: found.field(name).type for name in expected} == expected
    assert found.names == [column.name for column in REQUEST_COLUMNS]
    events = exported(tmp_path / "other", [], events=True).schema_arrow
    assert events.names == [column.name for column in EVENT_COLUMNS]
    assert events.field("header").type == pa.binary()


def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    records = batch(delivered(2, 1000, Opcode.READ), queued(4, 1005, Opcode.WRITE))
    rows = rows_of(exported(tmp_path / "file", [records]).read())
    first, second = sorted(rows, key=lambda row: row["unique"])
    for name in (
        "queued_ns",
        "ended_ns",
        "end_time",
        "error",
        "error_name",
        "phase_wait_ns",
        "phase_total_ns",
        "moved",
    ):
        assert first[name] is None, name
    assert (first["delivered_ns"], first["queue"], first["entry"], first["transport"]) == (1000, 3, 0, "uring")
    assert (second["queue"], second["entry"], second["transport"], second["zero_copied"]) == (None, None, None, None)


def test_times_are_those_of_the_world(tmp_path: Path) -> None:
    (row,) = rows_of(exported(tmp_path / "file", [batch(*whole(2, 1000))]).read())
    assert (row["time"], row["end_time"]) == (INFO.realtime_offset_ns + 1000, INFO.realtime_offset_ns + 1115)
    assert (row["queued_ns"], row["ended_ns"], row["phase_total_ns"]) == (1000, 1115, 115)


def test_the_metadata_says_where_it_is_from_and_what_was_lost(tmp_path: Path) -> None:
    records = batch(lost_record(900, 950, 12, cpu=1), *whole(2, 1000))
    file = exported(tmp_path / "file", [records])
    told = {key.decode(): value.decode() for key, value in file.metadata.metadata.items()}
    assert {name: told[f"furtrace.{name}"] for name in ("host", "kernel", "boot", "dialect", "lost", "rows")} == {
        "host": "alpha",
        "kernel": "7.3.0",
        "boot": "b1",
        "dialect": "bufpool",
        "lost": "12",
        "rows": "requests",
    }
    assert json.loads(told["furtrace.summary"])["lost_by_cpu"] == [0, 12]
    (recording,) = json.loads(told["furtrace.recordings"])
    assert recording["realtime_offset_ns"] == INFO.realtime_offset_ns


def test_row_groups_are_written_as_they_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [batch(*(one for at in range(30) for one in whole(2 + 2 * at, 1000 * (30 * part + at + 1), error=-part)))
             for part in range(10)]  # fmt: skip
    whole_table = exported(tmp_path / "one", parts).read()
    monkeypatch.setattr(parquet, "ROW_GROUP", 50)
    file = exported(tmp_path / "several", parts)
    assert [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)] == [60] * 5
    assert rows_of(file.read()) == rows_of(whole_table)


def test_a_row_does_not_depend_on_what_is_exported_with_it(tmp_path: Path) -> None:
    """Of a second boot connections and times are shifted while it is read, and shifted back in its rows."""
    other = TraceInfo("6.18", "plain", "tracepoints", INFO.realtime_offset_ns + 5_000, boot="b2", host="beta")
    read = Read(Origin(INFO), Origin(other, FOREIGN_CONNECTIONS, 5_000))
    shifted = batch(*whole(2, 1000 + 5_000, connection=7 + FOREIGN_CONNECTIONS))
    (merged,) = rows_of(exported(tmp_path / "merged", [shifted], read=read).read())
    (alone,) = rows_of(exported(tmp_path / "alone", [batch(*whole(2, 1000))], read=Read(Origin(other))).read())
    assert (merged["host"], merged["connection"], merged["queued_ns"]) == ("beta", 7, 1000)
    assert {**merged, "mount": None} == {**alone, "mount": None}


def test_an_empty_recording_is_an_empty_table(tmp_path: Path) -> None:
    file = exported(tmp_path / "file", [])
    assert (file.metadata.num_rows, file.schema_arrow.names[0]) == (0, "host")

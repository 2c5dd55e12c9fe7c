"""Statistics of recordings on the command line: what is counted, what filters leave, and what is wrong with a file."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from furtrace.trace.files import SingleFile
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Flag, Kind, Records
from furtrace.wire.opcodes import Opcode
from tests.unit.cli.test_main import CommandLine
from tests.unit.events import batch, delivered, event, found, one_name, queued, whole
from tests.unit.export.reckoning import SHIPPED

MS = 1_000_000
START = 1_000_000_000_000
INFO = TraceInfo("7.3.0", "bufpool", "tracepoints", 1_700_000_000_000_000_000 - START, boot="a", version="0.1.0")


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch, utc: None) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


def recorded(path: Path, records: Records) -> str:
    """Write a recording, and return its name."""
    file = SingleFile(str(path), TraceInfo(**(vars(INFO) | {"mounts": {7: "/mnt/[red]x"}})))
    file.write(records)
    file.close()
    return str(path)


@pytest.fixture
def history(tmp_path: Path) -> str:
    """Four requests that end, two that do not, and a command that is refused."""
    return recorded(
        tmp_path / "a.pcapng",
        batch(
            *whole(4, START, Opcode.READ, queue=2, entry=0xE4),
            queued(6, START + 4 * MS, Opcode.LOOKUP, node_id=1, **one_name(b"a\x1b[1m")),
            found(6, START + 5 * MS, Opcode.LOOKUP, 1, b"a\x1b[1m", 5),
            *whole(8, START + 6 * MS, Opcode.READ, error=-5),
            event(Kind.REFUSED, START + 8 * MS, queue=3, error=-22, flags=Flag.HAS_ERROR, command_op=2),
            *whole(10, START + 10 * MS, Opcode.READ),
            queued(16, START + 11 * MS, Opcode.WRITE),
            delivered(18, START + 12 * MS, Opcode.READ),
        ),
    )


def stats(furtrace: CommandLine, *words: str, status: int = 0) -> dict[str, Any]:
    found, out, _ = furtrace("stats", *words, "--json")
    assert found == status
    made: dict[str, Any] = json.loads(out)
    return made


def counts(made: dict[str, Any]) -> dict[str, int]:
    return {group["op"]: group["count"] for group in made["operations"]}


def test_what_is_counted(furtrace: CommandLine, history: str) -> None:
    made = stats(furtrace, history)
    assert counts(made) == {"READ": 3, "LOOKUP": 1}
    assert (made["requests"]["errors"], made["unfinished"], made["events"]) == (1, 2, 17)
    assert made["failures"] == [{"op": "READ", "opcode": 15, "error": -5, "errno": "EIO", "count": 1}]
    assert made["refused"] == [{"command": "COMMIT_AND_FETCH", "error": -22, "errno": "EINVAL", "count": 1}]
    assert made["duration_ns"] == 12 * MS
    assert made["requests"]["latency"]["server"]["max_ns"] == 100
    assert made["connections"][0]["mount"] == "/mnt/[red]x"
    assert (made["clients"], made["files"]) == (None, None)


def test_tables(furtrace: CommandLine, history: str) -> None:
    words = ("--by", "op", "--by", "client", "--by", "file", "--by", "connection", "--by", "queue")
    status, out, err = furtrace("stats", history, *words, "--histogram", "server")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "Linux 7.3.0  bufpool dialect  by tracepoints"
    assert lines[1] == "begins 2023-11-14 22:13:20, lasts 12.0ms"
    assert lines[2] == "4 requests (1 with an error), 2 unfinished, 17 events, 0 lost"
    rows = {line.split()[0]: line.split() for line in lines if line}
    assert rows["READ"][1:4] == ["3", "75.0%", "1"]
    assert rows["client[40]"][1] == "4"
    assert rows["/a\\x1b[1m"][1] == "3"
    assert rows["/"][1] == "1"
    assert "7 /mnt/[red]x" in out
    assert "1 command refused: COMMIT_AND_FETCH EINVAL" in out
    assert "server: 3 requests" in out
    assert "96ns - 128ns  3  100.0%" in out
    assert "\x1b" not in out


def test_filters(furtrace: CommandLine, history: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert counts(stats(furtrace, history, "--op", "LOOKUP")) == {"LOOKUP": 1}
    assert counts(stats(furtrace, history, "--queue", "2")) == {"READ": 1}
    assert counts(stats(furtrace, history, "-Y", "error == EIO")) == {"READ": 1}
    assert counts(stats(furtrace, history, "--client", "41")) == {}
    assert counts(stats(furtrace, history, "--mount", "/mnt/[red]x")) == {"READ": 3, "LOOKUP": 1}
    assert counts(stats(furtrace, history, "--from", "6ms")) == {"READ": 2}
    assert counts(stats(furtrace, history, "--from", "5ms", "--until", "7ms")) == {"READ": 1, "LOOKUP": 1}
    data = Path(history).read_bytes()
    for words, result in (((), {"READ": 3, "LOOKUP": 1}), (("--op", "READ", "--until", "7ms"), {"READ": 2})):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert counts(stats(furtrace, "-", *words)) == result


@pytest.mark.parametrize("name", ["plain", "pool", "zero-copy"])
def test_a_filter_that_leaves_all_changes_nothing(furtrace: CommandLine, name: str) -> None:
    path = str(SHIPPED / f"{name}.pcapng.zst")
    by = ("--by", "client", "--by", "file")
    everything, filtered = stats(furtrace, path, *by), stats(furtrace, path, *by, "-Y", "unique")
    # Events that are about no request are not chosen by a filter of requests.
    of_events = {"events", "events_by_kind", "first_ns", "last_ns", "duration_ns", "stopped"}
    assert {member: value for member, value in everything.items() if member not in of_events} == {
        member: value for member, value in filtered.items() if member not in of_events
    }
    assert stats(furtrace, path, *by, "--from", "0", "--until", "1h") == stats(furtrace, path, *by)


def test_tables_are_sorted_and_cut(furtrace: CommandLine) -> None:
    path = str(SHIPPED / "plain.pcapng.zst")
    for sort, key in (("count", "count"), ("bytes", "moved"), ("errors", "errors")):
        out = furtrace("stats", path, "--by", "op", "--top", "3", "--sort", sort)[1]
        start = out.index("operation")
        shown = [line.split()[0] for line in out[start:].splitlines()[1:4]]
        most = sorted((group[key] for group in stats(furtrace, path)["operations"]), reverse=True)[:3]
        by_name = {group["op"]: group[key] for group in stats(furtrace, path)["operations"]}
        assert [by_name[op] for op in shown] == most
        assert "and 25 more" in out


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
def test_what_is_shown_fits(furtrace: CommandLine, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in ("plain", "pool", "zero-copy"):
        words = ("--by", "op", "--by", "queue", "--by", "client", "--by", "file", "--histogram", "total")
        out = furtrace("stats", str(SHIPPED / f"{name}.pcapng.zst"), *words)[1]
        body = out[out.index("Latency") : out.index("Data")]
        assert max(map(len, body.splitlines())) <= columns
        assert "total" in body


def test_damage(furtrace: CommandLine, history: str, tmp_path: Path) -> None:
    whole_file = Path(history).read_bytes()
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(whole_file[:-1000])
    status, out, err = furtrace("stats", str(cut))
    assert status == 1
    assert "requests" in out
    assert err.count("\n") == 1
    assert f"{cut} is not whole: " in err
    none = tmp_path / "none.pcapng"
    none.write_bytes(b"no recording, but text")
    for path in (none, tmp_path / "missing"):
        status, out, err = furtrace("stats", str(path))
        assert (status, out) == (1, "")
        assert err.count("\n") == 1
        assert str(path) in err


def test_misuse(furtrace: CommandLine, history: str) -> None:
    for words in (("--by", "inode"), ("--top", "0"), ("--sort", "x"), ("--histogram", "x"), ("-Y", "op ==")):
        assert furtrace("stats", history, *words)[0] == 2
    assert furtrace("stats")[0] == 2


def test_nothing_recorded(furtrace: CommandLine, tmp_path: Path) -> None:
    path = recorded(tmp_path / "empty.pcapng", batch())
    made = stats(furtrace, path)
    assert (made["events"], made["first_ns"], made["requests"]["count"]) == (0, None, 0)
    assert "0 requests" in furtrace("stats", path, "--by", "file", "--histogram", "total")[1]

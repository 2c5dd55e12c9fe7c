"""``furtrace flow`` of recordings, and its examples."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from furtrace.trace.files import SingleFile
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Flag, Kind
from furtrace.views.flow_kinds import KINDS
from furtrace.wire.opcodes import Opcode
from tests.unit.cli.test_main import CommandLine
from tests.unit.cli.test_stats import INFO, START
from tests.unit.events import batch, committed, delivered, ended, event, queued, whole
from tests.unit.export.reckoning import SHIPPED

ZERO_COPY = str(SHIPPED / "zero-copy.pcapng.zst")
MS = 1_000_000


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch, utc: None) -> None:
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def history(tmp_path: Path) -> str:
    """Three requests: of 1, 5 and 2 milliseconds; a fourth does not end."""
    path = tmp_path / "a.pcapng"
    file = SingleFile(str(path), TraceInfo(**vars(INFO)))
    for unique, opcode, taken in ((4, Opcode.READ, 1), (6, Opcode.WRITE, 5), (8, Opcode.READ, 2)):
        at = START + unique * 10 * MS
        file.write(
            batch(
                queued(unique, at, opcode),
                delivered(unique, at + 1000, opcode),
                committed(unique, at + taken * MS - 1000, opcode),
                ended(unique, at + taken * MS, opcode),
            )
        )
    file.write(batch(queued(10, START + 200 * MS), delivered(10, START + 201 * MS)))
    file.close()
    return str(path)


def told(furtrace: CommandLine, *words: str) -> list[dict[str, Any]]:
    status, out, err = furtrace("flow", "--json", *words)
    assert (status, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def taken(diagram: dict[str, Any]) -> int:
    last: int = next(step["since_ns"] for step in diagram["steps"] if step["event"] == "ENDED")
    return last


def test_by_number(furtrace: CommandLine, history: str) -> None:
    found = told(furtrace, "-r", history, "6", "8")
    assert [taken(one) for one in found] == [5 * MS, 2 * MS]
    assert " WRITE " in found[0]["title"]


def test_the_first_one_without_a_number(furtrace: CommandLine, history: str) -> None:
    assert [taken(one) for one in told(furtrace, "-r", history)] == [MS]
    assert [taken(one) for one in told(furtrace, "-r", history, "--count", "9")] == [MS, 5 * MS, 2 * MS]


def test_the_slowest(furtrace: CommandLine, history: str) -> None:
    assert [taken(one) for one in told(furtrace, "-r", history, "--slowest")] == [5 * MS]
    found = told(furtrace, "-r", history, "--slowest", "--count", "2")
    assert [taken(one) for one in found] == [5 * MS, 2 * MS]
    assert [taken(one) for one in told(furtrace, "-r", history, "--slowest", "-Y", "op == READ")] == [2 * MS]


def test_the_next_of_an_operation_from_a_time_on(furtrace: CommandLine, history: str) -> None:
    assert [taken(one) for one in told(furtrace, "-r", history, "--next", "READ")] == [MS]
    assert [taken(one) for one in told(furtrace, "-r", history, "--next", "READ", "--from", "10ms")] == [2 * MS]


def test_one_that_has_not_ended(furtrace: CommandLine, history: str) -> None:
    (found,) = told(furtrace, "-r", history, "10")
    assert found["steps"][-1]["step"] == "[no answer so far]"
    assert "unfinished" in found["title"]


def test_what_is_not_there(furtrace: CommandLine, history: str) -> None:
    status, out, err = furtrace("flow", "-r", history, "6", "5")
    assert status == 1
    assert " WRITE " in out
    assert err == "furtrace: There is no request 5 among those that the recording has.\n"
    status, out, err = furtrace("flow", "-r", history, "--next", "MKDIR")
    assert (status, out) == (1, "")
    assert err == "furtrace: There is no such request that ended among those that the recording has.\n"


def test_damage_is_told(furtrace: CommandLine, history: str) -> None:
    data = Path(history).read_bytes()
    Path(history).write_bytes(data[:-100])
    status, out, err = furtrace("flow", "-r", history, "--slowest")
    assert status == 1
    assert ">fuse_request_end()" in out
    assert "is not whole" in err
    Path(history).write_bytes(b"garbage")
    status, out, err = furtrace("flow", "-r", history, "--slowest")
    assert (status, out) == (1, "")
    assert "can't be read" in err


@pytest.mark.parametrize("words", [("--setup",), ("--memory",)])
def test_damage_is_told_of_queues_too(furtrace: CommandLine, tmp_path: Path, words: tuple[str, ...]) -> None:
    path = tmp_path / "cut.pcapng.zst"
    path.write_bytes(Path(ZERO_COPY).read_bytes()[:-5000])
    status, out, err = furtrace("flow", "-r", str(path), *words)
    assert status == 1
    assert "ueue 0 of connection 36" in out
    assert "is not whole" in err


@pytest.mark.parametrize(
    "words",
    [
        ("--kind", "plain"),
        ("--list",),
        ("--example", "4"),
        ("--example", "--kind", "plain", "--dialect", "bufring"),
        ("--example", "--memory"),
        ("-r", "x", "4", "--slowest"),
        ("-r", "x", "--next", "READ", "--op", "READ"),
        ("-r", "x", "--duration", "3"),
        ("-r", "x", "--", "true"),
        ("-r", "-"),
        ("-r", "x", "4", "--memory"),
        ("--slowest",),
        ("--memory",),
        ("--setup",),
        ("--from", "1"),
        ("--duration", "nan"),
        ("0",),
        ("READ",),
    ],
)
def test_misuse(furtrace: CommandLine, words: tuple[str, ...]) -> None:
    status, out, err = furtrace("flow", *words)
    assert (status, out) == (2, "")
    assert "Error: " in err


def test_examples(furtrace: CommandLine) -> None:
    status, out, _ = furtrace("flow", "--example", "--list")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == [kind.name for kind in KINDS]
    status, out, _ = furtrace("flow", "--example")
    assert status == 0
    assert out.count("FUSE server") == len(KINDS)
    status, out, _ = furtrace("flow", "--example", "--kind", "buffer")
    assert "[set buf_id in ent_in_out header]" in out
    status, out, _ = furtrace("flow", "--example", "--kind", "buffer", "--dialect", "bufpool")
    assert ">copy_header_to_ring(RING_ENT)" in out


@pytest.mark.parametrize(("width", "expected"), [("72", 72), ("40", 72), ("100", 100), ("500", 160)])
def test_widths(furtrace: CommandLine, monkeypatch: pytest.MonkeyPatch, width: str, expected: int) -> None:
    monkeypatch.setenv("COLUMNS", width)
    _, out, _ = furtrace("flow", "-r", ZERO_COPY, "56")
    drawn = [line for line in out.splitlines() if "│" in line]
    assert max(map(len, out.splitlines())) <= expected
    assert len({line.index("│") for line in drawn}) == 1


def test_files_for_reports(furtrace: CommandLine, tmp_path: Path, history: str) -> None:
    svg, html = tmp_path / "a.svg", tmp_path / "a.html"
    words = ("flow", "-r", history, "6", "--svg", str(svg), "--html", str(html))
    status, out, _ = furtrace(*words)
    assert status == 0
    assert ">fuse_request_end()" in out
    assert svg.read_text().startswith("<svg")
    assert "fuse_request_end()" in html.read_text()
    svg.write_text("mine")
    status, _, err = furtrace(*words)
    assert status == 1
    assert str(svg) in err
    assert svg.read_text() == "mine"
    assert furtrace(*words, "--force")[0] == 0
    assert svg.read_text().startswith("<svg")


def test_a_disk_without_room(furtrace: CommandLine, history: str) -> None:
    status, _, err = furtrace("flow", "-r", history, "6", "--svg", "/dev/full", "--force")
    assert status == 1
    assert len(err.splitlines()) == 1


def test_setup(furtrace: CommandLine, history: str) -> None:
    found = told(furtrace, "-r", ZERO_COPY, "--setup")
    titles = [f"How queue {queue} of connection 36 was set up" for queue in (0, 1)]
    assert [one["title"] for one in found] == titles
    for one in found:
        seen = [step["event"] for step in one["steps"] if step["ns"] is not None and ":" not in step["event"]]
        assert seen[:3] == ["ADD_QUEUE", "ADD_BUFPOOL", "REGISTER"]
        assert seen.count("REGISTER") == 4
        assert seen.count("READY") == 1
    status, out, err = furtrace("flow", "-r", history, "--setup")
    assert (status, out) == (1, "")
    assert "has no command that sets up a queue" in err


def test_memory(furtrace: CommandLine, tmp_path: Path) -> None:
    found = told(furtrace, "-r", str(SHIPPED / "pool.pcapng.zst"), "--memory", "--to", "11.4s")
    assert [one["queue"] for one in found] == [0, 1]
    for one in found:
        addresses = [slot["address"] for slot in one["headers"]]
        assert len(addresses) == len(set(addresses)) == 4
        assert (one["pool"]["buffers"], one["pool"]["size"]) == (2, 262144)
        held = one["pool"]["held"]
        assert len(held) == one["pool"]["in_use"]
    status, out, _ = furtrace("flow", "-r", str(SHIPPED / "pool.pcapng.zst"), "--memory")
    assert status == 0
    assert "Payload buffer pool: 2 buffers of 131072 bytes at 0x" in out
    empty = tmp_path / "none.pcapng"
    SingleFile(str(empty), TraceInfo(**vars(INFO))).close()
    status, _, err = furtrace("flow", "-r", str(empty), "--memory")
    assert status == 1
    assert "Nothing was seen of a queue" in err


def test_memory_says_who_holds_what(furtrace: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "b.pcapng"
    file = SingleFile(str(path), TraceInfo(**vars(INFO)))
    place = {"headers": 0x7000, "flags": Flag.HAS_BUFFER | Flag.POOL, "buffer_id": 1, "pool_offset": 4096}
    file.write(
        batch(
            *whole(4, START),
            queued(6, START + MS, Opcode.WRITE),
            event(Kind.SELECTED, START + MS, unique=6, entry=0xE0, buffers=2, buffers_free=1, **(place | {"queue": 3})),
            delivered(6, START + 2 * MS, Opcode.WRITE, **place),
        )
    )
    file.close()
    (found,) = told(furtrace, "-r", str(path), "--memory")
    assert found["headers"] == [{"address": 0x7000, "entry": 0, "payload": None, "unique": 6}]
    assert [(one["buffer"], one["unique"]) for one in found["pool"]["held"]] == [(1, 6)]
    _, out, _ = furtrace("flow", "-r", str(path), "--memory")
    assert max(map(len, out.splitlines())) <= 100
    for text in ("[ent 0] 0x7000", "WRITE unique=6", "in the server, 1.00ms", "buf 0", "free", "1 of 2 in use"):
        assert text in out


def test_names_are_no_markup(furtrace: CommandLine) -> None:
    """What a traced process chose is shown as it is."""
    _, out, _ = furtrace("flow", "-r", ZERO_COPY, "--next", "LOOKUP")
    assert "[client request arrives]" in out
    assert os.environ["COLUMNS"] == "100"

"""What is wrong in recordings, on the command line: what is shown, what is left out, and the exit status."""

import errno
import json
from pathlib import Path

import pytest

from furtrace.checks.checker import RULES
from furtrace.trace.record import Records
from furtrace.wire.opcodes import Opcode
from tests.unit.checks.judging import conversation
from tests.unit.cli.test_main import CommandLine
from tests.unit.cli.test_stats import START, recorded
from tests.unit.events import after_loss, batch, committed, delivered, ended, one_name, queued
from tests.unit.export.reckoning import SHIPPED

SECOND = 1_000_000_000
INVALID = -errno.EINVAL
FOUND = 3


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch, utc: None) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


def short(unique: int, ns: int) -> list[Records]:
    return conversation(unique, ns, Opcode.GETATTR, size=1, end=INVALID)


def late(unique: int, ns: int) -> list[Records]:
    end = ns + 2 * SECOND
    return [queued(unique, ns), delivered(unique, ns + 10), committed(unique, end), ended(unique, end + SECOND)]


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    """A reply that is too short, a request that took long, one that is not answered."""
    name = one_name(b"\x1b[1m[red]")
    events = [*short(2, START), *late(4, START + SECOND)]
    hung = [queued(6, START + 5 * SECOND, Opcode.LOOKUP, node_id=1, **name), delivered(6, START + 5 * SECOND + 10)]
    return recorded(tmp_path / "a.pcapng", batch(*events, *hung, *conversation(8, START + 12 * SECOND, Opcode.FLUSH)))


@pytest.mark.parametrize("recording", sorted(SHIPPED.iterdir()), ids=lambda path: path.name)
def test_nothing_is_wrong_with_what_is_shipped(furtrace: CommandLine, recording: Path) -> None:
    status, out, err = furtrace("check", str(recording), "--json", "--fail-on", "warning")
    assert (status, err) == (0, "")
    *findings, _ = map(json.loads, out.splitlines())
    # But for pools with fewer buffers than entries, as the server was told.
    assert {one["rule"] for one in findings} <= {"pool-dry"}


def test_what_is_found_is_shown_with_its_evidence(furtrace: CommandLine, wrong: str) -> None:
    status, out, err = furtrace("check", wrong)
    assert (status, err) == (FOUND, "")
    lines = out.splitlines()
    assert lines[:3] == [
        "ERROR reply-too-short: a reply lacks a part of its structure",
        "  22:13:20.000000, connection 7 on /mnt/[red]x, queue 3",
        "  The reply to GETATTR, unique 2, has 1 bytes; 104 are right. The kernel ended the request with -EINVAL.",
    ]
    assert "GETATTR" in lines[3]
    assert "-EINVAL" in lines[3]
    assert "COMMITTED unique=2 GETATTR" in lines[4]
    others = [line.split()[1] for line in lines if line.startswith(("NOTE", "WARNING"))]
    assert others == ["slow:", "unanswered:"]
    assert "\x1b" not in out
    assert "1 error, 1 warning, 1 note in 3 requests, 14 events" in out


@pytest.mark.parametrize(
    ("least", "fail_on", "shown", "status"),
    [
        ("error", "error", {"reply-too-short"}, FOUND),
        ("warning", "error", {"reply-too-short", "unanswered"}, FOUND),
        ("note", "warning", {"reply-too-short", "unanswered", "slow"}, FOUND),
    ],
)
def test_severities(furtrace: CommandLine, wrong: str, least: str, fail_on: str, shown: set[str], status: int) -> None:
    found, out, _ = furtrace("check", wrong, "--least", least, "--fail-on", fail_on, "--json")
    assert found == status
    *findings, summary = map(json.loads, out.splitlines())
    assert {one["rule"] for one in findings} == shown
    assert summary["findings"] == dict.fromkeys(sorted(shown), 1)


def test_a_note_is_no_failure_unless_it_is_to_be_one(furtrace: CommandLine, tmp_path: Path) -> None:
    file = recorded(tmp_path / "a.pcapng", batch(*late(4, START)))
    assert furtrace("check", file)[0] == 0
    assert furtrace("check", file, "--fail-on", "note")[0] == FOUND
    assert furtrace("check", file, "--fail-on", "note", "--slow", "2.5")[0] == 0


def test_limits_can_be_chosen(furtrace: CommandLine, wrong: str) -> None:
    out = furtrace("check", wrong, "--unanswered", "60")[1]
    assert "WARNING" not in out
    assert "0 warnings" in out


def test_windows(furtrace: CommandLine, wrong: str) -> None:
    out = furtrace("check", wrong, "--from", "1", "--json")[1]
    assert [json.loads(line).get("rule") for line in out.splitlines()] == ["slow", "unanswered", None]
    out = furtrace("check", wrong, "--until", "2", "--json")[1]
    assert [json.loads(line).get("rule") for line in out.splitlines()] == ["reply-too-short", None]


def test_many_alike_are_counted(furtrace: CommandLine, tmp_path: Path) -> None:
    events = [one for number in range(20) for one in short(2 * number + 2, START + number * 1000)]
    file = recorded(tmp_path / "a.pcapng", batch(*events))
    out = furtrace("check", file)[1]
    assert out.count("ERROR reply-too-short") == 5
    assert "are only counted" in out
    assert "      20 error    reply-too-short" in out
    assert len(furtrace("check", file, "--json")[1].splitlines()) == 21


def test_json(furtrace: CommandLine, wrong: str) -> None:
    first = json.loads(furtrace("check", wrong, "--json")[1].splitlines()[0])
    assert first["type"] == "finding"
    assert (first["severity"], first["ns"], first["connection"], first["queue"]) == ("error", START + 100, 7, 3)
    assert (first["request"]["op"], first["request"]["unique"]) == ("GETATTR", 2)
    assert [event["event"] for event in first["events"]] == ["COMMITTED"]


def test_the_requests_are_drawn(furtrace: CommandLine, wrong: str) -> None:
    """Each in its finding, as far as it had come by then."""
    status, out, err = furtrace("check", "--flow", wrong)
    assert (status, err) == (FOUND, "")
    order = [
        *("ERROR reply-too-short", "GETATTR, unique 2", "FUSE server", "COMMIT_AND_FETCH", "<fuse_uring_cmd()"),
        *("NOTE slow", "GETATTR, unique 4", "FUSE server", "COMMIT_AND_FETCH"),
        *("WARNING unanswered", "GETATTR, unique 6", "FUSE server", "[CQE received]", "1 error, 1 warning"),
    ]
    at = 0
    for text in order:
        at = out.index(text, at) + 1
    assert "\x1b" not in out
    plain = furtrace("check", wrong)[1]
    assert [line for line in plain.splitlines() if line not in out.splitlines()] == []


def test_json_has_the_flow(furtrace: CommandLine, wrong: str) -> None:
    status, out, err = furtrace("check", "--flow", "--json", wrong)
    assert (status, err) == (FOUND, "")
    found = [json.loads(line) for line in out.splitlines()][:-1]
    assert [one["flow"]["title"] for one in found] == ["GETATTR, unique 2", "GETATTR, unique 4", "GETATTR, unique 6"]
    events = [[step["event"] for step in one["flow"]["steps"] if step["ns"] is not None] for one in found]
    assert events == [["QUEUED", "DELIVERED", "COMMITTED", "ENDED"]] * 2 + [["QUEUED", "DELIVERED"]]


def test_sarif(furtrace: CommandLine, wrong: str) -> None:
    status, out, _ = furtrace("check", wrong, "--sarif")
    assert status == FOUND
    log = json.loads(out)
    (run,) = log["runs"]
    assert log["version"] == "2.1.0"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == list(RULES)
    assert [(one["ruleId"], one["level"]) for one in run["results"]] == [
        ("reply-too-short", "error"),
        ("slow", "note"),
        ("unanswered", "warning"),
    ]
    place = run["results"][0]["locations"][0]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == wrong
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "connection 7, queue 3, unique 2"


def test_where_events_were_lost(furtrace: CommandLine, tmp_path: Path) -> None:
    file = recorded(tmp_path / "a.pcapng", after_loss(batch(queued(2, START), delivered(2, START + 9 * SECOND)), 5))
    status, out, _ = furtrace("check", file)
    assert status == 0
    assert "5 lost" in out
    assert "what rests on events that were not seen is left unsaid" in out


def test_a_recording_that_is_damaged(furtrace: CommandLine, wrong: str) -> None:
    path = Path(wrong)
    path.write_bytes(path.read_bytes()[:-300])
    status, out, err = furtrace("check", wrong)
    assert status == 1
    assert "reply-too-short" in out
    assert "is not whole" in err


def test_what_a_rule_means(furtrace: CommandLine) -> None:
    for name, rule in RULES.items():
        status, out, _ = furtrace("check", "--explain", name)
        assert status == 0
        assert rule.title in out
        assert max(map(len, out.splitlines())) <= 100
    out = furtrace("check", "--list")[1]
    assert [line.split()[0] for line in out.splitlines()] == list(RULES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--explain", "nonsense"], "'nonsense' is no rule"),
        (["a.pcapng", "--json", "--sarif"], "not both"),
        (["a.pcapng", "--duration", "3"], "leave out FILE"),
        (["--from", "3"], "give FILE"),
        (["--flow"], "two looks at a recording"),
        (["a.pcapng", "--flow", "--sarif"], "not --sarif"),
        (["-", "--flow"], "no pipe"),
        (["--least", "worse"], "'worse' is not one of"),
        (["a.pcapng", "--", "true"], "leave out FILE"),
        (["a.pcapng", "--slow", "inf"], "a number of seconds"),
    ],
)
def test_misuse(furtrace: CommandLine, words: list[str], said: str) -> None:
    status, _, err = furtrace("check", *words)
    assert status == 2
    assert said in err


def test_no_such_file(furtrace: CommandLine, tmp_path: Path) -> None:
    status, _, err = furtrace("check", str(tmp_path / "none"))
    assert (status, "No such file" in err) == (1, True)

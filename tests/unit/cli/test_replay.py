"""Recordings, replayed: what is shown is what is in them, and no more; what is wrong with them is a sentence."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from furtrace.cli.outputs import PlainOutput
from furtrace.cli.reel import Reel, Window
from furtrace.cli.replaying import play_lines
from furtrace.cli.stopping import Stopping
from furtrace.export.jsonlines import event_object, request_objects
from furtrace.model.choosing import Wanted
from furtrace.model.conversation import Conversation
from furtrace.trace.files import SingleFile
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Flag, Kind, Records, events_only, lost_record, mounted_record
from furtrace.views.event_lines import EventLines
from furtrace.views.lines import RequestLines
from furtrace.wire.opcodes import Opcode
from tests.unit.cli.test_main import CommandLine
from tests.unit.events import batch, delivered, event, found, one_name, queued, removed, whole
from tests.unit.views.live_events import Traffic

MS = 1_000_000
START = 1_000_000_000_000
INFO = TraceInfo("7.3.0", "bufpool", "tracepoints", 1_700_000_000_000_000_000 - START, boot="a", version="0.1.0")


@pytest.fixture(autouse=True)
def _utc(utc: None) -> None:
    """Of all that is here."""


def recorded(path: Path, records: Records, info: TraceInfo = INFO, *, mounts: dict[int, str] | None = None) -> str:
    """Write a recording, and return its name."""
    file = SingleFile(str(path), TraceInfo(**(vars(info) | {"mounts": mounts or {}})), force=True)
    file.write(records)
    file.close()
    return str(path)


def _history() -> Records:
    """A server that begins, names that change, operations of several kinds, trouble, and what never ends."""
    return batch(
        queued(2, START, Opcode.INIT, node_id=0),
        event(Kind.INIT, START + MS, unique=2, opcode=Opcode.INIT, extra=bytes(128), pid=900),
        event(Kind.REGISTER, START + 2 * MS, queue=3, pid=900, extra=bytes(80)),
        *whole(4, START + 3 * MS, Opcode.READ),
        queued(6, START + 4 * MS, Opcode.LOOKUP, node_id=1, **one_name(b"old")),
        found(6, START + 5 * MS, Opcode.LOOKUP, 1, b"old", 5),
        *whole(8, START + 6 * MS, Opcode.WRITE, queue=2, entry=0xE4),
        *whole(10, START + 7 * MS, Opcode.READ, error=-5),
        event(Kind.REFUSED, START + 8 * MS, queue=3, error=-22, flags=Flag.HAS_ERROR, command_op=2),
        removed(12, START + 9 * MS, 1, b"old"),
        *whole(14, START + 10 * MS, Opcode.READ),
        queued(16, START + 11 * MS, Opcode.WRITE),
        delivered(18, START + 12 * MS, Opcode.READ),
    )


@pytest.fixture
def history(tmp_path: Path) -> str:
    """A recording of :func:`_history`."""
    return recorded(tmp_path / "history.pcapng", _history(), mounts={7: "/mnt"})


def _traffic(seconds: int = 1, requests: int = 400) -> Records:
    made = Traffic()
    parts = [made.next(START + at * 10**9, START + (at + 1) * 10**9, requests) for at in range(seconds)]
    return np.concatenate(parts)


def _shown(records: Records, *, events: bool = False) -> list[str]:
    """What live shows of the same events, one batch."""
    conversation = Conversation()
    lines = []
    for part in conversation.cut(records):
        finished = conversation.feed(part)
        if events:
            lines += EventLines(INFO, conversation.requests, conversation.paths).lines(part)
        else:
            lines += list(RequestLines(INFO, conversation.paths).ended(finished))
    if not events:
        now = int(records["ns"].max())
        lines += RequestLines(INFO, conversation.paths).unfinished(conversation.requests.under_way, now)
    return lines


# ---- what is shown ----


def test_a_line_a_request_and_set_up_in_its_place(furtrace: CommandLine, history: str) -> None:
    status, said, err = furtrace("replay", history, "--plain")
    lines = said.splitlines()
    assert status == 0
    assert [line.split()[2] for line in lines if "[" not in line.split()[2]] == ["INIT", "REGISTER", "REFUSED"]
    assert [line for line in lines if "[" in line.split()[2]] == _shown(_history())
    words = [line.split()[2] if "[" not in line.split()[2] else line.split()[3] for line in lines]
    assert words == [
        *("INIT", "REGISTER", "READ", "LOOKUP", "WRITE", "READ", "REFUSED", "UNLINK", "READ"),
        *("INIT", "WRITE", "READ"),
    ]
    assert lines[-2:] == [
        "22:13:20.011000 7:? client[40] WRITE /old (deleted) <unfinished: queued, 1000.0us>",
        "22:13:20.012000 7:3.0 ?[41] READ /old (deleted) <unfinished: in the server, 0.0us>",
    ]
    assert err == (
        "6 requests (1 with an error), 3 unfinished, 25 events in 0.0s, 0 lost\n"
        "1 commands refused by the kernel, 0 CQEs overflowed\n"
    )


def test_a_line_an_event(furtrace: CommandLine, history: str) -> None:
    status, said, _ = furtrace("replay", history, "--events")
    assert (status, said.splitlines()) == (0, _shown(_history(), events=True))


def test_json(furtrace: CommandLine, history: str) -> None:
    status, said, err = furtrace("replay", history, "--json")
    *requests, summary = map(json.loads, said.splitlines())
    conversation = Conversation()
    expected: list[dict[str, Any]] = []
    for part in conversation.cut(_history()):
        rows = conversation.feed(part)
        expected += request_objects(rows, conversation.paths.subjects(rows))
    rows = conversation.requests.under_way
    expected += request_objects(rows, conversation.paths.present(rows))
    assert requests == json.loads(json.dumps(expected))
    assert (summary["type"], summary["requests"], summary["elapsed_ns"]) == ("summary", 6, 12 * MS)
    assert (status, err) == (0, "")


def test_json_of_events(furtrace: CommandLine, history: str) -> None:
    _, said, _ = furtrace("replay", history, "--json", "--events")
    *events, summary = map(json.loads, said.splitlines())
    assert events == [json.loads(json.dumps(event_object(each))) for each in events_only(_history())]
    assert summary["events"] == len(events) == 25


def test_several_recordings_are_one_by_time(furtrace: CommandLine, tmp_path: Path) -> None:
    one, other = _traffic(), _traffic().copy()
    other["connection"], other["ns"] = 60, other["ns"] + np.uint64(7)
    files = [recorded(tmp_path / "one.pcapng", one), recorded(tmp_path / "other.pcapng.zst", other)]
    _, said, err = furtrace("replay", *files, "--events")
    both = np.concatenate([one, other])
    assert sorted(said.splitlines()) == sorted(_shown(both[np.argsort(both["ns"], kind="stable")], events=True))
    assert said.splitlines() == sorted(said.splitlines(), key=lambda line: line.split()[0])
    assert f"{len(both)} events" in err


def test_a_loss_is_told(furtrace: CommandLine, tmp_path: Path) -> None:
    loss = lost_record(START + 5 * MS, START + 6 * MS, 3, cpu=1)
    path = recorded(tmp_path / "loss.pcapng", batch(*whole(4, START), queued(6, START + MS), loss))
    status, said, err = furtrace("replay", path, "--plain")
    assert status == 0
    assert "unknown, events were lost" in said
    assert "1 requests (0 with an error), 1 unfinished, 5 events in 0.0s, 3 lost" in err


def test_hints_are_not_shown(furtrace: CommandLine, tmp_path: Path) -> None:
    hint = event(Kind.NAMED, START, opcode=Opcode.LOOKUP, node_id=1, **one_name(b"name"))
    hint["header"], hint["header_size"] = found(2, 1, Opcode.LOOKUP, 1, b"name", 5)[["header", "header_size"]][0]
    path = recorded(tmp_path / "hint.pcapng", batch(hint, mounted_record(START, 7, b"/mnt"), *whole(4, START + MS)))
    assert len(furtrace("replay", path, "--events")[1].splitlines()) == 4
    assert " GETATTR /name " in furtrace("replay", path, "--plain")[1]


@pytest.mark.parametrize("how", ["--plain", "--events", "--json"])
def test_so_many_lines(furtrace: CommandLine, history: str, how: str) -> None:
    _, every, _ = furtrace("replay", history, how)
    _, said, _ = furtrace("replay", history, how, "--count", "2")
    counted = [line for line in said.splitlines() if " INIT " not in line and " REGISTER " not in line]
    counted = [line for line in counted if '"type":"summary"' not in line] if how == "--json" else counted
    assert len(counted if how != "--events" else said.splitlines()) == 2
    assert all(line in every for line in said.splitlines() if '"summary"' not in line)


# ---- filters ----


def _requests(furtrace: CommandLine, *arguments: str) -> list[int]:
    status, said, err = furtrace("replay", *arguments, "--json")
    assert status == 0, err
    return [one["unique"] for one in map(json.loads, said.splitlines()) if one["type"] == "request"]


@pytest.mark.parametrize(
    ("filters", "uniques"),
    [
        (["--op", "READ"], [4, 10, 14, 18]),
        (["--op", "READ,WRITE", "--queue", "2"], [8]),
        (["--queue", "3"], [4, 10, 14, 6, 12, 2, 16, 18]),
        (["--client", "40"], [4, 6, 8, 10, 12, 14, 2, 16, 18]),
        (["--client", "41"], []),
        (["--connection", "7"], [4, 6, 8, 10, 12, 14, 2, 16, 18]),
        (["--connection", "8"], []),
        (["--mount", "/mnt"], [4, 6, 8, 10, 12, 14, 2, 16, 18]),
        (["--mount", "/mnt/../mnt/"], [4, 6, 8, 10, 12, 14, 2, 16, 18]),
        (["--pid", "900", "--op", "WRITE"], [8, 16]),
        (["-Y", "op == WRITE or error"], [4, 6, 8, 10, 12, 14, 16]),
        (["-Y", "error == EIO"], [10]),
        (["-Y", "unfinished"], [2, 16, 18]),
        (["-Y", "wait == 10ns and server == 100ns", "--op", "WRITE"], [8]),
        (["-Y", 'path == "/old"'], [6, 8, 10, 14, 16, 18]),
        (["-Y", 'path == "#5"'], [4]),
        (["-Y", 'mount == "/mnt" and time > 9.5ms'], [14, 16, 18]),
        (["--display-filter", "not op == READ and not op == WRITE"], [6, 12, 2]),
    ],
)
def test_filters(furtrace: CommandLine, history: str, filters: list[str], uniques: list[int]) -> None:
    assert sorted(_requests(furtrace, history, *filters)) == sorted(uniques)


@pytest.mark.parametrize("how", ["--plain", "--events", "--json"])
def test_what_is_said_of_a_request_does_not_depend_on_filters(furtrace: CommandLine, tmp_path: Path, how: str) -> None:
    path = recorded(tmp_path / "traffic.pcapng", _traffic())
    every = furtrace("replay", path, how)[1].splitlines()
    for filters in (["--op", "READ"], ["-Y", "latency > 200us and queue == 1"], ["--queue", "0,3"]):
        said = furtrace("replay", path, how, *filters)[1].splitlines()
        said = said[:-1] if how == "--json" else said
        assert 0 < len(said) < len(every)
        assert [line for line in every if line in set(said)] == said


def test_filters_show_no_other_ones_events(furtrace: CommandLine, history: str) -> None:
    said = furtrace("replay", history, "--events", "--op", "WRITE")[1]
    assert {line.split("unique=")[1].split()[0] for line in said.splitlines()} == {"8", "16"}
    assert len(said.splitlines()) == 5
    err = furtrace("replay", history, "--plain", "--op", "WRITE")[2]
    assert err == "1 requests (0 with an error), 1 unfinished, 5 events in 0.0s, 0 lost\n"


def test_set_up_is_shown_where_connections_or_queues_are_chosen(furtrace: CommandLine, history: str) -> None:
    def kinds(*filters: str) -> set[str]:
        words = {line.split()[2] for line in furtrace("replay", history, "--plain", *filters)[1].splitlines()}
        return words & {"INIT", "REGISTER", "REFUSED"}

    assert kinds() == kinds("--mount", "/mnt") == kinds("--connection", "7") == {"INIT", "REGISTER", "REFUSED"}
    assert kinds("--queue", "3") == {"REGISTER", "REFUSED", "INIT"}
    assert kinds("--queue", "2") == set()
    assert kinds("--op", "READ") == kinds("-Y", "op == READ") == set()


def test_from_standard_input(furtrace: CommandLine, history: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def piped(*arguments: str) -> tuple[int, str, str]:
        with Path(history).open("rb") as file, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(file))
            return furtrace("replay", "-", *arguments)

    for arguments in (["--plain"], ["--events"], ["--json"], ["--plain", "--connection", "7"]):
        assert piped(*arguments)[:2] == furtrace("replay", history, *arguments)[:2]
    for filters in (["--op", "WRITE"], ["-Y", "error == EIO"], ["--queue", "3"]):
        assert piped("--plain", *filters)[1] == "".join(
            line + "\n"
            for line in furtrace("replay", history, "--plain", *filters)[1].splitlines()
            if line.split()[2] != "INIT"
        )
    for arguments in (["--events", "--op", "READ"], ["--plain", "--mount", "/mnt"], ["--plain", "--pid", "9"]):
        status, said, err = piped(*arguments)
        assert (status, said) == (2, "")
        assert "need" in err
        assert "a file" in err


def test_other_pipes_are_read_once(furtrace: CommandLine, history: str, tmp_path: Path) -> None:
    for arguments, status in ((["--plain"], 0), (["--plain", "--op", "READ"], 0), (["--events", "--op", "READ"], 2)):
        fifo = tmp_path / f"fifo{len(arguments)}{status}"
        os.mkfifo(fifo)
        writer = subprocess.Popen(["sh", "-c", 'exec cat "$0" > "$1"', history, str(fifo)])
        assert furtrace("replay", str(fifo), *arguments)[0] == status
        if status:
            writer.kill()
        assert writer.wait(30) == (-signal.SIGKILL if status else 0)


# ---- time windows ----


@pytest.mark.parametrize(
    ("window", "uniques"),
    [
        (["--from", "6ms"], [8, 10, 12, 14, 2, 16, 18]),
        (["--to", "5ms"], [4, 6, 2]),
        (["--to", "6.0000001ms"], [4, 6, 8, 2]),
        (["--from", "22:13:20.006", "--to", "22:13:20.008"], [8, 10, 2]),
        (["--from", "2023-11-14T22:13:20.009Z"], [12, 14, 2, 16, 18]),
        (["--from", "12ms"], [2, 16, 18]),
        (["--from", "1h"], [2, 16, 18]),
    ],
)
def test_windows(furtrace: CommandLine, history: str, window: list[str], uniques: list[int]) -> None:
    """Shown is what ended within, and what was under way at the end."""
    assert sorted(_requests(furtrace, history, *window)) == sorted(uniques)


def test_a_window_has_its_own_sums(furtrace: CommandLine, history: str) -> None:
    err = furtrace("replay", history, "--plain", "--from", "6ms", "--to", "9.5ms")[2]
    assert err.splitlines()[0] == "3 requests (1 with an error), 1 unfinished, 10 events in 0.0s, 0 lost"
    events = furtrace("replay", history, "--events", "--from", "6ms", "--to", "9.5ms")[1].splitlines()
    assert events == _shown(_history(), events=True)[9:19]
    (summary,) = furtrace("replay", history, "--json", "--op", "INIT", "--from", "6ms")[1].splitlines()[1:]
    assert json.loads(summary)["elapsed_ns"] == 6 * MS


def test_what_comes_before_a_window_is_known_in_it(furtrace: CommandLine, history: str) -> None:
    said = furtrace("replay", history, "--plain", "--from", "6ms", "--to", "6.5ms")[1]
    assert " WRITE /old " in said
    assert "7:2.0" in said


def test_a_filter_judges_by_what_is_known_in_the_window(furtrace: CommandLine, history: str) -> None:
    assert _requests(furtrace, history, "-Y", "unfinished", "--to", "4ms") == [2, 6]
    assert _requests(furtrace, history, "-Y", "op == LOOKUP and latency", "--to", "4ms") == []


# ---- what is wrong ----


def _cut(path: str, folder: Path, size: int) -> str:
    cut = folder / f"cut{size}.pcapng"
    cut.write_bytes(Path(path).read_bytes()[:size])
    return str(cut)


@pytest.mark.parametrize("how", ["--plain", "--events", "--json"])
def test_what_is_whole_of_a_damaged_recording_is_shown(furtrace: CommandLine, tmp_path: Path, how: str) -> None:
    records = _traffic(1, 1500)
    whole_one = recorded(tmp_path / "whole.pcapng", records)
    every = furtrace("replay", whole_one, how)[1].splitlines()
    cut = _cut(whole_one, tmp_path, Path(whole_one).stat().st_size // 2)
    status, said, err = furtrace("replay", cut, how)
    lines = said.splitlines()
    assert status == 1
    assert err.splitlines()[-1].startswith(f"{cut} is not whole: it is cut off in the middle of a block, at byte ")
    ended = [line for line in lines if "unfinished" not in line and '"error":null' not in line]
    assert len(ended) > len(every) // 3
    assert ended == every[: len(ended)]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_a_sentence(furtrace: CommandLine, history: str, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(Path(history).read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "damaged.pcapng"
    damaged.write_bytes(content)
    status, said, err = furtrace("replay", str(damaged), "--events")
    assert status in (0, 1)
    assert "Traceback" not in err
    expected = _shown(_history(), events=True)
    assert all(line in expected for line in said.splitlines()) or status == 0
    if status == 1:
        last = err.splitlines()[-1]
        assert str(damaged) in last
        assert last.endswith(".")


def test_what_is_no_recording(furtrace: CommandLine, tmp_path: Path) -> None:
    text, missing = tmp_path / "text", tmp_path / "missing"
    text.write_bytes(b"no recording, but some text " * 20)
    for path, words in ((text, "can't be read: "), (missing, "No such file"), (tmp_path, "Is a directory")):
        status, said, err = furtrace("replay", str(path), "--plain")
        assert (status, said) == (1, "")
        assert err.startswith(f"furtrace: {path} can't be read: ")
        assert words in err
        assert len(err.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_without_permission(furtrace: CommandLine, history: str) -> None:
    Path(history).chmod(0)
    status, _, err = furtrace("replay", history, "--plain")
    assert (status, err) == (1, f"furtrace: {history} can't be read: Permission denied.\n")


def test_one_of_several_is_none(furtrace: CommandLine, history: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert furtrace("replay", history, str(empty), "--plain") == (
        1,
        "",
        f"furtrace: {empty} can't be read: it is empty.\n",
    )


def test_a_recording_of_nothing(furtrace: CommandLine, tmp_path: Path) -> None:
    path = recorded(tmp_path / "nothing.pcapng", batch())
    nothing = "0 requests (0 with an error), 0 unfinished, 0 events in 0.0s, 0 lost\n"
    for options in ((), ("--from", "10:00", "--to", "1"), ("--op", "READ"), ("--speed", "2")):
        assert furtrace("replay", path, "--plain", *options) == (0, "", nothing)


def test_what_others_have_put_in_is_told(furtrace: CommandLine, tmp_path: Path) -> None:
    strange = _history()
    strange["kind"][3] = 200
    path = recorded(tmp_path / "strange.pcapng", strange)
    status, _, err = furtrace("replay", path, "--plain")
    assert status == 0
    assert err.splitlines()[-1] == "1 packet is no event that this furtrace knows; left out."


def test_no_such_connection(furtrace: CommandLine, history: str) -> None:
    for filters, words in (
        (["--mount", "/elsewhere"], "was mounted on /elsewhere; there is 7 /mnt."),
        (["--pid", "4"], "was served by process 4."),
    ):
        status, said, err = furtrace("replay", history, "--plain", *filters)
        assert (status, said) == (1, "")
        assert err == f"furtrace: No connection in the recording {words}\n"


# ---- misuse ----


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'FILE...'"),
        (["x", "--connection", "1", "--mount", "/y"], "give one"),
        (["x", "--from", "noon"], "is no time"),
        (["x", "--speed", "0"], "is no speed"),
        (["x", "--count", "0"], "--count"),
        (["-", "-", "--plain"], "give - once"),
        (["x", "--forgets"], "--forgets"),
    ],
)
def test_misuse(furtrace: CommandLine, arguments: list[str], words: str) -> None:
    status, said, err = furtrace("replay", *arguments)
    assert (status, said) == (2, "")
    assert words in err


def test_windows_that_are_none(furtrace: CommandLine, history: str) -> None:
    for window in (["--from", "2", "--to", "1"], ["--to", "2023-11-14T22:13:19"]):
        status, _, err = furtrace("replay", history, "--plain", *window)
        assert status == 2
        assert "The window ends before it begins" in err


def test_counting_is_for_lines(furtrace: CommandLine, history: str) -> None:
    status, _, err = furtrace("replay", history, "--count", "3", terminal=True)
    assert status == 2
    assert "--count counts lines" in err


@pytest.mark.parametrize(
    ("text", "column", "marked"),
    [
        ("op == WRIT", 7, "op == WRIT\n        ^"),
        ("latency > 5", 11, "latency > 5\n            ^"),
        ("op ==", 6, "op ==\n       ^"),
        ('"\u4f60" == 1', 8, '"\u4f60" == 1\n          ^'),
        ("slot\x1b", 5, "slot\\x1b\n      ^"),
        ("\x01 slot", 1, "\\x01 slot\n  ^"),
    ],
)
def test_a_wrong_filter_is_pointed_out(
    furtrace: CommandLine, history: str, text: str, column: int, marked: str
) -> None:
    status, said, err = furtrace("replay", history, "--plain", "-Y", text)
    assert (status, said) == (2, "")
    assert f"The filter is wrong at column {column}: " in err
    assert err.endswith(f"\n\n  {marked}\n")


# ---- as a process ----


def _process(*arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "furtrace", "replay", *arguments], **options)


def test_the_reader_of_the_output_is_gone(tmp_path: Path) -> None:
    path = recorded(tmp_path / "traffic.pcapng", _traffic(1, 3000))
    process = _process(path, "--plain", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b"furtrace: The reader of the output is gone.\n"
    assert process.wait(30) == 1


def test_ctrl_c_ends_with_the_summary(tmp_path: Path) -> None:
    path = recorded(tmp_path / "traffic.pcapng", _traffic(2))
    process = _process(path, "--plain", "--speed", "0.02", bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    lines = (first + out).decode().splitlines()
    ended = [line for line in lines if "unfinished" not in line]
    assert 0 < len(ended) < 400
    assert ended == _shown(_traffic(2))[: len(ended)]
    assert err.decode().startswith(f"{len(ended)} requests (")


# ---- pace ----


class _Output:
    """Notes when it was given how many events."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.came: list[tuple[float, int]] = []

    def batch(self, part: Records, _finished: Records) -> bool:
        self.came += [(self._clock(), int(ns) - START) for ns in part["ns"]]
        return True

    def end(self, elapsed_ns: int, now_ns: int) -> None:
        self.elapsed_ns, self.now_ns = elapsed_ns, now_ns


def test_lines_at_a_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on only while it is waited."""
    path = recorded(tmp_path / "one.pcapng", batch(*(queued(2 * n, START + n * 10**9) for n in range(5))))
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Stopping, "wait", lambda _self, seconds: now.__setitem__(0, now[0] + seconds))
    output = _Output(lambda: now[0] - 100)
    with Stopping() as stopping:
        outcome = play_lines(Reel([path], Wanted(), Window()), lambda *_: output, stopping, speed=4)
    assert [ns for _, ns in output.came] == [n * 10**9 for n in range(5)]
    for came, ns in output.came:
        assert ns / 4e9 <= came <= ns / 4e9 + 0.06
    assert (output.elapsed_ns, output.now_ns, outcome.elapsed_ns) == (4 * 10**9, START + 4 * 10**9, 4 * 10**9)


def test_as_live_writes_it() -> None:
    """Set-up before and after the lines that it stands between, and no more than so many lines."""
    conversation = Conversation()
    records = batch(
        event(Kind.REGISTER, 1, queue=3, extra=bytes(80)),
        *whole(4, 10),
        event(Kind.REFUSED, 130, queue=3, error=-22),
        *whole(6, 140),
        event(Kind.STOPPED, 300, queue=3, error=-107),
    )

    def said(most: int | None, monkeypatched: list[str]) -> Sequence[str]:
        output = PlainOutput(INFO, conversation, most)
        output.batch(records, finished)
        return monkeypatched

    finished = conversation.feed(records)
    with pytest.MonkeyPatch.context() as patch:
        for most, kinds in (
            (None, ["REGISTER", "GETATTR", "REFUSED", "GETATTR", "STOPPED"]),
            (1, ["REGISTER", "GETATTR", "REFUSED"]),
        ):
            lines: list[str] = []
            patch.setattr("furtrace.cli.outputs.write_lines", lines.extend)
            words = [line.split() for line in said(most, lines)]
            assert [word[2] if "[" not in word[2] else word[3] for word in words] == kinds

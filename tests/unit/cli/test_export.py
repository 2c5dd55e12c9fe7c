"""``furtrace export``: where it goes, what is left out, and what can be wrong."""

import contextlib
import csv
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from furtrace.trace.files import SingleFile
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Flag, Kind, Records
from furtrace.wire.opcodes import Opcode
from tests.unit.cli.test_main import CommandLine
from tests.unit.events import batch, event, queued, whole
from tests.unit.export.reckoning import NAMES, SHIPPED
from tests.unit.export.trace_events import Trace

MS = 1_000_000
START = 1_000_000_000_000
INFO = TraceInfo("7.3.0", "bufpool", "tracepoints", 1_700_000_000_000_000_000 - START, boot="a", version="0.1.0")
FORMS = ("json", "csv", "perfetto", "parquet")
FURTRACE = (sys.executable, "-m", "furtrace")


def history() -> Records:
    """Requests of several kinds on two connections."""
    return batch(
        *whole(4, START + 3 * MS, Opcode.READ),
        *whole(6, START + 4 * MS, Opcode.WRITE, queue=2, entry=0xE4),
        *whole(8, START + 5 * MS, Opcode.READ, error=-5),
        event(Kind.REFUSED, START + 6 * MS, queue=3, error=-22, flags=Flag.HAS_ERROR, command_op=2),
        *whole(2, START + 7 * MS, Opcode.READ, connection=9),
        queued(16, START + 11 * MS, Opcode.WRITE),
    )


def many(requests: int) -> Records:
    """So many requests, one after the other, each a microsecond."""
    records = np.repeat(batch(*whole(2, START)), requests)
    numbers = np.arange(requests, dtype=np.uint64)[:, None]
    records["unique"] = np.repeat(2 + 2 * numbers, 4)
    records["kind"] = np.tile([Kind.QUEUED, Kind.DELIVERED, Kind.COMMITTED, Kind.ENDED], requests)
    records["ns"] = (START + 1000 * numbers + np.array([0, 10, 110, 115], np.uint64)).reshape(-1)
    return records


def recording(path: Path, records: Records, info: TraceInfo = INFO) -> str:
    """Write a recording, and return its name."""
    file = SingleFile(str(path), TraceInfo(**(vars(info) | {"mounts": {7: "/mnt", 9: "/srv"}})), force=True)
    file.write(records)
    file.close()
    return str(path)


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    return recording(tmp_path / "history.pcapng", history())


def uniques(form: str, path: Path) -> list[int]:
    """The requests of an export, which has to be whole."""
    if form == "json":
        *lines, summary = map(json.loads, path.read_text().splitlines())
        assert summary["type"] == "summary"
        return [line["unique"] for line in lines]
    if form == "csv":
        with path.open(newline="") as file:
            return [int(row["unique"]) for row in csv.DictReader(file)]
    if form == "perfetto":
        return [one.arguments["unique"] for one in Trace(path.read_text()).of("request")]
    found: list[int] = pq.ParquetFile(path).read()["unique"].to_pylist()
    return found


# ---- where it goes ----


@pytest.mark.parametrize("form", FORMS)
def test_into_a_new_file_of_its_owner(furtrace: CommandLine, recorded: str, tmp_path: Path, form: str) -> None:
    out = tmp_path / "out"
    assert furtrace("export", recorded, "--to", form, "-o", str(out)) == (0, "", "")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert sorted(uniques(form, out)) == [2, 4, 6, 8, 16]


@pytest.mark.parametrize(("form", "output"), [("csv", ()), ("parquet", ("-o", "-"))])
def test_from_a_pipe_into_a_pipe(recorded: str, tmp_path: Path, form: str, output: tuple[str, ...]) -> None:
    done = subprocess.run([*FURTRACE, "export", "-", "--to", form, *output], input=Path(recorded).read_bytes(),
                          capture_output=True, check=True)  # fmt: skip
    (tmp_path / "out").write_bytes(done.stdout)
    assert sorted(uniques(form, tmp_path / "out")) == [2, 4, 6, 8, 16]


@pytest.mark.parametrize(("form", "what"), [("perfetto", "A Perfetto trace"), ("parquet", "Parquet")])
def test_not_to_a_terminal(furtrace: CommandLine, recorded: str, form: str, what: str) -> None:
    status, out, err = furtrace("export", recorded, "--to", form, terminal=True)
    message = f"furtrace: {what} is no text for a terminal; give --output a name, or pipe it on.\n"
    assert (status, out, err) == (1, "", message)


def test_not_over_a_file_unless_forced(furtrace: CommandLine, recorded: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    status, _, err = furtrace("export", recorded, "--to", "csv", "-o", str(out))
    assert (status, out.read_text()) == (1, "mine")
    assert err == (
        f"furtrace: {out} can't be made: it is there already; name another one, or replace it with --force.\n"
    )
    assert furtrace("export", recorded, "--to", "csv", "-o", str(out), "--force")[0] == 0
    assert len(uniques("csv", out)) == 5


def test_never_through_a_symbolic_link(furtrace: CommandLine, recorded: str, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    status, _, err = furtrace("export", recorded, "--to", "csv", "-o", str(tmp_path / "out"), "--force")
    assert (status, (tmp_path / "elsewhere").exists()) == (1, False)
    assert "symbolic link" in err


def test_never_over_the_recording_itself(furtrace: CommandLine, recorded: str, tmp_path: Path) -> None:
    before = Path(recorded).read_bytes()
    for path in (recorded, f"{tmp_path}/./{Path(recorded).name}"):
        status, _, err = furtrace("export", recorded, "--to", "csv", "-o", path, "--force")
        assert (status, Path(recorded).read_bytes()) == (2, before)
        assert "is the recording itself" in " ".join(err.split())


def test_no_file_is_made_for_what_cant_be_read(furtrace: CommandLine, tmp_path: Path) -> None:
    bad, out = tmp_path / "bad", tmp_path / "out"
    bad.write_text("no recording")
    status, _, err = furtrace("export", str(bad), "--to", "csv", "-o", str(out))
    assert (status, out.exists(), err.count("\n")) == (1, False, 1)
    assert err.startswith(f"furtrace: {bad} can't be read: ")


def test_no_such_folder(furtrace: CommandLine, recorded: str, tmp_path: Path) -> None:
    out = tmp_path / "no" / "out"
    status, _, err = furtrace("export", recorded, "--to", "csv", "-o", str(out))
    assert (status, err) == (1, f"furtrace: {out} can't be made: No such file or directory.\n")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_full_disk(recorded: str, form: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*FURTRACE, "export", recorded, "--to", form], stdout=full, stderr=subprocess.PIPE,
                              text=True, check=False)  # fmt: skip
    message = "furtrace: The output can't be written (No space left on device).\n"
    assert (done.returncode, done.stderr) == (1, message)


def test_what_output_is_appended_to_stays(tmp_path: Path) -> None:
    """Also where it finds no room for all of the export."""
    log = tmp_path / "log"
    log.write_text("mine\n")
    path = recording(tmp_path / "long", many(2000))
    limit = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
    program = f"{limit}os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    with log.open("ab") as file:
        done = subprocess.run([sys.executable, "-c", program, *FURTRACE[1:], "export", path, "--to", "csv"],
                              stdout=file, stderr=subprocess.PIPE, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "furtrace: The output can't be written (File too large).\n")
    data = log.read_bytes()
    assert data.startswith(b"mine\nhost,boot,")
    assert len(data) == 50_000


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_reader_that_goes_away(recorded: str, form: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as gone:  # noqa: PTH123 - a descriptor
        done = subprocess.run([*FURTRACE, "export", recorded, "--to", form], stdout=gone, stderr=subprocess.PIPE,
                              text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "furtrace: The reader of the output is gone.\n")


# ---- what is exported ----


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--connection", "9"], [2]),
        (["--mount", "/srv"], [2]),
        (["--pid", "900"], [2, 4, 6, 8, 16]),
        (["--client", "40", "--op", "WRITE"], [6, 16]),
        (["--op", "READ,GETATTR"], [2, 4, 8]),
        (["--queue", "2"], [6]),
        (["-Y", "error < 0"], [8]),
        (["--until", "1.5ms"], [4, 6]),
    ],
)
def test_filters_and_windows(
    furtrace: CommandLine, recorded: str, tmp_path: Path, form: str, options: list[str], expected: list[int]
) -> None:
    out = tmp_path / "out"
    assert furtrace("export", recorded, "--to", form, "-o", str(out), *options)[::2] == (0, "")
    assert sorted(uniques(form, out)) == sorted(expected)


@pytest.mark.parametrize("form", FORMS)
def test_a_window_has_what_ended_in_it(furtrace: CommandLine, recorded: str, tmp_path: Path, form: str) -> None:
    out = tmp_path / "out"
    assert furtrace("export", recorded, "--to", form, "-o", str(out), "--from", "1.5ms", "--until", "5ms")[0] == 0
    assert sorted(uniques(form, out)) == [2, 8]


def test_events(furtrace: CommandLine, recorded: str, tmp_path: Path) -> None:
    names = [Kind(kind).name for kind in history()["kind"]]
    outs = {form: tmp_path / form for form in ("json", "csv", "parquet")}
    for form, out in outs.items():
        assert furtrace("export", recorded, "--to", form, "--events", "-o", str(out))[0] == 0
    *lines, _ = map(json.loads, outs["json"].read_text().splitlines())
    assert [line["event"] for line in lines] == names
    assert [row["event"] for row in csv.DictReader(outs["csv"].open(newline=""))] == names
    assert pq.ParquetFile(outs["parquet"]).read()["event"].cast(pa.string()).to_pylist() == names


def test_events_of_some_requests(furtrace: CommandLine, recorded: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert furtrace("export", recorded, "--to", "csv", "--events", "-o", str(out), "--op", "WRITE")[0] == 0
    rows = list(csv.DictReader(out.open(newline="")))
    assert {row["unique"] for row in rows} == {"6", "16"}
    assert len(rows) == 5


def test_several_recordings_are_merged(furtrace: CommandLine, tmp_path: Path) -> None:
    other = TraceInfo("6.18", "plain", "tracepoints", INFO.realtime_offset_ns + MS, boot="b", host="beta")
    files = [recording(tmp_path / "a", history()), recording(tmp_path / "b", history(), other)]
    out = tmp_path / "out"
    assert furtrace("export", *files, "--to", "parquet", "-o", str(out))[0] == 0
    table = pq.ParquetFile(out).read()
    assert table["boot"].cast(pa.string()).to_pylist().count("b") == 5
    times = table["time"].cast(pa.int64()).to_pylist()
    assert max(times) - min(times) == 9 * MS
    assert sorted(set(table["connection"].to_pylist())) == [7, 9]


def test_json_is_what_replay_says(furtrace: CommandLine, recorded: str, tmp_path: Path) -> None:
    for options in ([], ["--events"], ["--op", "READ"]):
        out = tmp_path / "out"
        assert furtrace("export", recorded, "--to", "json", "-o", str(out), "--force", *options)[0] == 0
        assert furtrace("replay", recorded, "--json", *options)[1] == out.read_text()


# ---- what is wrong with a recording ----


@pytest.mark.parametrize("form", FORMS)
def test_all_that_comes_before_damage(furtrace: CommandLine, tmp_path: Path, form: str) -> None:
    path, out = tmp_path / "cut", tmp_path / "out"
    size = Path(recording(path, many(4000))).stat().st_size
    os.truncate(path, size * 2 // 3)
    status, _, err = furtrace("export", str(path), "--to", form, "-o", str(out))
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith(f"{path} is not whole: ")
    found = uniques(form, out)
    assert found == [2 + 2 * at for at in range(len(found))]
    assert 2500 < len(found) < 2700


@pytest.mark.parametrize("form", FORMS)
def test_a_recording_of_nothing(furtrace: CommandLine, tmp_path: Path, form: str) -> None:
    out = tmp_path / "out"
    path = recording(tmp_path / "nothing", batch())
    assert furtrace("export", path, "--to", form, "-o", str(out))[::2] == (0, "")
    assert uniques(form, out) == []


def test_a_signal_ends_it_in_order(tmp_path: Path) -> None:
    pipe, out = tmp_path / "pipe", tmp_path / "out"
    os.mkfifo(pipe)
    data = Path(recording(tmp_path / "long", many(5_000))).read_bytes()
    process = subprocess.Popen([*FURTRACE, "export", str(pipe), "--to", "perfetto", "-o", str(out)],
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    with contextlib.suppress(BrokenPipeError), pipe.open("wb", buffering=0) as file:
        file.write(data[: len(data) // 2])
        process.send_signal(signal.SIGTERM)
        file.write(data[len(data) // 2 :])
    _, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert err.splitlines()[-1] == "Ended by SIGTERM; what was exported until then is whole."
    assert len(uniques("perfetto", out)) < 5_000


# ---- the schema ----


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """As the command prints it."""
    done = subprocess.run([*FURTRACE, "export", "--schema"], capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def validator(schema: dict[str, Any], name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_real_exports_are_as_the_schema_says(
    furtrace: CommandLine, schema: dict[str, Any], tmp_path: Path, name: str, events: bool
) -> None:
    out = tmp_path / "out"
    options = ["--events"] if events else []
    path = str(SHIPPED / f"{name}.pcapng.zst")
    assert furtrace("export", path, "--to", "json", "-o", str(out), *options)[0] == 0
    *lines, summary = map(json.loads, out.read_text().splitlines())
    of_rows = validator(schema, "event" if events else "request")
    # Of each kind some: all of them take long.
    kinds: dict[object, list[Any]] = {}
    for line in lines:
        kinds.setdefault(line["event"] if events else line["op"], []).append(line)
    for some in kinds.values():
        for line in some[:: max(1, len(some) // 20)]:
            of_rows.validate(line)
    validator(schema, "summary").validate(summary)


def test_what_is_not_as_the_schema_says_is_found(furtrace: CommandLine, schema: dict[str, Any], tmp_path: Path) -> None:
    path = recording(tmp_path / "one", batch(*whole(2, START)))
    assert furtrace("export", path, "--to", "json", "-o", str(tmp_path / "out"))[0] == 0
    line = json.loads((tmp_path / "out").read_text().splitlines()[0])
    whole_schema = jsonschema.Draft202012Validator(schema)
    whole_schema.validate(line)
    for wrong in (line | {"error": "-2"}, line | {"more": 1}, line | {"path_sure": None}, {"type": "request"}):
        assert not whole_schema.is_valid(wrong)
    for name in line:
        assert not whole_schema.is_valid({key: value for key, value in line.items() if key != name}), name


# ---- misuse ----


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--to", "csv"], "Give a FILE"),
        (["FILE"], "Say --to json, csv, perfetto or parquet"),
        (["FILE", "--to", "perfetto", "--events"], "--events goes with json, csv and parquet"),
        (["FILE", "--schema"], "each stands alone"),
        (["--schema", "--wireshark-plugin", "."], "each stands alone"),
        (["FILE", "--to", "csv", "-Y", "op =="], "wrong at column"),
        (["-", "--to", "perfetto", "--op", "READ"], "takes two looks at a recording"),
        (["FILE", "--to", "csv", "--from", "5ms", "--until", "4ms"], "The window ends before it begins"),
    ],
)
def test_misuse(furtrace: CommandLine, recorded: str, arguments: list[str], why: str) -> None:
    status, out, err = furtrace("export", *(recorded if word == "FILE" else word for word in arguments))
    assert (status, out) == (2, "")
    assert why in " ".join(err.split())


# ---- the dissector ----


def test_the_dissector_is_installed(furtrace: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "plugins"
    made = folder / "furtrace.lua"
    said = f"{made} is made; Wireshark and tshark load what lies in their folder of plugins.\n"
    for _ in range(2):
        assert furtrace("export", "--wireshark-plugin", str(folder)) == (0, said, "")
    assert [path.name for path in folder.iterdir()] == ["furtrace.lua"]
    assert 'Proto("furtrace"' in made.read_text()


def test_a_dissector_is_not_put_over_another_file(furtrace: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "furtrace.lua").write_text("-- mine\n")
    status, out, err = furtrace("export", "--wireshark-plugin", str(tmp_path))
    assert (status, out, (tmp_path / "furtrace.lua").read_text()) == (1, "", "-- mine\n")
    assert err.startswith(f"furtrace: The dissector can't be put into {tmp_path}: there is a file furtrace.lua")


def test_a_folder_for_the_dissector_that_cant_be(furtrace: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder, why in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "in", "Not a directory")):
        status, out, err = furtrace("export", "--wireshark-plugin", str(folder))
        assert (status, out, err) == (1, "", f"furtrace: The dissector can't be put into {folder}: {why}.\n")


# ---- what it takes ----


def test_without_pyarrow_a_sentence_says_how_to_get_it(
    furtrace: CommandLine, recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    status, _, err = furtrace("export", recorded, "--to", "parquet", "-o", str(tmp_path / "out"))
    assert (status, (tmp_path / "out").exists()) == (1, False)
    assert err == "furtrace: Parquet takes pyarrow, which is not there: pip install 'furtrace[parquet]'.\n"
    assert furtrace("export", recorded, "--to", "csv", "-o", str(tmp_path / "out"))[0] == 0


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """A recording of five times as many requests takes hardly more."""
    program = (
        "import resource, sys; from furtrace.cli import run; sys.argv = ['furtrace', *sys.argv[1:]]\n"
        "try: run()\nexcept SystemExit: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )

    def peak(requests: int) -> int:
        path = recording(tmp_path / f"{requests}.pcapng.zst", many(requests))
        done = subprocess.run([sys.executable, "-c", program, "export", path, "--to", "perfetto"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)  # fmt: skip
        return int(done.stderr.split()[-1])

    assert peak(25_000) < 1.25 * peak(5_000)

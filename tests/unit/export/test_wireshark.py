"""The dissector in tshark, field by field against the records, the model and furtrace's own decoding of them."""

import shutil
import stat
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from furtrace.demo import recordings as shipped
from furtrace.export import wireshark
from furtrace.export.wireshark import NAME, dissector, install, tables
from furtrace.model.conversation import Conversation
from furtrace.model.operations import phase_ns
from furtrace.model.requests import UNANSWERED
from furtrace.trace.merging import Recordings
from furtrace.trace.record import RECORD, Flag, Kind, Records, Transport, comm, lost_record, names, part
from furtrace.wire.bodies import REPLIES, REQUESTS
from furtrace.wire.commands import cmd_req
from furtrace.wire.decode import Context, Part, decode
from furtrace.wire.dialect import Dialect
from furtrace.wire.errnos import errno_name
from furtrace.wire.headers import IN_HEADER, OUT_HEADER
from furtrace.wire.init import INIT_IN, INIT_OUT
from furtrace.wire.items import Item
from furtrace.wire.layout import Layout
from furtrace.wire.opcodes import Opcode, opcode_name
from tests.unit.events import batch, delivered, ended, event, queued, whole
from tests.unit.trace.pcapng_file import INFO, interface, packet, section, write

_RECORDINGS = Path(shipped.__path__[0])
_MOST = 5000
"""Records of a sample at most."""
NAMES = ("plain", "pool", "zero-copy")

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="There is no tshark here.")


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("plugin"))


def _tshark(plugin: Path, path: Path, *arguments: str) -> str:
    command = ["tshark", "-X", f"lua_script:{plugin}", "-r", str(path), *arguments]
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100, env={"TZ": "UTC"})
    assert not [line for line in run.stderr.splitlines() if not line.startswith("Running as user")]
    return run.stdout


def _columns(plugin: Path, path: Path, fields: list[str], *arguments: str) -> dict[str, list[str]]:
    """Each field's texts, one a packet; several of one packet are joined by a comma."""
    chosen = [word for field in fields for word in ("-e", field)]
    said = _tshark(plugin, path, "-T", "fields", *chosen, *arguments)
    rows = [line.split("\t") for line in said.splitlines()]
    return {field: [row[at] for row in rows] for at, field in enumerate(fields)}


@dataclass(frozen=True)
class Sample:
    """Of a shipped recording what is about no request, and a few requests of each operation with all their events."""

    path: Path
    records: Records
    dialect: Dialect


_A_FEW = 12


@pytest.fixture(scope="module", params=NAMES)
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    with Recordings([str(_RECORDINGS / f"{request.param}.pcapng.zst")]) as recordings:
        records = np.concatenate([part.copy() for part in recordings.batches()])
        info = recordings.info
    chosen = records["unique"] == 0
    for opcode in np.unique(records["opcode"]):
        mine = np.unique(records["unique"][(records["opcode"] == opcode) & (records["kind"] == Kind.QUEUED)])
        chosen |= np.isin(records["unique"], mine[:_A_FEW])
    chosen &= np.cumsum(chosen) <= _MOST
    path = tmp_path_factory.mktemp("sample") / "one.pcapng"
    return Sample(write(path, records[chosen], replace(info, mounts={})), records[chosen], Dialect(info.dialect))


def _number(text: str, base: str | None) -> int:
    # Some versions of tshark show octal numbers so, some do not.
    return int(text, 8) if base == "OCT" and text.startswith("0") else int(text, 0)


# ---- where it is put ----


def test_installed_again_and_again_but_never_over_another_file(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "plugins"
    path = install(folder)
    assert path == folder / NAME
    assert path.read_text() == dissector()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    path.write_text(path.read_text().splitlines()[0] + "\nan older one")
    install(folder)
    assert path.read_text() == dissector()
    path.write_text("-- somebody else's")
    with pytest.raises(FileExistsError):
        install(folder)
    assert path.read_text() == "-- somebody else's"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        install(folder)
    assert sorted(one.name for one in folder.iterdir()) == [NAME]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        install(tmp_path / "file")


def test_tables_have_every_operation_and_every_member() -> None:
    made = tables()
    assert [member["name"] for member in made["record"]] == list(RECORD.names or ())
    assert sum(member["size"] for member in made["record"]) == RECORD.itemsize
    for table, bodies in (("requests", REQUESTS), ("replies", REPLIES)):
        for opcode, body in bodies.items():
            forms = [made["structures"][name] for name in made[table].get(opcode, [])]
            layouts = (*body.structures[:1], *body.shorter)
            assert [form["size"] for form in forms] == [layout.size for layout in layouts]
            for form, layout in zip(forms, layouts, strict=True):
                told = [(one["name"], one["offset"], one["size"]) for one in form["members"]]
                assert told == [(one.name, one.offset, one.size) for one in layout.fields]


def test_lua_has_no_keyword_or_character_that_ends_a_string() -> None:
    assert (
        wireshark._lua({"a": ['"\\', True, {3: "x"}]})
        == '{\n  ["a"] = {\n    "\\"\\\\",\n    true,\n    {[3] = "x"},\n  },\n}'
    )


# ---- the record's own members ----


@needs_tshark
def test_every_member_of_the_record(plugin: Path, sample: Sample) -> None:
    records = sample.records
    made = {one["name"]: one for one in tables()["record"] if one["type"] != "bytes"}
    fields = {member: f"furtrace.{'op' if member == 'opcode' else member}" for member in made}
    bits = {flag: f"furtrace.flags.{flag.name.lower()}" for flag in Flag if flag.name}
    texts = ["furtrace.comm", "furtrace.errno", "furtrace.name", "furtrace.second_name", "furtrace.mount_point"]
    found = _columns(plugin, sample.path, [*fields.values(), *bits.values(), *texts, "furtrace.data"])
    for member, field in fields.items():
        assert [int(text, 0) for text in found[field]] == records[member].tolist(), member
    for flag, field in bits.items():
        told = [text in ("1", "True") for text in found[field]]
        assert told == [bool(flags & flag) for flags in records["flags"].tolist()], flag
    for at, record in enumerate(records):
        kind = Kind(record["kind"])
        assert found["furtrace.comm"][at] == comm(record["comm"].tobytes()).decode()
        assert found["furtrace.errno"][at] == (errno_name(-int(record["error"])) if record["error"] < 0 else "")
        wanted: list[bytes] = []
        if kind in (Kind.QUEUED, Kind.ENDED, Kind.NAMED):
            wanted = names(record["extra"].tobytes(), int(record["extra_size"]), int(record["second"]))
        told_names = [found[field][at] for field in texts[2:4]]
        assert told_names == [one.decode().replace("\\", "\\\\") for one in [*wanted, b"", b""][:2]]
        assert found["furtrace.mount_point"][at] == (part(record).decode() if kind is Kind.MOUNTED else "")
        if kind is Kind.ENTRIES:
            assert found["furtrace.data"][at].replace(":", "") == part(record).hex()


@needs_tshark
def test_numbers_have_names(plugin: Path, sample: Sample) -> None:
    records = sample.records
    said = _tshark(plugin, sample.path, "-Y", 'furtrace.kind == "ENDED" && furtrace.op == "MKDIR"')
    wanted = (records["kind"] == Kind.ENDED) & (records["opcode"] == Opcode.MKDIR)
    assert len(said.splitlines()) == int(wanted.sum()) > 5
    assert all(" ENDED unique=" in line and " MKDIR " in line for line in said.splitlines())


# ---- structures ----


def _leaves(item: Item, prefix: str = "") -> list[tuple[str, Any]]:
    if not item.items:
        return [(prefix + item.name, item.value)]
    return [leaf for inner in item.items for leaf in _leaves(inner, f"{prefix}{item.name}.")]


def _of_structure(layout: Layout[Any], data: bytes) -> list[tuple[str, Any]]:
    """Fields of a structure by their names in Wireshark, as furtrace reads them."""
    value = layout.unpack(data)
    found = []
    for field in layout.fields:
        inner: Any = value
        for name in field.name.split("."):
            inner = getattr(inner, f"{name[2:]}_" if name.startswith("__") else name)
        found.append((f"{layout.name.removeprefix('fuse_')}.{field.name.replace('__', '')}", inner))
    return found


def _slot(record: np.void, dialect: Dialect) -> list[tuple[str, Any]]:
    """A whole header slot, decoded as ``furtrace decode`` does."""
    context = Context(dialect, int(record["opcode"]))
    decoded = decode(record["header"].tobytes(), Part.HEADER, context)
    found = []
    for item in decoded.items:
        structures = item.items if item.name in ("in_out", "op_in") else (item,)
        for structure in structures:
            if structure.items:
                name = "uring_ent_in_out" if item.name == "ring_ent_in_out" else structure.name.removeprefix("fuse_")
                leaves = [leaf for inner in structure.items for leaf in _leaves(inner)]
                found += [(f"{name}.{field.replace('__', '')}", value) for field, value in leaves]
    return found


def _kernels(record: np.void) -> list[tuple[str, Any]]:
    """The kernel's own copy, at QUEUED and ENDED."""
    header, size, opcode = record["header"].tobytes(), int(record["header_size"]), int(record["opcode"])
    is_request = record["kind"] == Kind.QUEUED
    found: list[tuple[str, Any]] = []
    first: Layout[Any] = IN_HEADER if is_request else OUT_HEADER
    if size >= first.size:
        found += _of_structure(first, header)
    if not is_request and opcode in (Opcode.RENAME, Opcode.RENAME2, Opcode.LINK):
        found += _of_structure(REQUESTS[opcode].structures[0], header[64:80])
    body = (REQUESTS if is_request else REPLIES).get(opcode)
    if body and body.structures and size > 128:
        layouts = (body.structures[0], *body.shorter)
        layout = next((one for one in layouts if one.size == size - 128), body.structures[0])
        found += _of_structure(layout, header[128:size])
    return found


def _expected(record: np.void, dialect: Dialect) -> list[tuple[str, Any]]:
    """What a packet's structures hold, by the names of the fields."""
    kind, extra = Kind(record["kind"]), record["extra"].tobytes()[: int(record["extra_size"])]
    found: list[tuple[str, Any]] = []
    if kind in (Kind.DELIVERED, Kind.COMMITTED) and record["header_size"] == 288:
        found = _slot(record, dialect)
    elif kind is Kind.DELIVERED:
        found = _of_structure(IN_HEADER, record["header"].tobytes())
    elif kind in (Kind.QUEUED, Kind.ENDED, Kind.NAMED):
        found = _kernels(record)
    elif kind is Kind.INIT:
        found = _of_structure(INIT_IN, extra) + _of_structure(INIT_OUT, extra[64:])
    if kind in (Kind.COMMITTED, Kind.REGISTER, Kind.ADD_QUEUE, Kind.ADD_BUFPOOL):
        found += _of_structure(cmd_req(dialect, int(record["command_op"])), extra)
    return found


def _fields() -> dict[str, dict[str, Any]]:
    made: dict[str, dict[str, Any]] = {}
    for structure in tables()["structures"].values():
        for member in structure["members"]:
            made.setdefault(member["field"], member)
    return made


def _value(text: str, member: dict[str, Any], width: int) -> Any:
    if member["type"] == "bytes":
        data = bytes.fromhex(text.replace(":", ""))
        if not width:
            return data
        size = len(data) // width
        return tuple(int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size))
    return _number(text, member.get("base"))


@needs_tshark
def test_every_field_of_every_structure(plugin: Path, sample: Sample) -> None:
    records, dialect = sample.records, sample.dialect
    members = _fields()
    expected = [_expected(record, dialect) for record in records]
    used = sorted({field for packet_ in expected for field, _ in packet_})
    assert set(used) <= set(members)
    found = _columns(plugin, sample.path, [f"furtrace.{field}" for field in used])
    told: dict[tuple[int, str], Any] = {}
    seen = set()
    for at, packet_ in enumerate(expected):
        for field, value in packet_:
            text = found[f"furtrace.{field}"][at]
            width = len(value) if isinstance(value, tuple) else 0
            assert text, (at, Kind(records["kind"][at]).name, opcode_name(int(records["opcode"][at])), field)
            assert _value(text, members[field], width) == value, (at, field)
            told[at, field] = value
            seen.add(opcode_name(int(records["opcode"][at])))
    for field in used:  # and nothing where nothing is expected
        there = [at for at, text in enumerate(found[f"furtrace.{field}"]) if text]
        assert there == [at for at in range(len(records)) if (at, field) in told], field
    assert len(seen) > 20


@needs_tshark
def test_bits_of_flags(plugin: Path, sample: Sample) -> None:
    fields = ["furtrace.open_in.flags.o_directory", "furtrace.init_in.flags2.over_io_uring"]
    fields += ["furtrace.open_in.flags", "furtrace.init_in.flags.async_read"]
    found = _columns(plugin, sample.path, fields)
    directory, uring, flags, async_read = (found[field] for field in fields)
    told = [text in ("1", "True") for text in directory if text]
    assert [bool(int(text, 0) & 0o200000) for text in flags if text] == told
    assert set(told) == {False, True}
    assert [text for text in uring if text] == [text for text in async_read if text]
    assert len([text for text in uring if text in ("1", "True")]) >= 1
    assert len(uring) == len(sample.records)


# ---- latencies and links ----

_PHASES = {"total": "latency", "wait": "latency.wait", "server": "latency.server", "commit": "latency.commit"}


@needs_tshark
def test_latencies_are_the_models(plugin: Path, sample: Sample) -> None:
    records = sample.records
    rows = Conversation().feed(records)
    fields = [f"furtrace.{field}" for field in _PHASES.values()]
    found = _columns(plugin, sample.path, fields)
    at_end = {
        (int(record["connection"]), int(record["unique"])): at
        for at, record in enumerate(records)
        if record["kind"] == Kind.ENDED
    }
    answered = rows[~np.isin(rows["opcode"], UNANSWERED)]
    for phase, field in _PHASES.items():
        expected = [""] * len(records)
        for row, ns in zip(answered, phase_ns(answered, phase).tolist(), strict=True):
            if ns >= 0:
                expected[at_end[int(row["connection"]), int(row["unique"])]] = f"{ns // 10**9}.{ns % 10**9:09}"
        assert found[f"furtrace.{field}"] == expected
        assert len([text for text in expected if text]) > 100 or phase != "total"


@needs_tshark
def test_requests_and_replies_are_linked(plugin: Path, sample: Sample) -> None:
    records = sample.records
    first: dict[tuple[int, Kind], int] = {}
    for at, record in enumerate(records):
        first.setdefault((int(record["unique"]), Kind(record["kind"])), at + 1)
    wanted: list[tuple[str, str]] = []
    for record in records:
        unique, kind = int(record["unique"]), Kind(record["kind"])

        def frame(*kinds: Kind, unique: int = unique) -> str:
            return next((str(first[unique, one]) for one in kinds if (unique, one) in first), "")

        asked = answered = ""
        if not unique:
            pass
        elif kind is Kind.QUEUED:
            answered = frame(Kind.ENDED, Kind.COMMITTED)
        elif kind is Kind.DELIVERED:
            answered = frame(Kind.COMMITTED, Kind.ENDED)
        elif kind is Kind.COMMITTED:
            asked = frame(Kind.DELIVERED, Kind.QUEUED)
        else:
            asked = frame(Kind.QUEUED, Kind.DELIVERED)
        wanted.append((asked, answered))
    links = ["furtrace.request_in", "furtrace.reply_in"]
    if sample.dialect is Dialect.PLAIN:
        once = _columns(plugin, sample.path, links)
        assert once["furtrace.request_in"] == [asked for asked, _ in wanted]
        assert not any(once["furtrace.reply_in"])  # who reads a file once does not know what comes
    twice = _columns(plugin, sample.path, links, "-2")
    assert list(zip(*(twice[link] for link in links), strict=True)) == wanted


@needs_tshark
def test_a_connection_that_begins_anew_has_new_requests(plugin: Path, tmp_path: Path) -> None:
    init = event(Kind.INIT, 50, transport=Transport.DEV, extra=bytes(128))
    records = batch(queued(2, 10), delivered(2, 20), init, queued(2, 60), *whole(4, 100), ended(2, 500, error=-5))
    path = write(tmp_path / "one.pcapng", records)
    found = _columns(plugin, path, ["furtrace.request_in", "furtrace.latency"], "-2")
    assert found["furtrace.request_in"][-1] == "4"
    assert found["furtrace.latency"][-1] == "0.000000440"


@needs_tshark
def test_the_same_connection_of_two_recordings_in_one_file(plugin: Path, tmp_path: Path) -> None:
    data = [queued(2, 10), queued(2, 20), ended(2, 50), ended(2, 90)]
    packets = b"".join(packet(one.tobytes(), number % 2) for number, one in enumerate(data))
    path = tmp_path / "one.pcapng"
    path.write_bytes(section() + interface(INFO.to_json()) * 2 + packets)
    found = _columns(plugin, path, ["furtrace.latency"])
    assert found["furtrace.latency"] == ["", "", "0.000000040", "0.000000070"]


@needs_tshark
def test_times_past_53_bits(plugin: Path, tmp_path: Path) -> None:
    start = (1 << 62) + 1
    path = write(tmp_path / "one.pcapng", batch(queued((1 << 60) + 1, start), ended((1 << 60) + 1, start + 7)))
    found = _columns(plugin, path, ["furtrace.ns", "furtrace.unique", "furtrace.latency"])
    assert found["furtrace.ns"] == [str(start), str(start + 7)]
    assert found["furtrace.unique"] == [str((1 << 60) + 1)] * 2
    assert found["furtrace.latency"] == ["", "0.000000007"]


# ---- expert information, and what is no record ----


@needs_tshark
def test_expert_information(plugin: Path, tmp_path: Path) -> None:
    records = batch(
        *whole(2, 100, Opcode.OPEN, error=-13),
        event(Kind.REFUSED, 300, command_op=2, error=-95, flags=Flag.HAS_ERROR, transport=Transport.URING),
        event(Kind.STOPPED, 400, command_op=2, error=-107, flags=Flag.HAS_ERROR, transport=Transport.URING),
        lost_record(500, 600, 3, cpu=1),
        delivered(4, 700, flags=Flag.CQE_OVERFLOW),
    )
    path = write(tmp_path / "one.pcapng", records)
    found = _columns(plugin, path, ["_ws.expert.severity", "_ws.expert.message"])
    severities = {0x600000: "warn", 0x800000: "error", 0x400000: "note", 0x200000: "chat"}
    told = [severities[int(text, 0)] if text else "" for text in found["_ws.expert.severity"]]
    assert told == ["", "", "", "note", "error", "warn", "warn", "error"]
    assert found["_ws.expert.message"][3:5] == ["OPEN: -EACCES", "The kernel refused COMMIT_AND_FETCH: -EOPNOTSUPP"]


@needs_tshark
def test_what_is_no_record_is_left_alone(plugin: Path, tmp_path: Path) -> None:
    good = queued(2, 10).tobytes()
    odd = queued(2, 10)
    odd["header_size"] = 481
    path = tmp_path / "one.pcapng"
    data = [b"short", good[:647], good + b"a later version's", odd.tobytes(), bytes(648), good]
    path.write_bytes(section() + interface(None) + b"".join(map(packet, data)))
    found = _columns(plugin, path, ["furtrace.unique"])
    assert found["furtrace.unique"] == ["", "", "2", "", "", "2"]


@needs_tshark
def test_any_bytes_make_no_error(plugin: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    records = random.integers(0, 256, 1500 * RECORD.itemsize, np.uint8).view(RECORD)
    records["kind"] = random.integers(1, 30, len(records))
    records["header_size"], records["extra_size"] = random.integers(0, 481, 1500), random.integers(0, 193, 1500)
    records["opcode"] = random.integers(0, 55, len(records))
    records["connection"] = 3
    path = tmp_path / "one.pcapng"
    path.write_bytes(section() + interface(INFO.to_json()) + b"".join(packet(one.tobytes()) for one in records))
    said = _tshark(plugin, path, "-V", "-2")
    assert "Lua Error" not in said
    assert said.count("FUSE over io_uring, recorded by furtrace") == 1500


@needs_tshark
def test_names_do_nothing_to_a_terminal(plugin: Path, tmp_path: Path) -> None:
    one = queued(2, 10, Opcode.LOOKUP, node_id=1, extra=b"\x1b[31m\n\xff\xe2\x80\xae\xc3\xa9\0", comm=b"\x1b[2J")
    said = _tshark(plugin, write(tmp_path / "one.pcapng", one))
    assert "LOOKUP /\\x1b[31m\\n\\xff\\u202eé " in said
    assert "\x1b" not in said
    assert len(said.splitlines()) == 1

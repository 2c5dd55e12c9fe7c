"""The manual pages say what the command line does: same commands, same options, same names in the output."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest

from furtrace import __version__
from furtrace.checks.checker import RULES
from furtrace.cli import furtrace
from furtrace.cli.hexinput import from_bytes
from furtrace.export.columns import EVENT_COLUMNS, REQUEST_COLUMNS, Column
from furtrace.export.decoded import decoded_object
from furtrace.export.jsonlines import event_object, pool_object, request_objects, summary_object
from furtrace.export.perfetto_slices import SHOWN
from furtrace.export.protocol import protocol_object
from furtrace.export.statistics import group_object, queue_object, statistics_object
from furtrace.export.statistics import pool_object as statistics_pool
from furtrace.model.conversation import Conversation
from furtrace.model.fields import FIELDS
from furtrace.model.groups import PHASE_NAMES
from furtrace.model.inodes import Path as InodePath
from furtrace.model.paths import Subject
from furtrace.model.pools import Pool
from furtrace.model.requests import new_requests
from furtrace.model.statistics import PoolUse, QueueUse, Statistics
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import EVENTS, RECORD, Flag, Kind, Step, lost_record
from furtrace.wire.decode import decode
from furtrace.wire.dialect import Dialect
from furtrace.wire.protocol import listing
from tests.unit.events import batch, event, queued
from tests.unit.export.reckoning import SHIPPED, recorded
from tests.unit.export.test_parquet import exported
from tests.unit.export.test_perfetto import trace_of

FOLDER = Path(__file__).resolve().parents[2] / "man"
PAGES = sorted(FOLDER.glob("*.[0-9]"))

_OPTION = re.compile(r"\bFl (Fl [a-z][a-z-]+|[A-Za-z]+)(?= |$)")


def contexts() -> Iterator[tuple[str, click.Context]]:
    """Every command, and furtrace itself, by the name of its page."""
    settings = furtrace.context_settings
    whole = click.Context(furtrace, info_name="furtrace", **settings)
    yield "furtrace", whole
    for name in furtrace.list_commands(whole):
        command = furtrace.get_command(whole, name)
        assert command is not None
        yield f"furtrace-{name}", click.Context(command, info_name=name, parent=whole)


COMMANDS = dict(contexts())


def lines(page: str) -> list[str]:
    return (FOLDER / f"{page}.1").read_text().splitlines()


def options_named(text: list[str]) -> set[str]:
    """Options that macros name: ``Fl Fl mount``, ``Fl h``, or several of one letter in one, ``Fl hV``."""
    found = set()
    for line in text:
        for word in _OPTION.findall(line) if line.startswith(".") else ():
            found |= {f"--{word[3:]}"} if word.startswith("Fl ") else {f"-{letter}" for letter in word}
    return found


def options_taken(page: str) -> list[click.Option]:
    context = COMMANDS[page]
    return [each for each in context.command.get_params(context) if isinstance(each, click.Option)]


def items(text: list[str], macro: str) -> set[str]:
    """Terms that lists explain under ``macro``: ``.It Va opcode , op`` has two."""
    rows = [line.removeprefix(f".It {macro} ") for line in text if line.startswith(f".It {macro} ")]
    return {term for row in rows for term in row.split(" , ")}


def section(text: list[str], title: str) -> list[str]:
    """Lines from a heading to the next."""
    start = text.index(title) + 1
    return text[start : next((at for at in range(start, len(text)) if text[at].startswith((".Sh", ".Ss"))), None)]


def test_every_command_has_a_page_and_every_page_a_command() -> None:
    assert {page.stem for page in PAGES if page.suffix == ".1"} == set(COMMANDS)


def test_the_main_page_lists_the_commands() -> None:
    text = section(lines("furtrace"), ".Sh DESCRIPTION")
    assert {f"furtrace-{name}" for name in items(text, "Cm")} == set(COMMANDS) - {"furtrace"}


@pytest.mark.parametrize("page", COMMANDS)
def test_page_and_command_have_the_same_options(page: str) -> None:
    text = lines(page)
    taken = {name for option in options_taken(page) for name in (*option.opts, *option.secondary_opts)}
    explained = options_named([line for line in text if line.startswith(".It Fl")])
    assert explained == taken
    assert options_named(text) == taken


@pytest.mark.parametrize("page", COMMANDS)
def test_the_synopsis_has_every_option(page: str) -> None:
    shown = options_named(section(lines(page), ".Sh SYNOPSIS"))
    for option in options_taken(page):
        assert shown & set(option.opts), option.opts


@pytest.mark.parametrize("page", COMMANDS)
def test_options_have_a_value_in_the_page_if_they_take_one(page: str) -> None:
    for option in options_taken(page):
        name = next(opt for opt in option.opts if opt.startswith("--")).removeprefix("--")
        item = next(
            line for line in lines(page) if line.startswith(".It") and line.split("Fl Fl ")[-1].split()[0] == name
        )
        assert (" Ar " in item) == (not option.is_flag and not option.count), item


@pytest.mark.parametrize("page", COMMANDS)
def test_choices_are_explained(page: str) -> None:
    choices = [option.type.choices for option in options_taken(page) if isinstance(option.type, click.Choice)]
    assert set().union(*choices) <= items(lines(page), "Cm")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_name_section_version_and_file_agree(page: Path) -> None:
    text = page.read_text().splitlines()
    name, number = page.stem, page.suffix.removeprefix(".")
    assert f".Dt {name.upper()} {number}" in text
    assert f'.Os "furtrace {__version__}"' in text
    assert section(text, ".Sh NAME")[0] == f".Nm {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_refer_to_pages(page: Path) -> None:
    for name, number in re.findall(r"^\.Xr (\S+) (\d)", page.read_text(), re.MULTILINE):
        assert (FOLDER / f"{name}.{number}").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mandoc_finds_nothing_wrong(page: Path) -> None:
    mandoc = shutil.which("mandoc")
    if mandoc is None:
        pytest.skip("There is no mandoc here to check the manual pages.")
    done = subprocess.run([mandoc, "-T", "lint", "-W", "warning", page], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_json_members_are_explained() -> None:
    event = np.zeros(1, RECORD)
    event["kind"] = Kind.QUEUED
    request = next(request_objects(new_requests(1), [Subject(InodePath(b"/"))]))
    objects = (request, event_object(event[0]), summary_object(Conversation(), 0))
    text = section(lines("furtrace-live"), ".Ss JSON lines")
    starts = [at for at, line in enumerate(text) if line.startswith(".Bl")]
    assert len(starts) == len(objects)
    for start, end, made in zip(starts, [*starts[1:], len(text)], objects, strict=True):
        assert items(text[start:end], "Va") == set(made) - {"type"}


def test_the_json_members_of_a_pool_are_explained() -> None:
    text = section(lines("furtrace-live"), ".Ss Pools in the summary")
    assert items(text, "Va") == set(pool_object(Pool(7, 0)))


def test_the_json_members_of_statistics_are_explained() -> None:
    info = TraceInfo("7.3.0", "bufpool", "functions", 0)
    statistics = Statistics()
    made = statistics_object(info, statistics)
    group = group_object(statistics.overall())
    queue = queue_object(QueueUse((7, 0), None, 1, 0))
    objects = (made, group, group["latency"]["total"], queue, statistics_pool(PoolUse(Pool(7, 0), None)))
    text = section(lines("furtrace-stats"), ".Ss JSON")
    starts = [at for at, line in enumerate(text) if line.startswith(".Bl")]
    assert len(starts) == len(objects)
    for start, end, one in zip(starts, [*starts[1:], len(text)], objects, strict=True):
        assert items(text[start:end], "Va") == set(one) - {"type"}


def test_the_phases_are_explained() -> None:
    assert items(section(lines("furtrace-stats"), ".Ss Phases"), "Cm") == set(PHASE_NAMES)


def test_the_fields_of_display_filters_are_explained() -> None:
    assert items(section(lines("furtrace-replay"), ".Ss Display filters"), "Va") == set(FIELDS)


@pytest.mark.parametrize(
    ("title", "columns"), [("Columns of requests", REQUEST_COLUMNS), ("Columns of events", EVENT_COLUMNS)]
)
def test_the_columns_of_tables_are_explained(title: str, columns: tuple[Column, ...]) -> None:
    text = section(lines("furtrace-export"), f".Ss {title}")
    assert items(text, "Va") == {column.name for column in columns}


def test_the_metadata_of_parquet_is_explained(tmp_path: Path) -> None:
    keys = {key.decode() for key in exported(tmp_path / "file", []).metadata.metadata}
    assert items(section(lines("furtrace-export"), ".Ss Parquet"), "Li") == keys - {"ARROW:schema"}


def test_what_a_perfetto_trace_has_is_explained() -> None:
    text = section(lines("furtrace-export"), ".Ss Perfetto")
    code = {"queue": 3, "unique": 4, "command_op": 2, "error": -22, "flags": Flag.HAS_ERROR}
    trouble = [event(kind, 1100, **code) for kind in (Kind.REFUSED, Kind.STOPPED)]
    full = event(Kind.DELIVERED, 1200, unique=6, opcode=3, flags=Flag.CQE_OVERFLOW)
    marked = trace_of(batch(queued(2, 1000), *trouble, full, lost_record(1300, 1400, 5, cpu=0)))
    real = trace_of(recorded(SHIPPED / "pool.pcapng.zst"), start=0)
    arguments = {name for one in marked.instants for name in one["args"]} | {"unique", "unfinished", *SHOWN}
    arguments |= {name for one in (*marked.slices, *real.slices) for name in one.arguments}
    assert items(text, "Va") == arguments | set(real.other)
    counters = {re.sub(r"\d+", "Ar n Li", name) for _, name, _ in real.counters}
    marks = {one["name"] for one in marked.instants}
    categories = {one.category for one in real.slices}
    assert items(text, "Li") == counters | marks | categories | {"clients", "connection Ar n Ar dir"}
    words = re.split(r"[ ,;\n]+", "\n".join(text))
    for phase in {one.name for one in real.of("phase")}:
        assert set(phase.split()) <= set(words), phase


def test_the_steps_are_explained() -> None:
    text = section(lines("furtrace-live"), ".Ss Steps inside the kernel")
    explained = [name.removeprefix("Fn ") for name in items(text, "Fn")]
    assert sorted(explained) == sorted(step.function for step in Step if step is not Step.NONE)


def test_the_json_members_of_a_decoded_message_are_explained() -> None:
    data = bytes(12)
    made = decoded_object(decode(data), data, Dialect.PLAIN, "binary", guessed=True)
    text = section(lines("furtrace-decode"), ".Ss JSON of a message")
    starts = [at for at, line in enumerate(text) if line.startswith(".Bl")]
    objects = (made, made["items"][0], made["problems"][0])
    assert len(starts) == len(objects)
    for start, end, one in zip(starts, [*starts[1:], len(text)], objects, strict=True):
        assert items(text[start:end], "Va") == set(one) - {"type"}


def test_the_json_members_of_the_protocol_are_explained() -> None:
    made = protocol_object(listing())
    text = section(lines("furtrace-decode"), ".Ss JSON of the protocol")
    assert items(text, "Va") == set(made) - {"type"}
    explained = [line.removeprefix(".It ") for line in text if line.startswith((".Va", ".It Va"))]
    for name in ("structures", "operations", "notifications", "flags"):
        start = explained.index(f"Va {name}")
        end = next((at for at in range(start + 1, len(explained)) if explained[at].startswith("Va ")), len(explained))
        own = {line.split()[1] for line in explained[start + 1 : end]}
        (first, *_) = made[name]
        inner = [set(value[0]) for value in first.values() if isinstance(value, list) and isinstance(value[0], dict)]
        assert own == set(first).union(*inner)


def test_the_forms_of_hex_in_json_are_explained() -> None:
    text = "\n".join(section(lines("furtrace-decode"), ".Ss JSON of a message"))
    for given in (b"\0", b"00", b"{0x00}", b"'0'", b"0000: 00"):
        assert f".Sq {from_bytes(given).form}" in text


def test_the_events_are_explained() -> None:
    text = section(lines("furtrace-doctor"), ".Ss Where each event is seen")
    explained = [term for line in text if line.startswith(".It ") for term in line.removeprefix(".It ").split(" , ")]
    assert explained == [kind.name for kind in EVENTS]


def test_the_page_of_checks_has_every_rule_with_its_severity() -> None:
    rules = section(lines("furtrace-check"), ".Ss Rules")
    told = re.findall(r"^\.It Cm (\S+) Pq (\w+)$", "\n".join(rules), re.MULTILINE)
    assert told == [(rule.id, rule.severity.word) for rule in RULES.values()]
    text = " ".join(" ".join(rules).split())
    for rule in RULES.values():
        assert rule.explanation in text
        assert rule.remedy in text

"""The language of display filters: against a plain evaluation, row by row, and what it says of mistakes."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from furtrace.model.fields import FIELDS, Sample, Sort
from furtrace.model.filter_values import FilterError
from furtrace.model.filtering import MOST, DisplayFilter
from furtrace.model.inodes import NO_INODE, Path
from furtrace.model.operations import PHASES
from furtrace.model.paths import Subject
from furtrace.model.requests import REQUEST, Requests_, new_requests
from furtrace.trace.record import NO_QUEUE, Flag, Transport
from furtrace.wire.files import FALLOCATE_IN, READ_IN, FallocateIn, ReadIn
from furtrace.wire.opcodes import Opcode

BEGAN = 1_000_000
MOUNTS = {7: "/mnt", 9: "/other place"}


def row(**members: Any) -> Requests_:
    """One request; bytes are padded, and an operation's and a name's set their size."""
    made = new_requests(1)
    for name, value in members.items():
        if isinstance(value, bytes):
            made[name] = np.void(value.ljust(REQUEST[name].itemsize, b"\0"))
            sizes = {"operation": "operation_size", "name": "name_size", "answer": "answer_size"}
            if name in sizes:
                made[sizes[name]] = len(value)
        else:
            made[name] = value
    return made


def passed(text: str, rows: Requests_, subjects: Sequence[Subject] | None = None) -> list[bool]:
    """Which rows a filter lets pass."""
    about = subjects or [Subject(Path(b"/f"))] * len(rows)
    answer: list[bool] = DisplayFilter(text).chosen(Sample(rows, lambda: about, MOUNTS, BEGAN)).tolist()
    return answer


def holds(text: str, subject: Subject | None = None, **members: Any) -> bool:
    """Whether a filter lets a request with these members pass."""
    (answer,) = passed(text, row(**members), [subject or Subject(Path(b"/f"))])
    return answer


# ---- single fields ----


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("unique == 84", {"unique": 84}),
        ("unique == 18446744073709551615", {"unique": (1 << 64) - 1}),
        ("node == 5 and inode == 5 and node_id == 5", {"node_id": 5}),
        ("op == WRITE", {"opcode": 16}),
        ('op == "write"', {"opcode": 16}),
        ("op == FUSE_WRITE", {"opcode": 16}),
        ("op == 16 and opcode == 0x10", {"opcode": 16}),
        ("op != READ", {"opcode": 16}),
        ("op in {READ, write}", {"opcode": 16}),
        ("op in {10..16}", {"opcode": 16}),
        ("op == OP_99", {"opcode": 99}),
        ('op =~ "^WR"', {"opcode": 16}),
        ('op =~ "^OP_9"', {"opcode": 99}),
        ("opcode < 17", {"opcode": 16}),
        ("error == ENOENT", {"error": -2, "ended_ns": 1}),
        ("error == -ENOENT and error == -2", {"error": -2, "ended_ns": 1}),
        ('error =~ "^ENO"', {"error": -2, "ended_ns": 1}),
        ("error in {EIO, ENOENT}", {"error": -2, "ended_ns": 1}),
        ("error < 0", {"error": -2, "ended_ns": 1}),
        ("error == 0", {"ended_ns": 1}),
        ("connection == 7", {"connection": 7}),
        ('mount == "/mnt"', {"connection": 7}),
        ('mount =~ " p"', {"connection": 9}),
        ("queue == 1", {"queue": 1}),
        ("cpu == 3", {"expected_queue": 3}),
        ("entry == 0", {"entry_index": 0}),
        ("transport == uring", {"transport": Transport.URING}),
        ('transport == "dev"', {"transport": Transport.DEV}),
        ("commit_id == 8", {"commit_id": 8}),
        ('client_comm == "dd"', {"client_comm": b"dd\0junk"}),
        ('client_comm != "cat"', {"client_comm": b"dd"}),
        ('client_comm in {"a", "dd"}', {"client_comm": b"dd"}),
        ("client_pid == 40 and client_tid == 41", {"client_pid": 40, "client_tid": 41}),
        ('server_pid == 40 and server_tid == 41 and server_comm =~ "v"',
         {"server_pid": 40, "server_tid": 41, "server_comm": b"server"}),
        ("latency == 5us", {"queued_ns": 1000, "ended_ns": 6000}),
        ("latency > 4.999us and 5.001us > latency", {"queued_ns": 1000, "ended_ns": 6000}),
        ("wait >= 1us", {"queued_ns": 1000, "delivered_ns": 2000}),
        ("queue_time == 1000ns", {"queued_ns": 1000, "assigned_ns": 2000}),
        ("delivery == 0.001ms", {"assigned_ns": 1000, "delivered_ns": 2000}),
        ("server == 1s", {"delivered_ns": 1, "committed_ns": 1_000_000_001}),
        ("commit == 1min", {"committed_ns": 1, "ended_ns": 60_000_000_001}),
        ("commit == 1h", {"committed_ns": 1, "ended_ns": 3_600_000_000_001}),
        ("commit == 3\N{MICRO SIGN}s and commit == 3\N{GREEK SMALL LETTER MU}s", {"committed_ns": 1, "ended_ns": 3001}),
        ("time == 2ms and end == 3ms", {"queued_ns": BEGAN + 2_000_000, "ended_ns": BEGAN + 3_000_000}),
        ("time < 0", {"queued_ns": 1}),
        ("reply_size == 4k", {"reply_size": 4096}),
        ("moved == 1M and moved == 1MiB and moved == 1mb", {"moved": 1 << 20}),
        ("moved == 1.5k", {"moved": 1536}),
        ("buffer == 0 and buffer_offset == 0", {"buffer_id": 0}),
        ("buffer_waits > 1", {"buffer_waits": 2}),
        ("slot == 7 and page_bytes == 4096 and segments == 2", {"slot": 7, "page_bytes": 4096, "segments": 2}),
        ("fixed_bytes == 0 and fixed_ios == 1", {"fixed_bytes": 0, "fixed_ios": 1}),
        ("background", {"flags": Flag.BACKGROUND}),
        ("background == true and background != false", {"flags": Flag.BACKGROUND}),
        ("background == false", {}),
        ("uncertain", {"uncertain": True}),
        ("unfinished", {}),
        ("not unfinished", {"ended_ns": 1}),
        ("zero_copied", {"flags": Flag.ZERO_COPIED}),
        ("copied_because == file", {"flags": Flag.QUEUE_ZERO_COPY | Flag.HAS_PAGES, "opcode": Opcode.READ,
                                    "entry": 1, "delivered_ns": 1}),
        ("copied_because == queue and zero_copied == false",
         {"flags": Flag.FILE_ZERO_COPY | Flag.HAS_PAGES, "opcode": Opcode.READ, "entry": 1, "delivered_ns": 1}),
        ("offset == 64k and size == 4k and fh == 3",
         {"opcode": Opcode.WRITE, "operation": READ_IN.build(ReadIn(3, 65536, 4096, 0, 0, 0, 0))}),
        ("offset == 5 and fh == 3",
         {"opcode": Opcode.FALLOCATE, "operation": FALLOCATE_IN.build(FallocateIn(3, 5, 9, 0, 0))}),
        ("moved < size",
         {"opcode": Opcode.READ, "moved": 10, "operation": READ_IN.build(ReadIn(3, 0, 4096, 0, 0, 0, 0))}),
        ("server > wait", {"queued_ns": 1, "delivered_ns": 2, "committed_ns": 9}),
        ('name == "user.x"', {"name": b"user.x\0"}),
        ('name == "two"', {"name": b"one\0two\0", "second": 4}),
        ('path == "/f"', {}),
    ],
)  # fmt: skip
def test_holds(text: str, members: dict[str, Any]) -> None:
    assert holds(text, **members)
    assert not holds(f"not ({text})", **members)


UNKNOWN = (
    *("queue", "cpu", "entry", "commit_id", "node", "client_pid", "client_tid", "server_pid", "server_tid"),
    *("reply_size", "moved", "buffer", "buffer_offset", "slot", "page_bytes", "segments", "fixed_bytes"),
    *("offset", "size", "fh"),
)


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_equals_nothing(name: str) -> None:
    for relation in ("==", "!=", "<", "<=", ">", ">="):
        for value in ("-1", "0", str(NO_QUEUE)):
            assert not holds(f"{name} {relation} {value}")
    assert not holds(f"{name} in {{-1..0x{NO_QUEUE:x}}}")
    assert not holds(name)
    assert holds(f"not {name}")


def test_what_else_is_not_known() -> None:
    for name in (one.name for one in FIELDS.values() if one.sort is Sort.DURATION):
        assert not holds(f"{name} >= 0 or {name} < 0")
    for name in ("client_comm", "server_comm", "mount", "name", "other_path"):
        assert not holds(f'{name} == "" or {name} != "x" or {name} =~ "" or {name} in {{""}}')
    assert not holds('path =~ ""', Subject(NO_INODE))
    assert not holds("error == 0 or error != 0 or error =~ '.'", error=-2)
    assert not holds("transport == dev or transport != dev")
    assert not holds("zero_copied == true or zero_copied == false", flags=Flag.QUEUE_ZERO_COPY)
    assert not holds("copied_because != file", flags=Flag.ZERO_COPIED)
    assert not holds("moved < size", moved=3)
    for name in ("size", "offset", "fh"):
        assert not holds(name, opcode=Opcode.READ)
        assert not holds(name, opcode=Opcode.READ, operation=bytes(7))
        assert not holds(name, opcode=Opcode.SETATTR, operation=bytes(88))


def test_paths() -> None:
    about = [Subject(Path(b"/a/b")), Subject(Path(b"/a \xff"), Path(b"/c")), Subject(Path(b"#5/x"))]
    rows = new_requests(3)
    assert passed('path =~ "^/a"', rows, about) == [True, True, False]
    assert passed('path == "/a \\xff"', rows, about) == [False, True, False]
    assert passed('path == "#5/x"', rows, about) == [False, False, True]
    assert passed('other_path == "/c"', rows, about) == [False, True, False]
    assert passed('other_path != "/x"', rows, about) == [False, True, False]
    assert passed("path", rows, about) == [True] * 3


def test_a_path_is_asked_for_only_where_it_is_needed() -> None:
    def never() -> Sequence[Subject]:
        raise AssertionError

    assert DisplayFilter("op == READ").chosen(Sample(new_requests(2), never, {}, 0)).tolist() == [False, False]
    assert not DisplayFilter("op == READ or slot").needs_paths
    assert DisplayFilter("op == READ or not path").needs_paths
    assert DisplayFilter("op == READ or node == 3 and moved < size").fields == {"op", "node", "moved", "size"}


def test_no_requests() -> None:
    sample = Sample(new_requests(0), list, {}, 0)
    for name, each in FIELDS.items():
        pattern = f' or {name} =~ "x"' if each.sort in (Sort.TEXT, Sort.CODE) else ""
        assert DisplayFilter(name + pattern).chosen(sample).tolist() == []


def test_every_phase_is_a_field() -> None:
    times: dict[str, Any] = {name: number for number, name in enumerate(REQUEST.names or (), 1) if name.endswith("_ns")}
    for phase, (begin, end) in PHASES.items():
        name = {"total": "latency"}.get(phase, phase if f"{phase}_time" not in FIELDS else f"{phase}_time")
        assert FIELDS[name].sort is Sort.DURATION
        assert holds(f"{name} == 7ns", **(times | {begin: 100, end: 107}))


@pytest.mark.parametrize(
    ("literal", "data"),
    [
        (r'"a\"b"', b'a"b'),
        (r"'a\'b'", b"a'b"),
        ("'a\"b'", b'a"b'),
        (r'"\x41\n\t\r\\\u00e9"', "A\n\t\r\\\u00e9".encode()),
        (r'"\xc3\xa9"', "\u00e9".encode()),
        (r'"\xff\\x41"', b"\xff\\x41"),
        ('"\u00e9 \n"', "\u00e9 \n".encode()),
        ('"' + os.fsdecode(b"\xfe") + '"', b"\xfe"),
    ],
)
def test_escapes(literal: str, data: bytes) -> None:
    assert holds(f"path == {literal}", Subject(Path(data)))
    assert not holds(f"path != {literal}", Subject(Path(data)))


def test_a_pattern_is_a_regular_expression() -> None:
    for pattern in (r'"^a\.b$"', r"'^a\.b$'", '"a.b"', r'"\x61"', '"(?i)A"'):
        assert holds(f"path =~ {pattern}", Subject(Path(b"a.b")))
    assert not holds(r'path =~ "^a\.b$"', Subject(Path(b"axb")))
    assert holds(r'path =~ "a\"b"', Subject(Path(b'a"b')))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("slot or queue and entry", {"s", "sq", "se", "sqe", "qe"}),
        ("(slot or queue) and entry", {"se", "sqe", "qe"}),
        ("not slot and queue", {"q", "qe"}),
        ("not (slot and queue)", {"", "s", "q", "e", "se", "qe"}),
        ("!slot && queue || !queue && slot", {"q", "qe", "s", "se"}),
        ("NOT slot AND NOT queue Or entry", {"", "e", "se", "qe", "sqe"}),
        ("not not slot", {"s", "sq", "se", "sqe"}),
    ],
)
def test_precedence(text: str, expected: set[str]) -> None:
    rows, names = new_requests(8), ["", "s", "q", "e", "sq", "se", "qe", "sqe"]
    for column, letter in (("slot", "s"), ("queue", "q"), ("entry_index", "e")):
        for at, name in enumerate(names):
            rows[column][at] = 1 if letter in name else NO_QUEUE if column == "queue" else -1
    assert {name for name, answer in zip(names, passed(text, rows), strict=True) if answer} == expected


# ---- mistakes ----


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("", 0, "ends where a comparison should stand"),
        ("op ==", 5, "ends where a value should stand"),
        ("slot or", 7, "ends where a comparison should stand"),
        ("(slot", 5, "ends where a closing parenthesis should stand"),
        ("slot)", 4, "there is no parenthesis that this one closes"),
        ("queue = 1", 6, "a comparison is written =="),
        ("queue 1", 6, "an operator such as =="),
        ("slot queue", 5, "an operator such as =="),
        ("queue == 1 entry", 11, "and, or, or the end"),
        ("queue == 1 $", 11, "$ can't stand here"),
        ("queue == $", 9, "$ can't stand here, but a value"),
        ("queue in 1", 9, "an opening brace"),
        ("queue in {1 2}", 12, "a comma or a closing brace"),
        ("queue in {}", 10, "a value"),
        ("path =~ x", 8, "a pattern in quotes"),
        ('op == "x', 6, "no closing quote"),
        ("op == 'x", 6, "no closing quote"),
        ("latency > 5 ms", 12, "a unit stands right behind its number"),
        ("latenc > 5ms", 0, "there is no field latenc (is it latency?)"),
        ("xyz", 0, "there is no field xyz"),
        ("Op == READ", 0, "there is no field Op"),
        ("op == WRIT", 6, "there is no operation WRIT (is it WRITE?)"),
        ("op == 3ms", 6, "3ms is a duration"),
        ("error == ENOEN", 9, "there is no error ENOEN (is it ENOENT?)"),
        ("error == 2", 9, "an error is 0 or negative"),
        ("error in {0, 2}", 13, "an error is 0 or negative"),
        ("transport == udp", 13, "there is no value of transport udp (uring, dev)"),
        ("background == maybe", 14, "(true, false)"),
        ("latency > 5", 10, "5us, 5ms"),
        ("latency > 4k", 10, "which has a unit: 4us"),
        ("latency > foo", 10, "foo is neither a value nor a field"),
        ("latency > serve", 10, "(is it server?)"),
        ("latency > queue", 10, "only numbers, or durations, can be compared with one another"),
        ("op == opcode", 6, "can be compared with one another"),
        ("queue == 4ms", 9, "queue is a number, and 4ms is a duration"),
        ("queue == 4q", 9, "q is no unit"),
        ("queue == 0x", 9, "x is no unit"),
        ("queue == 0xg", 9, "xg is no unit"),
        ("queue == 4_", 9, "4_ is no number"),
        ('queue == "4"', 9, "and this is text"),
        ("queue == " + "9" * 50, 9, "the number is too long"),
        ("op < READ", 3, "names have no order"),
        ("op in {READ..WRITE}", 13, "names have no order"),
        ("client_comm == fio", 15, "client_comm is text, which stands in quotes"),
        ("client_comm == 3", 15, "client_comm is text, which stands in quotes"),
        ('client_comm < "a"', 12, "client_comm is text, which is compared by ==, != and =~"),
        ('client_comm in {"a".."b"}', 21, "client_comm is text, which has no ranges"),
        ('queue =~ "1"', 0, "=~ is for text and names"),
        ('path =~ "x["', 8, "this is no regular expression: unterminated character set"),
        ('path =~ "a{99999999999999999999}"', 8, "this is no regular expression"),
        (r'path == "a\qb"', 10, r"\q stands for nothing"),
        (r'path == "\ud800"', 9, r"\ud800 stands for nothing"),
        ("1 == 2", 5, "2 stands where a field should"),
        ('"x" == foo', 7, "there is no field foo"),
        ("slot == \ud800", 8, "this is no character"),
        ("x" * (MOST + 1), MOST, "more than 10000 characters"),
        ("not " * 200 + "slot", 0, "nested more than 100 deep"),
    ],
)  # fmt: skip
def test_mistakes(text: str, at: int, words: str) -> None:
    with pytest.raises(FilterError) as caught:
        DisplayFilter(text)
    assert (words in str(caught.value), caught.value.at) == (True, at), str(caught.value)


def test_parentheses_may_be_many() -> None:
    assert holds("(" * 4000 + "slot" + ")" * 4000, slot=1)
    assert holds(" or ".join(["slot == 1"] * 700), slot=1)


_WORDS = st.sampled_from(
    [
        *FIELDS,
        *("and", "or", "not", "in", "==", "!=", "<", "=~", "(", ")", "{", "}", ",", "..", "!", "&&", "||", "=", "-"),
        *(
            "READ",
            "ENOENT",
            "uring",
            "5ms",
            "4k",
            "0x1f",
            "-1",
            "1.5",
            "true",
            '"text"',
            "'t'",
            '"[',
            '"a\\',
            "\0",
            "\n",
        ),
    ]
)


@settings(deadline=None, max_examples=400)
@given(st.one_of(st.text(), st.lists(_WORDS, max_size=12).map(" ".join), st.lists(_WORDS, max_size=8).map("".join)))
@example("0")
@example("-")
@example('op == "\\')
@example("queue == 0x" + "f" * 38)
@example("queue == " + "9" * 38 + "h")
@example("queue in {1..0.5k}")
def test_any_text_is_a_filter_or_a_mistake(text: str) -> None:
    made: DisplayFilter | FilterError
    try:
        made = DisplayFilter(text)
    except FilterError as problem:
        made = problem
    if isinstance(made, FilterError):
        assert 0 <= made.at <= len(text)
        assert re.fullmatch(".+", str(made))
        return
    rows = new_requests(3)
    assert made.chosen(Sample(rows, lambda: [Subject(Path(b"/"))] * 3, {}, 0)).shape == (3,)


# ---- against a plain evaluation ----

Row = dict[str, Any]
"""A request by the names of fields; None: not known."""


@dataclass(frozen=True)
class Said:
    """A filter's text, and what it means of one row."""

    text: str
    means: Callable[[Row], bool]

    def __repr__(self) -> str:
        return self.text


_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_NUMBERS = ("unique", "queue", "slot", "moved", "entry", "reply_size", "size")
_DURATIONS = ("latency", "wait", "server", "commit")
_COMMS = (b"dd", b"cat", b"a b", b"\xff", b"")
_SMALL = st.integers(-2, 5)
_NAMES = {15: "READ", 16: "WRITE", 1: "LOOKUP", 99: "OP_99"}


@st.composite
def _rows(draw: st.DrawFn) -> tuple[Requests_, list[Row]]:
    """Some requests, each also as plain values."""
    rows, plain = new_requests(draw(st.integers(0, 6))), []
    for at in range(len(rows)):
        one = row(
            unique=draw(st.sampled_from([0, 1, 2, (1 << 63) + 1, (1 << 64) - 1])),
            queue=draw(st.sampled_from([0, 1, 2, NO_QUEUE])),
            slot=draw(st.integers(-1, 3)),
            moved=draw(st.sampled_from([-1, 0, 1, 4096])),
            entry_index=draw(st.integers(-1, 2)),
            reply_size=draw(st.sampled_from([-1, 0, 4096])),
            opcode=draw(st.sampled_from(list(_NAMES))),
            error=draw(st.sampled_from([0, -2, -5])),
            flags=draw(st.sampled_from([0, int(Flag.BACKGROUND)])),
            client_comm=draw(st.sampled_from(_COMMS)),
            operation=READ_IN.build(ReadIn(1, 2, draw(st.sampled_from([0, 1, 4096])), 0, 0, 0, 0)),
            **{f"{name}_ns": draw(st.sampled_from([0, 10, 1010, 5_000_010]))
               for name in ("queued", "delivered", "committed", "ended")},
        )  # fmt: skip
        rows[at] = one[0]
        plain.append(_plain(one[0]))
    return rows, plain


def _plain(one: Any) -> Row:
    def time(begin: str, end: str) -> int | None:
        a, b = int(one[begin]), int(one[end])
        return b - a if a and b and b >= a else None

    def known(name: str, unknown: int) -> int | None:
        value = int(one[name])
        return None if value == unknown else value

    opcode = int(one["opcode"])
    return {
        "unique": int(one["unique"]),
        "queue": known("queue", NO_QUEUE),
        "slot": known("slot", -1),
        "moved": known("moved", -1),
        "entry": known("entry_index", -1),
        "reply_size": known("reply_size", -1),
        "size": int.from_bytes(one["operation"].tobytes()[16:20], "little") if opcode in (15, 16) else None,
        "op": _NAMES[opcode],
        "error": int(one["error"]) if one["ended_ns"] else None,
        "background": bool(one["flags"]),
        "client_comm": os.fsdecode(one["client_comm"].tobytes().rstrip(b"\0")) or None,
        "latency": time("queued_ns", "ended_ns"),
        "wait": time("queued_ns", "delivered_ns"),
        "server": time("delivered_ns", "committed_ns"),
        "commit": time("committed_ns", "ended_ns"),
    }


def _compared(name: str, relation: str, value: Any, shown: str) -> Said:
    compare = _RELATIONS[relation]
    return Said(f"{name}{relation}{shown}", lambda row: row[name] is not None and compare(row[name], value))


@st.composite
def _comparisons(draw: st.DrawFn) -> Said:
    relation = draw(st.sampled_from(list(_RELATIONS)))
    what = draw(
        st.sampled_from(["number", "size", "duration", "two", "op", "error", "text", "in", "known", "flag", "matched"])
    )
    name = draw(st.sampled_from(_NUMBERS))
    value = draw(st.one_of(_SMALL, st.sampled_from([4096, (1 << 63) + 1, (1 << 64) - 1, 1 << 70])))
    if what == "number":
        return _compared(
            name, relation, value, draw(st.sampled_from([str(value), f" {'-' * (value < 0)}{abs(value):#x}"]))
        )
    if what == "size":
        return _compared(name, relation, 4096, draw(st.sampled_from(["4k", "4K", "4KiB"])))
    if what == "duration":
        name = draw(st.sampled_from(_DURATIONS))
        ns, shown = draw(
            st.sampled_from([(1000, "1us"), (1000, "1000ns"), (5 * 10**6, "5ms"), (0, "0"), (1.5, "1.5ns")])
        )
        return _compared(name, relation, ns, shown)
    if what == "two":
        group = draw(st.sampled_from([_NUMBERS, _DURATIONS]))
        one, other = draw(st.sampled_from(group)), draw(st.sampled_from(group))
        compare = _RELATIONS[relation]
        known: Callable[[Row], bool] = lambda row: row[one] is not None and row[other] is not None  # noqa: E731
        return Said(f"{one} {relation} {other}", lambda row: known(row) and compare(row[one], row[other]))
    return draw(_worded(what, "==" if relation in ("==", "<", "<=") else "!="))


@st.composite
def _worded(draw: st.DrawFn, what: str, relation: str) -> Said:
    field = draw(st.sampled_from(["op", "client_comm"]))
    name, low, high, other = draw(st.sampled_from(_NUMBERS)), draw(_SMALL), draw(_SMALL), draw(_SMALL)
    wanted = {*range(low, high + 1), other}
    pattern = draw(st.sampled_from(["a", "^d", "D", " ", "^OP_", "."]))
    number, error = draw(st.sampled_from([(-2, "ENOENT"), (-5, "-EIO"), (-5, "-5"), (0, "0")]))
    text, op = os.fsdecode(draw(st.sampled_from(_COMMS[:4]))), draw(st.sampled_from(list(_NAMES.values())))
    alone = draw(st.sampled_from([*_NUMBERS, *_DURATIONS, "client_comm", "error"]))
    made = {
        "op": _compared("op", relation, op, draw(st.sampled_from([op, f'"{op}"', f" {op.lower()}"]))),
        "error": _compared("error", relation, number, error),
        "text": _compared("client_comm", relation, text, f'"{text}"'),
        "in": Said(f"{name} in {{{low}..{high}, {other}}}", lambda row: row[name] in wanted),
        "matched": Said(
            f'{field} =~ "{pattern}"', lambda row: row[field] is not None and bool(re.search(pattern, row[field]))
        ),
        "known": Said(alone, lambda row: row[alone] is not None),
        "flag": Said("background", lambda row: row["background"]),
    }
    return made[what]


def _joined(parts: list[Said], word: str, join: Callable[[Any], bool]) -> Said:
    return Said(
        f"({f' {word} '.join(part.text for part in parts)})", lambda row: join(part.means(row) for part in parts)
    )


def _combined(parts: st.SearchStrategy[Said]) -> st.SearchStrategy[Said]:
    several = st.lists(parts, min_size=2, max_size=3)
    return st.one_of(
        st.tuples(several, st.sampled_from(["and", "&&"])).map(lambda both: _joined(both[0], both[1], all)),
        st.tuples(several, st.sampled_from(["or", "||"])).map(lambda both: _joined(both[0], both[1], any)),
        parts.map(lambda part: Said(f"not ({part.text})", lambda row: not part.means(row))),
    )


@settings(deadline=None, max_examples=400)
@given(_rows(), st.recursive(_comparisons(), _combined, max_leaves=6))
def test_equals_a_plain_evaluation(given_rows: tuple[Requests_, list[Row]], said: Said) -> None:
    rows, plain = given_rows
    assert passed(said.text, rows) == [bool(said.means(one)) for one in plain]

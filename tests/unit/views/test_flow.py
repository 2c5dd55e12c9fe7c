"""Diagrams: of examples at all widths, and of each request of recordings from real kernels."""

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from rich.cells import cell_len

from furtrace.model.flows import Ending, Flow, Traits
from furtrace.trace.info import TraceInfo
from furtrace.trace.merging import Recordings
from furtrace.trace.record import Flag, Kind, Records
from furtrace.trace.record import Step as Function
from furtrace.views.fitting import LEAST_DRAWN
from furtrace.views.flow import (
    Diagram,
    FlowView,
    diagram_object,
    example_diagram,
    request_diagram,
    rows_of,
    setup_diagram,
)
from furtrace.views.flow_kinds import KINDS, example_steps
from furtrace.views.flow_kinds import Kind as FlowKind
from furtrace.views.flow_steps import Side, Step, parsed, steps_of
from furtrace.views.live_table import ASCII, UNICODE
from furtrace.wire.dialect import Dialect
from furtrace.wire.opcodes import Opcode
from tests.flows import complaints, flows_of
from tests.unit.events import SERVER, batch, committed, delivered, ended, event, queued, whole
from tests.unit.export.reckoning import NAMES, SHIPPED, recorded

INFO = TraceInfo("7.3.4", "bufpool", "function", 0, steps="kernel")
WIDTHS = (72, 80, 100, 160)
EXAMPLES = [(kind, dialect) for kind in KINDS for dialect in kind.dialects]


@pytest.fixture(scope="module", params=NAMES)
def flows(request: pytest.FixtureRequest) -> tuple[TraceInfo, list[Flow]]:
    path = SHIPPED / f"{request.param}.pcapng.zst"
    with Recordings([str(path)]) as recordings:
        info = recordings.info
    return info, flows_of(recorded(path), 400)


def _lines(diagram: Diagram, width: int, *, ascii_only: bool = False) -> list[str]:
    return [line.plain for line in FlowView(diagram, ASCII if ascii_only else UNICODE).lines(width)]


def _drawn(lines: list[str], bar: str = "│") -> list[str]:
    """The lines between title and notes."""
    return [line for line in lines if bar in line]


def _check_shape(diagram: Diagram, width: int) -> None:
    """Nothing is cut, nothing shifted: bars stand in the same columns, and all words are there."""
    lines = _lines(diagram, width)
    assert max(map(cell_len, lines)) <= width
    drawn = _drawn(lines)
    first, second = (at for at, character in enumerate(drawn[0]) if character == "│")
    for line in drawn:
        assert [at for at, character in enumerate(line) if character == "│"] == [first, second], line
    columns = {Side.KERNEL: slice(first + 1, second), Side.SERVER: slice(second + 1, None)}
    for side, place in columns.items():
        told = "".join("".join(line[place].split()) for line in drawn[1:])
        rows = [row for row in diagram.rows if row.step.side is side]
        assert told == "".join("".join((row.step.text + row.carried).split()) for row in rows)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("kind", "dialect"), EXAMPLES, ids=[f"{kind.name}-{dialect}" for kind, dialect in EXAMPLES])
def test_examples_keep_their_shape(kind: FlowKind, dialect: Dialect, width: int) -> None:
    _check_shape(example_diagram(kind.title, example_steps(kind, dialect)), width)


@pytest.mark.parametrize(("kind", "dialect"), EXAMPLES, ids=[f"{kind.name}-{dialect}" for kind, dialect in EXAMPLES])
def test_calls_nest_one_by_one(kind: FlowKind, dialect: Dialect) -> None:
    """Whoever is deeper is so by one, within what was called before."""
    for side in Side:
        depths = [step.depth for step in example_steps(kind, dialect) if step.side is side]
        assert depths[:1] in ([0], [])
        assert all(after <= before + 1 for before, after in pairwise(depths))


@pytest.mark.parametrize("width", WIDTHS)
def test_requests_keep_their_shape(flows: tuple[TraceInfo, list[Flow]], width: int) -> None:
    info, found = flows
    for flow in found[::7]:
        _check_shape(request_diagram(flow, info, "a request"), width)


def test_no_name_of_a_function_is_broken(flows: tuple[TraceInfo, list[Flow]]) -> None:
    info, found = flows
    for flow in found[::23]:
        diagram = request_diagram(flow, info, "a request")
        text = "\n".join(_lines(diagram, LEAST_DRAWN))
        for row in diagram.rows:
            if row.step.side is Side.KERNEL and row.step.text[0] in "<>":
                assert row.step.text in text


def test_each_event_has_its_step_in_order(flows: tuple[TraceInfo, list[Flow]]) -> None:
    info, found = flows
    assert [text for flow in found for text in complaints(flow, Dialect(info.dialect))] == []


def test_times_add_up(flows: tuple[TraceInfo, list[Flow]]) -> None:
    """From QUEUED to ENDED the diagram has the request's own latency."""
    info, found = flows
    for flow in found:
        told = diagram_object(request_diagram(flow, info, ""))["steps"]
        at = {step["event"]: step["since_ns"] for step in told if step["since_ns"] is not None}
        assert at["ENDED"] - at["QUEUED"] == int(flow.row["ended_ns"]) - int(flow.row["queued_ns"])
        assert min(at.values()) == 0


def test_what_needs_a_buffer_shows_it() -> None:
    records = recorded(SHIPPED / "pool.pcapng.zst")
    for flow in flows_of(records, 300):
        texts = [row.step.text for row in rows_of(flow, Dialect.BUFPOOL)]
        selected = records[(records["unique"] == flow.unique) & (records["kind"] == Kind.SELECTED)]
        assert texts.count(">fuse_uring_select_buffer()") == len(selected)
        as_queued = (selected["error"] != 0) & (selected["tid"] == flow.row["client_tid"])
        assert ("[it waits: no buffer is free]" in texts) == bool(as_queued.any())


# ---- by hand ----

BUSY = {"entry": 0xE0, "queue": 3}


def _one(*records: Records) -> Flow:
    found = [flow for flow in flows_of(batch(*records)) if flow.unique == 6]
    assert len(found) == 1
    return found[0]


def _texts(flow: Flow, dialect: Dialect = Dialect.PLAIN) -> list[str]:
    return [row.step.text for row in rows_of(flow, dialect)]


def test_taken_at_the_commit_of_another() -> None:
    """The entry had another request as this one was queued."""
    flow = _one(
        queued(4, 1000),
        delivered(4, 1010),
        queued(6, 1020),
        committed(4, 1100),
        ended(4, 1110),
        delivered(6, 1120),
        committed(6, 1200),
        ended(6, 1210),
    )
    texts = _texts(flow)
    assert "[it waits: no entry is free]" in texts
    assert texts.index("[the answer to another request]") < texts.index("[CQE received]")
    assert ">fuse_uring_send_in_task()" not in texts
    prior = next(row for row in rows_of(flow, Dialect.PLAIN) if row.step.sign == "PRIOR_COMMITTED")
    assert (prior.ns, prior.carried) == (1100, "commit_id=4")


def _dry(ns: int, tid: int) -> Records:
    members = {"error": -105, "flags": Flag.HAS_ERROR, "pid": 900, "tid": tid, "comm": b"server", "queue": 3}
    return event(Kind.SELECTED, ns, unique=6, entry=0xE1, **members)


def _waiting(queueing: int, dry: tuple[int, ...], committing: int = 1100) -> Flow:
    """Request 6 of queue 3, taken as request 4 is answered; entries of other threads look for a buffer meanwhile."""
    call = event(Kind.STEP, queueing, step=Function.QUEUE_FUSE_REQ, pid=40, tid=41, comm=b"client")
    members = {"step": Function.GET_NEXT_FUSE_REQ, **BUSY, **SERVER}
    records = [queued(4, 900), delivered(4, 910), call, queued(6, 1020), committed(4, committing), ended(4, 1150)]
    records += [event(Kind.STEP, 1160, **members), delivered(6, 1300), committed(6, 1400), ended(6, 1410)]
    records += [_dry(ns, 950 + at) for at, ns in enumerate(dry)]
    return _one(*sorted(records, key=lambda record: int(record["ns"][0])))


@pytest.mark.parametrize("committing", [1000, 1015, 1030, 1060, 1100, 1140])
@pytest.mark.parametrize("dry", [(), (1050,), (1120,), (1050, 1120), (1050, 1055), (1120, 1170), (1170, 1180)])
def test_what_runs_beside_each_other_is_drawn_in_its_order(committing: int, dry: tuple[int, ...]) -> None:
    """The commit at which its entry takes a request may be at any time before that, and so may others' attempts."""
    flow = _waiting(1010, dry, committing)
    assert list(complaints(flow, Dialect.BUFPOOL)) == []
    texts = _texts(flow, Dialect.BUFPOOL)
    assert texts.count(">fuse_uring_select_buffer()") == len(dry)
    assert bool(dry) == ("[other entries ask for it]" in texts)
    at = texts.index("[the answer to another request]")
    assert texts[at : at + 3] == ["[the answer to another request]", ">io_uring_submit()", "COMMIT_AND_FETCH"]


def test_its_own_thread_asks_while_it_is_queued() -> None:
    """The commit comes before the client's thread has found that no buffer is free."""
    dry = event(
        Kind.SELECTED, 1120, unique=6, error=-105, flags=Flag.HAS_ERROR, pid=40, tid=41, comm=b"client", queue=3
    )
    flow = _one(
        *(queued(4, 900), delivered(4, 910), queued(6, 1020), committed(4, 1100), dry, ended(4, 1150)),
        *(delivered(6, 1300), committed(6, 1400), ended(6, 1410)),
    )
    assert list(complaints(flow, Dialect.BUFPOOL)) == []
    assert "[it waits: no buffer is free]" in _texts(flow, Dialect.BUFPOOL)


def test_brought_by_a_free_entry() -> None:
    texts = _texts(_one(*whole(4, 1000), *whole(6, 2000)))
    assert ">fuse_uring_send_in_task()" in texts
    assert "[the answer to another request]" not in texts


def test_a_kernel_of_the_plain_dialect_that_copies_headers_in_a_function() -> None:
    """As Linux 7.2 does."""
    copied = [
        event(Kind.STEP, 1005 + part, unique=6, step=Function.COPY_HEADER_TO_RING, command_op=part, **BUSY, **SERVER)
        for part in (1, 2, 0)
    ]
    rows = rows_of(
        _one(queued(6, 1000), *copied, delivered(6, 1010), committed(6, 1020), ended(6, 1030)), Dialect.PLAIN
    )
    texts = [row.step.text for row in rows if row.event is not None and row.step.sign.startswith("COPY_HEADER")]
    assert sorted(texts) == [f">copy_header_to_ring({part})" for part in ("IN_OUT", "OP", "RING_ENT")]
    assert "[copy fuse_in_header]" not in [row.step.text for row in rows]


def test_background_requests_have_nobody_to_wake() -> None:
    members = {"flags": Flag.BACKGROUND}
    flow = _one(queued(6, 1000, **members), delivered(6, 1010), committed(6, 1020), ended(6, 1030))
    texts = _texts(flow)
    assert ">fuse_uring_queue_bq_req()" in texts
    assert not [text for text in texts if "wait" in text and "next req" not in text]


def test_the_server_has_died() -> None:
    texts = _texts(_one(queued(6, 1000), delivered(6, 1010), ended(6, 1030, error=-103)))
    assert texts[-4:-1] == [">fuse_uring_stop_queues()", ">fuse_uring_entry_teardown()", ">fuse_request_end()"]
    assert ">fuse_uring_commit()" not in texts


def test_it_waited_as_the_server_died() -> None:
    texts = _texts(_one(queued(6, 1000), ended(6, 1030, error=-103)))
    assert "[it waits: for an entry, or for the server's thread]" in texts
    assert ">fuse_uring_abort_end_requests()" in texts
    assert "[CQE received]" not in texts


def test_no_queue_takes_it() -> None:
    texts = _texts(_one(queued(6, 1000), ended(6, 1030, error=-107)))
    assert texts[-3:] == ["[no queue takes it]", ">fuse_request_end()", "[wake up req->waitq]"]


def test_its_pages_get_no_slot() -> None:
    refused = event(Kind.PAGES_REGISTERED, 1010, unique=6, error=-16, flags=Flag.HAS_ERROR, slot=3, **BUSY, **SERVER)
    flow = _one(queued(6, 1000, Opcode.WRITE), refused, ended(6, 1030, Opcode.WRITE, error=-16))
    rows = rows_of(flow, Dialect.BUFPOOL)
    assert "the slot is taken" in next(row.carried for row in rows if row.step.sign == "PAGES_REGISTERED")
    texts = [row.step.text for row in rows]
    assert ">copy_header_to_ring(IN_OUT)" not in texts
    assert "[CQE received]" not in texts
    assert ">io_buffer_unregister()" not in texts


def test_what_fits_no_step_is_drawn_all_the_same() -> None:
    """Nothing that was seen may be left out: a second DELIVERED of a server gone mad, or of a lost event."""
    flow = _one(queued(6, 1000), delivered(6, 1010), delivered(6, 1015), committed(6, 1020), ended(6, 1030))
    rows = rows_of(flow, Dialect.PLAIN)
    assert [row.ns for row in rows if row.step.text == "[DELIVERED]"] == [1015]


def test_by_dev_fuse() -> None:
    records = recorded(SHIPPED / "plain.pcapng.zst")
    flow = flows_of(records[:50])[0]
    assert flow.row["opcode"] == Opcode.INIT
    texts = _texts(flow)
    assert ">fuse_dev_do_read()" in texts
    assert not [text for text in texts if "uring" in text]


def test_notes_say_what_would_show_more() -> None:
    flow = _one(*whole(6, 1000))
    info = TraceInfo("6.18.0", "plain", "tracepoints", 0)
    notes = request_diagram(flow, info, "").notes
    assert notes[0].startswith("4 of ")
    assert notes[0].endswith("within 115ns.")
    assert re.fullmatch(r"Of \d+ dim steps, \d+ would show in a trace with --steps kernel, .*", notes[1])
    notes = request_diagram(flow, TraceInfo("6.18.0", "plain", "function", 0, steps="kernel"), "").notes
    assert "not seen by this trace on this kernel: fuse_uring_queue_fuse_req()" in notes[1]


def test_losses_are_told() -> None:
    flow = _one(*whole(6, 1000))
    flow.doubtful = True
    assert request_diagram(flow, INFO, "").notes[-1] == "Events were lost meanwhile, so steps may be missing."


def test_steps_that_were_not_seen_are_dim_and_have_no_time() -> None:
    diagram = request_diagram(_one(*whole(6, 1000)), INFO, "a request")
    lines = list(FlowView(diagram, UNICODE).lines(100))
    drawn = [line for line in lines if "│" in line.plain][1:]
    for line in drawn:
        styles = {str(span.style) for span in line.spans}
        has_time = bool(line.plain.split("│")[0].strip())
        assert not (has_time and "dim" in styles), line.plain
    unseen = next(line for line in drawn if ">fuse_uring_send()" in line.plain)
    assert "dim" in {str(span.style) for span in unseen.spans}


def test_without_unicode() -> None:
    diagram = request_diagram(_one(*whole(6, 1000)), INFO, "READ /b\u00e4r")
    lines = _lines(diagram, 80, ascii_only=True)
    assert all(line.isascii() for line in lines)
    assert len(_drawn(lines, "|")) > 20


def _setup_records() -> Iterator[Records]:
    for ns, kind in ((1000, Kind.ADD_QUEUE), (1010, Kind.ADD_BUFPOOL), (1020, Kind.REGISTER)):
        yield event(kind, ns, queue=3, command_op=(3, 4, 1)[int(kind) - int(Kind.ADD_QUEUE)], extra=bytes(80), **SERVER)
    yield event(Kind.READY, 1030, **SERVER)


def test_setting_up_a_queue() -> None:
    diagram = setup_diagram(batch(*_setup_records()), INFO, "queue 3")
    texts = [row.step.text for row in diagram.rows if row.event is not None]
    names = ("ADD_QUEUE", "ADD_BUFPOOL", "REGISTER")
    assert texts[:3] == [f"IORING_OP_URING_CMD / FUSE_URING_CMD_{name}" for name in names]
    assert texts[3] == "[io_uring is in use from now on]"
    for width in WIDTHS:
        _check_shape(diagram, width)


def test_a_queue_that_is_not_ready_says_so() -> None:
    diagram = setup_diagram(batch(*list(_setup_records())[:-1]), INFO, "queue 3")
    assert "READY was not seen" in diagram.rows[-1].step.text
    assert diagram.rows[-1].event is None


# ---- scripts ----


def test_scripts_are_tables() -> None:
    script = """
K >a()  @QUEUED
S  [b]  *fixed
K   <c()  ?buffer,!failed
"""
    steps = list(parsed(script, Traits(buffer=True, fixed=2), 1))
    assert steps == [
        Step(Side.KERNEL, 1, ">a()", "QUEUED"),
        Step(Side.SERVER, 1, "[b]"),
        Step(Side.SERVER, 1, "[b]"),
        Step(Side.KERNEL, 3, "<c()"),
    ]
    assert len(list(parsed(script, Traits(buffer=True, failed=True)))) == 1
    with pytest.raises(ValueError, match="no step"):
        list(parsed("X nothing", Traits()))


@pytest.mark.parametrize("ending", Ending)
@pytest.mark.parametrize("dialect", [Dialect.PLAIN, Dialect.BUFPOOL])
@pytest.mark.parametrize("device", [False, True])
def test_whatever_a_request_is_like_it_can_be_drawn(ending: Ending, dialect: Dialect, *, device: bool) -> None:
    for bits in range(1 << 6):
        names = ("background", "buffer", "selected", "zero_copy", "fetched", "failed")
        given = {name: bool(bits >> at & 1) for at, name in enumerate(names)}
        reached = ending in (Ending.ANSWERED, Ending.ABORTED)
        traits = Traits(dialect, ending, device, assigned=reached, delivered=reached, **given)
        steps = steps_of(traits)
        assert steps
        assert not [step for step in steps if "{" in step.text]
        assert ("ENDED" in [step.sign for step in steps]) == (ending is not Ending.UNFINISHED)

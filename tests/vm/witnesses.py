"""What a trace's events say of each request, and what the server's own log says of it, in the same words.

``differences`` compares the two, request by request.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tests.vm.poolserver import read_log
from tests.vm.sequences import Event, by_request, only, over_ring


@dataclass(frozen=True)
class Facts:
    """A request that went over the ring.

    Attributes:
        opcode: number of the operation.
        queue: the queue's number.
        entry: the entry's index in the server's log; of a trace, whatever tells an entry from all others.
        commit_id: as the server was told it.
        error: of the answer, 0 or negative.
        offset: where in the pool its buffer is; also 0 if it has none, which the server can't tell from the first one.
        has_buffer: None where that is not known.
        slot: the registered buffer that its pages are; None if they are none.
        moved: bytes that were moved between those pages and the file; None if that was not tried.
    """

    opcode: int
    queue: int
    entry: int
    commit_id: int
    error: int
    offset: int
    has_buffer: bool | None
    slot: int | None
    moved: int | None


def traced_requests(events: Iterable[Event]) -> dict[int, Facts]:
    """Return what the events of one connection say of requests that were answered, by their numbers."""
    found = {unique: _traced(own) for (_, unique), own in by_request(events).items() if over_ring(own)}
    return {unique: facts for unique, facts in found.items() if facts is not None}


def _traced(own: Sequence[Event]) -> Facts | None:
    delivered, ended = only(own, "DELIVERED"), only(own, "ENDED")
    if delivered is None or ended is None:
        return None
    moved = [event["bytes"] for event in own if event["event"] == "FIXED_IO"]
    return Facts(
        opcode=delivered["opcode"],
        queue=delivered["queue"],
        entry=delivered["entry"],
        commit_id=delivered["commit_id"],
        error=ended["error"],
        offset=delivered["offset"] or 0,
        has_buffer=delivered["buffer"] is not None,
        slot=delivered["slot"],
        moved=sum(moved) if moved else None,
    )


def demo_requests(log: Path) -> dict[int, Facts]:
    """Return what the demo server has logged (``furtrace.demo.witness``)."""
    lines = (json.loads(line) for line in log.read_text().splitlines())
    return {line["unique"]: _demo(line) for line in lines if line["transport"] == "uring"}


def _demo(line: Mapping[str, Any]) -> Facts:
    assert line["zero_copied"] == (line["slot"] is not None), line
    names = ("opcode", "queue", "entry", "commit_id", "error", "slot", "moved")
    return Facts(**{name: line[name] for name in names}, offset=line["offset"] or 0, has_buffer=_in_demo(line))


def _in_demo(line: Mapping[str, Any]) -> bool | None:
    """Without a pool no request has a buffer of one; with one, an offset that is not 0 says that it has."""
    if line["offset"] is None:
        return False
    return True if line["offset"] else None


def pool_server_requests(log: Path) -> dict[int, Facts]:
    """Return what the pool server has logged."""
    return {
        request.unique: Facts(
            opcode=request.opcode,
            queue=request.qid,
            entry=request.entry,
            commit_id=request.commit_id,
            error=request.error,
            offset=request.offset,
            has_buffer=request.has_buffer,
            slot=request.slot,
            moved=sum(each.bytes for each in request.fixed_io) if request.fixed_io else None,
        )
        for request in read_log(log).requests
    }


def differences(traced: Mapping[int, Facts], logged: Mapping[int, Facts]) -> list[str]:
    """Return in what a trace and a log differ, in words.

    Entries have other names in the two, and are the same if these go together one to one.
    """
    wrong = [f"request {unique} is in the trace alone" for unique in sorted(traced.keys() - logged.keys())]
    wrong += [f"request {unique} is in the log alone" for unique in sorted(logged.keys() - traced.keys())]
    both = sorted(traced.keys() & logged.keys())
    for unique in both:
        wrong += _different(unique, traced[unique], logged[unique])
    pairs = {(traced[unique].entry, (logged[unique].queue, logged[unique].entry)) for unique in both}
    if any(len(set(side)) < len(pairs) for side in zip(*pairs, strict=True)):
        wrong.append(f"entries do not go together one to one: {sorted(pairs)}")
    return wrong


def _different(unique: int, traced: Facts, logged: Facts) -> list[str]:
    known = traced if logged.has_buffer is not None else replace(traced, has_buffer=None)
    ours, theirs = asdict(known), asdict(logged)
    return [
        f"request {unique}: {name} is {ours[name]} in the trace, {theirs[name]} in the log"
        for name in ours
        if name != "entry" and ours[name] != theirs[name]
    ]

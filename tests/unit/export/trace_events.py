"""Reads trace events as the importers of Chrome and Perfetto do, and says what they would find wrong.

The rules are those of the format's description and of Perfetto's importer (``json_trace_parser.cc``): slices of a
thread nest or follow each other, an arrow begins and ends within a slice, every process and thread has one name.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


def ns(us: float) -> int:
    """Microseconds of the file, to the nanosecond."""
    return round(us * 1000)


@dataclass
class Slice:
    """A slice as it is shown."""

    event: Json
    begin: int
    end: int
    parent: "Slice | None"
    children: list["Slice"] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.event["name"])

    @property
    def category(self) -> str:
        return str(self.event["cat"])

    @property
    def arguments(self) -> Json:
        found: Json = self.event["args"]
        return found


@dataclass
class Trace:
    """A trace as it is shown."""

    text: str
    slices: list[Slice] = field(default_factory=list)
    arrows: list[tuple[Slice, Slice]] = field(default_factory=list)
    counters: dict[tuple[int, str, str], list[tuple[int, int]]] = field(default_factory=dict)
    instants: list[Json] = field(default_factory=list)
    processes: dict[int, str] = field(default_factory=dict)
    threads: dict[int, tuple[int, str]] = field(default_factory=dict)
    other: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = json.loads(self.text)
        self.events: list[Json] = whole["traceEvents"]
        self.other = whole["otherData"]["furtrace"]
        for event in self.events:
            assert {"ph", "name", "pid", "tid", "ts"} <= event.keys(), event
            assert event["pid"] > 0, event
            assert event["tid"] > 0, event
            assert event["ts"] >= 0, event
        self._metadata()
        self._timeline()
        for (pid, _, _), samples in self.counters.items():
            assert pid in self.processes
            assert [at for at, _ in samples] == sorted({at for at, _ in samples}), "one value a time, in order"

    def _metadata(self) -> None:
        for event in self.events:
            if event["name"] == "process_name":
                self.processes[event["pid"]] = event["args"]["name"]
            elif event["name"] == "thread_name":
                assert event["tid"] not in self.threads, "a thread has one name, and is of one process"
                self.threads[event["tid"]] = event["pid"], event["args"]["name"]

    def _timeline(self) -> None:
        stacks: dict[int, list[Slice]] = {}
        begun: dict[int, Slice] = {}
        for event in self._in_time():
            at, stack = ns(event["ts"]), stacks.setdefault(event["tid"], [])
            while stack and stack[-1].end <= at and stack[-1].begin < at:
                stack.pop()
            match event["ph"]:
                case "X":
                    self._slice(event, at, stack)
                case "s":
                    assert event["id"] not in begun, event
                    begun[event["id"]] = stack[-1]
                case "f":
                    assert event["bp"] == "e"
                    self.arrows.append((begun.pop(event["id"]), stack[-1]))
                case "C":
                    (unit, value), *more = event["args"].items()
                    assert not more
                    self.counters.setdefault((event["pid"], event["name"], unit), []).append((at, value))
                case "i":
                    assert event["s"] in "gp"
                    self.instants.append(event)
                case phase:
                    assert phase == "M"
        assert not begun, "arrows that lead nowhere"

    def _in_time(self) -> Iterator[Json]:
        """As importers sort: by time, what is at the same in the order of the file."""
        yield from sorted(self.events, key=lambda event: ns(event["ts"]))

    def _slice(self, event: Json, at: int, stack: list[Slice]) -> None:
        pid, _ = self.threads[event["tid"]]
        assert pid == event["pid"]
        assert event["pid"] in self.processes
        assert event["dur"] >= 0
        while stack and stack[-1].end <= at and not (stack[-1].begin == at == stack[-1].end == at + ns(event["dur"])):
            stack.pop()
        made = Slice(event, at, at + ns(event["dur"]), stack[-1] if stack else None)
        if made.parent is not None:
            assert made.end <= made.parent.end, f"{made} and {made.parent} overlap"
            made.parent.children.append(made)
        stack.append(made)
        self.slices.append(made)

    def of(self, category: str) -> list[Slice]:
        return [one for one in self.slices if one.category == category]

    def counter(self, name: str) -> list[tuple[int, int]]:
        """Samples of the only counter of this name."""
        (found,) = [samples for (_, own, _), samples in self.counters.items() if own == name]
        return found

"""Rules and findings."""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from furtrace.model.requests import Requests_, no_requests
from furtrace.trace.record import NO_QUEUE, Records, no_records
from furtrace.wire.opcodes import opcode_name


class Severity(IntEnum):
    """How bad it is.

    ERROR: server or kernel did what the protocol does not allow, or a request was cut off. WARNING: something waits or
    fails that most likely should not. NOTE: what costs time or memory.
    """

    NOTE = 1
    WARNING = 2
    ERROR = 3

    @property
    def word(self) -> str:
        """As it is printed and given on the command line."""
        return self.name.lower()


@dataclass(frozen=True)
class Rule:
    """What is looked for.

    ``title``: what is wrong, in a few words. ``explanation``: why that is wrong and what the kernel makes of it, with
    the place where it does. ``remedy``: what to do about it.
    """

    id: str
    severity: Severity
    title: str
    explanation: str
    remedy: str


@dataclass
class Finding:
    """That a rule is broken, and where.

    ``sentence``: what was found, whole. ``ns``: when, CLOCK_MONOTONIC. ``queue``: None if it is about none.
    ``request``: the row of the request that it is about; empty: none. ``events``: records that prove it.
    """

    rule: Rule
    sentence: str
    ns: int
    connection: int
    queue: int | None = None
    request: Requests_ = field(default_factory=no_requests)
    events: Records = field(default_factory=no_records)

    @property
    def unique(self) -> int | None:
        """Of the request that it is about."""
        return int(self.request["unique"][0]) if len(self.request) else None


def about(rule: Rule, sentence: str, ns: int, row: np.void, events: Records | None = None) -> Finding:
    """A finding about a request."""
    kept = no_records() if events is None else events.copy()
    request = np.array([row], row.dtype)
    return Finding(rule, sentence, ns, int(row["connection"]), _queue(int(row["queue"])), request, kept)


def about_event(rule: Rule, sentence: str, event: np.void) -> Finding:
    """A finding about an event that is of no request."""
    events = np.array([event], event.dtype)
    queue = _queue(int(event["queue"]))
    return Finding(rule, sentence, int(event["ns"]), int(event["connection"]), queue, events=events)


def _queue(number: int) -> int | None:
    return None if number == NO_QUEUE else number


def request_name(request: np.void) -> str:
    """What a sentence calls a request, by its row or by an event of it: ``READ, unique 84``."""
    return f"{opcode_name(int(request['opcode']))}, unique {request['unique']}"

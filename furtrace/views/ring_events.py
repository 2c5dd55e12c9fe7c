"""Events of buffers, of zero-copy and of steps inside the kernel, in words."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from furtrace.trace.record import NOT_COUNTED, Flag, Kind, Step
from furtrace.wire.errnos import Errno, error_text
from furtrace.wire.opcodes import command_name, fixed_io_name, header_part_name


def ring_event(event: np.void, kind: Kind, about: str) -> str:
    """What a line says of an event of :data:`RING_EVENTS`; ``about``: of the request, empty if it is about none."""
    if kind is Kind.READY:
        return "io_uring is in use from now on"
    words = [_step(event), about] if kind is Kind.STEP else [about, *_WORDS.get(kind, place_words)(event)]
    return " ".join(word for word in (*words, _result(event, kind)) if word)


def details(event: np.void, kind: Kind) -> str:
    """What an event of :data:`RING_EVENTS` tells besides its name and its request: buffer, slot, sizes, result."""
    words = () if kind in (Kind.READY, Kind.STEP) else _WORDS.get(kind, place_words)(event)
    return " ".join(word for word in (*words, _result(event, kind)) if word)


def place_words(event: np.void) -> Iterator[str]:
    """Buffer and slot of an event, where it has them: ``buffer=3 offset=98304 slot=2``."""
    if event["flags"] & Flag.HAS_BUFFER:
        yield f"buffer={event['buffer_id']} offset={event['pool_offset']}"
    if event["flags"] & Flag.HAS_SLOT:
        yield f"slot={event['slot']}"


def step_name(number: int) -> str:
    """The kernel's function that a STEP tells of; one that is not known by its number."""
    return Step(number).function if number in _STEPS else f"step {number}"


def access(flags: int) -> str:
    """What the server may do with registered pages: ``reading``, ``writing``, both or neither."""
    return " and ".join(
        word for flag, word in ((Flag.PAGES_READABLE, "reading"), (Flag.PAGES_WRITABLE, "writing")) if flags & flag
    )


def _buffer(event: np.void) -> Iterator[str]:
    yield from place_words(event)
    if event["buffers"] and not event["error"]:
        free = "?" if event["buffers_free"] == NOT_COUNTED else event["buffers_free"]
        yield f"free={free}/{event['buffers']}"


def _registered(event: np.void) -> Iterator[str]:
    yield from place_words(event)
    yield f"segments={event['segments']} bytes={event['length']}"
    allowed = access(int(event["flags"]))
    if allowed:
        yield f"for {allowed}"


def _fixed(event: np.void) -> Iterator[str]:
    yield fixed_io_name(int(event["command_op"]))
    yield f"slot={event['slot']}"
    asked = int(event["payload_size"])
    if asked:
        yield f"offset={event['pool_offset']}"
    if not event["error"]:
        of = f" of {asked}" if asked not in (0, event["length"]) else ""
        yield f"{event['length']}{of} bytes"


def _step(event: np.void) -> str:
    number = int(event["step"])
    name = step_name(number) + ("()" if number in _STEPS else "")
    if number == Step.COPY_HEADER_TO_RING:
        return f"{name} {header_part_name(int(event['command_op']))}"
    return f"{name} {command_name(int(event['command_op']))}" if event["command_op"] else name


_WORDS: Final[dict[Kind, Callable[[np.void], Iterator[str]]]] = {
    Kind.SELECTED: _buffer,
    Kind.RECYCLED: _buffer,
    Kind.PAGES_REGISTERED: _registered,
    Kind.FIXED_IO: _fixed,
}
RING_EVENTS: Final = (
    *(Kind.READY, Kind.SELECTED, Kind.PAGES_REGISTERED, Kind.COPIED, Kind.FIXED_IO, Kind.RETURNED),
    *(Kind.PAGES_UNREGISTERED, Kind.PAGES_RELEASED, Kind.RECYCLED, Kind.STEP),
)
"""Kinds that :func:`ring_event` is for."""
_STEPS: Final = frozenset(map(int, Step)) - {0}
_ALWAYS_TOLD: Final = (Kind.STEP, Kind.COPIED, Kind.RETURNED)
"""Kinds whose result is told also where it is 0."""
_WHY: Final[dict[tuple[Kind, int], str]] = {
    (Kind.SELECTED, Errno.ENOBUFS): " (the pool is dry, it waits)",
    (Kind.PAGES_REGISTERED, Errno.EBUSY): " (the slot is taken)",
    (Kind.PAGES_REGISTERED, Errno.EINVAL): " (there is no such slot)",
}


def _result(event: np.void, kind: Kind) -> str:
    error = int(event["error"])
    if not event["flags"] & Flag.HAS_ERROR or (not error and kind not in _ALWAYS_TOLD):
        return ""
    if error == -Errno.EIOCBQUEUED:  # what a command returns that goes on: no error
        return "= EIOCBQUEUED"
    return f"= {error_text(error)}{_WHY.get((kind, -error), '')}"

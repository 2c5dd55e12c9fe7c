"""A call of the decoder made of any bytes, and what has to hold for it; with and without atheris the same."""

import random
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from furtrace.wire.decode import Context, Decoded, Part, decode
from furtrace.wire.dialect import Dialect
from furtrace.wire.errors import DecodeError
from furtrace.wire.opcodes import Opcode
from tests.unit.wire.cstructs import joined
from tests.unit.wire.invariants import check
from tests.unit.wire.messages import COMMANDS, NOTIFICATIONS, READV_SQE, REPLIES, REQUESTS, notification

MOST_BYTES: Final = 4096
"""Of the decoder's input."""
MOST_SECONDS: Final = 0.01
"""Of CPU time for one call."""
PAUSES: Final = (0.0, 0.0, 0.1, 0.5, 2.0)
"""Seconds before each further try of a slow call. It is slow if it is so every time: a virtual machine's host may take
its CPU away for a while, and that counts as the thread's own time."""
CHOICES: Final = 6
"""Bytes before the decoder's input that choose how it is called."""

_PARTS: Final = (None, *Part)
_DIALECTS: Final = tuple(Dialect)
_OPCODES: Final = (None, *map(int, Opcode), 0, 7, 19, 54, 4097, 2**32 - 1)
_COMMANDS: Final = (None, 1, 2, 3, 4, 0, 5, 2**32 - 1)
_BUF_SIZES: Final = (None, 4096, 1 << 20, 0)
_NUMBERS: Final = (0, 1, 2, 7, 8, 16, 31, 32, 40, 255, 4096, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 8, 2**32 - 1)


@dataclass(frozen=True)
class Call:
    """Arguments of ``decode``."""

    data: bytes
    part: Part | None
    context: Context


def call_of(given: bytes) -> Call:
    """Return the call that bytes stand for: the first ones choose, the others are the decoder's input."""
    part, dialect, opcode, command, buf_size, _ = given[:CHOICES].ljust(CHOICES, b"\0")
    context = Context(
        _DIALECTS[dialect % len(_DIALECTS)],
        _OPCODES[opcode % len(_OPCODES)],
        _COMMANDS[command % len(_COMMANDS)],
        _BUF_SIZES[buf_size % len(_BUF_SIZES)],
    )
    return Call(given[CHOICES : CHOICES + MOST_BYTES], _PARTS[part % len(_PARTS)], context)


def bytes_of(call: Call) -> bytes:
    """Return the bytes that stand for a call, the other way round."""
    context = call.context
    return (
        bytes(
            [
                _PARTS.index(call.part),
                _DIALECTS.index(context.dialect),
                _OPCODES.index(context.opcode),
                _COMMANDS.index(context.command),
                _BUF_SIZES.index(context.buf_size),
                0,
            ]
        )
        + call.data
    )


def seeds() -> Iterator[bytes]:
    """Yield the bytes of calls with a good message of every kind."""
    for part, dialect, opcode, command, data in _good():
        yield bytes_of(Call(data, part, Context(dialect, opcode, command)))


def _good() -> Iterator[tuple[Part, Dialect, int | None, int | None, bytes]]:
    plain = Dialect.PLAIN
    for request in REQUESTS.values():
        yield Part.REQUEST, plain, None, None, joined(request.contiguous())
        yield Part.IN, plain, request.opcode, None, joined(request.body())
        for dialect in Dialect:
            yield Part.HEADER, dialect, None, None, joined(request.slot(dialect))
    for reply in REPLIES.values():
        yield Part.REPLY, plain, reply.opcode, None, joined(reply.contiguous())
        yield Part.OUT, plain, reply.opcode, None, joined(reply.body)
        for dialect in Dialect:
            yield Part.HEADER, dialect, reply.opcode, None, joined(reply.slot(dialect))
            yield Part.ENTRY, dialect, reply.opcode, None, reply.slot(dialect)[2].raw
    for code in NOTIFICATIONS:
        yield Part.REPLY, plain, None, None, joined(notification(code))
    for one in COMMANDS.values():
        yield Part.COMMAND, one.dialect, None, one.code if one.code < 5 else None, joined(one.area())
        yield Part.SQE, one.dialect, None, None, joined(one.sqe())
    yield Part.SQE, plain, None, None, READV_SQE.raw + bytes(80)


class Mutator:
    """Makes other inputs of an input, knowing where numbers and pieces of a message lie."""

    def __init__(self) -> None:
        self._seeds = list(seeds())

    def __call__(self, given: bytes, most: int, chance: random.Random) -> bytes:
        """Return something else than ``given``, of at most ``most`` bytes."""
        ways: tuple[Callable[[bytearray, random.Random], None], ...] = (
            self._number, self._number, self._length, self._cut, self._insert, self._choose, self._splice, self._flip,
        )  # fmt: skip
        made = bytearray(given if len(given) > CHOICES else chance.choice(self._seeds))
        for _ in range(chance.randint(1, 3)):
            chance.choice(ways)(made, chance)
        return bytes(made[: min(most, CHOICES + MOST_BYTES)])

    def seed(self, chance: random.Random) -> bytes:
        """Return one of the good messages."""
        return chance.choice(self._seeds)

    @staticmethod
    def _place(made: bytearray, chance: random.Random, alignment: int = 1) -> int:
        return CHOICES + chance.randrange(max(1, len(made) - CHOICES)) // alignment * alignment

    def _number(self, made: bytearray, chance: random.Random) -> None:
        """Put a number that is on an edge where one may be."""
        width = chance.choice((2, 4, 4, 8))
        at = self._place(made, chance, width)
        made[at : at + width] = chance.choice(_NUMBERS).to_bytes(8, "little")[:width]

    def _length(self, made: bytearray, chance: random.Random) -> None:
        """Put a length that nearly fits where one may be."""
        left = len(made) - CHOICES - chance.choice((0, 1, 8, 16, 40, 256, 288)) + chance.randint(-9, 9)
        at = self._place(made, chance, 4)
        made[at : at + 4] = max(0, left).to_bytes(4, "little")

    def _cut(self, made: bytearray, chance: random.Random) -> None:
        del made[self._place(made, chance) :]

    def _insert(self, made: bytearray, chance: random.Random) -> None:
        at = self._place(made, chance)
        made[at:at] = chance.choice((b"\0", b"\xff", chance.randbytes(4))) * chance.choice((1, 2, 8, 64, 1024))

    def _choose(self, made: bytearray, chance: random.Random) -> None:
        made[chance.randrange(CHOICES)] = chance.randrange(256)

    def _splice(self, made: bytearray, chance: random.Random) -> None:
        other = chance.choice(self._seeds)
        at = self._place(made, chance, 8)
        made[at : at + chance.choice((0, len(made)))] = other[self._place(bytearray(other), chance, 8) :]

    def _flip(self, made: bytearray, chance: random.Random) -> None:
        at = self._place(made, chance)
        if at < len(made):
            made[at] ^= 1 << chance.randrange(8)


@dataclass
class Tally:
    """Runs calls, checks each, and counts.

    Attributes:
        inputs: how many were run.
        refused: how many of them lacked an opcode, and were refused with DecodeError.
        slowest: seconds of CPU time of the slowest call.
        at_million: resident memory after the first million, bytes; 0 before.
    """

    inputs: int = 0
    refused: int = 0
    slowest: float = 0.0
    at_million: int = 0
    started: float = field(default_factory=time.monotonic)

    def run(self, given: bytes) -> None:
        """Make the call that ``given`` stands for, and check what comes of it."""
        call = call_of(given)
        seconds, decoded = _timed(call)
        if seconds > self.slowest:
            seconds = _surely(call, seconds)
            self.slowest = max(self.slowest, seconds)
            assert seconds <= MOST_SECONDS, f"{seconds * 1000:.1f} ms for {call}"
        self.refused += decoded is None
        if decoded is not None:
            check(decoded, call.data)
        self.inputs += 1
        if self.inputs == 1_000_000:
            self.at_million = resident()

    def report(self) -> str:
        """Say what was run, in one line."""
        now = resident()
        grown = f", {(now - self.at_million) / 1024:+.0f} KiB since the first million" if self.at_million else ""
        return (
            f"{self.inputs} inputs ({self.refused} refused) in {time.monotonic() - self.started:.0f} s; "
            f"slowest call {self.slowest * 1000:.2f} ms of CPU time; {now / 1024**2:.1f} MiB resident{grown}"
        )


def _timed(call: Call) -> tuple[float, Decoded | None]:
    """Return CPU seconds and result; None if the call was refused."""
    start = time.thread_time()
    try:
        decoded = decode(call.data, call.part, call.context)
    except DecodeError:
        assert call.part in (Part.IN, Part.OUT)
        assert call.context.opcode is None
        decoded = None
    return time.thread_time() - start, decoded


def _surely(call: Call, seconds: float) -> float:
    """Return the least CPU time of several tries; those after the second only for a call that was slow in all."""
    for index, pause in enumerate(PAUSES):
        if index >= 2 and seconds <= MOST_SECONDS:
            break
        time.sleep(pause)
        seconds = min(seconds, _timed(call)[0])
    return seconds


def resident() -> int:
    """Return the bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

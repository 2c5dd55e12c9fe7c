"""The picture of a queue's memory, as the document of buffer rings has it: header slots, and payload buffers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from furtrace.model.memory import HeaderSlot, QueueMemory
from furtrace.model.pools import Holding, Pool
from furtrace.model.requests import begin_of, state
from furtrace.views.boxes import boxes, gauge
from furtrace.views.fitting import drawn_width
from furtrace.views.live_table import Glyphs
from furtrace.views.units import duration
from furtrace.wire.opcodes import opcode_name


class MemoryView:
    """Draws the memory of a queue.

    Args:
        memory: which.
        now_ns: at which time.
        glyphs: characters that may be shown.
    """

    def __init__(self, memory: QueueMemory, now_ns: int, glyphs: Glyphs) -> None:
        self._memory, self._now_ns, self._glyphs = memory, now_ns, glyphs

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines(drawn_width(options.max_width)):
            yield Text(line, no_wrap=True, overflow="ignore")

    def lines(self, width: int) -> Iterator[str]:
        """The picture's lines, of at most so many columns."""
        memory = self._memory
        connection, queue = memory.place
        yield f"Queue {queue} of connection {connection}"
        yield ""
        yield f"Headers buffer: {len(memory.slots)} slots"
        yield f"{gauge(memory.busy, len(memory.slots))} entries have a request"
        yield from boxes([self._header(slot) for slot in memory.slots], width)
        if memory.pool is not None:
            yield ""
            yield from self._pool(memory.pool, width)
        elif any(slot.payload for slot in memory.slots):
            yield "Each entry has a payload buffer of its own."

    def _header(self, slot: HeaderSlot) -> list[str]:
        name = "[not used yet]" if slot.entry is None else f"[ent {slot.entry}]"
        held = "free" if slot.holder is None else self._request(slot.holder)
        payload = [f"payload {slot.payload:#x}"] if slot.payload else []
        return [f"{name} {slot.address:#x}", *payload, *held.split("\n")]

    def _request(self, row: np.void) -> str:
        age = duration(self._now_ns - begin_of(row))
        return f"{opcode_name(int(row['opcode']))} unique={row['unique']}\n{state(row)}, {age}"

    def _pool(self, pool: Pool, width: int) -> Iterator[str]:
        memory, buffers = self._memory, pool.buffers
        size = memory.pool_size // buffers if buffers and memory.pool_size else 0
        where = f" of {size} bytes" if size else ""
        where += f" at {memory.pool_address:#x}" if memory.pool_address else ""
        known = "?" if buffers is None else str(buffers)
        yield f"Payload buffer pool: {known} buffers{where}"
        yield f"{gauge(pool.in_use, buffers)} in use, {pool.peak} at most"
        numbers = range(buffers) if buffers is not None else sorted(pool.held)
        yield from boxes([self._buffer(number, pool.held.get(number), size) for number in numbers], width)
        unknown = pool.in_use - len(pool.held)
        if unknown > 0:
            yield f"{unknown} more in use, by whom was not seen."
        if pool.waiting:
            yield f"{pool.waiting} requests wait for a buffer."

    def _buffer(self, number: int, holding: Holding | None, size: int) -> list[str]:
        offset = holding.offset if holding is not None else number * size
        title = f"buf {number} offset {offset}" if holding is not None or size else f"buf {number}"
        if holding is None:
            return [title, "free"]
        request = f"{opcode_name(holding.opcode)} unique={holding.unique}"
        how = "kept, its request has ended" if holding.ended_ns is not None else "in use"
        return [title, request, f"{how}, {duration(self._now_ns - holding.since_ns)}"]


def memory_object(memory: QueueMemory, now_ns: int) -> dict[str, Any]:
    """The memory of a queue as JSON has it."""
    pool = memory.pool
    return {
        "connection": memory.place[0],
        "queue": memory.place[1],
        "ns": now_ns,
        "headers": [
            {
                "address": slot.address,
                "entry": slot.entry,
                "payload": slot.payload or None,
                "unique": None if slot.holder is None else int(slot.holder["unique"]),
            }
            for slot in memory.slots
        ],
        "pool": None
        if pool is None
        else {
            "address": memory.pool_address or None,
            "size": memory.pool_size or None,
            "buffers": pool.buffers,
            "in_use": pool.in_use,
            "exact": pool.counted,
            "peak": pool.peak,
            "waiting": pool.waiting,
            "held": [
                {
                    "buffer": number,
                    "offset": holding.offset,
                    "unique": holding.unique,
                    "since_ns": holding.since_ns,
                    "ended": holding.ended_ns is not None,
                }
                for number, holding in sorted(pool.held.items())
            ],
        },
    }

"""The live view's tables of buffer pools and zero-copy, and of the buffers and slots that entries hold."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Final

import numpy as np

from furtrace.model.conversation import Conversation
from furtrace.model.pools import Holding, Pool
from furtrace.views.copying import SHORT
from furtrace.views.live_table import DIM, RED, YELLOW, Cell, Column, Glyphs, Order, Panel
from furtrace.views.units import count, duration
from furtrace.wire.opcodes import opcode_name

_SORT_KEYS: Final[dict[str, Callable[[Pool], int]]] = {
    "waiting": lambda pool: pool.waiting,
    "dry": lambda pool: pool.dry,
    "in use": lambda pool: pool.in_use,
    "zero-copied": lambda pool: pool.zero_copied_bytes,
}


class PoolsPanel(Panel):
    """Pools of all queues."""

    title = "Buffer pools and zero-copy"
    columns = (
        Column("conn", 4, 5, right=True),
        Column("queue", 5, 0, right=True),
        Column("buffers", 7, 3, right=True),
        Column("free", 4, 1, right=True),
        Column("in use", 6, 6, right=True),
        Column("peak", 4, 7, right=True),
        Column("dry", 5, 4, right=True),
        Column("waiting", 7, 2, right=True),
        Column("selected", 8, 12, right=True),
        Column("slots", 5, 8, right=True),
        Column("registered", 10, 13, right=True),
        Column("failed", 6, 11, right=True),
        Column("zero-copied", 11, 9, right=True),
        Column("copied", 9, 10, grow=31),
        Column("mount point", 11, 14, grow=40),
    )
    orders = (
        Order("number", falling=False),
        Order("waiting"),
        Order("dry"),
        Order("in use"),
        Order("zero-copied"),
    )

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(glyphs)
        self._pools: list[Pool] = []
        self._mounts: dict[int, str] = {}

    def update(self, pools: list[Pool], mounts: dict[int, str]) -> None:
        """Take in the pools as they are now: copies, the model changes its own in place."""
        self._pools = [copied(pool) for pool in pools]
        self._mounts = mounts

    @property
    def total(self) -> int:
        """How many pools there are."""
        return len(self._pools)

    def rows(self, first: int, count: int) -> list[Sequence[Cell]]:
        """Make the cells of the pools that are shown."""
        order = self.order
        ordered = self._pools
        if order.name != "number":
            ordered = sorted(ordered, key=_SORT_KEYS[order.name], reverse=order.falling)
        elif order.falling:
            ordered = ordered[::-1]
        return [self._cells(pool) for pool in ordered[first : first + count]]

    def _cells(self, pool: Pool) -> Sequence[Cell]:
        return (
            str(pool.connection),
            str(pool.queue),
            *_buffers(pool),
            str(len(pool.slots)),
            count(pool.registered) if pool.slots_watched or pool.failed else "?" if pool.zero_copied else "-",
            (str(pool.failed), RED) if pool.failed else "0",
            count(pool.zero_copied_bytes),
            copied_text(pool),
            (self._mounts.get(pool.connection, ""), DIM),
        )


def copied(pool: Pool) -> Pool:
    """A pool as it is now."""
    shown = copy(pool)
    shown.held, shown.slots, shown.because = dict(pool.held), dict(pool.slots), dict(pool.because)
    return shown


def _buffers(pool: Pool) -> Sequence[Cell]:
    """Cells from ``buffers`` to ``selected``."""
    if not pool.pooled:
        return ("-",) * 7
    dry = pool.dry_since_ns is not None
    unseen = "0" if pool.watched else "?"
    return (
        _or_unknown(pool.buffers),
        (_or_unknown(pool.free), YELLOW) if dry else _or_unknown(pool.free),
        str(pool.in_use) if pool.counted else f"{pool.in_use}+",
        str(pool.peak) if pool.watched else f"{pool.peak}+",
        (count(pool.dry), YELLOW) if pool.dry else unseen,
        (str(pool.waiting), YELLOW) if pool.waiting else unseen,
        count(pool.selected) if pool.watched else "?",
    )


def _or_unknown(number: int | None) -> str:
    return "?" if number is None else str(number)


def copied_text(pool: Pool) -> str:
    """How many requests were copied for which reason: ``file 3, operation 12``; ``-`` for none."""
    words = [f"{word} {count(pool.because[why])}" for why, word in SHORT.items() if pool.because.get(why)]
    return ", ".join(words) or "-"


@dataclass(frozen=True)
class _Held:
    """What one entry holds: a buffer, a slot, or both."""

    pool: Pool
    entry: int | None
    buffer: Holding | None
    slot: Holding | None

    @property
    def newest(self) -> Holding:
        """What tells of the request."""
        held = self.slot if self.slot is not None and self.slot.ended_ns is None else self.buffer or self.slot
        assert held is not None
        return held

    @property
    def since_ns(self) -> int:
        """Since when it holds the first of them."""
        return min(held.since_ns for held in (self.buffer, self.slot) if held is not None)


_MOST: Final = 500
"""Entries that are shown: those that hold something longest."""


class HoldingsPanel(Panel):
    """Buffers and slots that are in use, a row for each entry that holds some."""

    title = "Buffers and slots in use"
    columns = (
        Column("conn", 4, 8, right=True),
        Column("queue", 5, 3, right=True),
        Column("entry", 5, 7, right=True),
        Column("buffer", 6, 0, right=True),
        Column("offset", 8, 10, grow=2, right=True),
        Column("slot", 4, 1, right=True),
        Column("bytes", 7, 11, grow=3, right=True),
        Column("held for", 8, 2, right=True),
        Column("state", 5, 9),
        Column("unique", 7, 5, grow=5, right=True),
        Column("operation", 9, 4, grow=7),
        Column("path", 12, 6, grow=60),
    )
    orders = (Order("held for"),)

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(glyphs)
        self._cells: list[Sequence[Cell]] = []

    def update(self, conversation: Conversation, now_ns: int) -> None:
        """Take in what is held now."""
        held = [each for pool in conversation.pools.table() for each in _of_entries(pool, conversation)]
        held = sorted(held, key=lambda each: each.since_ns)[:_MOST]
        paths = self._paths(held, conversation)
        self._cells = [self._row(each, now_ns, paths) for each in held]

    @property
    def total(self) -> int:
        """How many entries hold something."""
        return len(self._cells)

    def rows(self, first: int, count: int) -> list[Sequence[Cell]]:
        """Give the cells of the entries that are shown."""
        return self._cells[first : first + count]

    def _paths(self, held: list[_Held], conversation: Conversation) -> dict[tuple[int, int], str]:
        """Paths of the requests that hold something and are under way, by connection and unique."""
        if not held:
            return {}
        under_way = conversation.requests.under_way
        rows = under_way[np.isin(under_way["unique"], [each.newest.unique for each in held])]
        subjects = conversation.paths.present(rows)
        places = zip(rows["connection"].tolist(), rows["unique"].tolist(), strict=True)
        return {
            place: self.glyphs.text(subject.path.raw) + ("" if subject.path.sure else "?")
            for place, subject in zip(places, subjects, strict=True)
        }

    def _row(self, held: _Held, now_ns: int, paths: dict[tuple[int, int], str]) -> Sequence[Cell]:
        newest, buffer, slot = held.newest, held.buffer, held.slot
        size = slot.size if slot is not None else None
        return (
            str(held.pool.connection),
            str(held.pool.queue),
            _or_unknown(held.entry),
            "-" if buffer is None else str(buffer.number),
            "-" if buffer is None else str(buffer.offset),
            "-" if slot is None else str(slot.number),
            "-" if slot is None else _or_unknown(size),
            duration(max(0, now_ns - held.since_ns)),
            _state(held),
            str(newest.unique or "-"),
            opcode_name(newest.opcode) if newest.opcode else "-",
            paths.get((held.pool.connection, newest.unique), "-"),
        )


def _of_entries(pool: Pool, conversation: Conversation) -> list[_Held]:
    buffers = {holding.entry: copy(holding) for holding in pool.held.values()}
    slots = {holding.entry: copy(holding) for holding in pool.slots.values()}
    place = pool.connection, pool.queue
    return [
        _Held(pool, conversation.requests.entry_index(*place, entry), buffers.get(entry), slots.get(entry))
        for entry in {**buffers, **slots}
    ]


def _state(held: _Held) -> Cell:
    """``idle``: its request has ended; ``kept``: a buffer of an earlier request."""
    if held.newest.ended_ns is not None:
        return ("idle", YELLOW)
    return "kept" if held.buffer is not None and held.buffer.kept else ""

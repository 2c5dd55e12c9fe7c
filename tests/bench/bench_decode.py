"""How many full headers a second can be read on one core, by each of the ways that furtrace has.

A full header is what stands in a ring entry's header slot: ``fuse_in_header``, the operation's structure and
``fuse_uring_ent_in_out``. The peer is construct, by which every structure is declared. The line printer's own way, all
columns at once by numpy, is measured twice: the reading alone, and from event records to lines.

Run: python -m tests.bench.bench_decode [--headers 20000] [--rounds 5]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from furtrace.model.conversation import Conversation
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import NO_QUEUE, RECORD, Flag, Kind, Records, Transport
from furtrace.views.arguments import arguments
from furtrace.views.lines import RequestLines
from furtrace.wire.attributes import GETATTR_IN, GetattrIn
from furtrace.wire.decode import Context, Part, decode
from furtrace.wire.dialect import Dialect
from furtrace.wire.files import READ_IN, WRITE_IN, ReadIn, WriteIn
from furtrace.wire.headers import IN_HEADER, OUT_HEADER, InHeader, OutHeader
from furtrace.wire.layout import Layout
from furtrace.wire.opcodes import Opcode
from furtrace.wire.ring import ENT_IN_OUT_BUFPOOL, EntInOutBufpool

BOUND: Final = 60_000
_OPERATIONS: Final[tuple[tuple[Opcode, Layout[Any], bytes], ...]] = (
    (Opcode.READ, READ_IN, READ_IN.build(ReadIn(3, 65536, 4096, 2, 0xABC, 0o140000, 0))),
    (Opcode.WRITE, WRITE_IN, WRITE_IN.build(WriteIn(3, 65536, 4096, 2, 0xABC, 0o140001, 0))),
    (Opcode.GETATTR, GETATTR_IN, GETATTR_IN.build(GetattrIn(1, 0, 3))),
)


def slots(count: int) -> list[bytes]:
    """Header slots of requests, READ, WRITE and GETATTR in turn."""
    made = []
    for index in range(count):
        opcode, layout, head = _OPERATIONS[index % len(_OPERATIONS)]
        header = InHeader(IN_HEADER.size + layout.size, opcode, 2 * index + 2, 5, 1000, 100, 4242, 0, 0)
        entry = EntInOutBufpool(0, header.unique, 0, 8192, 0)
        made.append(
            IN_HEADER.build(header).ljust(128, b"\0") + head.ljust(128, b"\0") + ENT_IN_OUT_BUFPOOL.build(entry)
        )
    return made


def records(made: Sequence[bytes]) -> Records:
    """The four events of each request that was in a slot."""
    reply = OUT_HEADER.build(OutHeader(OUT_HEADER.size, 0, 0)).ljust(288, b"\0")
    events = np.zeros(4 * len(made), RECORD)
    events["connection"], events["queue"], events["node_id"] = 40, 1, 5
    events["ns"] = np.arange(len(events)) * 1000 + 10**12
    events["pid"], events["tid"], events["comm"] = 77, 78, np.void(b"client".ljust(16, b"\0"))
    for index, slot in enumerate(made):
        four = events[4 * index : 4 * index + 4]
        four["unique"], four["opcode"] = 2 * index + 2, int.from_bytes(slot[4:8], "little")
        four["kind"] = (Kind.QUEUED, Kind.DELIVERED, Kind.COMMITTED, Kind.ENDED)
        four["header"] = [np.void(slot), np.void(slot), np.void(reply), np.void(reply)]
    kinds = events["kind"]
    events["queue"][kinds == Kind.QUEUED] = NO_QUEUE
    events["header_size"] = np.choose(np.isin(kinds, (Kind.DELIVERED, Kind.COMMITTED)), (256, 288))
    events["flags"] = np.select(
        [kinds == Kind.QUEUED, kinds == Kind.ENDED], [Flag.CURRENT_IS_CLIENT, Flag.HAS_ERROR], Flag.HEADER_FROM_SERVER
    )
    on_ring = kinds != Kind.QUEUED
    events["transport"][on_ring] = Transport.URING
    events["entry"][on_ring] = 0xE0
    events["commit_id"] = events["unique"]
    return events


def by_construct(made: Sequence[bytes]) -> None:
    """Each structure of each header by construct."""
    for index, slot in enumerate(made):
        IN_HEADER.parse(slot)
        _OPERATIONS[index % 3][1].parse(slot[128:256])
        ENT_IN_OUT_BUFPOOL.parse(slot[256:])


def by_struct(made: Sequence[bytes]) -> None:
    """The same by the layouts' fast way."""
    for index, slot in enumerate(made):
        IN_HEADER.unpack(slot)
        _OPERATIONS[index % 3][1].unpack(slot, 128)
        ENT_IN_OUT_BUFPOOL.unpack(slot, 256)


def by_tree(made: Sequence[bytes]) -> None:
    """The whole decoder: every field with its place and meaning."""
    context = Context(Dialect.BUFPOOL)
    for slot in made:
        decode(slot, Part.HEADER, context)


def by_numpy(made: Sequence[bytes]) -> None:
    """What the line printer does with headers: all of them at once, and the words of the operation's fields."""
    whole = np.frombuffer(b"".join(made), np.uint8).reshape(len(made), 288)
    heads = np.ascontiguousarray(whole[:, :40]).view(IN_HEADER.dtype)[:, 0]
    entries = np.ascontiguousarray(whole[:, 256:]).view(ENT_IN_OUT_BUFPOOL.dtype)[:, 0]
    for structure in (heads, entries):
        for name in structure.dtype.names or ():
            structure[name].tolist()
    operations = np.ascontiguousarray(whole[:, 128:256]).view("V128")[:, 0]
    arguments(heads["opcode"], np.full(len(made), 128, np.uint16), operations)


def printer(events: Records) -> Callable[[Sequence[bytes]], None]:
    """From event records to lines, as `furtrace live --plain` makes them."""

    def run(_: Sequence[bytes]) -> None:
        conversation = Conversation()
        lines = RequestLines(TraceInfo("6.18", "plain", "tracepoint", 0), conversation.paths)
        for start in range(0, len(events), 4000):
            for _line in lines.ended(conversation.feed(events[start : start + 4000])):
                pass

    return run


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(allow_abbrev=False)
    options.add_argument("--headers", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    made = slots(chosen.headers)
    ways: dict[str, Callable[[Sequence[bytes]], None]] = {
        "construct (the peer)": by_construct,
        "Layout.unpack": by_struct,
        "decode(): the whole tree": by_tree,
        "line printer: headers to words": by_numpy,
        "line printer: records to lines": printer(records(made)),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(chosen.rounds):
        for name, way in ways.items():
            began = time.process_time()
            way(made)
            rates[name].append(len(made) / (time.process_time() - began))
    peer = statistics.median(rates["construct (the peer)"])
    print(f"full headers a second of one core's time, median of {chosen.rounds} rounds of {chosen.headers}")
    for name, measured in rates.items():
        rate = statistics.median(measured)
        print(f"{name:32} {rate:10.0f}  {rate / peer:6.1f} x the peer  {rate / BOUND:5.1f} x the bound of {BOUND}")


if __name__ == "__main__":
    main()

"""A session without a kernel: requests are made by hand."""

import itertools
import struct
from collections.abc import Callable

import pytest

from furtrace.demo.handlers import Handlers
from furtrace.demo.node import Owner
from furtrace.demo.session import Limits, Session
from furtrace.demo.tree import Tree
from furtrace.demo.wire import Reply, Request

Ask = Callable[..., Reply]


@pytest.fixture
def session() -> Session:
    ticks = itertools.count(1_600_000_000_123_456_789)
    return Session(Tree(Owner(0, 0), clock=lambda: next(ticks)), Limits())


@pytest.fixture
def ask(session: Session) -> Ask:
    """Return a function that puts a request to the handlers: opcode, node, the operation's structure, payload."""
    handlers = Handlers(session)

    def ask(opcode: int, nodeid: int = 1, op_in: bytes = b"", payload: bytes = b"", unique: int = 2) -> Reply:
        header = (40 + len(op_in) + len(payload), opcode, unique, nodeid, 1000, 100, 4321, 0, 0)
        assert len(struct.pack("=IIQQIIIHH", *header)) == 40
        # As in a ring entry, the operation's structure stands in 128 bytes.
        return handlers.answer(Request(header, memoryview(op_in.ljust(128, b"\0")), memoryview(payload)))

    return ask

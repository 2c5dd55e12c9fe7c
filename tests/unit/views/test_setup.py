"""INIT and the commands that set up queues, in words."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from furtrace.trace.record import Kind
from furtrace.views.setup import describe_command, describe_init
from furtrace.wire.dialect import Dialect
from tests.unit.events import event

_INIT_EXT = 1 << 30
_KERNEL = struct.pack("<IIII", 7, 45, 131072, _INIT_EXT | 1) + struct.pack("<I", 1 << 9).ljust(48, b"\0")


def _reply(flags: int = _INIT_EXT | 1 << 5, flags2: int = 1 << 9, max_pages: int = 256) -> bytes:
    return struct.pack("<IIIIHHIIHHIIH", 7, 41, 131072, flags, 12, 9, 1048576, 1, max_pages, 0, flags2, 0, 0).ljust(
        64, b"\0"
    )


def test_init() -> None:
    assert describe_init(_KERNEL + _reply(), 0) == (
        "kernel 7.45, server 7.41 max_write=1048576 max_background=12 max_pages=256 "
        "flags=BIG_WRITES|INIT_EXT|OVER_IO_URING"
    )


def test_init_flags2_counts_with_init_ext_only() -> None:
    assert describe_init(_KERNEL + _reply(flags=1 << 5), 0).endswith(" flags=BIG_WRITES")
    assert describe_init(_KERNEL + _reply(flags=0), 0).endswith(" flags=0")


def test_init_that_failed() -> None:
    assert describe_init(_KERNEL, -71) == "kernel 7.45 = -EPROTO"
    assert describe_init(_KERNEL, -4000) == "kernel 7.45 = -4000"


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (b"", "(not decoded: fuse_init_in: 64 bytes needed, 0 given, before major)"),
        (_KERNEL[:63], "(not decoded: fuse_init_in: 64 bytes needed, 63 given, inside unused)"),
        (_KERNEL, "(not decoded: fuse_init_out: 8 bytes needed, 0 given, before major)"),
    ],
)
def test_init_that_is_too_short(extra: bytes, text: str) -> None:
    assert describe_init(extra, 0) == text


def test_init_of_old_servers() -> None:
    assert describe_init(_KERNEL + struct.pack("<II", 7, 4), 0) == "kernel 7.45, server 7.4 flags=0"
    old = _KERNEL + _reply()[:24]
    assert describe_init(old, 0) == (
        "kernel 7.45, server 7.41 max_write=1048576 max_background=12 flags=BIG_WRITES|INIT_EXT"
    )


def _command(area: bytes, dialect: Dialect, kind: Kind = Kind.REGISTER, **members: Any) -> str:
    operation = {Kind.REGISTER: 1, Kind.ADD_QUEUE: 3, Kind.ADD_BUFPOOL: 4}[kind]
    return describe_command(event(kind, 1, command_op=operation, extra=area, **members)[0], dialect)


def _area(flags: int = 0, qid: int = 5, rest: bytes = b"") -> bytes:
    return (struct.pack("<QQHHI", flags, 99, qid, 0, 0) + rest).ljust(80, b"\0")


def test_plain() -> None:
    assert _command(_area(), Dialect.PLAIN) == "qid=5 flags=0"
    assert _command(_area(flags=5), Dialect.PLAIN) == "qid=5 flags=0x1|0x4"


def test_where_the_entrys_memory_is() -> None:
    place: dict[str, Any] = {"headers": 0x7F00, "payload": 0x8F00, "payload_size": 1048576}
    assert _command(_area(), Dialect.PLAIN, **place) == "qid=5 flags=0 headers=0x7f00 payload=0x8f00+1048576"
    assert _command(_area(), Dialect.PLAIN, Kind.ADD_QUEUE, **place) == "qid=5 flags=0"


def test_bufring() -> None:
    area = struct.pack("<QQHHIHH", 0b1011, 0, 5, 0, 65536, 32, 0).ljust(80, b"\0")
    assert _command(area, Dialect.BUFRING) == (
        "qid=5 flags=BUF_RING|PINNED_HEADERS|ZERO_COPY buf_size=65536 queue_depth=32"
    )


def test_bufpool() -> None:
    pool = struct.pack("<QII", 0x7F0000, 1 << 20, 0)
    assert _command(_area(1), Dialect.BUFPOOL, Kind.ADD_QUEUE) == "qid=5 flags=ZERO_COPY"
    assert _command(_area(1), Dialect.BUFPOOL, Kind.REGISTER) == "qid=5 flags=0x1"
    assert _command(_area(rest=pool), Dialect.BUFPOOL, Kind.ADD_BUFPOOL) == "qid=5 flags=0 uaddr=0x7f0000 len=1048576"
    assert _command(_area(rest=b"\x07\0"), Dialect.BUFPOOL) == "qid=5 flags=0 ent_zero_copy_buf_index=7"
    assert _command(_area(), Dialect.BUFPOOL) == "qid=5 flags=0"


@pytest.mark.parametrize(
    ("dialect", "kind", "needed"),
    [
        (Dialect.PLAIN, Kind.REGISTER, 24),
        (Dialect.BUFRING, Kind.REGISTER, 28),
        (Dialect.BUFPOOL, Kind.REGISTER, 26),
        (Dialect.BUFPOOL, Kind.ADD_QUEUE, 24),
        (Dialect.BUFPOOL, Kind.ADD_BUFPOOL, 40),
    ],
)
def test_an_sqe_of_64_bytes_is_too_short(dialect: Dialect, kind: Kind, needed: int) -> None:
    for size in (0, 16, needed - 1):
        said = _command(_area()[:size], dialect, kind)
        assert said.startswith(f"(not decoded: fuse_uring_cmd_req: {needed} bytes needed, {size} given, ")
    assert _command(_area()[:needed], dialect, kind).startswith("qid=5 ")


@given(st.binary(max_size=128), st.integers(-4095, 0))
def test_any_bytes_are_described(data: bytes, error: int) -> None:
    assert describe_init(data, error).isprintable()
    for dialect in Dialect:
        for kind in (Kind.REGISTER, Kind.ADD_QUEUE, Kind.ADD_BUFPOOL):
            assert _command(data[:80], dialect, kind).isprintable()

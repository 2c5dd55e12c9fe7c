"""What the parsers make of bytes."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from furtrace.wire import commands, headers, init, protocol, ring
from furtrace.wire.dialect import Dialect, dialect_of
from furtrace.wire.errors import DecodeError
from furtrace.wire.layout import Buffer, Field, Layout, Member
from furtrace.wire.names import parse_names
from furtrace.wire.opcodes import Opcode, UringCommand

LAYOUTS: list[Layout[Any]] = list(
    dict.fromkeys(
        [*protocol.common_structures(), *(layout for dialect in Dialect for layout in protocol.structures(dialect))]
    )
)
BUFFERS: list[Callable[[bytes], Buffer]] = [bytes, bytearray, memoryview]


layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.name}-{layout.size}")


def _wire(layout: Layout[Any]) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=layout.size, max_size=layout.size)


@layouts
@given(data=st.data())
def test_every_value_survives_build_and_parse(layout: Layout[Any], data: st.DataObject) -> None:
    # All bytes are some value's, and the other way round: there are no gaps between fields.
    wire = data.draw(_wire(layout))
    value = layout.parse(wire + b"what follows")
    assert layout.build(value) == wire
    assert layout.parse(layout.build(value)) == value


@layouts
@settings(max_examples=30)
@given(data=st.data(), before=st.binary(max_size=9), after=st.binary(max_size=3), buffer=st.sampled_from(BUFFERS))
def test_all_ways_to_read_a_structure_agree(
    layout: Layout[Any], data: st.DataObject, before: bytes, after: bytes, buffer: Callable[[bytes], Buffer]
) -> None:
    wire = data.draw(_wire(layout))
    given_bytes = buffer(before + wire + after)
    value = layout.parse(buffer(wire))
    unpacked = layout.unpack(given_bytes, len(before))
    assert unpacked == value
    assert type(unpacked) is type(value)
    record = np.frombuffer(given_bytes, layout.dtype, count=1, offset=len(before))[0]
    assert _as_numpy(value) == _plain(record)


def _as_numpy(value: Any) -> Any:
    """Return a structure's values as ``_plain`` does numpy's."""
    if is_dataclass(value):
        return {field.name: _as_numpy(getattr(value, field.name)) for field in fields(value)}
    return value


def _plain(value: Any) -> Any:
    """Return a record of numpy as values of Python, by name."""
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    if value.dtype.names:
        return {name: _plain(value[name]) for name in value.dtype.names}
    return value.tobytes() if value.dtype.kind == "V" else value.item()


@layouts
def test_a_structure_that_is_not_all_there(layout: Layout[Any]) -> None:
    for length in range(layout.size):
        cut = next(field for field in layout.fields if field.offset + field.size > length)
        where = "before" if length == cut.offset else "inside"
        reason = f"{layout.name}: {layout.size} bytes needed, {length} given, {where} {cut.name}"
        with pytest.raises(DecodeError, match=f"^{re.escape(reason)}$"):
            layout.parse(bytes(length))
        with pytest.raises(DecodeError, match=f"^{re.escape(reason)}$"):
            layout.unpack(bytes(length + 3), 3)
    with pytest.raises(DecodeError, match=f"^{layout.name}: {layout.size} bytes needed, 0 given, before "):
        layout.unpack(bytes(2), 3)


@layouts
def test_fields_are_the_members_from_within(layout: Layout[Any]) -> None:
    def flat(members: tuple[Member, ...], prefix: str, start: int) -> Iterator[Field]:
        for member in members:
            if member.members:
                assert member.size == sum(inner.size for inner in member.members)
                yield from flat(member.members, f"{prefix}{member.name}.", start + member.offset)
            else:
                yield Field(prefix + member.name, start + member.offset, member.size)

    assert tuple(flat(layout.members, "", 0)) == layout.fields
    value = layout.parse(bytes(layout.size))
    assert all(hasattr(value, member.attribute) for member in layout.members)


@given(
    data=st.binary(max_size=400),
    dialect=st.sampled_from(Dialect),
    code=st.integers(0, 2**32 - 1) | st.sampled_from(Opcode) | st.sampled_from(UringCommand),
    buffer=st.sampled_from(BUFFERS),
)
def test_arbitrary_bytes_raise_nothing_but_decode_error(
    data: bytes, dialect: Dialect, code: int, buffer: Callable[[bytes], Buffer]
) -> None:
    parsers: list[Callable[[Buffer], object]] = [
        headers.parse_in_header,
        headers.parse_out_header,
        lambda data: ring.parse_ent_in_out(data, dialect),
        lambda data: ring.parse_req_header(data, dialect),
        lambda data: commands.parse_cmd_req(data, dialect, code),
        init.parse_init_in,
        init.parse_init_out,
        lambda data: parse_names(code, data),
    ]
    for parse in parsers:
        with suppress(DecodeError):
            assert parse(buffer(data)) == parse(data)


def test_a_request_on_the_ring() -> None:
    request = headers.InHeader(96, Opcode.WRITE, 1234, 7, 1000, 100, 4321, 0, 0)
    head = headers.IN_HEADER.build(request)
    entry = ring.EntInOutBufpool(1, 1234, 16384, 8192, 0)
    slot = ring.REQ_HEADER_BUFPOOL.build(ring.ReqHeaderBufpool(head.ljust(128, b"\0"), bytes(128), entry))
    parsed = ring.parse_req_header(slot, Dialect.BUFPOOL)
    assert parsed.in_header() == request
    assert parsed.ring_ent_in_out == entry == ring.parse_ent_in_out(slot[256:], Dialect.BUFPOOL)
    bufring = ring.parse_req_header(slot, Dialect.BUFRING).ring_ent_in_out
    assert isinstance(bufring, ring.EntInOutBufring)
    assert bufring.buf_id == 8192


def test_a_reply_on_the_ring() -> None:
    reply = headers.OutHeader(16, -2, 1234)
    in_out = headers.OUT_HEADER.build(reply).ljust(128, b"\0")
    assert in_out[4:8] == b"\xfe\xff\xff\xff"
    slot = in_out + bytes(160)
    assert ring.parse_req_header(slot, Dialect.PLAIN).out_header() == reply


@pytest.mark.parametrize(
    ("given_bytes", "end"), [(0, "before len"), (8, "before unique"), (9, "inside unique"), (39, "inside padding")]
)
def test_says_what_is_short(given_bytes: int, end: str) -> None:
    with pytest.raises(DecodeError, match=f"^fuse_in_header: 40 bytes needed, {given_bytes} given, {end}$"):
        headers.parse_in_header(bytes(given_bytes))


def test_a_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^fuse_out_header: .*error"):
        headers.OUT_HEADER.build(headers.OutHeader(16, 2**31, 1))


AREA = bytes(range(1, 1 + commands.CMD_AREA_SIZE))


@pytest.mark.parametrize(
    ("dialect", "command", "form"),
    [
        (Dialect.PLAIN, UringCommand.REGISTER, commands.CmdReq),
        (Dialect.PLAIN, UringCommand.ADD_BUFPOOL, commands.CmdReq),
        (Dialect.BUFRING, UringCommand.REGISTER, commands.CmdReqBufring),
        (Dialect.BUFRING, UringCommand.COMMIT_AND_FETCH, commands.CmdReqBufring),
        (Dialect.BUFPOOL, UringCommand.REGISTER, commands.CmdReqRegister),
        (Dialect.BUFPOOL, UringCommand.COMMIT_AND_FETCH, commands.CmdReq),
        (Dialect.BUFPOOL, UringCommand.ADD_QUEUE, commands.CmdReq),
        (Dialect.BUFPOOL, UringCommand.ADD_BUFPOOL, commands.CmdReqAddBufpool),
        (Dialect.BUFPOOL, 99, commands.CmdReq),
    ],
)
def test_a_command_has_its_own_form(dialect: Dialect, command: int, form: type) -> None:
    parsed = commands.parse_cmd_req(AREA, dialect, command)
    assert type(parsed) is form
    assert parsed.commit_id == int.from_bytes(AREA[8:16], "little")
    assert parsed.qid == int.from_bytes(AREA[16:18], "little")


def test_the_union_of_the_command_area() -> None:
    pool = commands.parse_cmd_req(AREA, Dialect.BUFPOOL, UringCommand.ADD_BUFPOOL)
    entry = commands.parse_cmd_req(AREA, Dialect.BUFPOOL, UringCommand.REGISTER)
    assert isinstance(pool, commands.CmdReqAddBufpool)
    assert isinstance(entry, commands.CmdReqRegister)
    assert pool.bufpool.uaddr == int.from_bytes(AREA[24:32], "little")
    assert pool.bufpool.len == int.from_bytes(AREA[32:36], "little")
    assert entry.ent_zero_copy_buf_index == int.from_bytes(AREA[24:26], "little")


@pytest.mark.parametrize(
    ("members", "dialect"),
    [
        ({"flags", "commit_id", "payload_sz", "padding", "reserved"}, Dialect.PLAIN),
        ({"flags", "commit_id", "payload_sz", "buf_id", "padding", "reserved"}, Dialect.BUFRING),
        ({"flags", "commit_id", "payload_sz", "offset", "reserved"}, Dialect.BUFPOOL),
        (set(), Dialect.PLAIN),
    ],
)
def test_dialect_shows_in_the_members(members: set[str], dialect: Dialect) -> None:
    assert dialect_of(members) is dialect


def test_names_of_requests() -> None:
    assert parse_names(Opcode.LOOKUP, b"a file\0") == (b"a file",)
    assert parse_names(Opcode.RENAME2, b"old\0new\0") == (b"old", b"new")
    assert parse_names(Opcode.SYMLINK, b"name\0to/here\0extension") == (b"name", b"to/here")
    assert parse_names(Opcode.SETXATTR, b"user.x\0value\0") == (b"user.x",)
    assert parse_names(Opcode.LINK, b"new\0") == (b"new",)
    assert parse_names(Opcode.WRITE, b"data\0") == ()
    assert parse_names(9999, b"data\0") == ()
    with pytest.raises(DecodeError, match=r"^RENAME: newname has no end in the 7 bytes given$"):
        parse_names(Opcode.RENAME, b"old\0new")

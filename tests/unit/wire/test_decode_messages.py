"""Good messages of every operation, in every form in which they travel."""

from dataclasses import replace

import pytest

from furtrace.wire.decode import Context, Decoded, Part, decode
from furtrace.wire.dialect import Dialect
from furtrace.wire.items import Item
from furtrace.wire.notifications import Notification
from furtrace.wire.opcodes import Opcode
from tests.unit.wire.cstructs import Piece, filler, joined, shape_of, shapes, struct, whole
from tests.unit.wire.messages import (
    COMMANDS,
    CONTEXTS,
    GROUPS,
    NOTIFICATIONS,
    READV_SQE,
    REPLIES,
    REQUESTS,
    Command,
    Reply,
    Request,
    data,
    entry,
    name,
    notification,
)

NO_REPLY = {Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT, Opcode.NOTIFY_REPLY}
requests = pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
replies = pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
dialects = pytest.mark.parametrize("dialect", Dialect)
commands = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


def read(pieces: tuple[Piece, ...], part: Part | None = None, context: Context | None = None) -> Decoded:
    """Decode the pieces, which have to be what is found."""
    decoded = decode(joined(pieces), part, context)
    assert tuple(map(shape_of, decoded.items)) == shapes(pieces)
    return decoded


def test_every_operation_is_tried() -> None:
    assert {request.opcode for request in REQUESTS.values()} == set(Opcode)
    assert {reply.opcode for reply in REPLIES.values()} == set(Opcode) - NO_REPLY
    assert set(NOTIFICATIONS) == set(Notification)


@requests
def test_request_of_the_device(request_: Request) -> None:
    decoded = read(request_.contiguous(), Part.REQUEST)
    assert decoded.problems == ()
    assert decoded.title == f"request {Opcode(request_.opcode).name}"


@requests
@dialects
def test_request_in_a_slot(request_: Request, dialect: Dialect) -> None:
    decoded = read(request_.slot(dialect), Part.HEADER, Context(dialect))
    assert decoded.problems == ()
    assert decoded.title == f"request {Opcode(request_.opcode).name} in a header slot, {dialect} dialect"


@requests
def test_body_of_a_request(request_: Request) -> None:
    decoded = read(request_.body(), Part.IN, Context(opcode=request_.opcode))
    assert _said(decoded) == ([] if request_.body() else ["there are no bytes"])
    assert decoded.title == f"body of request {Opcode(request_.opcode).name}"


SIZE_ALONE = {name for name in REPLIES if "size alone" in name}


def _said(decoded: Decoded) -> list[str]:
    return [problem.reason for problem in decoded.problems]


AMBIGUOUS = ["fuse_getxattr_out if the request asked for the size, else what was asked for: they look alike"]


@pytest.mark.parametrize("key", REPLIES)
def test_reply_of_the_device(key: str) -> None:
    decoded = read(REPLIES[key].contiguous(), Part.REPLY, Context(opcode=REPLIES[key].opcode))
    assert _said(decoded) == (AMBIGUOUS if key in SIZE_ALONE else [])
    assert decoded.title == f"reply to {Opcode(REPLIES[key].opcode).name}: success"


@replies
@dialects
def test_reply_in_a_slot(reply: Reply, dialect: Dialect) -> None:
    decoded = read(reply.slot(dialect), Part.HEADER, Context(dialect, reply.opcode))
    assert decoded.problems == ()
    assert decoded.title == f"reply to {Opcode(reply.opcode).name} in a header slot, {dialect} dialect: success"


@pytest.mark.parametrize("key", REPLIES)
def test_body_of_a_reply(key: str) -> None:
    reply = REPLIES[key]
    decoded = read(reply.body, Part.OUT, Context(opcode=reply.opcode))
    nothing = [] if reply.body else ["there are no bytes"]
    assert _said(decoded) == (AMBIGUOUS if key in SIZE_ALONE else nothing)
    assert decoded.title == f"body of the reply to {Opcode(reply.opcode).name}"


@pytest.mark.parametrize("opcode", sorted(NO_REPLY))
def test_what_is_not_answered_has_no_body(opcode: int) -> None:
    decoded = decode(b"body", Part.OUT, Context(opcode=opcode))
    assert _said(decoded) == [f"4 bytes follow where the reply to {Opcode(opcode).name} ends"]


@pytest.mark.parametrize("code", NOTIFICATIONS)
def test_notification(code: int) -> None:
    decoded = read(notification(code), Part.REPLY)
    assert decoded.problems == ()
    assert decoded.title == f"notification {Notification(code).name}"
    header = decoded.items[0]
    assert header.items[1].meaning == f"notification {Notification(code).name}"
    assert header.items[2].meaning == "a notification"


@commands
def test_command_area(command: Command) -> None:
    decoded = read(command.area(), Part.COMMAND, Context(command.dialect, command=command.code))
    assert decoded.problems == ()
    assert str(command.dialect) in decoded.title


@commands
@pytest.mark.parametrize("opcode", [46, 64])
def test_command_in_an_sqe(command: Command, opcode: int) -> None:
    decoded = read(command.sqe(opcode), Part.SQE, Context(command.dialect))
    assert decoded.problems == ()
    assert decoded.title.startswith("SQE of ")
    assert decoded.items[1].items == tuple(
        _moved(item, 48) for item in decode(joined(command.area()), Part.COMMAND, _context(command)).items
    )


def _context(command: Command) -> Context:
    return Context(command.dialect, command=command.code)


def _moved(item: Item, by: int) -> Item:
    return replace(item, offset=item.offset + by, items=tuple(_moved(inner, by) for inner in item.items))


@pytest.mark.parametrize("left", [16, 80])
def test_sqe_of_no_command(left: int) -> None:
    zeroes = bytes(left)
    decoded = read((READV_SQE, Piece("unused", zeroes, zeroes)), Part.SQE)
    assert decoded.title == "SQE READV, no command"
    assert decoded.problems == ()


def test_the_rest_of_an_sqe_of_no_command_is_shown() -> None:
    decoded = read((READV_SQE, data("data", b"\1" + bytes(15))), Part.SQE)
    assert _said(decoded) == ["16 bytes of the SQE are not decoded for this operation"]


@dialects
def test_ring_entry(dialect: Dialect) -> None:
    decoded = decode(entry(dialect, 4096).raw, Part.ENTRY, Context(dialect))
    fields = entry(dialect, 4096).shape()[4]
    assert [shape_of(item) for item in decoded.items] == [
        ("fuse_uring_ent_in_out", 0, 32, None, fields),
        ("payload", 32, 0, None, ()),
    ]
    assert decoded.problems == ()
    assert decoded.title == f"ring entry, {dialect} dialect"


# ---- extensions, where the header does not count them ----


@pytest.mark.parametrize("opcode", [Opcode.MKDIR, Opcode.MKNOD, Opcode.SYMLINK, Opcode.CREATE, Opcode.TMPFILE])
def test_extensions_of_a_body_alone(opcode: int) -> None:
    first = next(request for request in REQUESTS.values() if request.opcode == opcode)
    body = Request(opcode, first.head, first.payload, (GROUPS, CONTEXTS)).body()
    assert read(body, Part.IN, Context(opcode=opcode)).problems == ()


def test_other_requests_have_extensions_only_if_the_header_says_so() -> None:
    body = joined((name("name", b"file"), GROUPS))
    decoded = decode(body, Part.IN, Context(opcode=Opcode.UNLINK))
    assert _said(decoded) == ["24 bytes follow where UNLINK ends"]
    read(Request(Opcode.UNLINK, None, (name("name", b"file"),), (GROUPS,)).contiguous(), Part.REQUEST)


def test_no_security_context_is_one_of_none() -> None:
    none = whole("extension", struct("fuse_secctx_header", size=8, nr_secctx=0))
    request = Request(Opcode.SYMLINK, None, REQUESTS["SYMLINK"].payload, (none, GROUPS))
    assert read(request.contiguous(), Part.REQUEST).problems == ()


def test_an_empty_context() -> None:
    empty = whole(
        "extension",
        struct("fuse_secctx_header", size=24, nr_secctx=1),
        struct("fuse_secctx", size=0),
        name("name", b"abc"),
        filler(4),
    )
    request = Request(Opcode.SYMLINK, None, REQUESTS["SYMLINK"].payload, (empty,))
    assert read(request.contiguous(), Part.REQUEST).problems == ()


def test_an_extension_is_filled_up_to_8_bytes() -> None:
    odd = whole(
        "extension",
        struct("fuse_ext_header", size=16, type=32),
        struct("fuse_supp_groups", nr_groups=1),
        Piece("group", b"\7\0\0\0", 7),
    )
    request = Request(Opcode.SYMLINK, None, REQUESTS["SYMLINK"].payload, (odd, GROUPS))
    assert read(request.contiguous(), Part.REQUEST).problems == ()
    short = whole("extension", struct("fuse_ext_header", size=12, type=32), struct("fuse_supp_groups", nr_groups=0))
    request = Request(Opcode.SYMLINK, None, REQUESTS["SYMLINK"].payload, (short, filler(4), GROUPS))
    assert read(request.contiguous(), Part.REQUEST).problems == ()

"""Where payload lies, what is left of earlier requests, what does not fit, and what is not known."""

import pytest

from furtrace.wire.decode import Context, Decoded, Part, decode, guess
from furtrace.wire.dialect import Dialect
from furtrace.wire.errors import DecodeError
from furtrace.wire.items import Item
from furtrace.wire.opcodes import Opcode
from tests.unit.wire.cstructs import Piece, joined, shape_of, struct
from tests.unit.wire.messages import (
    COMMANDS,
    NOTIFICATIONS,
    READV_SQE,
    REPLIES,
    REQUESTS,
    STALE,
    Reply,
    Request,
    data,
    entry,
    name,
    notification,
    slot,
)

PLAIN, BUFRING, BUFPOOL = Dialect


def _said(decoded: Decoded) -> list[tuple[int, str]]:
    return [(problem.offset, problem.reason) for problem in decoded.problems]


def _item(decoded: Decoded, path: str) -> Item:
    """Return the first item of that path; ``.`` goes into it."""
    items, found = decoded.items, None
    for part in path.split("."):
        found = next(item for item in items if item.name == part)
        items = found.items
    assert found
    return found


# ---- where payload lies ----


def _place(request: Request | Reply, context: Context, flags: int = 0) -> str:
    pieces = list(request.slot(context.dialect))
    size = len(pieces[3].raw)
    pieces[2] = _entry_at(context.dialect, size, flags)
    whole, alone = decode(joined(tuple(pieces)), Part.HEADER, context), decode(pieces[2].raw, Part.ENTRY, context)
    assert _item(alone, "payload").meaning.partition(": ")[0] == f"{size} bytes"
    said = _item(whole, "payload").meaning
    rest = said.removeprefix(f"{size} bytes: " if size else "none; ")
    assert rest != said
    return rest


def _entry_at(dialect: Dialect, size: int, flags: int) -> Piece:
    place = {PLAIN: {}, BUFRING: {"buf_id": 3}, BUFPOOL: {"offset": 0x2000}}[dialect]
    return struct("ring_ent_in_out", str(dialect), flags=flags, payload_sz=size, **place)


@pytest.mark.parametrize(
    ("dialect", "buf_size", "place"),
    [
        (PLAIN, None, "the entry's own payload buffer"),
        (PLAIN, 4096, "the entry's own payload buffer"),
        (BUFRING, None, "buffer 3 of the queue's ring, at buf_id * buf_size"),
        (BUFRING, 4096, "buffer 3 of the queue's ring, at buf_id * buf_size = 0x3000"),
        (BUFPOOL, 4096, "offset 0x2000 of the queue's pool"),
    ],
)
def test_payload_lies_where_the_dialect_puts_it(dialect: Dialect, buf_size: int | None, place: str) -> None:
    assert _place(REQUESTS["WRITE"], Context(dialect, buf_size=buf_size)) == place
    assert _place(REPLIES["READ"], Context(dialect, Opcode.READ, buf_size=buf_size)) == place


def test_a_request_without_payload_says_where_the_reply_goes() -> None:
    place = "a reply's goes to offset 0x2000 of the queue's pool, if the entry holds a buffer"
    assert _place(REQUESTS["READ"], Context(BUFPOOL)) == place
    assert _place(REQUESTS["READ"], Context(PLAIN)) == "the entry's own payload buffer"


PAGES = "zero-copied: the client's pages, at the registered buffer that REGISTER named (ent_zero_copy_buf_index)"


def test_zero_copied_payload() -> None:
    reply = f"{PAGES}; the reply goes to offset 0x2000 of the queue's pool"
    assert _place(REQUESTS["WRITE"], Context(BUFPOOL), flags=1) == reply
    assert _place(REPLIES["READ"], Context(BUFPOOL, Opcode.READ), flags=1) == PAGES
    # The bit says so in the bufpool form alone.
    assert "zero" not in _place(REQUESTS["WRITE"], Context(BUFRING), flags=1)
    assert "zero" not in _place(REQUESTS["WRITE"], Context(PLAIN), flags=1)


def test_what_follows_a_slot_is_not_all_of_a_zero_copied_payload() -> None:
    decoded = decode(joined(REQUESTS["WRITE"].slot(BUFPOOL, flags=1)), Part.HEADER, Context(BUFPOOL))
    assert _said(decoded) == [(288, "the payload is zero-copied, so what follows the header is not all of it")]
    # A slot by itself is what there is of such a request.
    assert decode(joined(REQUESTS["WRITE"].slot(BUFPOOL, flags=1))[:288], None, Context(BUFPOOL)).problems == ()


def test_the_flags_of_an_entry_are_the_dialects() -> None:
    said = {
        dialect: _item(decode(entry(dialect, 0, 1).raw, Part.ENTRY, Context(dialect)), "fuse_uring_ent_in_out.flags")
        for dialect in Dialect
    }
    assert {dialect: item.meaning for dialect, item in said.items()} == {
        PLAIN: "0x1",
        BUFRING: "0x1",
        BUFPOOL: "FUSE_URING_ENT_ZERO_COPY",
    }


# ---- commands ----


@pytest.mark.parametrize(
    ("key", "flags", "words"),
    [
        ("bufpool ADD_QUEUE", 3, "FUSE_URING_ZERO_COPY|0x2"),
        ("bufpool REGISTER", 1, "0x1"),
        ("plain REGISTER", 0, "0"),
        (
            "bufring REGISTER",
            31,
            "FUSE_URING_BUF_RING|FUSE_URING_PINNED_HEADERS|FUSE_URING_PINNED_BUFFERS|FUSE_URING_ZERO_COPY|0x10",
        ),
    ],
)
def test_the_flags_of_a_command_are_its_own(key: str, flags: int, words: str) -> None:
    command = COMMANDS[key]
    area = flags.to_bytes(8, "little") + joined(command.area())[8:]
    alone = decode(area, Part.COMMAND, Context(command.dialect, command=command.code))
    assert _item(alone, "fuse_uring_cmd_req.flags").meaning == words
    sqe = command.sqe()[0].raw + area
    within = decode(sqe, Part.SQE, Context(command.dialect))
    assert _item(within, "cmd.fuse_uring_cmd_req.flags").meaning == words


def test_a_command_area_of_an_unknown_command_shows_both_members_of_the_union() -> None:
    pieces = (COMMANDS["bufpool ADD_BUFPOOL"].request, Piece("unused", bytes(40), bytes(40)))
    decoded = decode(joined(pieces), Part.COMMAND, Context(BUFPOOL))
    request, index, unused = decoded.items
    assert request.name == "fuse_uring_cmd_req, if ADD_BUFPOOL"
    assert shape_of(request)[1:] == pieces[0].shape()[1:]
    assert shape_of(index) == ("ent_zero_copy_buf_index", 24, 2, 1, ())
    assert unused.offset == 40
    assert decoded.problems == ()
    assert request.items[0].meaning == "of ADD_QUEUE: 0"
    assert decoded.title == "command area, bufpool dialect"


def test_a_command_area_of_an_unknown_command_has_one_form_elsewhere() -> None:
    for key in ("plain REGISTER", "bufring REGISTER"):
        command = COMMANDS[key]
        known = decode(joined(command.area()), Part.COMMAND, Context(command.dialect, command=command.code))
        assert decode(joined(command.area()), Part.COMMAND, Context(command.dialect)).items == known.items


def test_what_a_command_does_not_use_has_to_be_zero() -> None:
    request = COMMANDS["plain REGISTER"].request
    decoded = decode(request.raw + bytes(50) + b"\7" + bytes(5), Part.COMMAND, Context(PLAIN, command=1))
    assert _said(decoded) == [(24, "56 bytes of the command area are not used by this command")]
    assert decoded.items[1].value == bytes(50) + b"\7" + bytes(5)


def test_bytes_behind_an_sqe() -> None:
    given = joined(COMMANDS["plain REGISTER"].sqe()) + b"more"
    assert _said(decode(given, Part.SQE)) == [(128, "4 bytes follow the SQE")]


# ---- what is left of earlier requests ----


def test_stale_bytes_are_no_fields() -> None:
    other = struct("fuse_write_in").raw
    pieces = list(REQUESTS["FORGET"].slot(PLAIN))
    pieces[1] = Piece("op_in", pieces[1].raw[:8] + other.ljust(120, STALE))
    decoded = decode(joined(tuple(pieces)), Part.HEADER)
    assert [item.name for item in _item(decoded, "op_in").items] == ["fuse_forget_in"]
    assert decoded.problems == ()
    assert STALE not in repr(decoded).encode()


def test_an_operation_without_a_structure_has_nothing_in_op_in() -> None:
    op_in = _item(decode(joined(REQUESTS["LOOKUP"].slot(PLAIN)), Part.HEADER), "op_in")
    assert (op_in.items, op_in.size) == ((), 128)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (8, (144, "8 bytes are too many for the operation's structure")),
        (-8, (136, "fuse_getattr_in: 16 bytes needed, 8 given, before fh")),
        (113, (0, "len 169 and payload_sz 0 do not fit together")),
        (-17, (0, "len 39 and payload_sz 0 do not fit together")),
    ],
)
def test_the_length_of_a_request_tells_what_op_in_holds(more: int, problem: tuple[int, str]) -> None:
    request = REQUESTS["GETATTR"]
    header = struct("fuse_in_header", len=56 + more, opcode=3, total_extlen=0)
    decoded = decode(joined(slot(PLAIN, header, request.head, ())), Part.HEADER)
    assert _said(decoded) == [problem]


# ---- what does not fit ----


@pytest.mark.parametrize("key", REQUESTS)
def test_bytes_behind_a_request(key: str) -> None:
    given = joined(REQUESTS[key].contiguous())
    decoded = decode(given + b"more", Part.REQUEST)
    assert _said(decoded) == [(len(given), f"4 bytes follow the {len(given)} that len says")]
    assert shape_of(decoded.items[-1]) == ("data", len(given), 4, b"more", ())


@pytest.mark.parametrize("key", REPLIES)
def test_bytes_behind_a_reply(key: str) -> None:
    given = joined(REPLIES[key].contiguous())
    decoded = decode(given + b"more", Part.REPLY, Context(opcode=REPLIES[key].opcode))
    assert _said(decoded)[-1] == (len(given), f"4 bytes follow the {len(given)} that len says")


@pytest.mark.parametrize("code", NOTIFICATIONS)
def test_bytes_behind_a_notification(code: int) -> None:
    given = joined(notification(code))
    assert _said(decode(given + b"more", Part.REPLY)) == [
        (len(given), f"4 bytes follow the {len(given)} that len says")
    ]


def test_bytes_behind_a_payload() -> None:
    given = joined(REQUESTS["WRITE"].slot(PLAIN))
    assert _said(decode(given + b"more", Part.HEADER)) == [(len(given), "4 bytes follow the payload")]
    given = joined(REQUESTS["READ"].slot(PLAIN))
    assert _said(decode(given + b"more", Part.HEADER)) == [(288, "4 bytes follow the payload")]
    assert _said(decode(entry(PLAIN, 0).raw + b"more", Part.ENTRY)) == [(32, "4 bytes follow fuse_uring_ent_in_out")]


def test_too_much_within_a_message() -> None:
    given = joined(REQUESTS["WRITE"].body())
    assert _said(decode(given + b"more", Part.IN, Context(opcode=Opcode.WRITE))) == [
        (len(given), "4 bytes follow where WRITE ends")
    ]
    given = joined(REPLIES["WRITE"].body)
    assert _said(decode(given + b"more", Part.OUT, Context(opcode=Opcode.WRITE))) == [
        (8, "4 bytes follow where the reply to WRITE ends")
    ]
    header = struct("fuse_out_header", len=28, error=1, unique=0).raw
    assert _said(decode(header + bytes(8) + b"more", Part.REPLY)) == [
        (24, "4 bytes follow where the notification ends")
    ]


@pytest.mark.parametrize("announced", [0, 8, 15])
def test_a_length_that_is_less_than_the_header(announced: int) -> None:
    reply = struct("fuse_out_header", len=announced, error=0).raw
    assert decode(reply, Part.REPLY).problems == ()
    assert _said(decode(reply + b"x", Part.REPLY, Context(opcode=15))) == [
        (16, f"1 bytes follow the {announced} that len says")
    ]


@pytest.mark.parametrize(
    ("opcode", "head", "payload", "reason"),
    [
        ("WRITE", struct("fuse_write_in", size=5), b"four", (44, "data: 5 bytes announced, 4 given")),
        ("IOCTL", struct("fuse_ioctl_in", in_size=5), b"four", (36, "data: 5 bytes announced, 4 given")),
        (
            "SETXATTR",
            struct("fuse_setxattr_in", size=5, setxattr_flags=0),
            b"a\0four",
            (22, "value: 5 bytes announced, 4 given"),
        ),
        (
            "BATCH_FORGET",
            struct("fuse_batch_forget_in", count=2**32 - 1),
            bytes(20),
            (28, "fuse_forget_one: 16 bytes needed, 4 given, inside nodeid"),
        ),
        ("RENAME", struct("fuse_rename_in"), b"old\0new", (12, "newname has no end in the 3 bytes left")),
        ("RENAME", struct("fuse_rename_in"), b"old\0", (12, "newname is missing")),
    ],
)
def test_less_than_announced(opcode: str, head: Piece, payload: bytes, reason: tuple[int, str]) -> None:
    decoded = decode(head.raw + payload, Part.IN, Context(opcode=Opcode[opcode]))
    assert reason in _said(decoded)


def test_node_ids_that_are_missing() -> None:
    given = struct("fuse_out_header", len=48, error=9, unique=0).raw
    decoded = decode(given + struct("fuse_notify_prune_out", count=3).raw + bytes(16), Part.REPLY)
    assert _said(decoded) == [(48, "3 times nodeid announced, 2 given")]


@pytest.mark.parametrize("code", [3, 6])
@pytest.mark.parametrize("announced", [3, 5])
def test_a_name_of_another_length_than_it_says(code: int, announced: int) -> None:
    structure = "fuse_notify_inval_entry_out" if code == 3 else "fuse_notify_delete_out"
    body = struct(structure, namelen=announced).raw + b"file\0"
    header = struct("fuse_out_header", len=16 + len(body), error=code, unique=0).raw
    assert _said(decode(header + body, Part.REPLY)) == [
        (16 + len(body), f"namelen says {announced} bytes, the name has 4"),
    ]


@pytest.mark.parametrize("place", range(4, 8))
def test_a_value_of_8_bytes_is_no_size_if_its_end_is_not_zero(place: int) -> None:
    value = bytes(1 if at in (0, place) else 0 for at in range(8))
    decoded = decode(value, Part.OUT, Context(opcode=Opcode.GETXATTR))
    assert [shape_of(item) for item in decoded.items] == [("value", 0, 8, value, ())]
    assert decoded.problems == ()


def test_a_payload_that_is_announced_to_be_empty_is_read_as_such() -> None:
    header = struct("fuse_in_header", len=40, opcode=Opcode.LOOKUP, total_extlen=0)
    given = joined(slot(PLAIN, header, None, ()))
    # By itself, the slot does not tell what the payload is; with bytes behind it, it does.
    assert decode(given, Part.HEADER).problems == ()
    assert _said(decode(given + b"file\0", Part.HEADER)) == [
        (288, "name is missing"),
        (288, "5 bytes follow the payload"),
    ]


def test_an_empty_attribute_ends_a_list() -> None:
    decoded = decode(b"a\0\0b\0", Part.OUT, Context(opcode=Opcode.LISTXATTR))
    assert [shape_of(item) for item in decoded.items] == [
        ("attribute", 0, 2, b"a", ()),
        ("data", 2, 3, b"\0b\0", ()),
    ]
    assert _said(decoded) == [(2, "3 bytes follow where the reply to LISTXATTR ends")]


def test_a_directory_entry_that_does_not_fit() -> None:
    given = struct("fuse_dirent", namelen=9).raw + b"short"
    decoded = decode(given, Part.OUT, Context(opcode=Opcode.READDIR))
    assert _said(decoded) == [(29, "name: 9 bytes announced, 5 given")]
    assert [item.name for item in decoded.items[0].items] == ["fuse_dirent", "name"]
    given = struct("fuse_dirent", namelen=0).raw + struct("fuse_dirent", namelen=1).raw + b"x" + bytes(7)
    decoded = decode(given, Part.OUT, Context(opcode=Opcode.READDIR))
    assert [(item.name, item.offset, item.size, item.meaning) for item in decoded.items] == [
        ("entry", 0, 24, ""),
        ("entry", 24, 32, '"x"'),
    ]


@pytest.mark.parametrize(
    ("extension", "problem"),
    [
        (struct("fuse_ext_header", size=7, type=32), "an extension of 7 bytes is too short for its own head"),
        (struct("fuse_ext_header", size=9, type=32), "an extension of 9 bytes does not fit the 8 bytes left"),
        (struct("fuse_ext_header", size=8, type=33), "extensions of type 33 are not known"),
        (struct("fuse_secctx_header", size=8, nr_secctx=31), "fuse_secctx: 8 bytes needed, 0 given, before size"),
        (struct("fuse_ext_header", size=8, type=32), "fuse_supp_groups: 4 bytes needed, 0 given, before nr_groups"),
    ],
)
def test_an_extension_that_does_not_fit(extension: Piece, problem: str) -> None:
    request = Request(Opcode.UNLINK, None, (name("name", b"file"),), (extension,))
    decoded = decode(joined(request.contiguous()), Part.REQUEST)
    assert problem in [reason for _, reason in _said(decoded)]


def test_more_in_an_extension_than_it_says() -> None:
    contexts = struct("fuse_secctx_header", size=16, nr_secctx=0).raw + b"8 bytes!"
    groups = struct("fuse_ext_header", size=24, type=32).raw + struct("fuse_supp_groups", nr_groups=1).raw + bytes(12)
    given = b"name\0target\0" + contexts + groups
    decoded = decode(given, Part.IN, Context(opcode=Opcode.SYMLINK))
    assert _said(decoded) == [
        (20, "8 bytes follow the security contexts"),
        (44, "8 bytes follow the groups"),
    ]


def test_total_extlen_that_is_too_much() -> None:
    header = struct("fuse_in_header", len=45, opcode=Opcode.UNLINK, total_extlen=1).raw
    decoded = decode(header + b"file\0", Part.REQUEST)
    assert _said(decoded)[:1] == [(40, "name is missing")]
    assert (40, "total_extlen says 8 bytes of extensions, 5 are given") in _said(decoded)


# ---- replies with an error ----


@pytest.mark.parametrize("key", ["LOOKUP", "OPEN", "READ"])
def test_a_reply_with_an_error_has_no_body(key: str) -> None:
    reply = REPLIES[key]
    header = struct("fuse_out_header", len=16, error=-2, unique=7)
    decoded = decode(header.raw, Part.REPLY, Context(opcode=reply.opcode))
    assert decoded.title == f"reply to {key}: -ENOENT"
    assert decoded.problems == ()
    given = struct("fuse_out_header", len=20, error=-2, unique=7).raw + b"more"
    decoded = decode(given, Part.REPLY, Context(opcode=reply.opcode))
    assert _said(decoded) == [(16, "4 bytes in a reply with an error, which has no body")]
    in_slot = decode(joined(slot(PLAIN, header, None, ())), Part.HEADER, Context(PLAIN, reply.opcode))
    assert in_slot.title.endswith("plain dialect: -ENOENT")
    assert in_slot.problems == ()


@pytest.mark.parametrize(
    ("error", "is_good"), [(-1, True), (-4095, True), (-4096, False), (1, False), (-(2**31), False)]
)
def test_an_error_that_is_none(error: int, is_good: bool) -> None:
    problems = [] if is_good else [(4, f"error {error} is neither 0 nor a negated errno")]
    header = struct("fuse_out_header", len=16, error=error, unique=7)
    assert _said(decode(header.raw, Part.REPLY)) == problems
    # As a request it would have an opcode there.
    if error < 0:
        assert _said(decode(joined(slot(PLAIN, header, None, ())), Part.HEADER)) == problems


def test_a_reply_whose_operation_is_not_known() -> None:
    given = joined(REPLIES["LOOKUP"].contiguous())
    decoded = decode(given, Part.REPLY)
    assert decoded.title == "reply: success"
    assert _said(decoded) == [
        (16, "128 bytes of a reply are not decoded: its operation is not known (give its opcode)")
    ]
    assert decode(joined(REPLIES["UNLINK"].contiguous()), Part.REPLY).problems == ()
    decoded = decode(joined(REPLIES["LOOKUP"].slot(PLAIN)), Part.HEADER)
    assert decoded.title == "reply in a header slot, plain dialect: success"
    assert _item(decoded, "op_in").items == ()


# ---- what is not known ----


@pytest.mark.parametrize("opcode", [0, 7, 19, 54, 4097, 2**32 - 1])
def test_operations_that_are_not_known(opcode: int) -> None:
    body = data("body", b"whatever")
    request = Request(opcode, None, (body,))
    decoded = decode(joined(request.contiguous()), Part.REQUEST)
    assert decoded.title == f"request OP_{opcode}"
    assert _said(decoded) == [(40, f"8 bytes of an operation that is not known ({opcode})")]
    for part, what in ((Part.IN, "of"), (Part.OUT, "of the reply to")):
        alone = decode(body.raw, part, Context(opcode=opcode))
        assert [shape_of(item) for item in alone.items] == [("body", 0, 8, b"whatever", ())]
        assert _said(alone) == [(0, f"8 bytes {what} an operation that is not known ({opcode})")]


def test_an_operation_that_is_not_known_in_a_slot() -> None:
    request = Request(54, struct("fuse_write_out"), (data("payload", b"whatever"),))
    decoded = decode(joined(request.slot(PLAIN)), Part.HEADER)
    assert _said(decoded) == [
        (128, "operation 54 is not known"),
        (288, "8 bytes of an operation that is not known"),
    ]
    assert shape_of(_item(decoded, "op_in.head")) == ("head", 128, 8, request.body()[0].raw, ())
    assert shape_of(_item(decoded, "payload.payload")) == ("payload", 288, 8, b"whatever", ())


@pytest.mark.parametrize("code", [10, 2**31 - 1])
def test_notifications_that_are_not_known(code: int) -> None:
    given = struct("fuse_out_header", len=20, error=code, unique=0).raw + b"body"
    decoded = decode(given, Part.REPLY)
    assert _said(decoded) == [(16, f"notifications of code {code} are not known")]
    assert shape_of(decoded.items[1]) == ("body", 16, 4, b"body", ())
    assert decoded.title == "notification unknown"


def test_a_body_needs_its_opcode() -> None:
    with pytest.raises(DecodeError, match=r"^the body of a request needs its opcode to be read$"):
        decode(b"body", Part.IN)
    with pytest.raises(DecodeError, match=r"^the body of a reply needs its opcode to be read$"):
        decode(b"body", Part.OUT)


@pytest.mark.parametrize("part", Part)
def test_nothing(part: Part) -> None:
    decoded = decode(b"", part, Context(opcode=Opcode.LOOKUP))
    assert decoded.problems[0].reason == "there are no bytes"
    assert decoded.size == 0
    assert all(item.size == 0 for item in decoded.items)


# ---- what bytes are ----


@pytest.mark.parametrize("key", REQUESTS)
def test_guesses_requests(key: str) -> None:
    assert guess(joined(REQUESTS[key].contiguous())) is Part.REQUEST
    for dialect in Dialect:
        given = joined(REQUESTS[key].slot(dialect))
        assert guess(given) is guess(given[:288]) is Part.HEADER
        assert decode(given, None, Context(dialect)) == decode(given, Part.HEADER, Context(dialect))


@pytest.mark.parametrize("key", REPLIES)
def test_guesses_replies(key: str) -> None:
    assert guess(joined(REPLIES[key].contiguous())) is Part.REPLY
    given = joined(REPLIES[key].slot(PLAIN))
    assert guess(given) is guess(given[:288]) is Part.HEADER


def test_guesses_the_rest() -> None:
    assert {guess(joined(notification(code))) for code in NOTIFICATIONS} == {Part.REPLY}
    assert {guess(joined(command.area())) for command in COMMANDS.values()} == {Part.COMMAND}
    assert {guess(joined(command.sqe())) for command in COMMANDS.values()} == {Part.SQE}
    assert {guess(entry(dialect, 7).raw) for dialect in Dialect} == {Part.ENTRY}
    assert guess(READV_SQE.raw + bytes(80)) is Part.SQE
    assert guess(b"") is Part.REPLY


@pytest.mark.parametrize("length", [32, 80, 128, 288])
def test_guesses_messages_that_are_as_long_as_something_else(length: int) -> None:
    reply = Reply(Opcode.READ, (data("data", b"x" * (length - 16)),))
    assert guess(joined(reply.contiguous())) is Part.REPLY
    if length > 40:
        request = Request(Opcode.WRITE, None, (data("data", b"x" * (length - 40)),))
        assert guess(joined(request.contiguous())) is Part.REQUEST


def test_guesses_a_slot_whose_message_is_as_long_as_a_slot() -> None:
    head = struct("fuse_write_in", size=208)
    request = Request(Opcode.WRITE, head, (data("data", b"x" * 208),))
    assert guess(joined(request.slot(PLAIN))) is guess(joined(request.slot(PLAIN))[:288]) is Part.HEADER
    # A notification has no number, and nothing that it could be equal to.
    store = struct("fuse_notify_store_out", size=248).raw + bytes(248)
    assert guess(struct("fuse_out_header", len=288, error=4, unique=0).raw + store) is Part.REPLY


def test_guesses_longer_messages_by_the_entry_that_names_the_request() -> None:
    assert guess(joined(Reply(Opcode.READ, (data("data", b"x" * 500),)).contiguous())) is Part.REPLY
    given = bytearray(joined(REQUESTS["WRITE"].slot(PLAIN)))
    given[264] ^= 1  # of commit_id
    assert guess(bytes(given)) is Part.REQUEST

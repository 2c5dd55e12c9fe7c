"""From bytes to named fields: any header, command, request, reply or notification of the protocol."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from furtrace.wire import commands, meaning, ring, sqe
from furtrace.wire.bodies import REQUESTS, read_head, read_notification, read_payload, read_reply, read_request
from furtrace.wire.dialect import Dialect
from furtrace.wire.errors import DecodeError
from furtrace.wire.flags import cmd_flags, macros
from furtrace.wire.headers import IN_HEADER, OUT_HEADER, InHeader, OutHeader
from furtrace.wire.items import Item, Problem, Reader
from furtrace.wire.layout import Buffer, Layout
from furtrace.wire.notifications import Notification
from furtrace.wire.opcodes import UringCommand, command_name, opcode_name
from furtrace.wire.payload import is_zero_copied, payload_place


class Part(StrEnum):
    """What bytes are.

    Attributes:
        HEADER: a ring entry's header slot (``fuse_uring_req_header``, 288 bytes), then its payload if there is more.
        ENTRY: the end of it by itself (``fuse_uring_ent_in_out``, 32 bytes).
        COMMAND: the command area of an SQE (80 bytes).
        SQE: a whole SQE (128 bytes; 64 without a whole command area).
        REQUEST: as read(2) of /dev/fuse gives it: ``fuse_in_header``, then the body.
        REPLY: as write(2) of /dev/fuse takes it: ``fuse_out_header``, then the body; or a notification.
        IN: the body of a request alone.
        OUT: the body of a reply alone.

    """

    HEADER = "header"
    ENTRY = "entry"
    COMMAND = "command"
    SQE = "sqe"
    REQUEST = "request"
    REPLY = "reply"
    IN = "in"
    OUT = "out"


@dataclass(frozen=True, slots=True)
class Decoded:
    """What bytes say.

    Attributes:
        part: as what they were read.
        title: what they are, in a few words.
        size: bytes that were given.
        items: what was read, by offset.
        problems: what could not be read or does not fit, in the order in which it was met; empty if all is well.

    """

    part: Part
    title: str
    size: int
    items: tuple[Item, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """What is known besides the bytes.

    Attributes:
        dialect: of header slots and command areas.
        opcode: of the request, where the bytes do not tell.
        command: ``cmd_op`` of a command area.
        buf_size: bytes of each buffer of a buffer ring.

    """

    dialect: Dialect = Dialect.PLAIN
    opcode: int | None = None
    command: int | None = None
    buf_size: int | None = None


SLOT_SIZE: Final = ring.REQ_HEADER_PLAIN.size
_OP_IN: Final = 128
_ENT_IN_OUT: Final = 256
_MOST_ERRNO: Final = 4095


def decode(data: Buffer, part: Part | None = None, context: Context | None = None) -> Decoded:
    """Read bytes as a part of the protocol.

    Args:
        data: the bytes; too few or too many is no error, but noted as a problem.
        part: what they are; None: found out from their length and content (:func:`guess`).
        context: what else is known.

    Raises:
        DecodeError: the part needs what the context lacks: IN and OUT an opcode.
    """
    given = bytes(data)
    context = context or Context()
    part = part or guess(given)
    if part in (Part.IN, Part.OUT) and context.opcode is None:
        raise DecodeError(f"the body of a {'request' if part is Part.IN else 'reply'} needs its opcode to be read")
    problems: list[Problem] = []
    reader = Reader(given, 0, len(given), problems)
    if not given:
        reader.problem("there are no bytes")
    title = _READERS[part](reader, context)
    return Decoded(part, title, len(given), tuple(reader.items), tuple(problems))


def guess(data: bytes) -> Part:
    """Say what bytes probably are: by their length, else by whether they begin as a request or as a reply."""
    if len(data) >= SLOT_SIZE and _plausible_slot(data):
        return Part.HEADER
    by_size = {ring.ENT_IN_OUT_PLAIN.size: Part.ENTRY, commands.CMD_AREA_SIZE: Part.COMMAND, sqe.SQE_SIZE: Part.SQE}
    length = int.from_bytes(data[:4], "little")
    if length == len(data) or len(data) not in by_size:
        return Part.REQUEST if is_request(data) else Part.REPLY
    return by_size[len(data)]


def is_request(data: bytes) -> bool:
    """Whether a header is a request's: a reply has an error there, 0 or below, where a request has its opcode.

    A notification has a code above 0, and ``unique`` 0, which no request has.
    """
    second = int.from_bytes(data[4:8], "little", signed=True)
    return second > 0 and any(data[8:16])


def _plausible_slot(data: bytes) -> bool:
    """Whether 288 bytes and more are a header slot, rather than a request or reply that just is as long."""
    length = int.from_bytes(data[:4], "little")
    unique, commit_id = data[8:16], data[_ENT_IN_OUT + 8 : _ENT_IN_OUT + 16]
    names_it = any(unique) and unique == commit_id
    if length == len(data):
        return names_it and len(data) == SLOT_SIZE
    return names_it or len(data) == SLOT_SIZE


# ---- header slots ----


def _slot(reader: Reader, context: Context) -> str:
    given = reader.peek()
    if len(given) < SLOT_SIZE:
        reader.problem(f"fuse_uring_req_header: {SLOT_SIZE} bytes needed, {len(given)} given", len(given))
    in_out, op_in = reader.within(_OP_IN), reader.within(_ENT_IN_OUT - _OP_IN)
    layout: Layout[Any] = ring.ent_in_out(context.dialect)
    ent = reader.within(layout.size)
    entry = ent.structure(layout, name="ring_ent_in_out")
    if is_request(given):
        title = _slot_request(in_out, op_in, reader, entry, context)
    else:
        title = _slot_reply(in_out, op_in, reader, entry, context)
    pieces = [("in_out", in_out, 0), ("op_in", op_in, _OP_IN)]
    groups = [Item(name, start, part.end - start, items=tuple(part.items)) for name, part, start in pieces]
    reader.items[:0] = [group for group in groups if group.size > 0] + ent.items
    return title


def _slot_request(in_out: Reader, op_in: Reader, payload: Reader, entry: Any, context: Context) -> str:
    header = in_out.structure(IN_HEADER)
    if header is None:
        return "request in a header slot"
    opcode, size = header.opcode, _operation_size(header, entry, op_in)
    if opcode in REQUESTS:
        inner = op_in.within(size)
        head = read_head(inner, opcode)
        op_in.items += inner.items
    else:
        head = None
        op_in.problem(f"operation {opcode} is not known")
        op_in.bytes("head", size)
    if entry is not None:
        _payload(payload, entry, payload_place(entry, opcode, context.buf_size), _request_payload(header, entry, head))
    return f"request {opcode_name(opcode)} in a header slot, {context.dialect} dialect"


def _operation_size(header: InHeader, entry: Any, op_in: Reader) -> int:
    """Bytes of ``op_in`` that belong to this request; what follows them is left from earlier ones.

    ``len`` counts header, head and payload (``fuse_len_args`` of ``fs/fuse/dev.c``), ``payload_sz`` the payload.
    """
    known = REQUESTS.get(header.opcode)
    usual = known.structures[0].size if known and known.structures else 0
    if entry is None:
        return usual
    size = header.len - IN_HEADER.size - entry.payload_sz
    if 0 <= size <= _OP_IN:
        return int(size)
    op_in.problem(f"len {header.len} and payload_sz {entry.payload_sz} do not fit together", 0)
    return usual


def _payload(reader: Reader, entry: Any, place: str, read: Callable[[Reader], None]) -> None:
    """Say where the payload lies; if bytes follow the header slot, they are it, and are read."""
    inner = reader.within(entry.payload_sz)
    start, size = inner.at, inner.left
    if size or reader.left:
        if size < entry.payload_sz:
            reader.problem(f"payload_sz says {entry.payload_sz} bytes, {size} are given", inner.end)
        read(inner)
    words = f"{entry.payload_sz} bytes: {place}" if entry.payload_sz else f"none; {place}"
    reader.items.append(Item("payload", start, size, None, words, tuple(inner.items)))
    reader.rest("data", "follow the payload")


def _request_payload(header: InHeader, entry: Any, head: Any) -> Callable[[Reader], None]:
    def read(reader: Reader) -> None:
        if is_zero_copied(entry):
            reader.problem("the payload is zero-copied, so what follows the header is not all of it")
        if header.opcode in REQUESTS:
            missing = max(0, entry.payload_sz - reader.left)
            read_payload(reader, header.opcode, head, 8 * header.total_extlen, missing)
        else:
            reader.rest("payload", "of an operation that is not known")

    return read


def _slot_reply(in_out: Reader, op_in: Reader, payload: Reader, entry: Any, context: Context) -> str:
    header = in_out.structure(OUT_HEADER)
    if header is not None:
        _check_error(in_out, header)
    head, opcode = None, context.opcode
    if opcode in REQUESTS:
        left = op_in.within(_request_size(opcode))
        head = read_head(left, opcode)
        op_in.items += left.items
    about = f" to {opcode_name(opcode)}" if opcode is not None else ""
    if header is None or entry is None:
        return f"reply{about} in a header slot"
    place = payload_place(entry, opcode, context.buf_size)
    _payload(payload, entry, place, lambda reader: _reply_body(reader, header, opcode, head))
    return f"reply{about} in a header slot, {context.dialect} dialect: {meaning.error(header.error, None)}"


def _request_size(opcode: int) -> int:
    structures = REQUESTS[opcode].structures
    return structures[0].size if structures else 0


def _entry(reader: Reader, context: Context) -> str:
    layout: Layout[Any] = ring.ent_in_out(context.dialect)
    entry = reader.structure(layout)
    if entry is not None:
        words = payload_place(entry, context.opcode, context.buf_size)
        reader.items.append(Item("payload", reader.at, 0, None, f"{entry.payload_sz} bytes: {words}"))
    reader.rest("data", "follow fuse_uring_ent_in_out")
    return f"ring entry, {context.dialect} dialect"


# ---- commands ----


def _command(reader: Reader, context: Context) -> str:
    command = context.command
    flags = int.from_bytes(reader.peek(8), "little")
    said = {"flags": meaning.joined(macros(flags, cmd_flags(context.dialect, command or 0)))}
    if command is None and context.dialect is Dialect.BUFPOOL:
        _any_command(reader, flags)
    else:
        reader.structure(commands.cmd_req(context.dialect, command or 0), said=said)
    _zeroes(reader, "of the command area are not used by this command")
    return f"command {command_name(command) if command is not None else 'area'}, {context.dialect} dialect"


def _any_command(reader: Reader, flags: int) -> None:
    """A command of Linux 7.3, it is not known which: both members of the union, one after the other."""
    register, start = commands.CMD_REQ_REGISTER, reader.at
    given = reader.peek(register.size)
    said = {
        "flags": f"of ADD_QUEUE: {meaning.joined(macros(flags, cmd_flags(Dialect.BUFPOOL, UringCommand.ADD_QUEUE)))}"
    }
    reader.structure(commands.CMD_REQ_ADD_BUFPOOL, name="fuse_uring_cmd_req, if ADD_BUFPOOL", said=said)
    if len(given) == register.size:
        index = register.members[-1]
        value = register.unpack(given).ent_zero_copy_buf_index
        reader.items.append(Item(index.name, start + index.offset, index.size, value, "if REGISTER: the same bytes"))


def _zeroes(reader: Reader, reason: str) -> None:
    """What is left should be zeroes; if it is not, show it."""
    if any(reader.peek()):
        reader.rest("data", reason)
    elif reader.left:
        reader.bytes("unused", reader.left, lambda value, _: f"{len(value)} zero bytes")


def _sqe(reader: Reader, context: Context) -> str:
    given = reader.peek()
    is_command = bool(given) and given[0] in sqe.COMMANDS
    head = reader.within(sqe.COMMAND_OFFSET)
    value: Any = head.structure(sqe.SQE_URING_CMD if is_command else sqe.SQE_OTHER)
    reader.items += head.items
    if value is None:
        return "SQE"
    if not is_command:
        _zeroes(reader, "of the SQE are not decoded for this operation")
        return f"SQE {meaning.number_of(sqe.IoUringOp)(value.opcode, None)}, no command"
    area = reader.within(commands.CMD_AREA_SIZE)
    known = Context(context.dialect, context.opcode, value.cmd_op)
    _command(area, known)
    start = sqe.COMMAND_OFFSET
    reader.items.append(Item("cmd", start, area.end - start, items=tuple(area.items)))
    reader.rest("data", "follow the SQE")
    return f"SQE of {command_name(value.cmd_op)}, {context.dialect} dialect"


# ---- messages of /dev/fuse ----


def _request(reader: Reader, _: Context) -> str:
    given = reader.left
    header = reader.structure(IN_HEADER)
    if header is None:
        return "request"
    if header.len > given:
        reader.problem(f"len says {header.len} bytes, {given} are given", given)
    body = reader.within(max(0, header.len - IN_HEADER.size))
    read_request(body, header.opcode, 8 * header.total_extlen, max(0, header.len - given))
    reader.items += body.items
    reader.rest("data", f"follow the {header.len} that len says")
    return f"request {opcode_name(header.opcode)}"


def _reply(reader: Reader, context: Context) -> str:
    given = reader.peek()
    code = int.from_bytes(given[4:8], "little", signed=True)
    if len(given) >= OUT_HEADER.size and not any(given[8:16]) and code > 0:
        return _notification(reader, code)
    header = reader.structure(OUT_HEADER)
    if header is None:
        return "reply"
    _check_error(reader, header)
    body = _announced(reader, header, len(given))
    _reply_body(body, header, context.opcode, None)
    reader.items += body.items
    reader.rest("data", f"follow the {header.len} that len says")
    about = f" to {opcode_name(context.opcode)}" if context.opcode is not None else ""
    return f"reply{about}: {meaning.error(header.error, None)}"


def _notification(reader: Reader, code: int) -> str:
    given = reader.left
    name = meaning.number_of(Notification)(code, None)
    header = reader.structure(OUT_HEADER, said={"error": f"notification {name}", "unique": "a notification"})
    assert header is not None
    body = _announced(reader, header, given)
    read_notification(body, code)
    reader.items += body.items
    reader.rest("data", f"follow the {header.len} that len says")
    return f"notification {name}"


def _announced(reader: Reader, header: OutHeader, given: int) -> Reader:
    """A reader of as many bytes as the header announces behind itself."""
    if header.len > given:
        reader.problem(f"len says {header.len} bytes, {given} are given", given)
    return reader.within(max(0, header.len - OUT_HEADER.size))


def _check_error(reader: Reader, header: OutHeader) -> None:
    if not -_MOST_ERRNO <= header.error <= 0:
        reader.problem(f"error {header.error} is neither 0 nor a negated errno", 4)


def _reply_body(reader: Reader, header: OutHeader, opcode: int | None, request: Any) -> None:
    if header.error:
        reader.rest("body", "in a reply with an error, which has no body")
    elif opcode is None:
        reader.rest("body", "of a reply are not decoded: its operation is not known (give its opcode)")
    else:
        read_reply(reader, opcode, request)


def _in(reader: Reader, context: Context) -> str:
    assert context.opcode is not None
    read_request(reader, context.opcode)
    return f"body of request {opcode_name(context.opcode)}"


def _out(reader: Reader, context: Context) -> str:
    assert context.opcode is not None
    read_reply(reader, context.opcode)
    return f"body of the reply to {opcode_name(context.opcode)}"


_READERS: Final[dict[Part, Callable[[Reader, Context], str]]] = {
    Part.HEADER: _slot,
    Part.ENTRY: _entry,
    Part.COMMAND: _command,
    Part.SQE: _sqe,
    Part.REQUEST: _request,
    Part.REPLY: _reply,
    Part.IN: _in,
    Part.OUT: _out,
}

"""The protocol as this build knows it: every structure, and what each operation is made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from furtrace.wire import (
    attributes,
    commands,
    cuse,
    directories,
    extensions,
    files,
    headers,
    init,
    inodes,
    notifications,
    ring,
    sqe,
    xattrs,
)
from furtrace.wire.bodies import NO_REPLY, NOTIFICATIONS, REPLIES, REQUESTS
from furtrace.wire.dialect import Dialect
from furtrace.wire.layout import Layout
from furtrace.wire.notifications import Notification
from furtrace.wire.opcodes import Opcode, name_roles

MAJOR: Final = 7
"""FUSE_KERNEL_VERSION."""
MINOR: Final = 46
"""FUSE_KERNEL_MINOR_VERSION."""

_BY_DIALECT: Final[dict[Dialect, tuple[Layout[Any], ...]]] = {
    Dialect.PLAIN: (ring.REQ_HEADER_PLAIN, ring.ENT_IN_OUT_PLAIN, commands.CMD_REQ),
    Dialect.BUFRING: (ring.REQ_HEADER_BUFRING, ring.ENT_IN_OUT_BUFRING, commands.CMD_REQ_BUFRING),
    Dialect.BUFPOOL: (
        ring.REQ_HEADER_BUFPOOL,
        ring.ENT_IN_OUT_BUFPOOL,
        commands.CMD_REQ,
        commands.CMD_REQ_REGISTER,
        commands.CMD_REQ_ADD_BUFPOOL,
    ),
}
_COMMON: Final = (
    headers, init, cuse, inodes, attributes, files, xattrs, directories, extensions, notifications, sqe,
)  # fmt: skip


def structures(dialect: Dialect) -> tuple[Layout[Any], ...]:
    """Return the structures of the ring in one dialect."""
    return _BY_DIALECT[dialect]


def common_structures() -> tuple[Layout[Any], ...]:
    """Return the structures that are the same in all dialects, each once."""
    found = (value for module in _COMMON for value in vars(module).values() if isinstance(value, Layout))
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Message:
    """What one operation or notification is made of.

    Attributes:
        name: without its prefix.
        code: the opcode, or the notification's code.
        request: names of its structures and of what follows them; None for a notification.
        reply: the same of the reply; None if there is none.

    """

    name: str
    code: int
    request: tuple[str, ...] | None
    reply: tuple[str, ...] | None


def operations() -> Iterator[Message]:
    """Every operation, by opcode."""
    for opcode in Opcode:
        request, reply = REQUESTS[opcode], REPLIES.get(opcode)
        asked = [layout.name for layout in request.structures] + list(name_roles(opcode)) + list(request.follows)
        answered = [layout.name for layout in reply.structures] + list(reply.follows) if reply else []
        yield Message(opcode.name, int(opcode), tuple(asked), None if opcode in NO_REPLY else tuple(answered))


def notification_messages() -> Iterator[Message]:
    """Every notification, by code."""
    for code in Notification:
        body = NOTIFICATIONS[code]
        yield Message(code.name, int(code), None, (*(layout.name for layout in body.structures), *body.follows))

"""The protocol as this build knows it: every structure, and what each operation is made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final

from furtrace.wire import (
    attributes,
    commands,
    cuse,
    directories,
    extensions,
    files,
    flags,
    headers,
    init,
    inodes,
    notifications,
    ring,
    sqe,
    vfs,
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


@dataclass(frozen=True, slots=True)
class FlagSet:
    """Flags that stand in one field.

    Attributes:
        name: of the class here.
        bits: names in C, and their bits.

    """

    name: str
    bits: tuple[tuple[str, int], ...]


def flag_sets() -> Iterator[FlagSet]:
    """Every set of flags: of the protocol, of the system calls that it passes on, of SQEs."""
    for module in (flags, vfs, sqe):
        for name, kind in vars(module).items():
            if (
                isinstance(kind, type)
                and issubclass(kind, IntFlag)
                and kind.__module__ == module.__name__
                and len(kind)
            ):
                yield FlagSet(name, tuple((flags.macros(int(bit), kind)[0], int(bit)) for bit in kind))


@dataclass(frozen=True, slots=True)
class Listing:
    """The protocol, or what of it was asked for.

    Attributes:
        structures: each with the dialect that it belongs to, None: all of them.
        operations: by opcode.
        notifications: by code.
        flags: sets of flags.

    """

    structures: tuple[tuple[Dialect | None, Layout[Any]], ...]
    operations: tuple[Message, ...]
    notifications: tuple[Message, ...]
    flags: tuple[FlagSet, ...]


def listing(dialect: Dialect | None = None, opcode: int | None = None) -> Listing:
    """List the protocol.

    Args:
        dialect: of the structures of the ring only those of this one.
        opcode: this operation alone, and the structures that it is made of; those of the ring only if ``dialect`` says
            of which one.
    """
    common = tuple((None, layout) for layout in common_structures())
    wanted = tuple(Dialect) if dialect is None and opcode is None else (dialect,)
    of_ring = tuple((one, layout) for one in wanted if one is not None for layout in structures(one))
    if opcode is None:
        return Listing(of_ring + common, tuple(operations()), tuple(notification_messages()), tuple(flag_sets()))
    own = tuple(message for message in operations() if message.code == opcode)
    words = {
        word for message in own for part in (message.request or ()) + (message.reply or ()) for word in part.split()
    }
    named = tuple(pair for pair in common if pair[1].name in {word.strip(",") for word in words})
    return Listing(of_ring + named, own, (), ())

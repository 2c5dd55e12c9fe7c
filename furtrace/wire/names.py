"""The file and attribute names that a request brings."""

from furtrace.wire.errors import DecodeError
from furtrace.wire.layout import Buffer
from furtrace.wire.opcodes import name_roles, opcode_name


def parse_names(opcode: int, data: Buffer) -> tuple[bytes, ...]:
    r"""Read a request's names from the start of its payload: as many as ``name_roles(opcode)``, each ended by a NUL.

    The payload is what follows the operation's own structure; on io_uring it is the payload buffer. What comes after
    the names (an attribute's value, extensions) is ignored.

    Returns:
        The names without their NUL, empty for an operation that brings none.

    Raises:
        DecodeError: the payload ends within a name.

    """
    names = []
    given = rest = bytes(data)
    for role in name_roles(opcode):
        name, end, rest = rest.partition(b"\0")
        if not end:
            raise DecodeError(f"{opcode_name(opcode)}: {role} has no end in the {len(given)} bytes given")
        names.append(name)
    return tuple(names)

"""Names that traced processes chose, as they are shown."""

from furtrace.trace import record
from furtrace.wire.text import printable


def comm(field: bytes) -> str:
    """A task's name (``comm``, 16 bytes, ended by NUL), escaped."""
    return printable(record.comm(field))


def quoted(name: bytes, *, cut: bool = False) -> str:
    """A name in double quotes, escaped; a name that was cut off ends in three dots behind the quotes, as in strace."""
    return '"' + printable(name).replace('"', '\\"') + '"' + ("..." if cut else "")

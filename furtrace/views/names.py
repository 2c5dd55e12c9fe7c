"""Names that traced processes chose, as they are shown."""

from furtrace.trace import record
from furtrace.wire.text import printable


def comm(field: bytes) -> str:
    """A task's name (``comm``, 16 bytes, ended by NUL), escaped."""
    return printable(record.comm(field))


def quoted_names(field: bytes, size: int, second: int, *, cut: bool) -> list[str]:
    """The names in the ``extra`` of QUEUED (:func:`furtrace.trace.record.names`), quoted.

    Args:
        field: the whole of ``extra``.
        size: how many bytes of it are valid.
        second: where the second name starts; 0: there is none.
        cut: a name was cut off; which of two, its missing NUL tells.
    """
    return [quoted(name, cut=was_cut) for name, was_cut in record.names_cut(field, size, second, cut=cut)]


def quoted(name: bytes, *, cut: bool = False) -> str:
    """A name in double quotes, escaped; a name that was cut off ends in three dots behind the quotes, as in strace."""
    return '"' + printable(name).replace('"', '\\"') + '"' + ("..." if cut else "")

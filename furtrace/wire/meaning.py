"""What a field's number says: names of flags, times, modes, errors, devices.

Each function here returns a :data:`~furtrace.wire.layout.Meaning`, which stands in a structure's annotations::

    open_flags: Annotated[U32, flags(OpenReplyFlag)]
    atime: Annotated[U64, timestamp("atimensec")]
"""

import stat
from datetime import UTC, datetime, timedelta
from enum import IntEnum, IntFlag
from typing import Any, Final

from furtrace.wire.errnos import errno_name
from furtrace.wire.flags import macros
from furtrace.wire.layout import Meaning
from furtrace.wire.text import printable
from furtrace.wire.vfs import open_flag_names

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BILLION: Final = 10**9


def joined(names: tuple[str, ...]) -> str:
    """Names of flags as C would write them; ``0`` where none is set."""
    return "|".join(names) or "0"


def flags(kind: type[IntFlag]) -> Meaning:
    """Names in C of the bits that are set, lowest first; a bit without a name as hex."""
    return lambda value, _: joined(macros(value, kind))


def number_of(kind: type[IntEnum]) -> Meaning:
    """The name of one of an enumeration's values."""
    names = {int(one): one.name for one in kind}
    return lambda value, _: names.get(value, "unknown")


def open_flags(value: int, _: Any) -> str:
    """Flags of open(2)."""
    return joined(open_flag_names(value))


def error(value: int, _: Any) -> str:
    """The errno of a reply: ``-ENOENT``; nothing for 0."""
    if not value:
        return "success"
    return f"-{errno_name(value)}" if value < 0 and errno_name(value) != str(value) else "no errno"


def mode(value: int, _: Any) -> str:
    """A file's type and permissions, octal and as ``ls -l`` shows them."""
    return f"0{value:o} {stat.filemode(value & 0xFFFF)}" + (" and unknown bits" if value >> 16 else "")


def octal(value: int, _: Any) -> str:
    """Permissions without a type, such as a umask."""
    return f"0{value:o}"


def hexadecimal(value: int, _: Any) -> str:
    """A number that is read as hex, such as an address or an ioctl's command."""
    return hex(value)


def device(value: int, _: Any) -> str:
    """A device number of 32 bits, ``major:minor`` (``new_encode_dev`` of ``include/linux/kdev_t.h``)."""
    major, minor = (value & 0xFFF00) >> 8, (value & 0xFF) | (value >> 12 & 0xFFF00)
    return f"{major}:{minor}" if value else ""


def timestamp(nanoseconds: str) -> Meaning:
    """A point in time; seconds stand here, nanoseconds in the field of that name.

    The kernel takes the seconds as signed (``fuse_change_attributes_common``).
    """
    return lambda value, whole: point_in_time(value, getattr(whole, nanoseconds))


def point_in_time(seconds: int, nanoseconds: int) -> str:
    """``2026-11-22T17:49:26.000000001Z``; what no calendar reaches is said so."""
    if seconds >= 1 << 63:  # a negative number in a field without a sign
        seconds -= 1 << 64
    try:
        whole = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return "out of the calendar"
    if nanoseconds >= _BILLION:
        return f"{whole:%Y-%m-%dT%H:%M:%S}Z and {nanoseconds} ns, which is too many"
    return f"{whole.isoformat(timespec='seconds')[:19]}.{nanoseconds:09}Z"


def duration(nanoseconds: str) -> Meaning:
    """A time to live; seconds stand here, nanoseconds in the field of that name."""

    def show(value: int, whole: Any) -> str:
        rest = getattr(whole, nanoseconds)
        if rest >= _BILLION:
            return f"{value} s and {rest} ns, which is too many"
        return f"{value}.{rest:09}".rstrip("0").rstrip(".") + " s"

    return show


def only_if(flags_in: str, flag: IntFlag, then: Meaning | None = None) -> Meaning:
    """A field that counts only where ``flag`` is set in the field ``flags_in``; ``then`` says what it means."""

    def show(value: int, whole: Any) -> str:
        if getattr(whole, flags_in) & flag:
            return then(value, whole) if then else ""
        return f"not used: {flags_in} lacks {flag.name}"

    return show


def either(flags_in: str, flag: IntFlag, instead: str, otherwise: Meaning) -> Meaning:
    """A field whose value is replaced where ``flag`` is set in the field ``flags_in``; ``instead`` says by what."""

    def show(value: int, whole: Any) -> str:
        return instead if getattr(whole, flags_in) & flag else otherwise(value, whole)

    return show


def node(value: int, _: Any) -> str:
    """A node id."""
    return "the root" if value == 1 else ""


def text(value: bytes, _: Any) -> str:
    """Characters, escaped and quoted."""
    return '"' + printable(value).replace('"', '\\"') + '"'

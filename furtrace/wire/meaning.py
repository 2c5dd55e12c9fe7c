"""What a field's number says: names of flags, times, modes, errors, devices.

Each function here returns a :data:`~furtrace.wire.layout.Meaning`, which stands in a structure's annotations::

    open_flags: Annotated[U32, flags(OpenReplyFlag)]
    atime: Annotated[U64, timestamp("atimensec")]
"""

import stat
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Flags:
    """Names in C of the bits that are set, lowest first; a bit without a name as hex."""

    kind: type[IntFlag]

    def __call__(self, value: int, _: Any) -> str:
        """The names."""
        return joined(macros(value, self.kind))


@dataclass(frozen=True, slots=True)
class NumberOf:
    """The name of one of an enumeration's values."""

    kind: type[IntEnum]

    def __call__(self, value: int, _: Any) -> str:
        """The name, or ``unknown``."""
        return self.kind(value).name if value in set(self.kind) else "unknown"


def flags(kind: type[IntFlag]) -> Flags:
    """A set of flags; a class, so that others can ask for which."""
    return Flags(kind)


def number_of(kind: type[IntEnum]) -> NumberOf:
    """One of an enumeration's values; a class, so that others can ask for which."""
    return NumberOf(kind)


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


@dataclass(frozen=True, slots=True)
class OnlyIf:
    """A field that counts only where ``flag`` is set in the field ``flags_in``; ``then`` says what it means."""

    flags_in: str
    flag: IntFlag
    then: Meaning | None = None

    def __call__(self, value: int, whole: Any) -> str:
        """What it means, or that it does not count."""
        if getattr(whole, self.flags_in) & self.flag:
            return self.then(value, whole) if self.then else ""
        return f"not used: {self.flags_in} lacks {self.flag.name}"


@dataclass(frozen=True, slots=True)
class Either:
    """A field whose value is replaced where ``flag`` is set in the field ``flags_in``; ``instead`` says by what."""

    flags_in: str
    flag: IntFlag
    instead: str
    otherwise: Meaning

    def __call__(self, value: int, whole: Any) -> str:
        """What it means, or what stands in its place."""
        return self.instead if getattr(whole, self.flags_in) & self.flag else self.otherwise(value, whole)


def only_if(flags_in: str, flag: IntFlag, then: Meaning | None = None) -> OnlyIf:
    """What is said only where a flag is set."""
    return OnlyIf(flags_in, flag, then)


def either(flags_in: str, flag: IntFlag, instead: str, otherwise: Meaning) -> Either:
    """What is said where a flag is set, and otherwise."""
    return Either(flags_in, flag, instead, otherwise)


def node(value: int, _: Any) -> str:
    """A node id."""
    return "the root" if value == 1 else ""


def text(value: bytes, _: Any) -> str:
    """Characters, escaped and quoted."""
    return '"' + printable(value).replace('"', '\\"') + '"'

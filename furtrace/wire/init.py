"""The INIT handshake, in the forms that its history has (``include/uapi/linux/fuse.h``, ``fs/fuse/inode.c``)."""

from dataclasses import dataclass
from typing import Annotated, Any

from furtrace.wire import meaning
from furtrace.wire.flags import U32_BITS, InitFlag, init_flag_bits, macros
from furtrace.wire.layout import U16, U32, Buffer, Layout, Meaning, U16x11, U32x11


def _flags2(value: int, whole: Any) -> str:
    """Names of the upper word's flags, which count only with INIT_EXT (``process_init_reply``)."""
    names = meaning.joined(macros(value << U32_BITS, InitFlag))
    ignored = value and not whole.flags & InitFlag.INIT_EXT
    return f"not used: flags lacks INIT_EXT ({names})" if ignored else names


def _only_with(flag: InitFlag) -> Meaning:
    return lambda _, whole: "" if whole.flag_bits & flag else f"not used: {flag.name} is not set"


@dataclass(frozen=True, slots=True)
class InitInCompat:
    """``struct fuse_init_in`` of 16 bytes, from kernels that speak less than 7.36.

    Attributes:
        major: version of the protocol.
        minor: the same.
        max_readahead: bytes.
        flags: FUSE_* bits 0 to 31.

    """

    major: U32
    minor: U32
    max_readahead: U32
    flags: Annotated[U32, meaning.flags(InitFlag)]

    @property
    def flag_bits(self) -> int:
        """All flags that this form can carry, as one set of 64 bits."""
        return init_flag_bits(self.flags, 0)


@dataclass(frozen=True, slots=True)
class InitIn(InitInCompat):
    """``struct fuse_init_in`` of 64 bytes; begins with ``InitInCompat``.

    Attributes:
        flags2: FUSE_* bits 32 to 63.
        unused: eleven zeroes.

    """

    flags2: Annotated[U32, _flags2]
    unused: U32x11

    @property
    def flag_bits(self) -> int:
        """Both words of flags, as one set of 64 bits."""
        return init_flag_bits(self.flags, self.flags2)


@dataclass(frozen=True, slots=True)
class InitOutCompat:
    """``struct fuse_init_out`` of 8 bytes (FUSE_COMPAT_INIT_OUT_SIZE), of servers that speak less than 7.5.

    Attributes:
        major: version of the protocol.
        minor: the same.

    """

    major: U32
    minor: U32

    @property
    def flag_bits(self) -> int:
        """All flags that this form can carry, as one set of 64 bits."""
        return 0


@dataclass(frozen=True, slots=True)
class InitOutCompat22(InitOutCompat):
    """``struct fuse_init_out`` of 24 bytes (FUSE_COMPAT_22_INIT_OUT_SIZE), up to 7.22; begins with ``InitOutCompat``.

    Attributes:
        max_readahead: bytes.
        flags: FUSE_* bits 0 to 31.
        max_background: how many background requests may be out at once.
        congestion_threshold: from how many on the kernel holds back.
        max_write: bytes of a WRITE's data.

    """

    max_readahead: U32
    flags: Annotated[U32, meaning.flags(InitFlag)]
    max_background: U16
    congestion_threshold: U16
    max_write: U32

    @property
    def flag_bits(self) -> int:
        """All flags that this form can carry, as one set of 64 bits."""
        return init_flag_bits(self.flags, 0)


@dataclass(frozen=True, slots=True)
class InitOut(InitOutCompat22):
    """``struct fuse_init_out`` of 64 bytes; begins with ``InitOutCompat22``.

    Attributes:
        time_gran: nanoseconds of a time stamp's step.
        max_pages: pages of a request; counts with the flag MAX_PAGES.
        map_alignment: log2 of DAX's alignment in bytes; counts with MAP_ALIGNMENT.
        flags2: FUSE_* bits 32 to 63; counts with INIT_EXT.
        max_stack_depth: of stacked file systems; counts with PASSTHROUGH.
        request_timeout: seconds; counts with REQUEST_TIMEOUT.
        unused: eleven zeroes.

    """

    time_gran: U32
    max_pages: Annotated[U16, _only_with(InitFlag.MAX_PAGES)]
    map_alignment: Annotated[U16, _only_with(InitFlag.MAP_ALIGNMENT)]
    flags2: Annotated[U32, _flags2]
    max_stack_depth: Annotated[U32, _only_with(InitFlag.PASSTHROUGH)]
    request_timeout: Annotated[U16, _only_with(InitFlag.REQUEST_TIMEOUT)]
    unused: U16x11

    @property
    def flag_bits(self) -> int:
        """Both words of flags as the kernel takes them, as one set of 64 bits."""
        return init_flag_bits(self.flags, self.flags2)


INIT_IN_COMPAT = Layout("fuse_init_in", InitInCompat)
INIT_IN = Layout("fuse_init_in", InitIn)
INIT_OUT_COMPAT = Layout("fuse_init_out", InitOutCompat)
INIT_OUT_COMPAT_22 = Layout("fuse_init_out", InitOutCompat22)
INIT_OUT = Layout("fuse_init_out", InitOut)


def parse_init_in(data: Buffer) -> InitInCompat:
    """Read the body of an INIT request, in the form that its length says.

    Returns:
        ``InitInCompat`` for exactly 16 bytes, the only other length that kernels ever sent; else ``InitIn``.

    Raises:
        DecodeError: neither 16 bytes nor at least 64.

    """
    given = bytes(data)
    return (INIT_IN_COMPAT if len(given) == INIT_IN_COMPAT.size else INIT_IN).parse(given)


def parse_init_out(data: Buffer) -> InitOutCompat:
    """Read the body of an INIT reply, in the form that its length says.

    A length between two forms is read as the longer one with zeroes at its end: the kernel takes any length, and
    reads it so (``fuse_copy_out_args`` with ``out_argvar``, into a zeroed structure).

    Returns:
        ``InitOutCompat`` for 8 bytes, ``InitOutCompat22`` for up to 24, else ``InitOut``.

    Raises:
        DecodeError: fewer than 8 bytes.

    """
    given = bytes(data)
    if len(given) <= INIT_OUT_COMPAT.size:
        return INIT_OUT_COMPAT.parse(given)
    form = INIT_OUT_COMPAT_22 if len(given) <= INIT_OUT_COMPAT_22.size else INIT_OUT
    return form.parse(given.ljust(form.size, b"\0"))

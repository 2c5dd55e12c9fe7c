"""The capabilities of the calling thread: see capset(2). Each thread has its own."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct

from furtrace.demo.errors import DemoError

SYS_ADMIN = 21

_HEADER = Struct("=Ii")
"""``__user_cap_header_struct``: version, thread; thread 0 is the calling one."""
_DATA = Struct("=IIIIII")
"""Two ``__user_cap_data_struct``, of capabilities 0 to 31 and from 32 on: effective, permitted, inheritable."""
_VERSION = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def without(capability: int) -> Iterator[None]:
    """Let the calling thread do without a capability in this context; it stays permitted.

    Args:
        capability: its number, below 32.

    Raises:
        DemoError: the thread has not got it.
    """
    header = ctypes.create_string_buffer(_HEADER.pack(_VERSION, 0), _HEADER.size)
    found = ctypes.create_string_buffer(_DATA.size)
    _check(_libc.capget(header, found))
    effective, *others = _DATA.unpack(found)
    if not effective >> capability & 1:
        raise DemoError(f"the server has no capability {capability}, which it was to do without for a while")
    _check(_libc.capset(header, _DATA.pack(effective & ~(1 << capability), *others)))
    try:
        yield
    finally:
        _check(_libc.capset(header, found))


def _check(result: int) -> None:
    if result < 0:
        raise DemoError(f"capabilities can't be changed: {os.strerror(ctypes.get_errno())}")

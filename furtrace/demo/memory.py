"""Mapped memory with an address that the kernel can be told.

By mmap(2) itself: Python's ``mmap`` keeps a copy of the descriptor open for every mapping of a file, and each copy of
a ring would look like one more ring to whoever inspects the server.
"""

import ctypes
import mmap
import os

from furtrace.demo.errors import DemoError

_MAP_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class Memory:
    """Page-aligned memory of ``size`` bytes: ``view`` to work on, ``address`` for the kernel.

    Zeroed and private without ``fd``, else a shared mapping of that file from ``offset`` on. ``DemoError`` when the
    kernel refuses.
    """

    def __init__(self, size: int, fd: int = -1, offset: int = 0) -> None:
        kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS if fd < 0 else mmap.MAP_SHARED | mmap.MAP_POPULATE
        address = _libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, kind, fd, offset)
        if address == _MAP_FAILED:
            raise DemoError(f"{size} bytes of memory can't be mapped: {os.strerror(ctypes.get_errno())}")
        self.address: int = address
        self.view = memoryview((ctypes.c_char * size).from_address(address)).cast("B")

    def close(self) -> None:
        """Unmap the memory. Nothing may use ``view``, or what was made from it, after that."""
        _libc.munmap(self.address, len(self.view))

"""Switches of the kernel that runs the tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.external import Unavailable

ENABLE_URING: Final = Path("/sys/module/fuse/parameters/enable_uring")


@contextmanager
def uring_enabled() -> Iterator[None]:
    """Let FUSE servers use io_uring while the block runs; afterwards the switch is as it was.

    The kernel looks at the switch when a server answers INIT; what was mounted before is not affected.

    Raises:
        Unavailable: the kernel has no such switch, or the user must not turn it.
    """
    try:
        before = ENABLE_URING.read_text().strip()
        if before != "Y":
            ENABLE_URING.write_text("Y")
    except FileNotFoundError as error:
        raise Unavailable("This kernel has no FUSE over io_uring (it came with Linux 6.14).") from error
    except OSError as error:
        raise Unavailable("Only root can let FUSE servers use io_uring.") from error
    try:
        yield
    finally:
        if before != "Y":
            ENABLE_URING.write_text(before)

"""What QEMU gets wrong of a kernel that changes its own code, how that is told, and that it is tried again.

The kernel switches its jump labels and trace points while it runs: a breakpoint goes over the instruction, its rest is
changed, and its first byte replaces the breakpoint. QEMU before 8.1, with a thread for each CPU, can translate the code
at the moment of the breakpoint and miss the change after it (its commit "accel/tcg: Always lock pages before
translation" mends that). The CPU then meets a breakpoint that has not been there for long, which the kernel knows
nothing of: it panics.
"""

import re
import warnings
from collections.abc import Callable
from typing import Final, TypeVar

from tests.vm.errors import StaleCodeError

_T = TypeVar("_T")

_FIRST_OOPS: Final = re.compile(r"\bOops: (?P<what>\w+)")
_CODE_AT_IT: Final = re.compile(r"\bCode: [0-9a-f ]*\b(?P<before>[0-9a-f]{2}) <[0-9a-f]{2}>")
_BREAKPOINT: Final = "cc"


def ran_stale_code(console: str) -> bool:
    """Tell whether a kernel that panicked met a breakpoint that was not there any more.

    Of several complaints the first one counts, for the others may come of it. After a breakpoint the kernel goes on
    behind it, so the byte before the marked one is where it was; where it still is one, somebody has left it there.
    """
    oops = _FIRST_OOPS.search(console)
    if oops is None or oops["what"] != "int3":
        return False
    code = _CODE_AT_IT.search(console, oops.end())
    return code is not None and code["before"] != _BREAKPOINT


def again(action: Callable[[], _T], what: str, times: int) -> _T:
    """Return what ``action`` returns, calling it anew where QEMU ran stale code: ``times`` times in all.

    Args:
        action: what to do.
        what: the same in words, for the warnings.
        times: how often it is called at most.

    Raises:
        StaleCodeError: it was the same each time.
    """
    for attempt in range(1, times):
        try:
            return action()
        except StaleCodeError:
            warnings.warn(f"{what}: QEMU ran stale code in attempt {attempt} of {times}; once more", stacklevel=2)
    return action()

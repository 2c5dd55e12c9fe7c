"""The protocol's codes by the names that every form of an export has for them."""

from typing import Final

from furtrace.model.requests import Found
from furtrace.trace.record import Kind, Step, Transport

TRANSPORTS: Final = {int(Transport.URING): "uring", int(Transport.DEV): "dev"}
KINDS: Final = {int(kind): kind.name for kind in Kind}
FUNCTIONS: Final = {int(step): step.function for step in Step if step}
"""The kernel's functions, by the step of a STEP."""
FOUND: Final = {int(found): found.name.lower() for found in Found if found}
"""Where a request was as the trace began."""
TIMES: Final = tuple(
    f"{step}_ns"
    for step in (
        *("queued", "dry", "selected", "assigned", "registered"),
        *("delivered", "committed", "unregistered", "ended"),
    )
)
"""Times of a request, in the order of its steps."""

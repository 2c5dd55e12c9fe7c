"""The protocol's codes by the names that every form of an export has for them."""

from typing import Final

from furtrace.trace.record import Kind, Step, Transport

TRANSPORTS: Final = {int(Transport.URING): "uring", int(Transport.DEV): "dev"}
KINDS: Final = {int(kind): kind.name for kind in Kind}
FUNCTIONS: Final = {int(step): step.function for step in Step if step}
"""The kernel's functions, by the step of a STEP."""
TIMES: Final = tuple(
    f"{step}_ns"
    for step in (
        *("queued", "dry", "selected", "assigned", "registered"),
        *("delivered", "committed", "unregistered", "ended"),
    )
)
"""Times of a request, in the order of its steps."""

"""The demo server with rings that have room for one SQE and two CQEs, however many entries there are."""

import sys
from typing import Any

from furtrace.demo import server, uring


class TinyRing(uring.Ring):
    """Submits when it is full."""

    def __init__(self, entries: int) -> None:
        assert entries > 2
        super().__init__(1)

    def push(self, *arguments: Any, **options: Any) -> None:
        if self._queued == self._sq_entries:
            self.enter(0)
        super().push(*arguments, **options)


if __name__ == "__main__":
    uring.Ring = TinyRing  # type: ignore[misc]
    sys.exit(server.main(sys.argv[1:]))

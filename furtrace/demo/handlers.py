"""From a request to its answer: finds the operation, serializes it with all others, turns refusals into errors."""

import errno
import struct
import sys
import threading
import traceback
from collections.abc import Callable

from furtrace.demo.errors import TreeError
from furtrace.demo.operations import Table, attributes, connection, directories, files, names
from furtrace.demo.session import Session
from furtrace.demo.wire import Buffer, Reply, Request
from furtrace.wire.opcodes import Opcode

_TABLE: Table = {**connection.TABLE, **attributes.TABLE, **names.TABLE, **files.TABLE, **directories.TABLE}
Answer = Callable[[Request], Reply]
"""What queues and device ask of whoever carries requests out."""

_UNANSWERED = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT})
"""Requests without a reply. An INTERRUPT could be refused, but no operation here takes long."""


class Handlers:
    """Answers requests from any thread."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Reply:
        """Carry a request out. Never raises: what the tree refuses, or what makes no sense, becomes an error reply."""
        error, body = self._carry_out(request)
        return Reply(None if request.opcode in _UNANSWERED else error, body)

    def _carry_out(self, request: Request) -> tuple[int, Buffer]:
        operation = _TABLE.get(request.opcode)
        if operation is None:
            return -errno.ENOSYS, b""
        try:
            with self._lock:
                return 0, operation(self.session, request)
        except TreeError as refusal:
            return -refusal.errno, b""
        except (ValueError, struct.error):
            return -errno.EINVAL, b""
        except Exception:
            # A thread that dies here would leave its clients asleep for good.
            traceback.print_exc(file=sys.stderr)
            return -errno.EIO, b""

"""From a request to its answer: finds the operation, serializes it with all others, turns refusals into errors."""

import errno
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from furtrace.demo import zerocopy
from furtrace.demo.errors import TreeError
from furtrace.demo.operations import Table, attributes, connection, directories, files, names
from furtrace.demo.session import Session
from furtrace.demo.wire import Reply, Request
from furtrace.demo.zerocopy import Transfer
from furtrace.wire.opcodes import Opcode

_TABLE: Table = {**connection.TABLE, **attributes.TABLE, **names.TABLE, **files.TABLE, **directories.TABLE}
Answer = Callable[[Request], Reply]
"""What the device asks of whoever carries requests out."""

_UNANSWERED = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT})
"""Requests without a reply. An INTERRUPT could be refused, but no operation here takes long."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Handlers:
    """Answers requests from any thread. No method raises: what is refused or makes no sense becomes an error reply."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Reply:
        """Carry a request out."""
        operation = _TABLE.get(request.opcode)
        if operation is None:
            return Reply(-errno.ENOSYS, b"")
        done = self._guarded(operation, self.session, request)
        reply = done if isinstance(done, Reply) else Reply(0, done)
        return Reply(None, reply.body) if request.opcode in _UNANSWERED else reply

    def begin(self, request: Request) -> Transfer | Reply:
        """Return what is to be moved for a request with zero-copied pages; a reply where it is refused."""
        return self._guarded(zerocopy.begin, self.session, request)

    def end(self, request: Request, transfer: Transfer) -> Reply:
        """Return the reply to a request whose transfer is over."""
        done = self._guarded(zerocopy.end, self.session, request, transfer)
        return done if isinstance(done, Reply) else Reply(0, done)

    def _guarded(self, operation: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | Reply:
        try:
            with self._lock:
                return operation(*args, **kwargs)
        except TreeError as refusal:
            return Reply(-refusal.errno, b"")
        except (ValueError, struct.error):
            return Reply(-errno.EINVAL, b"")
        except Exception:
            # A thread that dies here would leave its clients asleep for good.
            traceback.print_exc(file=sys.stderr)
            return Reply(-errno.EIO, b"")

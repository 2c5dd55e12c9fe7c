"""What the server does for each operation: one function an opcode, from a request to what follows the header."""

from collections.abc import Callable

from furtrace.demo.session import Session
from furtrace.demo.wire import Buffer, Request

Operation = Callable[[Session, Request], Buffer]
Table = dict[int, Operation]

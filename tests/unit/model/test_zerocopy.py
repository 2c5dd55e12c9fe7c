"""Why data was copied: every combination of what the kernel asks."""

import itertools

import numpy as np
import pytest

from furtrace.model.requests import Requests_, new_requests
from furtrace.model.zerocopy import CopiedBecause, copied_because
from furtrace.trace.record import Flag, Transport
from furtrace.wire.opcodes import Opcode


def _row(flags: int, opcode: int = Opcode.READ, **members: int) -> Requests_:
    row = new_requests(1)
    known = {"flags": flags, "opcode": opcode, "delivered_ns": 5, "entry": 0xE0, "transport": Transport.URING}
    for name, value in (known | members).items():
        row[name] = value
    return row


def _why(flags: int, opcode: int = Opcode.READ, **members: int) -> CopiedBecause:
    return CopiedBecause(int(copied_because(_row(flags, opcode, **members))[0]))


_ASKED = Flag.QUEUE_ZERO_COPY | Flag.FILE_ZERO_COPY


@pytest.mark.parametrize("opcode", [Opcode.READ, Opcode.WRITE, Opcode.READDIR, Opcode.GETATTR])
@pytest.mark.parametrize("pages", [0, Flag.HAS_PAGES])
@pytest.mark.parametrize(
    ("queue", "file"), list(itertools.product((0, Flag.QUEUE_ZERO_COPY), (0, Flag.FILE_ZERO_COPY)))
)
def test_a_reason_says_which_condition_of_the_kernel_fails(queue: int, file: int, pages: int, opcode: int) -> None:
    """``can_zero_copy_req()``: where it says yes nothing was copied, or something is not known."""
    why = _why(queue | file | pages, opcode)
    moves = opcode in (Opcode.READ, Opcode.WRITE)
    if not queue and not file:
        assert why == CopiedBecause.NOT_APPLICABLE
    elif queue and file and moves and pages:
        assert why == CopiedBecause.UNKNOWN
        assert _why(queue | file | pages | Flag.ZERO_COPIED, opcode) == CopiedBecause.ZERO_COPIED
    else:
        failing = {
            CopiedBecause.QUEUE: not queue,
            CopiedBecause.FILE: not file,
            CopiedBecause.OPERATION: not moves,
            CopiedBecause.NO_PAGES: not pages,
        }
        assert failing[why]


def test_what_the_server_can_change_is_named_where_it_matters() -> None:
    assert _why(Flag.QUEUE_ZERO_COPY | Flag.HAS_PAGES) == CopiedBecause.FILE
    assert _why(Flag.FILE_ZERO_COPY | Flag.HAS_PAGES, Opcode.WRITE) == CopiedBecause.QUEUE
    assert _why(_ASKED | Flag.HAS_PAGES, Opcode.READDIR) == CopiedBecause.OPERATION
    assert _why(Flag.QUEUE_ZERO_COPY | Flag.HAS_PAGES, Opcode.READDIR) == CopiedBecause.OPERATION
    assert _why(_ASKED, Opcode.GETATTR) == CopiedBecause.NO_PAGES


def test_before_its_queue_is_known_nothing_is_said() -> None:
    flags = Flag.FILE_ZERO_COPY | Flag.HAS_PAGES
    assert _why(flags, delivered_ns=0, entry=0) == CopiedBecause.UNKNOWN
    assert _why(0, delivered_ns=0, entry=0, transport=Transport.UNKNOWN) == CopiedBecause.UNKNOWN
    assert _why(flags, delivered_ns=0, committed_ns=6) == CopiedBecause.QUEUE
    assert _why(flags, entry=0, transport=Transport.DEV) == CopiedBecause.NOT_APPLICABLE


def test_rows_keep_to_themselves() -> None:
    rows = np.concatenate([_row(0), _row(Flag.QUEUE_ZERO_COPY | Flag.HAS_PAGES), _row(Flag.ZERO_COPIED)])
    reasons = [CopiedBecause.NOT_APPLICABLE, CopiedBecause.FILE, CopiedBecause.ZERO_COPIED]
    assert copied_because(rows).tolist() == reasons
    assert len(copied_because(new_requests(0))) == 0

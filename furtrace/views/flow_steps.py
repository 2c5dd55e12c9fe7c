"""The steps of a request, and of setting up a queue, as kernel and server take them: what flow diagrams draw.

Scripts are tables, a line a step: whose it is (``K``: the kernel's, ``S``: the server's); how deep, in blanks; its
words, which are those of ``Documentation/filesystems/fuse/fuse-io-uring.rst`` where that has the step; ``@EVENT``: what
shows it; ``?trait``: only where that is so, ``?!trait``: only where it is not, ``*trait``: so many times
(:class:`~furtrace.model.flows.Traits`). The order and the nesting are those of fs/fuse/dev_uring.c: of 7.3 where there
are pools, of 6.18 otherwise.

Function names that begin with ``>`` are calls, with ``<`` returns; in brackets stands what is done, in words.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from furtrace.model.flows import Ending, Traits
from furtrace.wire.dialect import Dialect


class Side(Enum):
    """Whose step it is."""

    KERNEL = "K"
    SERVER = "S"


@dataclass(frozen=True)
class Step:
    """A step of a diagram.

    ``sign``: name of the event that shows it (:func:`furtrace.views.flow.sign_of`); empty: nothing does that furtrace
    watches.
    """

    side: Side
    depth: int
    text: str
    sign: str = ""


_LINE: Final = re.compile(r"([KS])( +)(\S.*?)(?:  +(@\S+))?(?:  +([?*]\S+))?")


def parsed(script: str, traits: Traits, depth: int = 0) -> Iterator[Step]:
    """Yield the steps of a script that such a request goes through.

    Args:
        script: a table as the module describes it.
        traits: of the request.
        depth: of its outermost steps.
    """
    for line in script.strip("\n").splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"no step: {line!r}")
        side, blanks, text, sign, condition = found.groups()
        side = Side(side)
        step = Step(side, len(blanks) - 1 + (depth if side is Side.KERNEL else 0), text, (sign or "")[1:])
        for _ in range(_times(condition or "", traits)):
            yield step


def _times(condition: str, traits: Traits) -> int:
    """How often a step is there."""
    if condition.startswith("*"):
        return int(getattr(traits, condition[1:]))
    names = condition[1:].split(",") if condition else []
    return int(all(bool(getattr(traits, name.lstrip("!"))) != name.startswith("!") for name in names))


_ARRIVES: Final = """
K >fuse_uring_queue_fuse_req()  @QUEUE_FUSE_REQ  ?!background
K  [client request arrives]  @QUEUED  ?!background
K [client request arrives]  @QUEUED  ?background
K >fuse_uring_queue_bq_req()  @QUEUE_BQ_REQ  ?background
"""
_DRY: Final = """
K  >fuse_uring_select_buffer()  @DRY  *dry
"""
_WAITS: Final = """
K  [queue request on fg queue]  ?!background
K  [queue request on bg queue]  ?background
K  [it waits: no entry is free]  ?!dry,waits
K  [it waits: no buffer is free]  ?dry
K  [it waits: for an entry, or for the server's thread]  ?!dry,!waits
"""
_TAKEN: Final = """
K  >fuse_uring_select_buffer()  @SELECTED  ?selected
K  >fuse_uring_add_req_to_ring_ent()  @ADD_REQ_TO_RING_ENT
"""
_ELSEWHERE: Final = """
K [other entries ask for it]
K  >fuse_uring_select_buffer()  @DRY_ELSEWHERE
"""
_SLEEPS: Final = """
K >request_wait_answer()  ?!background
K  [sleep on req->waitq]  ?!background
"""
_PRIOR: Final = """
S [the answer to another request]
S >io_uring_submit()
S  COMMIT_AND_FETCH  @PRIOR_COMMITTED
"""
PRIOR: Final = tuple(parsed(_PRIOR, Traits()))
"""The commit at which a request's entry took it. Threads run beside each other, so this may be anywhere before that."""
ELSEWHERE: Final = tuple(parsed(_ELSEWHERE, Traits()))
"""An entry that did not get a request asks for it, at any time before another one does."""
_FETCHED: Final = """
K >fuse_uring_cmd()
K  >fuse_uring_commit_fetch()
K   >{next}()  @PRIOR_GET_NEXT_FUSE_REQ
K    >fuse_uring_select_buffer()  @DRY  *dry_later
K    [keeps the buffer of that request]  ?buffer,!selected
"""
_TAKEN_BY_ANOTHER: Final = """
K [another request is queued]
"""
_IN_TASK: Final = """
K >fuse_uring_send_in_task()  @SEND_IN_TASK
"""
_PREPARES: Final = """
K >fuse_uring_prepare_send()  @PREPARE_SEND
K  >fuse_uring_copy_to_ring()
K   >fuse_uring_args_to_ring()
K    >fuse_uring_set_up_zero_copy()  @SET_UP_ZERO_COPY  ?zero_copy
K     >io_buffer_register_bvec()  @PAGES_REGISTERED  ?zero_copy
"""
_COPIES_BY_CALLS: Final = """
K    >copy_header_to_ring(OP)  @COPY_HEADER_TO_RING:OP  ?argument
K    >fuse_copy_args()
K     [copy payload to selected buf]  ?sends,buffer
K     [copy payload to the entry's buffer]  ?sends,!buffer
K     [skip data copy of the pages]  ?zero_copy
K    >copy_header_to_ring(RING_ENT)  @COPY_HEADER_TO_RING:RING_ENT
K   <fuse_uring_args_to_ring()  @COPIED
K   >copy_header_to_ring(IN_OUT)  @COPY_HEADER_TO_RING:IN_OUT
"""
_COPIES_IN_PLACE: Final = """
K    [copy the operation's header]  ?argument
K    >fuse_copy_args()
K     [copy payload to the entry's buffer]  ?sends
K    [copy fuse_uring_ent_in_out]
K   <fuse_uring_args_to_ring()  @COPIED
K   [copy fuse_in_header]
"""
_SENDS: Final = """
K >fuse_uring_send()  @SEND
K  >io_uring_cmd_done()  @CMD_DONE
S [CQE received]  @DELIVERED
"""
_SERVES: Final = """
S [read headers from header slot]
S [read payload from selected buf]  ?sends,buffer
S [read payload from the entry's buffer]  ?sends,!buffer
S [I/O at the slot, on client's pages]  @FIXED_IO  *fixed
S [process request]
"""
_REPLIES: Final = """
S [write reply to header slot]
S [write reply payload to buf]  ?answers,buffer
S [write reply payload to the entry's buffer]  ?answers,!buffer
S >io_uring_submit()
S  COMMIT_AND_FETCH  @COMMITTED
K >fuse_uring_cmd()
K  >fuse_uring_commit_fetch()  @COMMIT_FETCH
K   >fuse_uring_commit()  @COMMIT
K    >fuse_uring_copy_from_ring()  @RETURNED  ?!failed
K     [copy the result to the fuse req]  ?!failed
K    >fuse_uring_req_end()  @REQ_END
K     >io_buffer_unregister()  ?zero_copy
K      >fuse_zero_copy_release()  @PAGES_RELEASED  ?zero_copy,!lingers
K     <io_buffer_unregister()  @PAGES_UNREGISTERED  ?zero_copy
K     >fuse_request_end()  @ENDED
K      [wake up req->waitq]  ?!background
K   >{next}()  @GET_NEXT_FUSE_REQ
K    >fuse_uring_recycle_buffer()  @RECYCLED  ?recycled
K    [the entry keeps its buffer]  ?buffer,!recycled
K  [wait or handle next req]
K <fuse_uring_cmd()  @CMD:COMMIT_AND_FETCH
K [the last user of the pages lets them go]  ?lingers
K  >fuse_zero_copy_release()  @PAGES_RELEASED  ?lingers
"""
_UNSENT: Final = """
K  >fuse_uring_req_end()  @REQ_END
K   >io_buffer_unregister()  ?zero_copy,!refused_slot
K    >fuse_zero_copy_release()  @PAGES_RELEASED  ?zero_copy,!refused_slot
K   <io_buffer_unregister()  @PAGES_UNREGISTERED  ?zero_copy,!refused_slot
K   >fuse_request_end()  @ENDED
K    [wake up req->waitq]  ?!background
K >{next}()  @GET_NEXT_FUSE_REQ
K  >fuse_uring_recycle_buffer()  @RECYCLED  ?recycled
"""
_UNQUEUED: Final = """
K  [no queue takes it]
K  >fuse_request_end()  @ENDED
K   [wake up req->waitq]  ?!background
"""
_CANCELLED: Final = """
S [the server's thread is gone]
K >fuse_uring_send_in_task()  @SEND_IN_TASK
K  >io_uring_cmd_done()  @CMD_DONE
K  >fuse_uring_req_end()  @REQ_END
K   >fuse_request_end()  @ENDED
K    [wake up req->waitq]  ?!background
"""
_ABORTED: Final = """
S [the server is gone, or was aborted]
K >fuse_uring_stop_queues()
K  >fuse_uring_entry_teardown()  @ENTRY_TEARDOWN
K   >fuse_request_end()  @ENDED
K    [wake up req->waitq]  ?!background
"""
_ABORTED_WAITING: Final = """
S [the server is gone, or was aborted]
K >fuse_uring_abort_end_requests()
K  >fuse_request_end()  @ENDED
K   [wake up req->waitq]  ?!background
"""
_TO_DEVICE: Final = """
K >fuse_dev_queue_req()
K  [client request arrives]  @QUEUED
K  [queue request on fiq->pending]
"""
_BY_DEVICE: Final = """
S >read(/dev/fuse)
K >fuse_dev_do_read()
K  [copy request to the server]
S [request received]  @DELIVERED
S [process request]
"""
_DEVICE_REPLIES: Final = """
S >write(/dev/fuse)
K >fuse_dev_do_write()
K  [copy the result to the fuse req]  ?!failed
K  >fuse_request_end()  @ENDED
K   [process the answer to INIT]  @INIT  ?init
K   [wake up req->waitq]  ?!background
"""
_DEVICE_ABORTED: Final = """
S [the server is gone, or was aborted]
K >{abort}()
K  >fuse_request_end()  @ENDED
K   [wake up req->waitq]  ?!background
"""
_NO_ANSWER_YET: Final = """
S [no answer so far]
"""


def steps_of(traits: Traits) -> list[Step]:
    """The steps that a request with these traits goes through, in the order in which they are called."""
    made = list(_device(traits) if traits.device else _ring(traits))
    names = _NAMES[traits.dialect is not Dialect.PLAIN]
    return [replace(step, text=step.text.format(**names)) for step in made]


_NAMES: Final = (
    {"next": "fuse_uring_next_fuse_req", "abort": "fuse_abort_conn"},
    {"next": "fuse_uring_get_next_fuse_req", "abort": "fuse_chan_abort"},
)
"""Functions whose names differ: of Linux 6.18, and of 7.3."""


def _ring(traits: Traits) -> Iterator[Step]:
    yield from parsed(_ARRIVES, traits)
    yield from parsed(_DRY, traits)
    if traits.ending is Ending.UNQUEUED:
        yield from parsed(_UNQUEUED, traits)
        return
    if traits.ending is Ending.CANCELLED:
        for script in (_TAKEN, _SLEEPS, _CANCELLED):
            yield from parsed(script, traits)
        return
    yield from parsed(_WAITS if traits.waits or not traits.assigned else _TAKEN, traits)
    yield from parsed(_SLEEPS, traits)
    if traits.assigned or traits.ending is Ending.UNSENT:
        yield from _in_entry(traits)
    elif traits.ending is not Ending.UNFINISHED:
        yield from parsed(_ABORTED_WAITING, traits)


def _in_entry(traits: Traits) -> Iterator[Step]:
    """From when an entry has it."""
    yield from _taken(traits)
    inner = 3 if traits.fetched else 1
    yield from _prepares(traits, inner)
    if traits.ending is Ending.UNSENT:
        yield from parsed(_UNSENT, traits, inner)
    elif traits.delivered:
        yield from parsed(_SENDS, traits, 2 if traits.fetched else 1)
        yield from parsed(_SERVES, traits)
        yield from parsed(_ENDS[traits.ending], traits)


def _taken(traits: Traits) -> Iterator[Step]:
    """How one came to it that waited, and in which call it is brought to the server."""
    if traits.fetched:
        yield from PRIOR
        yield from parsed(_FETCHED, traits)
        yield from parsed(_TAKEN, traits, 2)
        return
    if traits.waits:
        yield from parsed(_TAKEN_BY_ANOTHER, traits)
        yield from parsed(_TAKEN, traits)
    yield from parsed(_IN_TASK, traits)


_ENDS: Final = {Ending.ANSWERED: _REPLIES, Ending.ABORTED: _ABORTED, Ending.UNFINISHED: _NO_ANSWER_YET}


def _prepares(traits: Traits, depth: int) -> Iterator[Step]:
    yield from parsed(_PREPARES, traits, depth)
    if not traits.refused_slot:
        in_place = traits.dialect is Dialect.PLAIN and not traits.header_calls
        yield from parsed(_COPIES_IN_PLACE if in_place else _COPIES_BY_CALLS, traits, depth)


def _device(traits: Traits) -> Iterator[Step]:
    yield from parsed(_TO_DEVICE, traits)
    if traits.delivered:
        yield from parsed(_BY_DEVICE, traits)
    if traits.ending is Ending.ANSWERED:
        yield from parsed(_DEVICE_REPLIES, traits)
    elif traits.ending is not Ending.UNFINISHED:
        yield from parsed(_DEVICE_ABORTED, traits)
    elif traits.delivered:
        yield from parsed(_NO_ANSWER_YET, traits)


SETUP_COMMANDS: Final = {
    "ADD_QUEUE": "fuse_uring_add_queue",
    "ADD_BUFPOOL": "fuse_uring_add_bufpool",
    "REGISTER": "fuse_uring_register",
}
"""The commands that set up a queue, and the kernel's function for each."""


def setup_command(name: str) -> list[Step]:
    """The steps of a command of :data:`SETUP_COMMANDS`."""
    return [
        Step(Side.SERVER, 0, ">io_uring_submit()"),
        Step(Side.SERVER, 1, f"IORING_OP_URING_CMD / FUSE_URING_CMD_{name}", name),
        Step(Side.KERNEL, 0, ">fuse_uring_cmd()"),
        Step(Side.KERNEL, 1, f">{SETUP_COMMANDS[name]}()"),
        Step(Side.KERNEL, 0, "<fuse_uring_cmd()", f"CMD:{name}"),
    ]


READY: Final = Step(Side.KERNEL, 0, "[io_uring is in use from now on]", "READY")

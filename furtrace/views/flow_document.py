"""The diagrams of the document that proposed buffer rings and zero-copy, line for line.

"[PATCH v2 14/14] docs: fuse: add io-uring bufring and zero-copy documentation" (linux-fsdevel, April 2026), for a
kernel of that proposal. What the document leaves out ("analogous", "may have both") follows the same source. The
tables are as in :mod:`furtrace.views.flow_steps`; where the document indents, so do they.
"""

from collections.abc import Iterator
from typing import Final

from furtrace.model.flows import Ending, Traits
from furtrace.views.flow_steps import Step, parsed

_BUFFER_RING: Final = """
K [client request arrives]  @QUEUED
K >fuse_uring_send()  @SEND
K  [select payload buf from ring]  ?buffer
K  >fuse_uring_select_buffer()  @SELECTED  ?buffer
K  [copy headers to ent's header slot]
K  >copy_header_to_ring()  @COPY_HEADER_TO_RING
K  [copy payload to selected buf]  ?buffer
K  >fuse_uring_copy_to_ring()  @COPIED
K  [set buf_id in ent_in_out header]  ?buffer
K  >io_uring_cmd_done()  @CMD_DONE
S [CQE received]  @DELIVERED
S [read headers from header slot]
S [read payload from buf_id]  ?buffer
S [process request]
S [write reply to header slot]
S [write reply payload to buf]  ?buffer
S >io_uring_submit()
S  COMMIT_AND_FETCH  @COMMITTED
K >fuse_uring_commit_fetch()  @COMMIT_FETCH
K  >fuse_uring_commit()  @COMMIT
K   [copy reply from ring]  @RETURNED
K  >fuse_uring_recycle_buffer()  @RECYCLED  ?buffer
K  >fuse_uring_get_next_fuse_req()  @GET_NEXT_FUSE_REQ
"""
_WRITE: Final = """
K "write(fd, buf, 1MB)"
K >sys_write()
K  >fuse_file_write_iter()
K   >fuse_send_one()  @QUEUED
K    [req->args->in_pages = true]
K    [folios hold client write data]
"""
_READ: Final = """
K "read(fd, buf, 1MB)"
K >sys_read()
K  >fuse_file_read_iter()
K   >fuse_send_one()  @QUEUED
K    [req->args->out_pages = true]
K    [folios take what the server reads]
"""
_ZERO_COPY: Final = """
K >fuse_uring_copy_to_ring()
K  >fuse_uring_select_buffer()  @SELECTED  ?buffer
K  >copy_header_to_ring(IN_OUT)  @COPY_HEADER_TO_RING:IN_OUT
K   [memcpy fuse_in_header to pinned headers buf via kaddr]
K  >copy_header_to_ring(OP)  @COPY_HEADER_TO_RING:OP
K   [memcpy {operation} header]
K  >fuse_uring_args_to_ring()
K   >setup_fuse_copy_state()
K    [is_kaddr = true]
K    [skip_folio_copy = true]
K   >fuse_uring_set_up_zero_copy()  @SET_UP_ZERO_COPY
K    [folio_get for each client folio]
K    [build bio_vec array from folios]
K    >io_buffer_register_bvec()  @PAGES_REGISTERED
K     [register pages at ent->id]
K    [ent->zero_copied = true]
K   >fuse_copy_args()
K    [copy args without pages to selected buf]  ?buffer
K    [skip_folio_copy => return 0 for page arg, skip data copy]
K  >copy_header_to_ring(RING_ENT)  @COPY_HEADER_TO_RING:RING_ENT
K   [memcpy ent_in_out]
K >io_uring_cmd_done()  @CMD_DONE
S [CQE received]  @DELIVERED
S [read args from buf_id]  ?buffer
"""
_SERVES_WRITE: Final = """
S [issue io_uring READ at ent->id]  @FIXED_IO
S  [reads directly from client's pages (ZERO_COPY)]
S [write data to backing store]
S [submit COMMIT AND FETCH]  @COMMITTED
"""
_SERVES_READ: Final = """
S [read data from backing store]
S [issue io_uring WRITE at ent->id]  @FIXED_IO
S  [writes directly to client's pages (ZERO_COPY)]
S [submit COMMIT AND FETCH]  @COMMITTED
"""
_ZERO_COPY_ENDS: Final = """
K >fuse_uring_commit_fetch()  @COMMIT_FETCH
K  >fuse_uring_commit()  @COMMIT
K   >fuse_uring_copy_from_ring()  @RETURNED
K   >fuse_uring_req_end()  @REQ_END
K    >io_buffer_unregister(ent->id)  @PAGES_UNREGISTERED
K     [unregister sparse buffer]
K    >fuse_zero_copy_release()  @PAGES_RELEASED
K     [folio_put for each folio]
K    [ent->zero_copied = false]
K    >fuse_request_end()  @ENDED
K     [wake up client]
K  >fuse_uring_recycle_buffer()  @RECYCLED  ?buffer
"""
_PAGES: Final = """
K register: >fuse_uring_set_up_zero_copy()  @SET_UP_ZERO_COPY
K  [folio_get() for each folio]
K  >io_buffer_register_bvec(ent->id)  @PAGES_REGISTERED
S [server accesses pages via io_uring fixed buf at ent->id]  @FIXED_IO
K unregister: >fuse_uring_req_end()  @REQ_END
K  >io_buffer_unregister(ent->id)  @PAGES_UNREGISTERED
K   >fuse_zero_copy_release() callback  @PAGES_RELEASED
K    [folio_put() for each folio]
"""


def buffer_ring(traits: Traits) -> Iterator[Step]:
    """The document's "Buffer ring request flow"; without a buffer, that of a request without payload."""
    return parsed(_BUFFER_RING, traits)


def zero_copy(traits: Traits, *, write: bool) -> Iterator[Step]:
    """The document's "Zero-copy write", and the read that is "analogous"; with a buffer, of which both kinds are."""
    yield from parsed(_WRITE if write else _READ, traits)
    operation = "write_in" if write else "read_in"
    for step in parsed(_ZERO_COPY, traits):
        yield Step(step.side, step.depth, step.text.replace("{operation}", operation), step.sign)
    yield from parsed(_SERVES_WRITE if write else _SERVES_READ, traits)
    yield from parsed(_ZERO_COPY_ENDS, traits)


def pages() -> Iterator[Step]:
    """How the document has pages registered and unregistered."""
    return parsed(_PAGES, Traits())


def document_steps(traits: Traits, *, write: bool) -> list[Step]:
    """The document's diagram for a request that the server answers."""
    if traits.ending is not Ending.ANSWERED:
        raise ValueError("the document shows requests that are answered")
    return list(zero_copy(traits, write=write) if traits.zero_copy else buffer_ring(traits))

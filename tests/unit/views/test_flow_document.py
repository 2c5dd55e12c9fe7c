"""The document's own diagrams, line for line: each has its step in ``furtrace flow --example``, in the same order.

The lines are those of "[PATCH v2 14/14] docs: fuse: add io-uring bufring and zero-copy documentation" and of
``Documentation/filesystems/fuse/fuse-io-uring.rst``; one that the document breaks in two is joined here.
"""

from typing import Final

import pytest

from furtrace.views.flow_kinds import example_steps, kind_of
from furtrace.views.flow_steps import Side
from furtrace.wire.dialect import Dialect

BUFFER_RING: Final = """
K [client request arrives]
K >fuse_uring_send()
K [select payload buf from ring]
K >fuse_uring_select_buffer()
K [copy headers to ent's header slot]
K >copy_header_to_ring()
K [copy payload to selected buf]
K >fuse_uring_copy_to_ring()
K [set buf_id in ent_in_out header]
K >io_uring_cmd_done()
S [CQE received]
S [read headers from header slot]
S [read payload from buf_id]
S [process request]
S [write reply to header slot]
S [write reply payload to buf]
S >io_uring_submit()
S COMMIT_AND_FETCH
K >fuse_uring_commit_fetch()
K >fuse_uring_commit()
K [copy reply from ring]
K >fuse_uring_recycle_buffer()
K >fuse_uring_get_next_fuse_req()
"""
ZERO_COPY_WRITE: Final = """
K "write(fd, buf, 1MB)"
K >sys_write()
K >fuse_file_write_iter()
K >fuse_send_one()
K [req->args->in_pages = true]
K [folios hold client write data]
K >fuse_uring_copy_to_ring()
K >copy_header_to_ring(IN_OUT)
K [memcpy fuse_in_header to pinned headers buf via kaddr]
K >copy_header_to_ring(OP)
K [memcpy write_in header]
K >fuse_uring_args_to_ring()
K >setup_fuse_copy_state()
K [is_kaddr = true]
K [skip_folio_copy = true]
K >fuse_uring_set_up_zero_copy()
K [folio_get for each client folio]
K [build bio_vec array from folios]
K >io_buffer_register_bvec()
K [register pages at ent->id]
K [ent->zero_copied = true]
K >fuse_copy_args()
K [skip_folio_copy => return 0 for page arg, skip data copy]
K >copy_header_to_ring(RING_ENT)
K [memcpy ent_in_out]
K >io_uring_cmd_done()
S [CQE received]
S [issue io_uring READ at ent->id]
S [reads directly from client's pages (ZERO_COPY)]
S [write data to backing store]
S [submit COMMIT AND FETCH]
K >fuse_uring_commit_fetch()
K >fuse_uring_commit()
K >fuse_uring_copy_from_ring()
K >fuse_uring_req_end()
K >io_buffer_unregister(ent->id)
K [unregister sparse buffer]
K >fuse_zero_copy_release()
K [folio_put for each folio]
K [ent->zero_copied = false]
K >fuse_request_end()
K [wake up client]
"""
PAGES: Final = """
K register: >fuse_uring_set_up_zero_copy()
K [folio_get() for each folio]
K >io_buffer_register_bvec(ent->id)
S [server accesses pages via io_uring fixed buf at ent->id]
K unregister: >fuse_uring_req_end()
K >io_buffer_unregister(ent->id)
K >fuse_zero_copy_release() callback
K [folio_put() for each folio]
"""
SENDING: Final = """
S [waiting for CQEs]
K "rm /mnt/fuse/file"
K >sys_unlink()
K >fuse_unlink()
K [allocate request]
K >fuse_send_one()
K >fuse_uring_queue_fuse_req()
K >fuse_uring_add_req_to_ring_ent()
K >request_wait_answer()
K [sleep on req->waitq]
K >fuse_uring_copy_to_ring()
K >io_uring_cmd_done()
S >io_uring_submit()
S COMMIT_AND_FETCH
K >fuse_uring_cmd()
K >fuse_uring_commit_fetch()
K >fuse_uring_commit()
K >fuse_uring_copy_from_ring()
K [copy the result to the fuse req]
K >fuse_uring_req_end()
K >fuse_request_end()
K [wake up req->waitq]
K >fuse_uring_next_fuse_req()
K [wait or handle next req]
K [req->waitq woken up]
K <fuse_unlink()
K <sys_unlink()
"""
REGISTRATION: Final = """
S >io_uring_submit()
S IORING_OP_URING_CMD / FUSE_URING_CMD_REGISTER
S [wait cqe]
S >io_uring_wait_cqe() or >io_uring_submit_and_wait()
K >fuse_uring_cmd()
K >fuse_uring_register()
"""


def _lines(text: str) -> list[tuple[str, str]]:
    return [(line[0], line[2:]) for line in text.strip().splitlines()]


def _example(name: str, dialect: Dialect) -> list[tuple[str, str]]:
    return [(step.side.value, step.text) for step in example_steps(kind_of(name), dialect)]


@pytest.mark.parametrize(
    ("name", "text"), [("buffer", BUFFER_RING), ("zero-copy-write", ZERO_COPY_WRITE), ("pages", PAGES)]
)
def test_the_proposal_s_diagrams_step_for_step(name: str, text: str) -> None:
    assert _example(name, Dialect.BUFRING) == _lines(text)


@pytest.mark.parametrize(("name", "text"), [("plain", SENDING), ("setup", REGISTRATION)])
def test_the_kernel_s_diagrams_in_their_order(name: str, text: str) -> None:
    """There are more steps than the document has lines, none of which is missing."""
    steps = iter(_example(name, Dialect.PLAIN))
    assert [line for line in _lines(text) if line not in steps] == []


def test_a_zero_copied_read_is_analogous() -> None:
    """The kernel's steps are the same, but for the words that say which way the data goes."""
    write, read = (_example(f"zero-copy-{way}", Dialect.BUFRING) for way in ("write", "read"))
    kernel = [[text for side, text in steps if side == Side.KERNEL.value][6:] for steps in (write, read)]
    assert [text.replace("read_in", "write_in") for text in kernel[1]] == kernel[0]
    server = [text for side, text in read if side == Side.SERVER.value]
    assert server.index("[issue io_uring WRITE at ent->id]") > server.index("[read data from backing store]")


def test_of_mixed_requests_both_ways_are_drawn() -> None:
    """ "zero-copy: pages registered via io_buffer_register_bvec(); non-page-backed: copied to payload buffer"."""
    texts = [text for _, text in _example("mixed", Dialect.BUFRING)]
    for text in (">fuse_uring_select_buffer()", ">io_buffer_register_bvec()", ">fuse_uring_recycle_buffer()"):
        assert text in texts
    assert "[copy args without pages to selected buf]" in texts

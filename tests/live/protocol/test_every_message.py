"""Whatever servers and the kernel say to each other is read to its last byte, and nothing in it surprises."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from furtrace.wire.items import Item
from furtrace.wire.notifications import Notification
from furtrace.wire.opcodes import Opcode
from tests.live.protocol.capture import Exchange, Fields
from tests.live.protocol.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.live
Captured = Callable[[str], Scenario]

SINCE: Final = {Opcode.TMPFILE: 37, Opcode.STATX: 39, Opcode.COPY_FILE_RANGE_64: 45, Opcode.SYNCFS: 45}
"""Minor version of the kernel's protocol that asks these; SYNCFS was asked of virtiofs alone before."""
NOT_ASKED: Final = {
    Opcode.SETUPMAPPING: "DAX, which virtiofs alone has",
    Opcode.REMOVEMAPPING: "DAX, which virtiofs alone has",
    Opcode.CUSE_INIT: "CUSE, which many kernels are built without",
}
NOT_OF_LIBFUSE: Final = {
    Opcode.GETLK: "passthrough_fh has it only with ulockmgr",
    Opcode.COPY_FILE_RANGE: "libfuse knows its successor, which is asked first",
}
ONLY_REFUSED_BY_LIBFUSE: Final = {
    Opcode.RENAME2: "the examples refuse its flags",
    Opcode.BMAP: "no example has it",
    Opcode.SYNCFS: "libfuse does not know it",
    Opcode.INTERRUPT: "is answered only by who does not know it",
}
UNANSWERED: Final = {Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.NOTIFY_REPLY}
ASKED: Final = set(Opcode) - set(NOT_ASKED)

TOO_SHORT: Final = "they look alike"
"""A reply by itself does not tell whether its 8 bytes are a value or a size."""
FILLED: Final = {Opcode.READDIR, Opcode.READDIRPLUS}
"""Their entries are filled up to 8 bytes; so are extensions."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_has_no_problem(captured: Captured, name: str) -> None:
    for exchange in captured(name).capture.exchanges:
        assert exchange.asked.decoded.problems == ()
        if exchange.reply:
            reasons = [problem.reason for problem in exchange.answered.decoded.problems]
            expected = [reason for reason in reasons if asks_for_size(exchange) and reason.endswith(TOO_SHORT)]
            assert reasons == expected
    for notification in captured(name).capture.notifications:
        assert notification.fields.decoded.problems == ()


def asks_for_size(exchange: Exchange) -> bool:
    return exchange.opcode in (Opcode.GETXATTR, Opcode.LISTXATTR) and exchange.request[40:44] == bytes(4)


@pytest.mark.parametrize("name", SCENARIOS)
def test_reads_every_byte_once_and_as_it_is(captured: Captured, name: str) -> None:
    for data, fields, may_be_filled in messages(captured(name)):
        at = 0
        for _, item in fields.leaves:
            filling = data[at : item.offset]
            assert not any(filling)
            assert not filling or (may_be_filled and len(filling) < 8)
            assert data[item.offset : item.offset + item.size] == raw(item)
            at = item.offset + item.size
        assert not any(data[at:])
        assert at == len(data) or (may_be_filled and len(data) - at < 8)


@pytest.mark.parametrize("name", SCENARIOS)
def test_is_as_long_as_it_says(captured: Captured, name: str) -> None:
    for data, fields, _ in messages(captured(name)):
        announced = fields.all("fuse_in_header.len") or fields.all("fuse_out_header.len")
        assert announced == [len(data)] == [fields.decoded.size]


def messages(scenario: Scenario) -> Iterator[tuple[bytes, Fields, bool]]:
    for exchange in scenario.capture.exchanges:
        yield exchange.request, exchange.asked, exchange.asked.number("fuse_in_header.total_extlen") > 0
        if exchange.reply:
            yield exchange.reply.data, exchange.answered, exchange.opcode in FILLED
    for sent in scenario.capture.notifications:
        yield sent.data, sent.fields, False


def raw(item: Item) -> bytes:
    """What the value looks like in memory."""
    match item.value:
        case int(number):
            return number.to_bytes(item.size, "little", signed=number < 0)
        case bytes(text):
            return text.ljust(item.size, b"\0")
        case tuple(numbers):
            return b"".join(number.to_bytes(item.size // len(numbers), "little") for number in numbers)
        case nothing:
            raise AssertionError(f"{item.name} has the value {nothing}")


def test_nearly_all_operations_were_asked_and_answered(captured: Captured) -> None:
    kernel = captured("files").capture.minor
    asked, answered, libfuse = Counter[int](), Counter[int](), Counter[int]()
    for name in SCENARIOS:
        scenario = captured(name)
        for exchange in scenario.capture.exchanges:
            asked[exchange.opcode] += 1
            if exchange.reply and not exchange.error:
                answered[exchange.opcode] += 1
                libfuse[exchange.opcode] += scenario.server != "rawserver"
    known = {opcode for opcode in ASKED if SINCE.get(opcode, 0) <= kernel}
    assert len(known) >= 40
    assert set(asked) == known
    assert set(answered) == known - UNANSWERED - {Opcode.INTERRUPT}
    assert set(+libfuse) == set(answered) - set(NOT_OF_LIBFUSE) - set(ONLY_REFUSED_BY_LIBFUSE)


def test_libfuse_refused_what_it_does_not_know(captured: Captured) -> None:
    if captured("files").capture.minor < SINCE[Opcode.SYNCFS]:
        pytest.skip("this kernel does not ask SYNCFS of block devices")
    refused: dict[int, int] = {}
    for name in ("files", "access", "block"):
        for exchange in captured(name).capture.exchanges:
            if exchange.opcode in ONLY_REFUSED_BY_LIBFUSE:
                refused[exchange.opcode] = exchange.error
    einval, enosys = 22, 38
    assert refused == {
        Opcode.RENAME2: einval,
        Opcode.BMAP: enosys,
        Opcode.SYNCFS: enosys,
        Opcode.INTERRUPT: enosys,
    }


def test_all_notifications_were_sent(captured: Captured) -> None:
    if captured("files").capture.minor < 45:
        pytest.skip("this kernel does not know all notifications")
    taken = set()
    for name in SCENARIOS:
        for sent in captured(name).capture.notifications:
            code = Notification(sent.fields.number("fuse_out_header.error"))
            taken |= {code} if sent.taken == len(sent.data) else set()
    assert taken == set(Notification)

"""Messages that are cut off, at every length: what is there is shown, what is not is said to be missing."""

from collections.abc import Iterator

import pytest

from furtrace.wire.decode import Context, Decoded, Part, decode
from furtrace.wire.dialect import Dialect
from tests.unit.wire.cstructs import STRUCTS, Piece, Shape, joined, leaves, shape_of, shapes
from tests.unit.wire.invariants import check
from tests.unit.wire.messages import COMMANDS, NOTIFICATIONS, READV_SQE, REPLIES, REQUESTS, entry, notification

POOL = Dialect.BUFPOOL
SLOT = 288
# Told from the newer form by the length of the whole message, or by what the request asked for.
OLD_FORMS = {"SETXATTR of 8 bytes", "INIT of 16 bytes"}
SIZE_ALONE = {"GETXATTR, size alone", "LISTXATTR, size alone"}


def _cuts(pieces: tuple[Piece, ...], part: Part, context: Context, first: int = 0) -> Iterator[tuple[int, Decoded]]:
    """Decode at every length below the whole, and check what is shown."""
    given, found = joined(pieces), shapes(pieces)
    extensions = [start for name, start, *_ in _extensions(found)]

    def heads(length: int) -> list[int]:
        """What is not one whole head does not tell which kind of extension it is, and is shown as bytes."""
        return [start for start in extensions if start < length < start + 8]

    for length in range(first, len(given)):
        cut = given[:length]
        decoded = decode(cut, part, context)
        check(decoded, cut)
        shown = list(leaves(tuple(map(shape_of, decoded.items))))
        complete = [leaf for leaf in leaves(found) if leaf[1] + leaf[2] <= length and leaf[1] not in heads(length)]
        assert shown[: len(complete)] == complete, length
        # Behind it there can be the beginning of a name or of data, never of a number.
        beyond = shown[len(complete) :]
        assert len(beyond) <= 1, length
        assert all(isinstance(leaf[3], bytes) for leaf in beyond), length
        yield length, decoded


def _extensions(found: tuple[Shape, ...]) -> Iterator[Shape]:
    for shape in found:
        if shape[0] == "extension":
            yield shape
        yield from _extensions(shape[4])


def _structures(found: tuple[Shape, ...]) -> Iterator[tuple[int, int]]:
    for name, start, size, _, inner in found:
        if any(key.partition(" ")[0] == name for key in STRUCTS):
            yield start, start + size
        else:
            yield from _structures(inner)


def _in_a_structure(pieces: tuple[Piece, ...], length: int) -> bool:
    return any(start < length < end for start, end in _structures(shapes(pieces)))


@pytest.mark.parametrize("key", sorted(REQUESTS.keys() - OLD_FORMS))
def test_request_of_the_device(key: str) -> None:
    for length, decoded in _cuts(REQUESTS[key].contiguous(), Part.REQUEST, Context()):
        assert decoded.problems, length


@pytest.mark.parametrize("key", sorted(REQUESTS.keys() - OLD_FORMS))
def test_request_in_a_slot(key: str) -> None:
    # With fewer than 16 bytes nothing tells a request from a reply.
    for length, decoded in _cuts(REQUESTS[key].slot(POOL), Part.HEADER, Context(POOL), 16):
        assert bool(decoded.problems) == (length != SLOT), length


@pytest.mark.parametrize("key", sorted(REQUESTS.keys() - OLD_FORMS))
def test_body_of_a_request(key: str) -> None:
    body = REQUESTS[key].body()
    for length, decoded in _cuts(body, Part.IN, Context(opcode=REQUESTS[key].opcode)):
        is_older = key == "INIT" and length == 16
        assert decoded.problems or is_older or not _in_a_structure(body, length), length


@pytest.mark.parametrize("key", sorted(REPLIES.keys() - SIZE_ALONE))
def test_reply_of_the_device(key: str) -> None:
    for length, decoded in _cuts(REPLIES[key].contiguous(), Part.REPLY, Context(opcode=REPLIES[key].opcode)):
        assert decoded.problems, length


@pytest.mark.parametrize("key", REPLIES)
def test_reply_in_a_slot(key: str) -> None:
    for length, decoded in _cuts(REPLIES[key].slot(POOL), Part.HEADER, Context(POOL, REPLIES[key].opcode)):
        assert bool(decoded.problems) == (length != SLOT), length


@pytest.mark.parametrize("key", sorted(REPLIES.keys() - SIZE_ALONE))
def test_body_of_a_reply(key: str) -> None:
    body = REPLIES[key].body
    for length, decoded in _cuts(body, Part.OUT, Context(opcode=REPLIES[key].opcode)):
        is_older = key.startswith("INIT") and length in (8, 24)
        assert decoded.problems or is_older or not _in_a_structure(body, length), length


@pytest.mark.parametrize("code", NOTIFICATIONS)
def test_notification(code: int) -> None:
    for length, decoded in _cuts(notification(code), Part.REPLY, Context()):
        assert decoded.problems, length


@pytest.mark.parametrize("key", COMMANDS)
def test_command(key: str) -> None:
    command = COMMANDS[key]
    # What is behind the structure is not used, so that nothing is amiss without it.
    for length, decoded in _cuts(command.area(), Part.COMMAND, Context(command.dialect, command=command.code)):
        assert bool(decoded.problems) == (length < len(command.request.raw)), length
    for length, decoded in _cuts(command.sqe(), Part.SQE, Context(command.dialect)):
        assert bool(decoded.problems) == (length < 48 + len(command.request.raw)), length


def test_sqe_of_no_command() -> None:
    for _, decoded in _cuts((READV_SQE,), Part.SQE, Context()):
        assert decoded.problems


@pytest.mark.parametrize("dialect", Dialect)
def test_ring_entry(dialect: Dialect) -> None:
    whole = Piece("fuse_uring_ent_in_out", entry(dialect, 7).raw, None, entry(dialect, 7).inner)
    for length, decoded in _cuts((whole,), Part.ENTRY, Context(dialect)):
        assert [problem.offset for problem in decoded.problems][-1] == length
        assert all(item.name == whole.name for item in decoded.items)


def test_says_where_it_ends() -> None:
    given = joined(REQUESTS["WRITE"].contiguous())
    decoded = decode(given[:61], Part.REQUEST)
    assert [(problem.offset, problem.reason) for problem in decoded.problems] == [
        (61, f"len says {len(given)} bytes, 61 are given"),
        (61, "fuse_write_in: 40 bytes needed, 21 given, inside write_flags"),
    ]


def test_a_meaning_does_not_rest_on_what_is_missing() -> None:
    given = joined(REPLIES["LOOKUP"].body)
    context = Context(opcode=REPLIES["LOOKUP"].opcode)
    whole, cut = decode(given, Part.OUT, context).items[0], decode(given[:34], Part.OUT, context).items[0]
    assert [item.meaning for item in whole.items[2:4]] == ["3.000000005 s", "4.000000006 s"]
    assert [(item.name, item.meaning) for item in cut.items[2:4]] == [("entry_valid", ""), ("attr_valid", "")]
    # The flags that this field waits for are before it.
    given = joined(REPLIES["OPEN"].body) + b"\0"
    assert decode(given[:16], Part.OUT, Context(opcode=14)).items[0].items[2].meaning.startswith("not used")


def test_extensions_are_found_where_the_header_puts_them() -> None:
    request = REQUESTS["MKDIR"]
    given = joined(request.contiguous())
    first = len(given) - len(joined(request.extensions))
    decoded = decode(given[: first + 10], Part.REQUEST)
    assert [(item.name, item.offset) for item in decoded.items][-2:] == [("name", first - 5), ("extension", first)]
    assert [(problem.offset, problem.reason) for problem in decoded.problems] == [
        (first + 10, f"len says {len(given)} bytes, {first + 10} are given"),
        (first, "total_extlen says 80 bytes of extensions, 10 are given"),
        (first, "an extension of 56 bytes does not fit the 10 bytes left"),
        (first + 10, "fuse_secctx: 8 bytes needed, 2 given, inside size"),
    ]

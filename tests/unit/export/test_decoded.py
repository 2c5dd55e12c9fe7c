"""What bytes say, as JSON: exact, and whole."""

import json
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from furtrace.export.decoded import decoded_object
from furtrace.export.protocol import protocol_object
from furtrace.wire.decode import Context, Part, decode
from furtrace.wire.dialect import Dialect
from furtrace.wire.opcodes import Opcode
from furtrace.wire.protocol import flag_sets, listing

REPLY = struct.pack("<IiQ", 16, -2, 2**64 - 1)


def made(data: bytes, part: Part | None = None, context: Context | None = None) -> dict[str, Any]:
    """The object as a reader of JSON has it."""
    decoded = decode(data, part, context)
    item = decoded_object(decoded, data, Dialect.BUFPOOL, "hex", guessed=part is None)
    result: dict[str, Any] = json.loads(json.dumps(item))
    return result


def test_a_reply() -> None:
    fields = [
        ("len", 0, 4, 16, "10000000", ""),
        ("error", 4, 4, -2, "feffffff", "-ENOENT"),
        ("unique", 8, 8, 2**64 - 1, "ff" * 8, ""),
    ]
    names = ("name", "offset", "size", "value", "hex", "meaning")
    pieces = [{**dict(zip(names, field, strict=True)), "text": None, "items": []} for field in fields]
    assert made(REPLY) == {
        "type": "decoded",
        "title": "reply: -ENOENT",
        "part": "reply",
        "guessed": True,
        "dialect": "bufpool",
        "form": "hex",
        "size": 16,
        "hex": REPLY.hex(),
        "items": [
            {
                "name": "fuse_out_header",
                "offset": 0,
                "size": 16,
                "value": None,
                "hex": None,
                "text": None,
                "meaning": "",
                "items": pieces,
            }
        ],
        "problems": [],
    }


def test_a_part_that_was_given_is_not_guessed() -> None:
    assert made(REPLY, Part.REPLY)["guessed"] is False


def test_problems() -> None:
    found = made(REPLY[:15])["problems"]
    assert found == [{"offset": 15, "reason": "fuse_out_header: 16 bytes needed, 15 given, inside unique"}]


def test_a_name_is_exact_and_printable() -> None:
    (piece,) = made(b"\xff\x1b\xc3\xa9\0", Part.IN, Context(opcode=int(Opcode.LOOKUP)))["items"]
    assert piece["text"] == "\udcff\x1bé"
    assert piece["text"].encode("utf-8", "surrogateescape") == b"\xff\x1b\xc3\xa9"
    assert piece["meaning"] == r'"\xff\x1bé"'
    assert (piece["value"], piece["hex"]) == (None, "ff1bc3a900")


def test_an_array_is_a_list() -> None:
    pieces = made(bytes(64), Part.OUT, Context(opcode=int(Opcode.INIT)))["items"][0]["items"]
    assert [0] * len(pieces[-1]["value"]) == pieces[-1]["value"] != []


@given(st.binary(min_size=1, max_size=400), st.sampled_from([None, *Part]))
def test_any_bytes_come_out_as_they_went_in(data: bytes, part: Part | None) -> None:
    whole = made(data, part, Context(opcode=int(Opcode.CREATE)))
    assert bytes.fromhex(whole["hex"]) == data
    todo = list(whole["items"])
    while todo:
        piece = todo.pop()
        todo += piece["items"]
        start, size = piece["offset"], piece["size"]
        assert (piece["hex"] is None) == bool(piece["items"])
        assert piece["hex"] in (None, data[start : start + size].hex())
        if isinstance(piece["value"], int):
            assert piece["value"] % (1 << 8 * size) == int.from_bytes(data[start : start + size], "little")


def test_the_protocol() -> None:
    whole = json.loads(json.dumps(protocol_object(listing())))
    assert (whole["type"], whole["major"], whole["minor"]) == ("protocol", 7, 46)
    fields = [{"name": "mask", "offset": 0, "size": 4}, {"name": "padding", "offset": 4, "size": 4}]
    assert {"name": "fuse_access_in", "dialect": None, "size": 8, "fields": fields} in whole["structures"]
    operations = {one["name"]: one for one in whole["operations"]}
    assert operations.keys() == Opcode.__members__.keys()
    assert operations["MKDIR"] == {
        "name": "MKDIR", "opcode": 9, "request": ["fuse_mkdir_in", "name"], "reply": ["fuse_entry_out"]
    }  # fmt: skip
    assert operations["FORGET"]["reply"] is None
    assert {"name": "RESEND", "code": 7, "parts": []} in whole["notifications"]
    bits = {one["name"]: one["bits"] for one in whole["flags"]}
    assert {"name": "FOPEN_DIRECT_IO", "value": 1} in bits["OpenReplyFlag"]
    assert {"name": "FUSE_IOCTL_32BIT", "value": 8} in bits["IoctlFlag"]
    assert {"name": "O_CREAT", "value": 0o100} in bits["OpenFlag"]
    assert "NoFlag" not in bits


def test_every_structure_has_its_dialect() -> None:
    pairs = [(one["name"], one["dialect"]) for one in protocol_object(listing())["structures"]]
    assert {dialect for name, dialect in pairs if name == "fuse_uring_ent_in_out"} == {*Dialect}
    assert {dialect for name, dialect in pairs if name == "fuse_attr_out"} == {None}


def test_a_listing_of_one_dialect() -> None:
    found = listing(Dialect.BUFRING)
    assert {dialect for dialect, _ in found.structures} == {None, Dialect.BUFRING}
    assert len(found.operations) == len(Opcode)


def test_a_listing_of_one_operation() -> None:
    found = listing(None, int(Opcode.READDIRPLUS))
    assert [layout.name for _, layout in found.structures] == ["fuse_read_in", "fuse_direntplus"]
    assert ([one.name for one in found.operations], found.notifications, found.flags) == (["READDIRPLUS"], (), ())
    both = listing(Dialect.PLAIN, int(Opcode.READ))
    assert {dialect for dialect, _ in both.structures} == {None, Dialect.PLAIN}
    assert listing(None, 7).operations == ()


def test_flags_are_single_bits_each_once() -> None:
    sets = list(flag_sets())
    assert len({one.name for one in sets}) == len(sets) > 20
    for one in sets:
        bits = [bit for _, bit in one.bits]
        assert bits == sorted(set(bits))
        assert all(bit.bit_count() == 1 for bit in bits)

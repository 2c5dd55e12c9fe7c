"""The bytes that went over /dev/fuse, and what furtrace reads in them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from furtrace.wire.decode import Context, Decoded, Part, decode
from furtrace.wire.items import Item, Value
from furtrace.wire.notifications import Notification
from furtrace.wire.opcodes import Opcode, opcode_name


class Fields:
    """A decoded message, by the dotted names of its pieces (``fuse_entry_out.attr.mode``, ``name``)."""

    def __init__(self, decoded: Decoded) -> None:
        self.decoded = decoded
        self.leaves = tuple(leaves(decoded.items))

    def __getitem__(self, path: str) -> Value:
        """The value that stands there once."""
        (value,) = self.all(path)
        return value

    def all(self, path: str) -> list[Value]:
        """The values of all pieces of that name, in their order."""
        return [item.value for at, item in self.leaves if at == path and item.value is not None]

    def words(self, path: str) -> str:
        """What the only piece of that name means."""
        (words,) = (item.meaning for at, item in self.leaves if at == path)
        return words

    def number(self, path: str) -> int:
        """The number that stands there once."""
        value = self[path]
        assert isinstance(value, int)
        return value

    def data(self, path: str) -> bytes:
        """The bytes that stand there once."""
        value = self[path]
        assert isinstance(value, bytes)
        return value

    def matches(self, wanted: Mapping[str, Value]) -> bool:
        """Whether each of these stands there once with that value."""
        return all(self.all(path) == [value] for path, value in wanted.items())


def leaves(items: tuple[Item, ...], prefix: str = "") -> Iterator[tuple[str, Item]]:
    """All pieces that have no pieces, with their dotted names."""
    for item in items:
        path = prefix + item.name
        if item.items:
            yield from leaves(item.items, f"{path}.")
        else:
            yield path, item


@dataclass(frozen=True)
class Sent:
    """Bytes that a server wrote, and what write(2) said: how many it took, or None if it failed."""

    data: bytes
    taken: int | None

    @cached_property
    def fields(self) -> Fields:
        """What it says, of a notification."""
        return Fields(decode(self.data, Part.REPLY))


@dataclass
class Exchange:
    """A request, and the reply if there was one."""

    request: bytes
    reply: Sent | None = None

    @property
    def opcode(self) -> int:
        """As the header says, read here by hand."""
        return int.from_bytes(self.request[4:8], "little")

    @cached_property
    def asked(self) -> Fields:
        """What the request says."""
        return Fields(decode(self.request, Part.REQUEST))

    @cached_property
    def answered(self) -> Fields:
        """What the reply says."""
        assert self.reply is not None, f"no reply to {opcode_name(self.opcode)}"
        return Fields(decode(self.reply.data, Part.REPLY, Context(opcode=self.opcode)))

    @property
    def error(self) -> int:
        """The reply's errno, above 0, or 0."""
        return -self.answered.number("fuse_out_header.error")


@dataclass
class Capture:
    """What one server and the kernel said to each other, in its order."""

    exchanges: list[Exchange] = field(default_factory=list, repr=False)
    notifications: list[Sent] = field(default_factory=list, repr=False)

    def all(self, opcode: Opcode, wanted: Mapping[str, Value] | None = None) -> list[Exchange]:
        """The exchanges of that operation whose request says all this."""
        ours = (one for one in self.exchanges if one.opcode == opcode)
        return [one for one in ours if one.asked.matches(wanted or {})]

    def one(self, opcode: Opcode, wanted: Mapping[str, Value] | None = None) -> Exchange:
        """The only one of these."""
        found = self.all(opcode, wanted)
        assert len(found) == 1, f"{len(found)} of {opcode.name} with {wanted}"
        return found[0]

    def first(self, opcode: Opcode, wanted: Mapping[str, Value] | None = None) -> Exchange:
        """The first of these."""
        found = self.all(opcode, wanted)
        assert found, f"no {opcode.name} with {wanted}"
        return found[0]

    def told(self, code: Notification) -> list[Sent]:
        """The notifications of that code."""
        return [one for one in self.notifications if int.from_bytes(one.data[4:8], "little") == code]

    def node(self, name: bytes) -> int:
        """The node id that a reply gave to a name first."""
        for one in self.exchanges:
            found = one.opcode in _NAMERS and one.asked.all("name") == [name]
            if found and one.reply and not one.error and (node := one.answered.number("fuse_entry_out.nodeid")):
                return node
        raise AssertionError(f"no reply names {name!r}")

    @property
    def minor(self) -> int:
        """The kernel's protocol version, read here by hand."""
        (init,) = (one for one in self.exchanges if one.opcode == Opcode.INIT)
        return int.from_bytes(init.request[44:48], "little")

    def read(self, data: bytes) -> None:
        """The server read a request."""
        self.exchanges.append(Exchange(data))

    def wrote(self, data: bytes, taken: int | None) -> None:
        """The server wrote a reply or a notification."""
        unique = int.from_bytes(data[8:16], "little")
        if not unique:
            self.notifications.append(Sent(data, taken))
            return
        asked = [one for one in self.exchanges if int.from_bytes(one.request[8:16], "little") == unique]
        assert asked, f"a reply to no request: {data[:16].hex()}"
        # An interrupted request may have been answered already.
        asked[-1].reply = asked[-1].reply or Sent(data, taken)


_NAMERS: Final = frozenset({Opcode.LOOKUP, Opcode.CREATE, Opcode.MKDIR, Opcode.MKNOD, Opcode.SYMLINK})

# ---- strace ----

_HEX: Final = "".join(f"\\\\x{byte:02x}" for byte in b"/dev/fuse")
_CALL: Final = re.compile(
    rf"(?P<call>read|writev)\(\d+<(?:{_HEX}|/dev/fuse)>, (?P<given>.*)\) += (?P<result>-?\d+)(?: E[A-Z]+ .*)?"
)
_STRING: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_UNFINISHED: Final = " <unfinished ...>"
_RESUMED: Final = re.compile(r"<\.\.\. \w+ resumed>")


def whole_lines(text: str) -> Iterator[tuple[int, str]]:
    """The calls that a log of ``strace -f`` holds, each with its thread; joins those that others interrupt."""
    begun: dict[str, str] = {}
    for line in text.splitlines():
        thread, _, call = line.partition(" ")
        call = call.lstrip()
        if call.endswith(_UNFINISHED):
            begun[thread] = call.removesuffix(_UNFINISHED)
            continue
        if resumed := _RESUMED.match(call):
            call = begun.pop(thread) + call[resumed.end() :]
        yield int(thread), call


def from_strace(log: Path) -> Capture:
    """Read what a server read from and wrote to /dev/fuse."""
    capture = Capture()
    reads: list[bytes] = []
    writes: list[tuple[bytes, int | None]] = []
    text = log.read_text()
    for _, line in whole_lines(text[: text.rfind("\n") + 1]):
        call = _CALL.fullmatch(line)
        if call is None:
            continue
        result = int(call["result"])
        data = strings(call["given"])
        if call["call"] == "writev":
            writes.append((data, result if result >= 0 else None))
        elif result > 0:
            assert len(data) == result
            reads.append(data)
    # Threads of a server overtake each other, so a request may be logged after its reply.
    for data in reads:
        capture.read(data)
    for written in writes:
        capture.wrote(*written)
    return capture


def strings(given: str) -> bytes:
    """All strings of a call's arguments, as ``-xx`` shows them, one after the other."""
    data = b""
    for text, more in _STRING.findall(given):
        assert not more, "strace cut a string short"
        data += bytes.fromhex(text.replace("\\x", ""))
    return data

"""BTF made by hand (``include/uapi/linux/btf.h``): a kernel small enough to know by heart, and a module for it."""

import struct
from collections.abc import Sequence

_INT, _STRUCT, _UNION, _ENUM, _TYPEDEF, _FUNC, _PROTO = 1, 4, 5, 6, 8, 12, 13

Member = tuple[str, int, int]
"""Name (empty: anonymous), id of its type, offset in bytes."""


class Btf:
    """Types by the order in which they are added; ids go on from ``base``'s."""

    def __init__(self, base: "Btf | None" = None) -> None:
        self._base = base
        self._first = base.next_id if base else 1
        self._first_string = base.string_size if base else 0
        self._types: list[bytes] = []
        self._strings = b"" if base else b"\0"

    @property
    def next_id(self) -> int:
        """The id of the next type."""
        return self._first + len(self._types)

    @property
    def string_size(self) -> int:
        """Where a module's strings go on."""
        return self._first_string + len(self._strings)

    def _string(self, text: str) -> int:
        if not text:
            return 0
        offset = self.string_size
        self._strings += text.encode() + b"\0"
        return offset

    def _add(self, name: str, kind: int, count: int, size: int, rest: bytes = b"") -> int:
        self._types.append(struct.pack("<III", self._string(name), kind << 24 | count, size) + rest)
        return self.next_id - 1

    def integer(self, name: str, size: int) -> int:
        """An unsigned integer type."""
        return self._add(name, _INT, 0, size, struct.pack("<I", size * 8))

    def struct(self, name: str, size: int, members: Sequence[Member], *, union: bool = False) -> int:
        """A struct or union."""
        rest = b"".join(struct.pack("<III", self._string(name), kind, at * 8) for name, kind, at in members)
        return self._add(name, _UNION if union else _STRUCT, len(members), size, rest)

    def bit_fields(self, name: str, size: int, members: Sequence[tuple[str, int, int, int]]) -> int:
        """A struct with the kind flag: name, type, offset in bits and width of each member, 0: no bit field."""
        rest = b"".join(
            struct.pack("<III", self._string(name), kind, width << 24 | at) for name, kind, at, width in members
        )
        return self._add(name, 1 << 7 | _STRUCT, len(members), size, rest)

    def enum(self, name: str, values: dict[str, int]) -> int:
        """An enum of 4 bytes."""
        rest = b"".join(struct.pack("<Ii", self._string(name), value) for name, value in values.items())
        return self._add(name, _ENUM, len(values), 4, rest)

    def typedef(self, name: str, to: int) -> int:
        """A typedef."""
        return self._add(name, _TYPEDEF, 0, to)

    def function(self, name: str) -> int:
        """A static function without arguments that returns nothing."""
        return self._add(name, _FUNC, 0, self._add("", _PROTO, 0, 0))

    def build(self) -> bytes:
        """The file."""
        types = b"".join(self._types)
        return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(self._strings)) + (
            types + self._strings
        )


def kernel() -> Btf:
    """``struct fuse_req`` with an anonymous union that holds a named and an anonymous struct, and more."""
    made = Btf()
    u64, u32 = made.integer("unsigned long", 8), made.integer("unsigned int", 4)
    inner = made.struct("", 8, [("deep", u32, 0), ("deeper", u32, 4)])
    union = made.struct("", 8, [("", inner, 0), ("either", u64, 0)], union=True)
    made.struct("fuse_req", 16, [("flags", u64, 0), ("", union, 8)])
    made.struct("fuse_empty", 0, [])
    made.bit_fields(
        "fuse_conn", 24, [("dev", u64, 0, 0), ("abort", u32, 64, 1), ("init", u32, 75, 2), ("last", u64, 128, 0)]
    )
    made.enum("fuse_req_flag", {"FR_ISREPLY": 0, "FR_BACKGROUND": 2, "FR_NEGATIVE": -5})
    made.typedef("btf_trace_fuse_request_send", u64)
    made.function("fuse_dev_open")
    return made


def module(base: Btf) -> Btf:
    """A module whose struct has a member of the kernel's own type."""
    made = Btf(base)
    made.struct("fuse_uring_ent_in_out", 4, [("buf_id", 2, 0)])
    made.typedef("btf_trace_fuse_request_end", 1)
    return made

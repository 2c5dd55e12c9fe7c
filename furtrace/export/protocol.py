"""The protocol as this build knows it, as one JSON object."""

from typing import Any

from furtrace.wire.protocol import MAJOR, MINOR, Listing


def protocol_object(listing: Listing) -> dict[str, Any]:
    """Structures, operations, notifications and flags."""
    return {
        "type": "protocol",
        "major": MAJOR,
        "minor": MINOR,
        "structures": [
            {
                "name": layout.name,
                "dialect": None if dialect is None else str(dialect),
                "size": layout.size,
                "fields": [{"name": one.name, "offset": one.offset, "size": one.size} for one in layout.fields],
            }
            for dialect, layout in listing.structures
        ],
        "operations": [
            {"name": one.name, "opcode": one.code, "request": _parts(one.request), "reply": _parts(one.reply)}
            for one in listing.operations
        ],
        "notifications": [
            {"name": one.name, "code": one.code, "parts": _parts(one.reply)} for one in listing.notifications
        ],
        "flags": [
            {"name": one.name, "bits": [{"name": name, "value": bit} for name, bit in one.bits]}
            for one in listing.flags
        ],
    }


def _parts(parts: tuple[str, ...] | None) -> list[str] | None:
    return None if parts is None else list(parts)

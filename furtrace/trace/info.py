"""What is true of a whole trace: where, how and when it was taken."""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Self

from furtrace.trace.errors import RecordingError


@dataclass
class TraceInfo:
    """The setting of a trace; a recording keeps it with its interface.

    ``realtime_offset_ns``: what has to be added to a record's CLOCK_MONOTONIC time to get CLOCK_REALTIME.
    ``mounts``: mount points by connection, as far as they are known; kept up to date while a trace goes on. ``boot``:
    ``/proc/sys/kernel/random/boot_id``: times and connection numbers are comparable within one boot. ``whole``: no
    filter hides some of an entry's requests.
    """

    kernel: str
    dialect: str
    vantage: str
    realtime_offset_ns: int
    mounts: dict[int, str] = field(default_factory=dict)
    command_line: str = ""
    boot: str = ""
    host: str = ""
    machine: str = ""
    cpus: int = 0
    filters: str = ""
    steps: str = "protocol"
    version: str = ""
    whole: bool = True

    def to_json(self) -> str:
        """All of it but the mounts, which records tell."""
        told = asdict(self)
        del told["mounts"]
        return json.dumps({"furtrace": told}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """As :meth:`to_json` made it; members that this version does not know are left out.

        Raises:
            RecordingError: it is something else.
        """
        try:
            told: dict[str, Any] = json.loads(text)["furtrace"]
            known = {one.name: told[one.name] for one in fields(cls) if one.name in told and one.name != "mounts"}
            made = cls(**known)
        except (ValueError, KeyError, TypeError, RecursionError):
            made = None
        if made is None or not all(isinstance(value, _TYPES[name]) for name, value in known.items()):
            raise RecordingError("its description is not one that furtrace wrote")
        if abs(made.realtime_offset_ns) >= _BEYOND_ALL_CLOCKS:
            raise RecordingError("its description is not one that furtrace wrote")
        return made


_BEYOND_ALL_CLOCKS: Final = 1 << 62
_TYPES: Final = {one.name: one.type if isinstance(one.type, type) else object for one in fields(TraceInfo)}

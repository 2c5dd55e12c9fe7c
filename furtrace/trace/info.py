"""What is true of a whole trace: where, how and when it was taken."""

from dataclasses import dataclass, field


@dataclass
class TraceInfo:
    """The setting of a trace; a recording keeps it in its section header.

    ``realtime_offset_ns``: what has to be added to a record's CLOCK_MONOTONIC time to get CLOCK_REALTIME.
    ``mounts``: mount points by connection, as far as they are known; kept up to date while a trace goes on.
    """

    kernel: str
    dialect: str
    vantage: str
    realtime_offset_ns: int
    mounts: dict[int, str] = field(default_factory=dict)
    command_line: str = ""

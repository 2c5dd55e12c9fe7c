"""What this process may do."""

import os
import re
from pathlib import Path

from furtrace.probe.errors import ProbeError

_SYS_ADMIN, _PERFMON, _BPF = 21, 38, 39  # include/uapi/linux/capability.h


def effective_capabilities() -> int:
    """The effective capabilities of this process as a bit set (CapEff of proc_pid_status(5))."""
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1], 16) if found else 0


def may_trace() -> bool:
    """Whether this process may load the probes: CAP_SYS_ADMIN, or CAP_BPF with CAP_PERFMON."""
    held = effective_capabilities()
    return bool(held >> _SYS_ADMIN & 1) or bool(held >> _BPF & held >> _PERFMON & 1)


def check_privilege() -> None:
    """Raise unless :func:`may_trace`.

    Raises:
        ProbeError: it may not.
    """
    if not may_trace():
        who = "root without its capabilities (a container?)" if os.geteuid() == 0 else f"user {os.geteuid()}"
        raise ProbeError(f"Tracing needs CAP_BPF and CAP_PERFMON, which {who} has not; run furtrace as root.")

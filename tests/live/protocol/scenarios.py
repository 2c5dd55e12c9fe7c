"""All that is captured: which server ran, what its client did, and what it was told."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from furtrace.wire.notifications import Notification
from furtrace.wire.opcodes import Opcode
from tests.live.protocol.capture import Capture
from tests.live.protocol.client import stat_facts
from tests.live.protocol.servers import Condition, Facts, Running, block_device, example, raw, to_its_end

POSIX_LOCKS, ATOMIC_O_TRUNC, POSIX_ACL, KILLPRIV, SETXATTR_EXT, INIT_EXT, SECURITY_CTX, SUPP_GROUP, RESEND = (
    1 << bit for bit in (1, 3, 20, 28, 29, 30, 32, 34, 39)
)
"""Of INIT's flags, copied from the kernel's header by hand."""


@dataclass
class Scenario:
    """A server that ran, and what a client asked of it.

    Attributes:
        server: the program; one of libfuse's examples, or ``rawserver``.
        capture: every byte that went over /dev/fuse.
        facts: what the client's system calls told, and what lay on the disk below.

    """

    server: str
    capture: Capture
    facts: Facts = field(default_factory=dict, repr=False)


@contextmanager
def _lower() -> Iterator[Path]:
    """A fresh folder, on a disk, to be passed through."""
    folder = Path(tempfile.mkdtemp(prefix="furtrace-lower-")).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def files() -> Scenario:
    """passthrough_ll, without caches, and nearly all that can be done to files."""
    with _lower() as lower:
        options = f"source={lower},xattr,flock,cache=never"
        with example("passthrough_ll", "-o", options) as running:
            facts = running.client("files", traced=True)
            facts["disk"] = {path.name: stat_facts(path) for path in (lower / "dir").iterdir()}
            facts["disk"]["dir"] = stat_facts(lower / "dir")
            facts["content"] = (lower / "dir" / "file").read_bytes().hex()
            running.wait_for(lambda capture: capture.all(Opcode.BATCH_FORGET))
    return Scenario("passthrough_ll", running.capture, facts)


def access() -> Scenario:
    """passthrough_fh, which answers access(2), and where a signal interrupts who waits for a lock."""
    with _lower() as lower:
        (lower / "file").touch()
        with example("passthrough_fh", "-o", f"modules=subdir,subdir={lower}") as running:
            facts = running.client("access", str(lower), until=lambda capture: capture.all(Opcode.INTERRUPT))
    return Scenario("passthrough_fh", running.capture, facts)


def block() -> Scenario:
    """passthrough_fh as the file system of a block device."""
    with _lower() as lower, block_device(1 << 20) as device:
        options = f"modules=subdir,subdir={lower},blkdev,blksize=1024,fsname={device}"
        with example("passthrough_fh", "-o", options) as running:
            facts = running.client("block")
    return Scenario("passthrough_fh", running.capture, facts)


def hello() -> Scenario:
    """hello_ll, whose one file it has in memory."""
    return _plain("hello_ll", "hello")


def ioctl() -> Scenario:
    """The example ``ioctl``."""
    return _plain("ioctl", "ioctl")


def _plain(name: str, steps: str) -> Scenario:
    with example(name) as running:
        facts = running.client(steps)
    return Scenario(name, running.capture, facts)


_NOTIFIERS: Final = {
    "poll": ("poll", [], Notification.POLL),
    "inode": ("notify_inval_inode", [], Notification.INVAL_INODE),
    "entry": ("notify_inval_entry", [], Notification.INVAL_ENTRY),
    "expire": ("notify_inval_entry", ["--only-expire"], Notification.INVAL_ENTRY),
    "epoch": ("notify_inval_entry", ["--inc-epoch"], Notification.INC_EPOCH),
    "store": ("notify_store_retrieve", [], Notification.STORE),
}


@cache
def _notifiers() -> dict[str, Scenario]:
    """All examples that notify, side by side, for each does so once a second."""
    with ExitStack() as stack:
        servers: dict[str, Running] = {}
        facts: dict[str, Facts] = {}
        for name, (program, arguments, _) in _NOTIFIERS.items():
            servers[name] = stack.enter_context(example(program, *arguments))
        for name, running in servers.items():
            facts[name] = running.client("poll" if name == "poll" else "first_file")
        for name, running in servers.items():
            code = _NOTIFIERS[name][2]
            running.wait_for(lambda capture, code=code: capture.told(code))  # type: ignore[misc]
    return {name: Scenario(_NOTIFIERS[name][0], servers[name].capture, facts[name]) for name in servers}


def poll() -> Scenario:
    """The example ``poll``."""
    return _notifiers()["poll"]


def notified_inode() -> Scenario:
    """notify_inval_inode."""
    return _notifiers()["inode"]


def notified_entry() -> Scenario:
    """notify_inval_entry."""
    return _notifiers()["entry"]


def notified_expire() -> Scenario:
    """notify_inval_entry, only expiring."""
    return _notifiers()["expire"]


def notified_epoch() -> Scenario:
    """notify_inval_entry, by epoch."""
    return _notifiers()["epoch"]


def notified_store() -> Scenario:
    """notify_store_retrieve, which checks what the kernel sends back."""
    return _notifiers()["store"]


def printcap() -> Scenario:
    """The example ``printcap``, which mounts on a folder of its own, says what INIT offered, and ends."""
    capture, said = to_its_end("printcap")
    version = re.search(r"Protocol version: (\d+)\.(\d+)", said)
    assert version, said
    facts = {"version": [int(version[1]), int(version[2])], "names": re.findall(r"FUSE_CAP_(\w+)", said)}
    return Scenario("printcap", capture, facts)


def _raw(steps: str, flags: int = 0, *arguments: str, until: Condition | None = None) -> Scenario:
    with raw("--flags", str(flags), *arguments) as running:
        facts = running.client(steps, until=until)
    return Scenario("rawserver", running.capture, facts)


def locks() -> Scenario:
    """POSIX locks, which no example of libfuse has unless it is built with ulockmgr."""
    return _raw("locks", POSIX_LOCKS, until=lambda capture: capture.all(Opcode.SETLKW))


def groups() -> Scenario:
    """Extensions of requests, and flags about set-user-id bits, none of which libfuse knows."""
    flags = ATOMIC_O_TRUNC | POSIX_ACL | KILLPRIV | SETXATTR_EXT | INIT_EXT | SECURITY_CTX | SUPP_GROUP
    return _raw("groups", flags)


def copy() -> Scenario:
    """COPY_FILE_RANGE_64 of more bytes than 32 bits can count."""
    return _raw("copy", 0, "--minor", "45")


def copy_32() -> Scenario:
    """COPY_FILE_RANGE, which libfuse is not asked for, as it knows its successor."""
    return _raw("copy")


def notified_raw() -> Scenario:
    """Notifications that no example of libfuse sends."""
    return _raw("notified", INIT_EXT | RESEND)


def block_raw() -> Scenario:
    """BMAP and SYNCFS with success; of libfuse's examples none knows them."""
    with block_device(1 << 20) as device:
        return _raw("block", 0, "--device", str(device))


def init_22() -> Scenario:
    """A server of protocol 7.22, whose reply to INIT has 24 bytes."""
    return _raw("nothing", 0, "--minor", "22")


def init_4() -> Scenario:
    """A server of protocol 7.4, whose reply to INIT has 8 bytes."""
    with raw("--minor", "4") as running:
        running.wait_for(lambda capture: [one for one in capture.all(Opcode.INIT) if one.reply])
    return Scenario("rawserver", running.capture)


SCENARIOS: Final[dict[str, Callable[[], Scenario]]] = {
    scenario.__name__: scenario
    for scenario in (
        files, access, block, hello, ioctl, poll, printcap,
        notified_inode, notified_entry, notified_expire, notified_epoch, notified_store,
        locks, groups, copy, copy_32, notified_raw, block_raw, init_22, init_4,
    )
}  # fmt: skip
"""By name."""


@cache
def _outcome(name: str) -> Scenario | Exception:
    """A scenario, or why there is none, for waiting again for what does not come takes long."""
    try:
        return SCENARIOS[name]()
    except Exception as reason:
        return reason


def scenario(name: str) -> Scenario:
    """Return a scenario, which runs when it is first asked for.

    Raises:
        Unavailable: what it needs can't be had.
    """
    outcome = _outcome(name)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome

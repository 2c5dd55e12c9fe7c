"""``furtrace inspect``."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import click
from rich.console import Group
from rich.text import Text

from furtrace.checks.standing import Seen, Verdict, verdicts
from furtrace.cli.errors import InputError, OutputError
from furtrace.cli.showing import show, write_lines
from furtrace.cli.snapshots import decoded
from furtrace.cli.stopping import Stopping
from furtrace.export.inspected import connection_object, moves_object
from furtrace.model.ages import Ages
from furtrace.model.moves import moves
from furtrace.model.slots import Reply, reply_in
from furtrace.model.snapshot import Snapshot
from furtrace.probe import tasks
from furtrace.probe.mounts import fuse_mounts, mounted_at
from furtrace.probe.snapshot import Snapshots
from furtrace.trace.record import HEADER_SIZE
from furtrace.trace.tasks import Task
from furtrace.views.inspected import MOST_REQUESTS, InspectedView
from furtrace.wire.text import printable

FOUND: Final = 3
"""Exit status where something is wrong."""
_APART: Final = 1.0
"""Seconds between the snapshots of ``--diff``."""
_AGAIN: Final = 0.1
"""Seconds after which what is wrong is looked at once more."""


@dataclass(frozen=True)
class _Target:
    connection: int | None
    mount: str | None
    pid: int | None


@click.command("inspect", short_help="Look at the state of connections as the kernel has it, a mount that hangs too.")
@click.option("--connection", metavar="N", type=click.IntRange(min=1), help="Only the connection of this number.")
@click.option("--mount", metavar="DIR", type=str, help="Only the connection mounted on DIR.")
@click.option("--pid", metavar="PID", type=click.IntRange(min=1), help="Only connections that this process serves.")
@click.option("--unanswered", metavar="SECONDS", type=click.FloatRange(min=0), default=5.0, show_default=True,
              help="From when on a request that waits is worth a word.")  # fmt: skip
@click.option("--memory", is_flag=True, help="With header slots and payload buffers of each queue, and who has them.")
@click.option("--watch", metavar="[SECONDS]", type=click.FloatRange(min=0.1), is_flag=False, flag_value=1.0,
              help="Again every second, or so many, until Ctrl-C.")  # fmt: skip
@click.option("--diff", is_flag=True, help="Look twice, a second apart, and say what moved.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON a connection.")
def command(connection: int | None, mount: str | None, pid: int | None, **options: Any) -> None:
    """Look at the state of FUSE connections as the kernel has it now, without stopping anything.

    For each connection: its server, its ring and queues, who has each entry and buffer, the requests that wait and
    where their clients sleep, and what is wrong, as far as the state alone proves it. Nothing is asked of the mount or
    of its server, so a mount that hangs is looked at like any other. Exit status 3: something is wrong.

    \b
    Examples:
      furtrace inspect --mount /mnt
      furtrace inspect --pid 4711 --memory
      furtrace inspect --json
    """  # noqa: D301 - click wants the control character itself
    target = _Target(connection, mount, pid)
    with Snapshots() as snapshots, Stopping() as stopping, _writing():
        most_clients = None if options["as_json"] else MOST_REQUESTS
        inspector = _Inspector(snapshots, target, options["unanswered"], most_clients)
        found = _show(inspector, options)
        while options["watch"] is not None and stopping.signal is None:
            stopping.wait(options["watch"])
            if stopping.signal is None:
                found = _show(inspector, options, again=True)
    sys.exit(FOUND if found else 0)


def _make_room(options: dict[str, Any]) -> None:
    """Set apart what comes next from what was shown; on a terminal it takes its place."""
    if options["as_json"]:
        return
    if not sys.stdout.isatty():
        show("")
        return
    click.clear()
    show(f"{time.strftime('%H:%M:%S')}, every {options['watch']:g} s; Ctrl-C ends")


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """What can't be written is said in a sentence.

    Raises:
        OutputError: it can't.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # click ends quietly
    except OSError as error:
        raise OutputError(error) from None


def _show(inspector: "_Inspector", options: dict[str, Any], *, again: bool = False) -> bool:
    """Look, and show it; True: something is wrong. ``again``: after something was shown."""
    before = {}
    if options["diff"]:
        before = {seen.snapshot.number: seen.snapshot for seen in inspector.seen()}
        time.sleep(_APART)
    inspected = inspector.look()
    if again:
        _make_room(options)
    for at, (seen, clients, found) in enumerate(inspected):
        earlier = before.get(seen.snapshot.number)
        moved = None if earlier is None else moves(earlier, seen.snapshot)
        if options["as_json"]:
            told = connection_object(seen, clients, found)
            told |= {} if moved is None else {"diff": moves_object(moved)}
            write_lines([json.dumps(told)])
            continue
        view = InspectedView(seen, clients, found, moved, memory=options["memory"])
        show(Group(Text(""), view) if at else view)
    return any(found for _, _, found in inspected)


Inspected = tuple[Seen, dict[int, Task | None], list[Verdict]]


class _Inspector:
    """Takes snapshots of what was asked for; ``most_clients``: of so many of the oldest requests the clients too."""

    def __init__(self, snapshots: Snapshots, target: _Target, least_s: float, most_clients: int | None) -> None:
        self._snapshots, self._target, self._least_s = snapshots, target, least_s
        self._most_clients = most_clients
        self._ages = Ages()

    def look(self) -> list[Inspected]:
        """What there is now, and what is wrong: what is so still a moment later.

        Raises:
            InputError: there is no such connection.
        """
        inspected = [(seen, verdicts(seen)) for seen in self.seen()]
        if any(found for _, found in inspected):
            time.sleep(_AGAIN)
            later = {verdict.name for seen in self.seen() for verdict in verdicts(seen)}
            inspected = [(seen, [one for one in found if one.name in later]) for seen, found in inspected]
        return [(seen, self._clients(seen.snapshot), found) for seen, found in inspected]

    def seen(self) -> list[Seen]:
        """Each connection that is meant, as it is now.

        Raises:
            InputError: there is none.
        """
        mounts, found = fuse_mounts(), []
        at = None if self._target.mount is None else mounted_at(self._target.mount, mounts)
        for snapshot in decoded(self._snapshots.take()):
            places = tuple(mount.mountpoint for mount in mounts if mount.connection == snapshot.number)
            placed = replace(snapshot, mountpoints=places)
            if self._is_wanted(placed) and (at is None or at.connection == placed.number):
                threads = [thread for pid in sorted(placed.servers) for thread in tasks.threads(pid)]
                found.append(Seen(self._ages.told(placed), threads, _replies(placed), self._least_s))
        self._ages.forget_others()
        if not found or (at is None and self._target.mount is not None):
            raise InputError(_nothing(self._target))
        return found

    def _clients(self, snapshot: Snapshot) -> dict[int, Task | None]:
        requests = snapshot.all_requests()[: self._most_clients]
        return tasks.tasks({request.client_tid for request in requests} - {0})

    def _is_wanted(self, snapshot: Snapshot) -> bool:
        target = self._target
        return target.connection in (None, snapshot.number) and (target.pid is None or target.pid in snapshot.servers)


def _nothing(target: _Target) -> str:
    if target.mount is not None:
        return f"No process here serves a FUSE mount on {_path(target.mount)}; furtrace doctor lists all."
    if target.pid is not None:
        return f"Process {target.pid} serves no FUSE connection; furtrace doctor lists all."
    if target.connection is not None:
        return f"There is no connection {target.connection} that a process here serves; furtrace doctor lists all."
    return "No process here serves a FUSE connection."


def _path(path: str) -> str:
    return printable(os.fsencode(path))


def _replies(snapshot: Snapshot) -> dict[int, Reply]:
    """Replies that lie in header slots of entries which the server has, by the unique of their request."""
    entries = [entry for queue in snapshot.queues.values() for entry in queue.entries if entry.headers]
    held = [(entry.headers, entry.request) for entry in entries if entry.request is not None]
    found = {}
    for pid in snapshot.servers if held else ():
        headers = tasks.memory(pid, [address for address, _ in held], HEADER_SIZE)
        for header, (_, request) in zip(headers, held, strict=True):
            reply = reply_in(header, request) if header is not None else None
            if reply is not None:
                found[request.unique] = reply
    return found

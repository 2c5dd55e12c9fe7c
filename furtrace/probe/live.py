"""A live trace: chooses the connections, attaches the probes, and gives out batches of events."""

import contextlib
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

import numpy as np

from furtrace import __version__
from furtrace.probe import snapshot
from furtrace.probe.btf import running_kernel
from furtrace.probe.connections import connections
from furtrace.probe.counters import possible_cpus
from furtrace.probe.errors import ProbeError
from furtrace.probe.filters import Filters
from furtrace.probe.mounts import MountWatch, absolute, fuse_mounts, mount_names, mounted_at
from furtrace.probe.names import known_names
from furtrace.probe.privilege import check_privilege
from furtrace.probe.program import RING_PAGES, Program
from furtrace.probe.vantage import Plan, Vantage, Vantages
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Records, is_lost, lost_record, no_records
from furtrace.wire.dialect import dialect_of

_MOST_HELD: Final = 200_000
_LONGEST_COMMAND: Final = 4096


@dataclass(frozen=True)
class Target:
    """Which connections to trace. At most one of the three is set; none: all.

    ``mount``: a directory; if nothing is mounted there yet, the next mount there. ``server``: a process that serves
    connections.
    """

    connection: int | None = None
    mount: str | None = None
    server: int | None = None


@dataclass
class LiveTrace:
    """A trace of the running kernel; a context manager.

    ``kernel_steps``: also what the kernel's functions do with a request, one by one. ``ring_pages``: size of the ring
    buffer, a power of two. ``finds``: :meth:`found` can be asked.

    Raises:
        ProbeError: on entering, if it can't be had.
    """

    target: Target
    filters: Filters
    vantage: Vantage = Vantage.AUTO
    kernel_steps: bool = False
    ring_pages: int = RING_PAGES
    finds: bool = False
    info: TraceInfo = field(init=False)
    _held: list[Records] = field(default_factory=list)
    _dropped: list[Records] = field(default_factory=list)
    _asked: int = field(default_factory=time.monotonic_ns)
    _waiting: str | None = None
    _wanted: set[int] = field(default_factory=set)
    _watch: MountWatch = field(init=False)
    _program: Program = field(init=False)
    _stack: contextlib.ExitStack = field(init=False)

    def __enter__(self) -> Self:
        check_privilege()
        client = self.filters.client
        if client is not None and process_is_gone(client):
            raise ProbeError(f"There is no process {client} to be the client; check --client.")
        plan = Vantages(running_kernel()).plan(
            self.vantage, kernel_steps=self.kernel_steps, forgets=self.filters.forgets
        )
        self.info = _trace_info(plan, self.filters, kernel_steps=self.kernel_steps)
        with contextlib.ExitStack() as stack:
            self._watch = stack.enter_context(MountWatch())
            self._program = self._load(plan)
            stack.callback(self._program.close)
            self._choose()
            self._note_mounts()
            self._stack = stack.pop_all()
        self._program.arm()
        return self

    def _load(self, plan: Plan) -> Program:
        if not self.finds:
            return Program(self.filters, plan, self.ring_pages)
        walking = replace(plan, macros=plan.macros | snapshot.macros(snapshot.ROOM))
        return Program(self.filters, walking, self.ring_pages, (snapshot.SOURCE,))

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    @property
    def waiting_for(self) -> str | None:
        """The directory on which a mount is waited for; None once it is there, or if none was asked for."""
        return self._waiting

    def _choose(self) -> None:
        target = self.target
        if target.connection is not None:
            known = {c.number for c in connections(self._program.bpf)}
            if target.connection not in known:
                here = ", ".join(map(str, sorted(known))) or "none"
                raise ProbeError(
                    f"There is no FUSE connection {target.connection} (here: {here}); see `furtrace doctor`."
                )
            self._show({target.connection})
        elif target.server is not None:
            self._show(self._served_by(target.server))
        elif target.mount is not None:
            self._choose_mount(target.mount)

    def _show(self, numbers: set[int]) -> None:
        self._wanted = numbers
        self._program.show_connections(numbers)

    def _note_mounts(self) -> None:
        """Keep the names of the mounts that are traced."""
        names = mount_names(fuse_mounts())
        if self.target != Target():
            names = {number: name for number, name in names.items() if number in self._wanted}
        self.info.mounts.update(names)

    def _served_by(self, pid: int) -> set[int]:
        if not Path(f"/proc/{pid}").exists():
            raise ProbeError(f"There is no process {pid}; is the server gone?")
        served = {c.number for c in connections(self._program.bpf) if pid in c.servers}
        if not served:
            raise ProbeError(
                f"Process {pid} serves no FUSE connection; "
                "to trace a server's start, give its mount point with --mount."
            )
        return served

    def _choose_mount(self, path: str) -> None:
        mounts = fuse_mounts()
        mount = mounted_at(path, mounts)
        if mount is not None:
            self._show({mount.connection})
            return
        parent = Path(absolute(path)).parent
        if not parent.is_dir():
            raise ProbeError(f"There is no directory {path}, and none that it could be made in; check --mount.")
        # The number of the connection to come is not known. All that exist now are left out, and of new ones the
        # events are held back until the mount shows which it is: so INIT, which comes before the mount, is not missed.
        self._program.show_connections({m.connection for m in mounts}, all_but=True)
        self._waiting = absolute(path)

    def read(self) -> Records:
        """Take what has come since the last call: a batch in the order of the ring.

        If events were lost it begins with LOST. It may be a view of the ring buffer, good until :meth:`release` or the
        next call.
        """
        return next(self.pieces())

    def pieces(self, most: int | None = None) -> Iterator[Records]:
        """Take what has come until now, as :meth:`read` does, but in pieces of up to ``most`` records, one at least.

        A piece is good until the next one is asked for. Small ones stay in the CPU's caches while they are worked on.
        """
        ring = self._program.ring
        ring.release()
        # The loss is asked first: what is lost while the ring is read belongs to the next batch.
        lost, until = self._losses(), ring.end
        if self._watch.changed():
            self._note_mounts()
        while True:
            piece = ring.read(most, until)
            batch = np.concatenate([*lost, piece]) if lost else piece
            yield batch if self._waiting is None else self._hold(batch)
            lost = []
            ring.release()
            if len(piece) != most:
                return

    def _losses(self) -> list[Records]:
        """What was lost since this was asked before."""
        losses, before = self._program.losses(), self._asked
        self._asked = time.monotonic_ns()
        return [lost_record(before, self._asked, count, cpu) for cpu, count in losses.items()]

    def names(self) -> Records:
        """Names that the kernel knows already, of the connections that are traced: hints to come before all events.

        Raises:
            ProbeError: the kernel does not tell.
        """
        hints = known_names(self._program.bpf)
        if self.target == Target():
            return hints
        wanted: Records = hints[np.isin(hints["connection"], list(self._wanted))]
        return wanted

    def found(self) -> snapshot.Rows:
        """How the connections that are traced are at this moment; to be asked before the first :meth:`read`.

        Events come already, so what is not in there is told by them. While a mount is waited for there is nothing.

        Raises:
            ProbeError: the kernel does not tell.
        """
        with contextlib.closing(snapshot.Walk(self._program.bpf, snapshot.ROOM)) as walk:
            count = walk.run()
            rows = walk.rows(min(count, walk.room))
        if count > len(rows):
            with snapshot.Snapshots(snapshot.room_for(count)) as snapshots:
                rows = snapshots.take()
        if self._waiting is not None:
            return rows[:0]
        return rows if self.target == Target() else rows[np.isin(rows["connection"], list(self._wanted))]

    def release(self) -> None:
        """Give the room of the last batch back to the kernel."""
        self._program.ring.release()

    def _hold(self, batch: Records) -> Records:
        """While a mount is waited for: keep the batch; once it is there, give out what was kept.

        Past a bound the oldest are dropped, which is a loss like any other.
        """
        if len(batch):
            self._held.append(batch.copy())
            while sum(map(len, self._held)) > _MOST_HELD and len(self._held) > 1:
                self._dropped += _losses_of(self._held.pop(0))
        mount = mounted_at(self._waiting or "", fuse_mounts())
        if mount is None:
            return no_records()
        self._show({mount.connection})
        self._note_mounts()
        held = np.concatenate([*self._dropped, *self._held, no_records()])
        self._dropped, self._held, self._waiting = [], [], None
        ours: Records = held[(held["connection"] == mount.connection) | is_lost(held)]
        return ours

    def ended(self) -> str | None:
        """Why there is nothing more to trace, as a sentence; None as long as there may be.

        That is so when the connections that were asked for have no server any more, or the client that was asked for
        is gone. Asks the kernel, so it is meant to be called once a second or so.
        """
        client = self.filters.client
        if client is not None and process_is_gone(client):
            return f"The client, process {client}, has ended."
        wanted = self._wanted
        if not wanted or self._waiting is not None:
            return None
        alive = {c.number for c in connections(self._program.bpf) if c.servers and c.connected}
        if wanted & alive & self._program.listed_connections():
            return None
        names = ", ".join(f"{number} ({self.info.mounts.get(number, 'not mounted')})" for number in sorted(wanted))
        return f"Connection {names} has ended: it is unmounted, or its server is gone."

    def fill(self) -> float:
        """How full the ring buffer is, 0 to 1."""
        return self._program.ring.fill()


def _losses_of(batch: Records) -> list[Records]:
    """What is said instead of a batch that is dropped: how many events of each CPU there were, and what it lost."""
    told = is_lost(batch)
    begin, end = int(batch["ns"].min()), int(batch["ns"].max())
    counts = np.bincount(batch["cpu"][~told], minlength=1).tolist()
    return [batch[told], *(lost_record(begin, end, count, cpu) for cpu, count in enumerate(counts) if count)]


def _trace_info(plan: Plan, filters: Filters, *, kernel_steps: bool) -> TraceInfo:
    types = running_kernel()
    return TraceInfo(
        kernel=platform.release(),
        dialect=str(dialect_of(types.members("fuse_uring_ent_in_out"))),
        vantage=plan.vantage,
        realtime_offset_ns=time.time_ns() - time.monotonic_ns(),
        command_line=shlex.join(["furtrace", *sys.argv[1:]])[:_LONGEST_COMMAND],
        boot=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        host=platform.node(),
        machine=platform.machine(),
        cpus=possible_cpus(),
        steps="kernel" if kernel_steps else "protocol",
        version=__version__,
        whole=not (filters.client or filters.opcodes),
    )


def process_is_gone(pid: int) -> bool:
    """Whether no process has this pid any more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False

"""A live trace: chooses the connections, attaches the probes, and gives out batches of events."""

import contextlib
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import numpy as np

from furtrace.probe.btf import running_kernel
from furtrace.probe.connections import connections
from furtrace.probe.errors import ProbeError
from furtrace.probe.filters import Filters
from furtrace.probe.mounts import MountWatch, absolute, fuse_mounts, mount_names, mounted_at
from furtrace.probe.privilege import check_privilege
from furtrace.probe.program import Program
from furtrace.probe.vantage import Plan, Vantage, Vantages
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Records, no_records
from furtrace.wire.dialect import dialect_of

_MOST_HELD: Final = 200_000


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

    ``kernel_steps``: also what the kernel's functions do with a request, one by one.

    Raises:
        ProbeError: on entering, if it can't be had.
    """

    target: Target
    filters: Filters
    vantage: Vantage = Vantage.AUTO
    kernel_steps: bool = False
    info: TraceInfo = field(init=False)
    _held: list[Records] = field(default_factory=list)
    _held_lost: int = 0
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
        self.info = _trace_info(plan)
        with contextlib.ExitStack() as stack:
            self._watch = stack.enter_context(MountWatch())
            self._program = Program(self.filters, plan)
            stack.callback(self._program.close)
            self._choose()
            self._note_mounts()
            self._stack = stack.pop_all()
        self._program.arm()
        return self

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

    def read(self) -> tuple[Records, int]:
        """Take what has come since the last call: a batch in the order of the ring, and how many events were lost.

        The batch is a view of the ring buffer, good until :meth:`release` or the next call.
        """
        self._program.ring.release()
        # The loss is asked first: what is lost while the ring is read belongs to the next batch.
        lost = self._program.lost()
        batch = self._program.ring.read()
        if self._watch.changed():
            self._note_mounts()
        if self._waiting is not None:
            return self._hold(batch, lost)
        return batch, lost

    def release(self) -> None:
        """Give the room of the last batch back to the kernel."""
        self._program.ring.release()

    def _hold(self, batch: Records, lost: int) -> tuple[Records, int]:
        """While a mount is waited for: keep the batch; once it is there, give out what was kept, and all that was lost.

        Past a bound the oldest are dropped, which is a loss like any other.
        """
        self._held_lost += lost
        if len(batch):
            self._held.append(batch.copy())
            while sum(map(len, self._held)) > _MOST_HELD and len(self._held) > 1:
                self._held_lost += len(self._held.pop(0))
        mount = mounted_at(self._waiting or "", fuse_mounts())
        if mount is None:
            return no_records(), 0
        self._show({mount.connection})
        self._note_mounts()
        held = np.concatenate([*self._held, no_records()])
        self._held, self._waiting = [], None
        return held[held["connection"] == mount.connection], self._held_lost

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

    def lost_by_cpu(self) -> list[int]:
        """Events that found no room in the ring buffer since the start, by CPU."""
        return self._program.lost_by_cpu()

    def passed_over(self) -> int:
        """Events since the start for which the kernel ran no probe, for one was preempted on the same CPU."""
        return self._program.passed_over()

    def fill(self) -> float:
        """How full the ring buffer is, 0 to 1."""
        return self._program.ring.fill()


def _trace_info(plan: Plan) -> TraceInfo:
    types = running_kernel()
    return TraceInfo(
        kernel=platform.release(),
        dialect=str(dialect_of(types.members("fuse_uring_ent_in_out"))),
        vantage=plan.vantage,
        realtime_offset_ns=time.time_ns() - time.monotonic_ns(),
        command_line=" ".join(sys.argv),
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

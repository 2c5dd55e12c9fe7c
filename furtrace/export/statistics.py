"""Statistics as one object of JSON."""

from collections.abc import Callable
from typing import Any, Final

from furtrace.model.groups import Group
from furtrace.model.histograms import Distribution
from furtrace.model.statistics import PoolUse, QueueUse, Statistics, client_of
from furtrace.model.zerocopy import CopiedBecause
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import NO_QUEUE, Transport
from furtrace.wire.errnos import errno_name
from furtrace.wire.opcodes import command_name, opcode_name

_SHARES: Final = {"p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "p999_ns": 0.999}


def statistics_object(info: TraceInfo, statistics: Statistics) -> dict[str, Any]:
    """All that was counted; durations and times in nanoseconds, null: not known, or not asked for."""
    overall, trouble = statistics.overall(), statistics.trouble
    transports = {int(transport): transport.name.lower() for transport in Transport}
    return {
        "type": "statistics",
        "kernel": info.kernel,
        "dialect": info.dialect,
        "vantage": info.vantage,
        "filters": info.filters or None,
        "realtime_offset_ns": info.realtime_offset_ns,
        "first_ns": statistics.first_ns or None,
        "last_ns": statistics.last_ns or None,
        "duration_ns": statistics.duration_ns,
        "events": statistics.total_events,
        "events_by_kind": {kind.name: number for kind, number in sorted(statistics.events.items())},
        "requests": group_object(overall),
        "unfinished": statistics.unfinished,
        "forgotten": statistics.forgotten,
        "transports": {transports[at]: number for at, number in sorted(statistics.transports.items()) if number},
        "failures": [
            {"op": opcode_name(opcode), "opcode": opcode, "error": error, "errno": errno_name(error), "count": number}
            for (opcode, error), number in statistics.failures.most_common()
        ],
        "histograms": {phase: histogram_object(times) for phase, times in overall.latency.items()},
        "operations": _each(statistics.operations(), _operation),
        "queues": [queue_object(queue) for queue in statistics.queues()],
        "connections": _each(statistics.connections(), lambda key: _connection(key, info)),
        "clients": _each(statistics.clients(), _client),
        "files": _each(statistics.files(), lambda key: _file(key, statistics)),
        "pools": [pool_object(use) for use in statistics.pools()],
        "copying": copying_objects(statistics),
        "refused": [
            {"command": command_name(command), "error": error, "errno": errno_name(error), "count": number}
            for (command, error), number in trouble.refused.most_common()
        ],
        "stopped": trouble.stopped,
        "cqe_overflows": trouble.overflows,
        "lost": trouble.lost,
        "passed_over": trouble.passed_over,
        "lost_by_cpu": {str(cpu): number for cpu, number in sorted(trouble.lost_by_cpu.items())},
    }


def _each(groups: list[Group] | None, name: Callable[[tuple[int, ...]], dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Groups, those of most requests first; one without a name is of all that were too many to be told apart."""
    if groups is None:
        return None
    unknown = dict.fromkeys(name(next(group.key for group in groups if group.key is not None))) if groups else {}
    ordered = sorted(groups, key=lambda group: (group.key is None, -group.count, group.key or ()))
    return [{**(unknown if group.key is None else name(group.key)), **group_object(group)} for group in ordered]


def _operation(key: tuple[int, ...]) -> dict[str, Any]:
    return {"op": opcode_name(key[0]), "opcode": key[0]}


def _connection(key: tuple[int, ...], info: TraceInfo) -> dict[str, Any]:
    return {"connection": key[0], "mount": _text(info.mounts.get(key[0]))}


def _client(key: tuple[int, ...]) -> dict[str, Any]:
    pid, comm = client_of(key)
    return {"client_pid": pid or None, "client_comm": comm.decode(errors="backslashreplace") or None}


def _file(key: tuple[int, ...], statistics: Statistics) -> dict[str, Any]:
    connection, path = statistics.path(key)
    return {
        "connection": connection,
        "node_id": key[1] or None,
        "path": path.raw.decode(errors="backslashreplace") if key[1] else None,
        "path_sure": path.sure,
        "path_deleted": path.deleted,
    }


def _text(text: str | None) -> str | None:
    return None if text is None else text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def group_object(group: Group) -> dict[str, Any]:
    """What requests came to."""
    return {
        "count": group.count,
        "errors": group.errors,
        "uncertain": group.uncertain,
        "moved": group.moved,
        "read": group.read,
        "written": group.written,
        "latency": {phase: distribution_object(times) for phase, times in group.latency.items()},
    }


def distribution_object(times: Distribution | None) -> dict[str, Any]:
    """Durations of one phase."""
    count = 0 if times is None else times.count
    return {
        "count": count,
        **{name: None if times is None else times.percentile(share) for name, share in _SHARES.items()},
        "max_ns": times.max_ns if times is not None and count else None,
        "mean_ns": None if times is None else times.mean_ns,
        "sum_ns": 0 if times is None else times.sum_ns,
    }


def histogram_object(times: Distribution) -> list[list[float]]:
    """Bins that have some, each from, to, and how many."""
    return [[begin, end, number] for begin, end, number in times.bins()]


def queue_object(queue: QueueUse) -> dict[str, Any]:
    """A queue of the ring, or, where its number is null, requests that were on none."""
    connection, number = queue.place
    on_ring = number != NO_QUEUE
    return {
        "connection": connection,
        "queue": number if on_ring else None,
        "entries": queue.entries if on_ring else None,
        "deepest_backlog": queue.deepest if on_ring else None,
        "requests": None if queue.requests is None else group_object(queue.requests),
    }


def pool_object(use: PoolUse) -> dict[str, Any]:
    """A queue's pool; its events are not seen everywhere."""
    pool = use.pool
    watched, slots = pool.watched, pool.slots_watched or bool(pool.failed)
    return {
        "connection": pool.connection,
        "queue": pool.queue,
        "buffers": pool.buffers,
        "peak": pool.peak,
        "selected": pool.selected if watched else None,
        "recycled": pool.recycled if watched else None,
        "dry": pool.dry if watched else None,
        "held": distribution_object(use.held),
        "registered": pool.registered if slots else None,
        "failed": pool.failed if slots else None,
    }


def copying_objects(statistics: Statistics) -> dict[str, Any]:
    """Requests and bytes of requests that zero-copy was wanted of, by why they were copied."""
    copying = statistics.copying
    return {
        reason.name.lower(): {"requests": copying.requests[reason], "moved": copying.moved[reason]}
        for reason in CopiedBecause
        if copying.requests[reason]
    }

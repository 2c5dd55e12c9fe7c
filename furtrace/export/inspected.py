"""The state of a connection as JSON has it; names are stable. Sizes are bytes, addresses numbers, ages seconds."""

from typing import Any

from furtrace.checks.standing import Seen, Verdict
from furtrace.model.moves import Moves
from furtrace.model.snapshot import Connected, Entry, Queue, Request
from furtrace.trace.tasks import Task
from furtrace.wire.opcodes import opcode_name


def connection_object(seen: Seen, clients: dict[int, Task | None], found: list[Verdict]) -> dict[str, Any]:
    """A connection.

    Args:
        seen: its state.
        clients: of its requests, by their thread; None: there is no such thread here.
        found: what is wrong.
    """
    snapshot = seen.snapshot
    return {
        "type": "connection",
        "connection": snapshot.number,
        "ns": snapshot.ns,
        "mountpoints": list(snapshot.mountpoints),
        "servers": [{"pid": pid, "comm": _text(comm)} for pid, comm in sorted(snapshot.servers.items())],
        "connected": bool(snapshot.flags & Connected.CONNECTED),
        "initialized": bool(snapshot.flags & Connected.INITIALIZED),
        "blocked": bool(snapshot.flags & Connected.BLOCKED),
        "aborted": bool(snapshot.flags & Connected.ABORTED),
        "wants_uring": bool(snapshot.flags & Connected.WANTS_URING),
        "ready": snapshot.ready,
        "fuse_conn": list(snapshot.bits),
        "max_write": snapshot.max_write,
        "max_pages": snapshot.max_pages,
        "minor": snapshot.minor,
        "max_background": snapshot.max_background,
        "num_background": snapshot.num_background,
        "active_background": snapshot.active_background,
        "waiting": snapshot.waiting,
        "queues_needed": snapshot.nr_queues if snapshot.has_ring else None,
        "references": snapshot.references if snapshot.has_ring else None,
        "moved": snapshot.moved,
        "max_payload": snapshot.max_payload if snapshot.has_ring else None,
        "lengths": {where.name.lower(): length for where, length in snapshot.lengths.items()},
        "changed": sorted(where.name.lower() for where in snapshot.changed),
        "queues": [_queue(queue, seen) for _, queue in sorted(snapshot.queues.items())],
        "requests": [request_object(request, clients) for request in snapshot.all_requests()],
        "threads": [task_object(thread) for thread in seen.threads],
        "findings": [_verdict(verdict) for verdict in found],
    }


def moves_object(moved: Moves) -> dict[str, Any]:
    """What moved between two snapshots: requests, by their unique."""
    return {
        "seconds": moved.seconds,
        "ended": [request.unique for request in moved.ended],
        "came": [request.unique for request in moved.came],
        "moved": [request.unique for request in moved.moved],
        "stayed": [request.unique for request in moved.stayed],
    }


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")


def _queue(queue: Queue, seen: Seen) -> dict[str, Any]:
    pool = queue.pool
    return {
        "queue": queue.number,
        "stopped": queue.stopped,
        "mode": queue.mode.name.lower() if queue.mode is not None else None,
        "zero_copy": queue.zero_copy,
        "active_background": queue.active_background,
        "lengths": {where.name.lower(): length for where, length in queue.lengths.items()},
        "changed": sorted(where.name.lower() for where in queue.changed),
        "pool": None
        if pool is None
        else {
            "address": pool.base,
            "buffer_size": pool.buffer_size,
            "buffers": pool.buffers,
            "free": sorted(pool.free),
            "registered": pool.registered,
        },
        "entries": [_entry(entry, seen) for entry in queue.entries],
    }


def _entry(entry: Entry, seen: Seen) -> dict[str, Any]:
    reply = seen.replies.get(entry.request.unique) if entry.request is not None else None
    return {
        "list": entry.where.name.lower(),
        "state": f"FRRS_{entry.state.name}" if entry.state is not None else None,
        "headers": entry.headers,
        "payload": entry.payload or None,
        "buffer": entry.buffer,
        "slot": entry.slot,
        "zero_copied": entry.zero_copied,
        "thread": entry.thread,
        "thread_ended": entry.thread_ended,
        "unique": entry.request.unique if entry.request is not None else None,
        "reply": None if reply is None else {"error": reply.error, "payload_size": reply.payload_size},
    }


def request_object(request: Request, clients: dict[int, Task | None]) -> dict[str, Any]:
    """A request and its client."""
    client = clients.get(request.client_tid)
    return {
        "unique": request.unique,
        "op": opcode_name(request.opcode),
        "opcode": request.opcode,
        "node_id": request.node_id,
        "length": request.length,
        "list": request.where.name.lower(),
        "queue": request.queue,
        "age": request.age_s,
        "age_at_least": request.at_least,
        "flags": list(request.flags),
        "client_tid": request.client_tid or None,
        "uid": request.uid,
        "client": task_object(client) if client is not None else None,
    }


def task_object(task: Task) -> dict[str, Any]:
    """A thread."""
    return {
        "tid": task.tid,
        "pid": task.pid,
        "comm": _text(task.comm),
        "command": _text(task.command),
        "state": task.state,
        "sleeps_in": list(task.sleeps_in),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    finding = verdict.finding
    return {
        "rule": finding.rule.id,
        "severity": finding.rule.severity.word,
        "queue": finding.queue,
        "unique": verdict.unique,
        "sentence": finding.sentence,
    }

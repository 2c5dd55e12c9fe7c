"""Commits that the kernel does not take."""

import errno
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from furtrace.checks.findings import Finding, Rule, Severity, about, about_event, request_name
from furtrace.checks.fixed import NOT_NAMED, RegisteredPools
from furtrace.checks.seen import CONNECTION_ENDED, Check, Seen
from furtrace.model.requests import REQUEST, Requests_, is_delivered
from furtrace.trace.record import NO_QUEUE, Kind, Records, among, no_records
from furtrace.wire.errnos import error_text
from furtrace.wire.opcodes import UringCommand

UNKNOWN: Final = Rule(
    "commit-unknown",
    Severity.ERROR,
    "a commit names no request",
    "COMMIT_AND_FETCH carries a commit id that no request in the server's hands has. The kernel refuses it with "
    "ENOENT (fuse_uring_commit_fetch() in fs/fuse/dev_uring.c), and the entry gets no other request by it.",
    "Commit with the commit_id that fuse_uring_ent_in_out brought with the request, not with one that the server "
    "counts itself.",
)
WRONG_QUEUE: Final = Rule(
    "commit-wrong-queue",
    Severity.ERROR,
    "a commit goes to another queue than its request's",
    "The kernel looks for the commit id in the queue that fuse_uring_cmd_req.qid names, and nowhere else. It refuses "
    "the commit with ENOENT, or with EINVAL where there is no such queue; the request stays unanswered "
    "(fuse_uring_commit_fetch() in fs/fuse/dev_uring.c).",
    "Commit each request with the qid of the queue whose entry brought it, from whichever thread.",
)
TWICE: Final = Rule(
    "commit-twice",
    Severity.ERROR,
    "a request is committed that was committed before",
    "COMMIT_AND_FETCH names a request that an earlier commit has answered. The kernel refuses it with ENOENT "
    "(fuse_uring_commit_fetch() in fs/fuse/dev_uring.c). Had the id been given to a new request meanwhile, that would "
    "have got this reply.",
    "Answer each request once. Look for two threads, or a time-out and its answer, that both reply.",
)
REFUSED: Final = Rule(
    "commit-refused",
    Severity.ERROR,
    "the kernel refuses a commit",
    "COMMIT_AND_FETCH ended with an error before its reply was looked at: it came in an SQE of 64 bytes (EINVAL), "
    "the entry is not in the server's hands (EIO), io_uring was given up on this connection after a REGISTER that "
    "failed (EOPNOTSUPP; Linux 7.3).",
    "Look at what came before: furtrace replay --events, from the queue's REGISTER on.",
)

_ABOUT_POOLS: Final = among((Kind.INIT, Kind.ADD_BUFPOOL, Kind.REFUSED))
_KEPT: Final = ("connection", "queue", "commit_id", "committed_ns", "unique", "opcode")
_REMEMBERED: Final = 100_000
"""Requests that ended which are remembered, newest last."""


class Commits(Check):
    """Says of each commit that was refused why it was."""

    rules = (UNKNOWN, WRONG_QUEUE, TWICE, REFUSED)

    def __init__(self) -> None:
        self._ended: list[npt.NDArray[np.void]] = []
        self._kept = 0
        self._pools = RegisteredPools()
        self._commits = no_records()

    def begun(self, connection: int) -> None:
        """Forget what was committed: the ids are others now."""
        self._ended = [rows[rows["connection"] != connection] for rows in self._ended]
        self._kept = sum(map(len, self._ended))

    def feed(self, seen: Seen) -> Iterator[Finding]:
        """Judge the commits that were refused in this part."""
        wanted = _ABOUT_POOLS[seen.kinds]
        for event in seen.batch[wanted] if wanted.any() else ():
            self._pools.take(event)
        self._remember(seen.finished)
        before, self._commits = self._commits, seen.of(Kind.COMMITTED) if self._pools else no_records()
        refused = seen.of(Kind.REFUSED)
        refused = refused[~np.isin(refused["error"], CONNECTION_ENDED)]
        for event in refused[refused["command_op"] == UringCommand.COMMIT_AND_FETCH]:
            yield self._not_named(event, before) or self._judged(event, seen)

    def _remember(self, finished: Requests_) -> None:
        if len(finished):
            self._ended.append(finished[list(_KEPT)].copy())
            self._kept += len(finished)
        while self._kept - len(self._ended[0] if self._ended else ()) > _REMEMBERED:
            self._kept -= len(self._ended.pop(0))

    def _not_named(self, event: np.void, before: Records) -> Finding | None:
        """A commit that was refused as it does not name its queue's pool; ``before``: commits of the part before."""
        if event["error"] != -errno.EINVAL:
            return None
        for commits in (self._commits, before):
            same = (commits["command"] == event["command"]) & (commits["user_data"] == event["user_data"])
            at = np.flatnonzero(same & (commits["ns"] <= event["ns"]))
            why = self._pools.mismatch(commits[at[-1]]) if len(at) else None
            if why is not None:
                commit = commits[at[-1]]
                name = f"commit of {request_name(commit)}," if commit["unique"] else "commit"
                sentence = f"The {name} on queue {event['queue']} was refused with -EINVAL{why}."
                finding = about_event(NOT_NAMED, sentence, event)
                finding.events = np.array([commit, event], event.dtype)
                return finding
        return None

    def _judged(self, event: np.void, seen: Seen) -> Finding:
        error, commit_id = int(event["error"]), int(event["commit_id"])
        said = f"A commit on queue {event['queue']}"
        if event["queue"] == NO_QUEUE:  # its command was not seen
            return about_event(REFUSED, f"A commit was refused with {error_text(error)}.", event)
        if error == -errno.EINVAL and 0 < seen.info.cpus <= event["queue"]:
            sentence = f"{said}, id {commit_id}: there is none, the last one is {seen.info.cpus - 1}."
            return about_event(WRONG_QUEUE, f"{sentence} Refused with -EINVAL.", event)
        if error != -errno.ENOENT:
            return about_event(REFUSED, f"{said}, id {commit_id}, was refused with {error_text(error)}.", event)
        row = _delivered(seen.conversation.requests.under_way, event)
        before = self._committed(event)
        for known in (row, before):
            if known is not None and known["queue"] not in (NO_QUEUE, event["queue"]):
                sentence = f"{said} names {request_name(known)}, which came by queue {known['queue']}."
                return _elsewhere(event, known, sentence)
        if before is not None:
            ago = (int(event["ns"]) - int(before["committed_ns"])) / 1000
            answered = f"{request_name(before)}, again, {ago:.1f} us after it was committed"
            sentence = f"{said} answers {answered}. Refused with -ENOENT."
            return about_event(TWICE, sentence, event)
        unsure = "" if seen.whole else " Events were lost or hidden: it may have been answered before."
        sentence = f"{said} has id {commit_id}, which no request has. Refused with -ENOENT.{unsure}"
        return about_event(UNKNOWN, sentence, event)

    def _committed(self, event: np.void) -> np.void | None:
        """The newest request that was committed with this id on this connection, and has ended."""
        for rows in reversed(self._ended):
            same = (rows["commit_id"] == event["commit_id"]) & (rows["connection"] == event["connection"])
            same &= (rows["commit_id"] != 0) & (rows["committed_ns"] != 0)
            at = np.flatnonzero(same & (rows["committed_ns"] < event["ns"]))
            if len(at):
                found: np.void = rows[at[-1]]
                return found
        return None


def _delivered(under_way: Requests_, event: np.void) -> np.void | None:
    same = (under_way["commit_id"] == event["commit_id"]) & (under_way["connection"] == event["connection"])
    at = np.flatnonzero(same & is_delivered(under_way) & (under_way["commit_id"] != 0))
    return under_way[at[-1]] if len(at) else None


def _elsewhere(event: np.void, known: np.void, sentence: str) -> Finding:
    """A commit to the wrong queue; ``known``: its request, which may have been committed rightly meanwhile."""
    sentence += " Refused with -ENOENT."
    if known.dtype == REQUEST:
        return about(WRONG_QUEUE, sentence, int(event["ns"]), known, np.array([event], event.dtype))
    return about_event(WRONG_QUEUE, sentence, event)

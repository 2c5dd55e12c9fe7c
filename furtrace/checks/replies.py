"""What is wrong with replies: their header, their size, and what the kernel made of them."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from furtrace.checks.findings import Finding, Rule, Severity, about, request_name
from furtrace.checks.seen import Check, Seen
from furtrace.checks.sizes import reply_sizes
from furtrace.model.requests import GIVEN_UP, Requests_
from furtrace.trace.record import PART_SIZE, RECORD, Flag, Kind, Records, Transport
from furtrace.wire.errnos import error_text

WRONG_UNIQUE: Final = Rule(
    "reply-unique",
    Severity.ERROR,
    "a reply carries the unique of another request",
    "fuse_out_header.unique of the reply is not that of the request that the commit id names. The kernel refuses such "
    "a reply with ENOENT, one with unique 0 with EINVAL, unless its error says that the request failed anyway "
    "(fuse_uring_out_header_has_err() in fs/fuse/dev_uring.c).",
    "Copy fuse_in_header.unique of the request into the reply, and commit each entry with its own header slot.",
)
ERROR_RANGE: Final = Rule(
    "reply-error",
    Severity.ERROR,
    "a reply's error is no negated errno",
    "fuse_out_header.error has to be 0, or a negated errno from -1 to -511. The kernel turns any other into EINVAL "
    "(fuse_uring_out_header_has_err() in fs/fuse/dev_uring.c).",
    "Reply with -errno, not with errno; and not with what a function of the server returned.",
)
TOO_LONG: Final = Rule(
    "reply-too-long",
    Severity.ERROR,
    "a reply brings more than was asked for",
    "fuse_uring_ent_in_out.payload_sz is larger than the structures of the operation's reply, or than the size that "
    "the request names. The kernel takes nothing of it, and the request fails with EINVAL (fuse_copy_out_args() in "
    "fs/fuse/dev.c).",
    "Set payload_sz to the bytes of the reply without fuse_out_header; cut data at the size that was asked for.",
)
TOO_SHORT: Final = Rule(
    "reply-too-short",
    Severity.ERROR,
    "a reply lacks a part of its structure",
    "fuse_uring_ent_in_out.payload_sz is smaller than the structures of the operation's reply, though its error is 0. "
    "The kernel takes nothing of it, and the request fails with EINVAL (fuse_copy_out_args() in fs/fuse/dev.c).",
    "Set payload_sz to the bytes of the whole reply, and do not forget it where the reply is empty no more.",
)
NOT_TAKEN: Final = Rule(
    "reply-not-taken",
    Severity.ERROR,
    "the kernel did not take a reply",
    "The server replied with one error, or none, and the request ended with another. So something in the reply was "
    "not as the kernel wants it, or its payload buffer could not be read (EFAULT).",
    "Look at the reply as it was committed: furtrace replay --events shows it, furtrace decode its fields.",
)

_HEAD: Final = np.dtype(
    {
        "names": ["unique"],
        "formats": ["<u8"],
        "offsets": [RECORD.itemsize - PART_SIZE + 8],
        "itemsize": RECORD.itemsize,
    }
)
"""``fuse_out_header.unique`` of COMMITTED."""
_LEAST: Final = -511  # ERESTARTSYS is 512
_U64 = npt.NDArray[np.uint64]


class Replies(Check):
    """Holds each reply against its request, and against what the request ended with."""

    rules = (WRONG_UNIQUE, ERROR_RANGE, TOO_LONG, TOO_SHORT, NOT_TAKEN)

    def __init__(self) -> None:
        self._waiting = _Commits(np.empty(0, RECORD), np.empty(0, np.intp))  # whose request has not ended yet

    def feed(self, seen: Seen) -> Iterator[Finding]:
        """Judge the replies of the requests that ended."""
        at = np.flatnonzero(seen.kinds == Kind.COMMITTED)
        at = at[((seen.batch["flags"][at] & _HEADER) == _HEADER) & (seen.batch["unique"][at] != 0)]
        rows = seen.finished
        if not (rows["transport"] == Transport.URING).all():
            rows = rows[rows["transport"] == Transport.URING]
        under_way = _names(*(seen.conversation.requests.under_way[name] for name in ("unique", "connection")))
        left = []
        for commits in (_Commits(seen.batch, at), self._waiting):
            found = commits.matching(rows)
            judged = np.flatnonzero(found >= 0)
            if len(judged):
                yield from _judged(rows if len(judged) == len(rows) else rows[judged], commits.only(found[judged]))
            over = np.zeros(len(commits.at), np.bool_)
            over[found[judged]] = True
            left.append(commits.records(~over & np.isin(commits.names, under_way)))
        waiting = np.concatenate(left)
        self._waiting = _Commits(waiting, np.arange(len(waiting)))


_HEADER: Final = np.uint16(Flag.HEADER_FROM_SERVER | Flag.HAS_ERROR)


class _Commits:
    """COMMITTED events within a batch, which is not copied: a record has many hundred bytes.

    Args:
        batch: they are in.
        at: where.
    """

    def __init__(self, batch: Records, at: npt.NDArray[np.intp]) -> None:
        self._batch, self.at = batch, at
        self.names = _names(batch["unique"][at], batch["connection"][at])

    def column(self, name: str) -> npt.NDArray[Any]:
        """A member of each."""
        values: npt.NDArray[Any] = self._batch[name][self.at]
        return values

    def given(self) -> _U64:
        """The unique that the server wrote, of each."""
        values: _U64 = self._batch.view(_HEAD)["unique"][self.at]
        return values

    def only(self, chosen: npt.NDArray[np.intp]) -> "_Commits":
        """Some of them, in that order."""
        return _Commits(self._batch, self.at[chosen])

    def records(self, chosen: "npt.NDArray[np.bool_] | slice") -> Records:
        """Copies of some of them."""
        copies: Records = self._batch[self.at[chosen]]
        return copies

    def matching(self, rows: Requests_) -> npt.NDArray[np.intp]:
        """Which of them is each row's last; -1: none."""
        wanted = _names(rows["unique"], rows["connection"])
        order = np.argsort(self.names, kind="stable")
        sorted_names = self.names[order]
        at = np.searchsorted(sorted_names, wanted, side="right") - 1
        found = np.full(len(rows), -1, np.intp)
        if len(order):
            places = order[at.clip(0)]
            same = (at >= 0) & (self.names[places] == wanted)
            same &= self.column("ns")[places] == rows["committed_ns"]
            found[same] = places[same]
        return found


def _names(uniques: npt.NDArray[Any], connections: npt.NDArray[Any]) -> _U64:
    """One number a request, of any connection."""
    names: _U64 = uniques ^ (connections.astype(np.uint64) << np.uint64(44))
    return names


def _judged(rows: Requests_, commits: _Commits) -> Iterator[Finding]:
    uniques, errors = commits.given(), commits.column("error")
    ended, sizes = rows["error"], rows["reply_size"]
    sure = ~np.isin(ended, GIVEN_UP)  # else the connection's end came first
    fine = errors == 0
    least, most = reply_sizes(rows)
    # Each is blamed for the first only: the kernel looks no further. What it took had the right size, whatever is known
    # of sizes here.
    legal = (errors <= 0) & (errors >= _LEAST)
    same = uniques == rows["unique"]
    long, short = fine & (sizes > most), fine & (sizes < least)
    taken = (ended == errors) | ~sure
    problems = (
        (ERROR_RANGE, ~legal & (uniques != 0), _about_error),
        (WRONG_UNIQUE, ~same & legal | (uniques == 0), _about_unique),
        (TOO_LONG, same & long & ~taken, _about_size),
        (TOO_SHORT, same & short & ~taken, _about_size),
        (NOT_TAKEN, legal & same & ~long & ~short & ~taken, _about_end),
    )
    for rule, broken, say in problems:
        for at in np.flatnonzero(broken).tolist():
            event = commits.records(slice(at, at + 1))
            sentence = f"{say(rows[at], event[0])} {_end(rows[at], event[0])}".strip()
            yield about(rule, sentence, int(rows["committed_ns"][at]), rows[at], event)


def _subject(row: np.void) -> str:
    return f"The reply to {request_name(row)},"


def _about_error(row: np.void, event: np.void) -> str:
    return f"{_subject(row)} has error {int(event['error']):+d}."


def _about_unique(row: np.void, event: np.void) -> str:
    given = int.from_bytes(event["header"].tobytes()[8:16], "little")
    return f"{_subject(row)} has unique {given}."


def _about_size(row: np.void, _event: np.void) -> str:
    least, most = (int(bound[0]) for bound in reply_sizes(np.array([row], row.dtype)))
    allowed = f"{most}" if least == most else f"{least} to {most}"
    return f"{_subject(row)} has {row['reply_size']} bytes; {allowed} {'is' if most == 1 else 'are'} right."


def _about_end(row: np.void, event: np.void) -> str:
    return f"{_subject(row)} has error {error_text(int(event['error']))}."


def _end(row: np.void, event: np.void) -> str:
    """What the kernel made of it."""
    if row["error"] == event["error"]:
        return "The kernel did not mind." if row["error"] == 0 else "The request failed anyway."
    return f"The kernel ended the request with {error_text(int(row['error']))}."

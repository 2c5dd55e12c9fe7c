"""What is wrong with replies: their header, their size, and what the kernel made of them."""

from collections.abc import Iterator
from typing import Final

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
        self._waiting: Records = np.empty(0, RECORD)  # committed, and not ended yet

    def feed(self, seen: Seen) -> Iterator[Finding]:
        """Judge the replies of the requests that ended."""
        committed = seen.of(Kind.COMMITTED)
        read = (committed["flags"] & _HEADER) == _HEADER
        committed = np.concatenate([self._waiting, committed[read & (committed["unique"] != 0)]])
        rows = seen.finished[seen.finished["transport"] == Transport.URING]
        at = _matching(rows, committed)
        judged = at >= 0
        yield from _judged(rows[judged], committed[at[judged]])
        over = np.zeros(len(committed), np.bool_)
        over[at[judged]] = True
        self._waiting = _under_way(committed[~over], seen)


_HEADER: Final = np.uint16(Flag.HEADER_FROM_SERVER | Flag.HAS_ERROR)


def _names(rows: npt.NDArray[np.void]) -> _U64:
    """One number a request, of any connection."""
    names: _U64 = rows["unique"] ^ (rows["connection"].astype(np.uint64) << np.uint64(44))
    return names


def _matching(rows: Requests_, committed: Records) -> npt.NDArray[np.intp]:
    """Where each row's last COMMITTED is; -1: there is none."""
    wanted, known = _names(rows), _names(committed)
    order = np.argsort(known, kind="stable")
    at = np.searchsorted(known[order], wanted, side="right") - 1
    found = np.full(len(rows), -1, np.intp)
    if len(known):
        places = order[at.clip(0)]
        same = (at >= 0) & (known[places] == wanted)
        same &= committed["ns"][places] == rows["committed_ns"]
        found[same] = places[same]
    return found


def _under_way(committed: Records, seen: Seen) -> Records:
    """Those whose request has not ended."""
    if not len(committed):
        return committed
    kept: Records = committed[np.isin(_names(committed), _names(seen.conversation.requests.under_way))]
    return kept


def _judged(rows: Requests_, committed: Records) -> Iterator[Finding]:
    uniques, errors = committed.view(_HEAD)["unique"], committed["error"]
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
            sentence = f"{say(rows[at], committed[at])} {_end(rows[at], committed[at])}".strip()
            yield about(rule, sentence, int(rows["committed_ns"][at]), rows[at], committed[at : at + 1])


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

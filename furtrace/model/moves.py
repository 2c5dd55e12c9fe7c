"""What moved between two snapshots of a connection."""

from dataclasses import dataclass

from furtrace.model.snapshot import Request, Snapshot


@dataclass(frozen=True)
class Moves:
    """Requests of a connection at two moments, ``seconds`` apart.

    ``ended``: those that are gone; ``came``: new ones; ``moved``: those in another list than before, or in another
    queue, as they are now; ``stayed``: those in the same place. All by their unique, so a number that was given anew
    counts as the same. Requests that came and ended meanwhile are in none of them.
    """

    seconds: float
    ended: list[Request]
    came: list[Request]
    moved: list[Request]
    stayed: list[Request]

    @property
    def stands_still(self) -> bool:
        """Whether there are requests, and nothing happened to any."""
        return bool(self.stayed) and not (self.ended or self.came or self.moved)


def moves(before: Snapshot, after: Snapshot) -> Moves:
    """Compare two snapshots of one connection."""
    old = {request.unique: request for request in before.all_requests()}
    new = {request.unique: request for request in after.all_requests()}
    both = [(old[unique], new[unique]) for unique in old if unique in new]
    return Moves(
        seconds=(after.ns - before.ns) / 1e9,
        ended=[request for unique, request in old.items() if unique not in new],
        came=[request for unique, request in new.items() if unique not in old],
        moved=[now for then, now in both if _place(then) != _place(now)],
        stayed=[now for then, now in both if _place(then) == _place(now)],
    )


def _place(request: Request) -> tuple[int, int | None]:
    return request.where, request.queue

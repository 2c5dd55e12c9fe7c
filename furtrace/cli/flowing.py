"""The requests that diagrams are drawn of: found in a recording, then gathered from it."""

from dataclasses import dataclass

from furtrace.cli.reel import Pass, Reel
from furtrace.cli.stopping import Stopping
from furtrace.model.choosing import playing
from furtrace.model.finding import Asked, Candidate, Finder
from furtrace.model.flows import Flow, Gathering, together
from furtrace.model.memory import QueueMemory
from furtrace.model.pools import Place
from furtrace.model.setups import Setups
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Records
from furtrace.views.lines import RequestLines


@dataclass(frozen=True)
class Drawn:
    """What was found. ``flows``: the requests with their events, and ``lines`` of them."""

    info: TraceInfo
    flows: list[Flow]
    lines: list[str]
    complaints: list[str]
    damaged: bool


def drawn(reel: Reel, asked: Asked, stopping: Stopping, *, ascii_only: bool) -> Drawn:
    """Find the requests, then gather their events: two passes over the recordings.

    Raises:
        InputError: they can't be read.
    """
    reel.judge(stopping)
    with reel.opened() as run:
        found = _found(reel, run, asked, stopping, ascii_only=ascii_only)
        info, complaints, damaged = run.info, run.complaints, run.damaged
    gathering = Gathering(together(one.row for one in found))
    with reel.opened() as run:
        for batch in run.batches():
            if stopping.signal is not None or gathering.is_past(batch):
                break
            gathering.feed(batch)
    return Drawn(info, gathering.flows(), [one.line for one in found], complaints, damaged)


def _found(reel: Reel, run: Pass, asked: Asked, stopping: Stopping, *, ascii_only: bool) -> list[Candidate]:
    conversation = reel.conversation(run)
    lines = RequestLines(run.info, conversation.paths, ascii_only=ascii_only)
    finder = Finder(asked, conversation, lines, run.first_ns)
    last_ns = 0
    for batch in run.batches():
        last_ns = max(last_ns, int(batch["ns"].max()) if len(batch) else 0)
        wanted = [finder.feed(conversation.feed(part)) for part in conversation.cut(batch)]
        if not all(wanted) or stopping.signal is not None:
            return finder.found
    finder.end(last_ns)
    return finder.found


@dataclass(frozen=True)
class SetUp:
    """The events of setting up each queue, by connection and queue."""

    info: TraceInfo
    queues: dict[Place, Records]
    complaints: list[str]
    damaged: bool


def setup_events(reel: Reel, stopping: Stopping) -> SetUp:
    """The events of setting up queues.

    Raises:
        InputError: the recordings can't be read.
    """
    setups = Setups()
    with reel.opened() as run:
        for batch in run.batches():
            if stopping.signal is not None:
                break
            setups.feed(batch)
        return SetUp(run.info, setups.by_queue(), run.complaints, run.damaged)


# ---- memory ----


@dataclass(frozen=True)
class Memories:
    """The memory of queues at a time."""

    queues: list[QueueMemory]
    now_ns: int
    complaints: list[str]
    damaged: bool


def memories(reel: Reel, stopping: Stopping) -> Memories:
    """The memory of all queues at the end of recordings, or of the window.

    Raises:
        InputError: they can't be read.
    """
    reel.judge(stopping)
    with reel.opened() as run:
        conversation, now_ns = playing(None, whole=run.whole), 0
        for batch in run.batches():
            if stopping.signal is not None:
                break
            for part in conversation.cut(batch):
                conversation.feed(part)
            now_ns = max(now_ns, int(batch["ns"].max()) if len(batch) else 0)
        queues = conversation.memory.queues(conversation.requests, conversation.pools.table())
        return Memories(queues, run.last_ns or now_ns, run.complaints, run.damaged)

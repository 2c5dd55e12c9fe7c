"""The ways that requests can go, by name, each with the traits of one that goes so: examples to learn the protocol."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from furtrace.model.flows import Ending, Traits
from furtrace.views.flow_document import document_steps, pages
from furtrace.views.flow_steps import READY, Step, parsed, setup_command, steps_of
from furtrace.wire.dialect import Dialect


@dataclass(frozen=True)
class Kind:
    """A way that requests go. ``dialects``: those that have it, the one that an example is of first."""

    name: str
    title: str
    dialects: tuple[Dialect, ...]
    traits: Traits = field(default_factory=Traits)
    write: bool = True


_ALL: Final = (Dialect.PLAIN, Dialect.BUFPOOL)
_POOLS: Final = (Dialect.BUFPOOL,)
_RINGS: Final = (Dialect.BUFRING, Dialect.BUFPOOL)
_ENTRY: Final = Traits(argument=True, sends=True, answers=True)
_POOL: Final = replace(_ENTRY, buffer=True, selected=True, recycled=True)
_EMPTY: Final = replace(_POOL, buffer=False, selected=False, recycled=False, sends=False, answers=False)
_ZERO: Final = replace(_EMPTY, zero_copy=True, fixed=1)
_MIXED: Final = replace(_POOL, zero_copy=True, fixed=1, sends=False, answers=False)

KINDS: Final = (
    Kind("setup", "How a queue is set up", (*_ALL, Dialect.BUFRING)),
    Kind("plain", "A request with a payload buffer of its entry's own", _ALL, _ENTRY),
    Kind("buffer", "A request with a buffer of the queue's ring or pool", _RINGS, _POOL),
    Kind("no-payload", "A request without payload, so without a buffer", (*_RINGS, Dialect.PLAIN), _EMPTY),
    Kind("zero-copy-write", "A WRITE whose pages the server reads itself", _RINGS, _ZERO),
    Kind("zero-copy-read", "A READ into whose pages the server writes itself", _RINGS, _ZERO, write=False),
    Kind("mixed", "Pages zero-copied, other arguments copied to a buffer", _RINGS, _MIXED),
    Kind("pages", "How pages come into a slot, and leave it", (Dialect.BUFRING,)),
    Kind("waits-for-entry", "A request that waits, as all entries are with the server", _ALL,
         replace(_ENTRY, waits=True, fetched=True)),
    Kind("waits-for-buffer", "A request that waits, as the pool is dry", _POOLS,
         replace(_POOL, dry=1, waits=True, fetched=True)),
    Kind("keeps-buffer", "A request whose entry keeps the buffer of the one before", _POOLS,
         replace(_POOL, selected=False, waits=True, fetched=True)),
    Kind("background", "A request that no client waits for", _ALL, replace(_ENTRY, background=True)),
    Kind("error", "A request that the server answers with an error", _ALL,
         replace(_ENTRY, answers=False, failed=True)),
    Kind("no-queue", "A request that no queue takes", _ALL,
         replace(_ENTRY, ending=Ending.UNQUEUED, assigned=False, delivered=False, failed=True)),
    Kind("no-slot", "Pages for which the slot is taken, or not there", _POOLS,
         replace(_ZERO, fixed=0, ending=Ending.UNSENT, delivered=False, failed=True, refused_slot=True)),
    Kind("not-copied", "A request that can't be copied to the server", _ALL,
         replace(_ENTRY, ending=Ending.UNSENT, delivered=False, failed=True)),
    Kind("aborted", "A request whose server died", _ALL, replace(_ENTRY, ending=Ending.ABORTED, failed=True)),
    Kind("aborted-waiting", "A request that waited for an entry as the server died", _ALL,
         replace(_ENTRY, ending=Ending.DROPPED, assigned=False, delivered=False, failed=True)),
    Kind("cancelled", "A request whose server's thread died before it was brought to it", _ALL,
         replace(_ENTRY, ending=Ending.CANCELLED, delivered=False, failed=True)),
    Kind("device", "A request by way of /dev/fuse", _ALL, replace(_ENTRY, device=True)),
)  # fmt: skip
"""All of them."""
NAMES: Final = tuple(kind.name for kind in KINDS)


def kind_of(name: str) -> Kind:
    """The kind of a name."""
    return KINDS[NAMES.index(name)]


def example_steps(kind: Kind, dialect: Dialect) -> list[Step]:
    """The steps of an example.

    Args:
        kind: which way it goes.
        dialect: one of the kind's.
    """
    if kind.name == "setup":
        return list(_setup(dialect))
    if kind.name == "pages":
        return list(pages())
    traits = replace(kind.traits, dialect=dialect)
    if kind.name == "plain":
        return [*parsed(_CALLED, traits), *steps_of(traits), *parsed(_CAME_BACK, traits)]
    if dialect is not Dialect.BUFRING:
        return steps_of(traits)
    return document_steps(traits, write=kind.write)


def _setup(dialect: Dialect) -> Iterator[Step]:
    if dialect is Dialect.BUFPOOL:
        yield from setup_command("ADD_QUEUE")
        yield from setup_command("ADD_BUFPOOL")
    for step in setup_command("REGISTER"):
        yield step
        if step.sign == "REGISTER":
            yield from parsed(_WAITING, Traits())
    yield READY


# What the kernel's document has around its diagrams; no trace knows the client's call.
_CALLED: Final = """
S [waiting for CQEs]
K "rm /mnt/fuse/file"
K >sys_unlink()
K  >fuse_unlink()
K   [allocate request]
K   >fuse_send_one()
"""
_CAME_BACK: Final = """
K [req->waitq woken up]
K  <fuse_unlink()
K <sys_unlink()
"""
_WAITING: Final = """
S [wait cqe]
S  >io_uring_wait_cqe() or >io_uring_submit_and_wait()
"""

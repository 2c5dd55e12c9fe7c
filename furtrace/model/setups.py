"""The setting up of queues: their commands, in the order in which they came."""

from typing import Final

import numpy as np

from furtrace.model.pools import Place
from furtrace.trace.record import RECORD, Kind, Records, Step
from furtrace.wire.opcodes import UringCommand

_COMMANDS: Final = (Kind.ADD_QUEUE, Kind.ADD_BUFPOOL, Kind.REGISTER, Kind.REFUSED)


class Setups:
    """Gathers the events of setting up queues out of the records that they are in."""

    def __init__(self) -> None:
        self._parts: list[Records] = []

    def feed(self, batch: Records) -> None:
        """Take in a batch."""
        wanted = np.isin(batch["kind"], (*_COMMANDS, Kind.READY))
        wanted |= (batch["kind"] == Kind.STEP) & (batch["step"] == Step.CMD)
        wanted &= batch["command_op"] != UringCommand.COMMIT_AND_FETCH
        self._parts.append(batch[wanted].copy())

    def by_queue(self) -> dict[Place, Records]:
        """The events of each queue; READY, which is the connection's, and returns of commands in each that they fit."""
        events = np.concatenate([np.empty(0, RECORD), *self._parts])
        commands = events[np.isin(events["kind"], _COMMANDS)]
        places = set(zip(commands["connection"].tolist(), commands["queue"].tolist(), strict=True))
        return {place: _of(place, commands, events) for place in sorted(places)}


def _of(place: Place, commands: Records, events: Records) -> Records:
    mine = commands[(commands["connection"] == place[0]) & (commands["queue"] == place[1])]
    returns = (events["kind"] == Kind.STEP) & np.isin(events["tid"], mine["tid"])
    others = (returns | (events["kind"] == Kind.READY)) & (events["connection"] == place[0])
    whole = np.concatenate([mine, events[others & (events["ns"] >= mine["ns"].min())]])
    ordered: Records = whole[np.argsort(whole["ns"], kind="stable")]
    return ordered

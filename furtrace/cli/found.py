"""What is there already as a trace begins: the state of the kernel, told to the model before any event."""

from functools import cache

import click

from furtrace.cli.snapshots import decoded
from furtrace.model.conversation import Conversation
from furtrace.model.found import found_requests, wanted
from furtrace.probe import tasks
from furtrace.probe.errors import ProbeError
from furtrace.probe.live import LiveTrace


def find(trace: LiveTrace, conversation: Conversation) -> None:
    """Tell a conversation how the traced connections are, before it is fed; where that can't be had, say so.

    Args:
        trace: which can be asked that, and was not read yet.
        conversation: of the same trace.
    """
    try:
        rows = trace.found()
    except ProbeError as error:
        click.echo(f"What is under way already is not known. {error}", err=True)
        return
    process, filters = cache(tasks.process), trace.filters
    for snapshot in decoded(rows):
        requests = found_requests(snapshot, process)
        chosen = wanted(requests, filters.client, filters.opcodes, filters.queues)
        conversation.add_found(snapshot, requests[chosen])

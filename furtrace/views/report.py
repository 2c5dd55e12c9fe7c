"""What a trace came to: tables for the end of it."""

from rich.table import Table
from rich.text import Text

from furtrace.model.conversation import Conversation
from furtrace.views.units import duration
from furtrace.wire.opcodes import opcode_name

_SHOWN = ("wait", "server", "total")


def operations_table(conversation: Conversation) -> Table:
    """Operations by count, with the median and the 99th percentile of each phase."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), title="Operations", title_justify="left")
    table.add_column("operation", no_wrap=True)
    table.add_column("count", justify="right")
    table.add_column("errors", justify="right")
    for phase in _SHOWN:
        table.add_column(f"{phase} p50", justify="right")
        table.add_column("p99", justify="right")
    for operation in sorted(conversation.operations.table(), key=lambda one: -one.count):
        row = [opcode_name(operation.opcode), str(operation.count), str(operation.errors)]
        for phase in _SHOWN:
            latency = operation.latency[phase]
            row += [duration(latency.percentile(0.5)), duration(latency.percentile(0.99))]
        table.add_row(*map(Text, row))
    return table


def queues_table(conversation: Conversation) -> Table:
    """Queues: entries, requests delivered, and the deepest backlog."""
    table = Table(box=None, pad_edge=False, title="Queues", title_justify="left")
    for column in ("connection", "queue", "entries used", "registered", "delivered", "deepest backlog"):
        table.add_column(column, justify="right")
    for queue in conversation.queues.table():
        registered = str(queue.registered) if queue.registered else "-"
        cells = (queue.connection, queue.queue, queue.entries, registered, queue.delivered, queue.deepest)
        table.add_row(*(Text(str(cell)) for cell in cells))
    return table

"""What the demo shows of a trace, its own or a recorded one: the first lines, the sums, the faults."""

import json
from collections import Counter
from pathlib import Path

import click
from rich.console import Console

from furtrace.cli.outputs import summary
from furtrace.cli.showing import write_lines
from furtrace.cli.stopping import Stopping
from furtrace.demo.faults import FAULTS
from furtrace.model.conversation import Conversation
from furtrace.model.requests import Requests_
from furtrace.trace.record import Records
from furtrace.views.lines import RequestLines
from furtrace.views.report import operations_table, queues_table

_FAULTS_SHOWN = 4


class FirstLines:
    """Shows the beginning of a trace, and remembers what each request came to."""

    interval = 0.05

    def __init__(self, format_: RequestLines, lines: int, seen: Counter[tuple[int, int, int]]) -> None:
        self._format = format_
        self.left = lines
        self._seen = seen

    def batch(self, batch: Records, finished: Requests_) -> bool:
        """Write lines until there were enough."""
        self._seen.update(zip(*(finished[column].tolist() for column in ("unique", "opcode", "error")), strict=True))
        shown = []
        for line in (*self._format.noted(batch), *self._format.ended(finished[: self.left])):
            if self.left > 0:
                shown.append(line)
                self.left -= 1
        write_lines(shown)
        return True

    def wait(self, seconds: float, stopping: Stopping) -> bool:
        """Sleep, but not past a signal."""
        stopping.wait(seconds)
        return True


def show_sums(console: Console, conversation: Conversation, elapsed_ns: int) -> None:
    """Print what it all came to."""
    console.print(f"... {summary(conversation, elapsed_ns)[0]}", soft_wrap=True)
    for table in (operations_table(conversation), queues_table(conversation)):
        console.print()
        console.print(table)


def list_faults(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Print every fault of the demo's server, which kernel it needs, and what it is; end the command."""
    if not wanted or context.resilient_parsing:
        return
    names = max(map(len, FAULTS))
    for fault in FAULTS.values():
        click.echo(f"{fault.name:{names}}  {fault.needs:10}  {fault.sentence}")
    context.exit()


def show_faults(console: Console, log: Path) -> int:
    """Print what the server says that it did wrong, and return the exit status: 0 if it did."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    if not lines:
        console.print("The server had no occasion to commit the fault.")
        return 1
    for line in lines[:_FAULTS_SHOWN]:
        places = [f"{name} {line[name]}" for name in ("queue", "unique", "commit_id") if line[name] is not None]
        what = ", ".join([f"The server committed {line['fault']}", *places])
        console.print(f"{what}: {line['detail']}.", markup=False, soft_wrap=True)
    if len(lines) > _FAULTS_SHOWN:
        console.print(f"... and {len(lines) - _FAULTS_SHOWN} times more.")
    return 0

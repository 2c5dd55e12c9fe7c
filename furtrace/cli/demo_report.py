"""What the demo shows of a trace, its own or a recorded one: the first lines, then the sums."""

from collections import Counter

from rich.console import Console

from furtrace.cli.outputs import summary, write_lines
from furtrace.cli.stopping import Stopping
from furtrace.model.conversation import Conversation
from furtrace.model.requests import Requests_
from furtrace.trace.record import Records
from furtrace.views.lines import RequestLines
from furtrace.views.report import operations_table, queues_table


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

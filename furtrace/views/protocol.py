"""The protocol as this build knows it: structures, operations, notifications, flags."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from furtrace.wire.protocol import MAJOR, MINOR, Listing, Message


class ProtocolView:
    """Lists the protocol, a line a field."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    def __rich_console__(self, _console: Console, _options: ConsoleOptions) -> RenderResult:
        listing = self._listing
        yield Text(f"FUSE protocol {MAJOR}.{MINOR}", "bold")
        if listing.operations:
            yield from ("", _messages("Operations", "opcode", listing.operations))
        if listing.notifications:
            yield from ("", _messages("Notifications", "code", listing.notifications))
        yield from self._structures()
        for one in listing.flags:
            yield from ("", Text(one.name, "bold"))
            width = max(len(f"{bit:#x}") for _, bit in one.bits)
            for name, bit in one.bits:
                yield Text.assemble("  ", (f"{bit:#x}".rjust(width), "dim"), "  ", name)

    def _structures(self) -> Iterator[Text]:
        for dialect, layout in self._listing.structures:
            yield Text("")
            of_dialect = f", {dialect} dialect" if dialect is not None else ""
            yield Text.assemble((layout.name, "bold"), f", {layout.size} bytes{of_dialect}")
            yield Text("  offset  size  field", "dim")
            for field in layout.fields:
                yield Text.assemble((f"  {field.offset:#06x}  {field.size:4}  ", "dim"), field.name)


def _messages(title: str, code: str, messages: tuple[Message, ...]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title=title, title_justify="left", title_style="bold")
    asked = messages[0].request is not None
    table.add_column(code, justify="right", header_style="dim", style="dim")
    table.add_column("name", no_wrap=True, header_style="dim")
    for column in ("request", "reply") if asked else ("made of",):
        table.add_column(column, header_style="dim", overflow="fold")
    for message in messages:
        parts = (message.request, message.reply) if asked else (message.reply,)
        table.add_row(Text(str(message.code)), Text(message.name), *map(_parts, parts))
    return table


def _parts(parts: tuple[str, ...] | None) -> Text:
    if parts is None:
        return Text("no reply", "dim")
    return Text(", ".join(parts)) if parts else Text("the header alone", "dim")

"""A recording in another form: what each form does with a batch of events and the requests that ended in it.

All have the methods of what writes lines (:mod:`furtrace.cli.outputs`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Protocol

from furtrace.export.columns import EVENT_COLUMNS, REQUEST_COLUMNS, Column, Part
from furtrace.export.jsonlines import event_object, json_lines, request_objects, summary_object
from furtrace.export.perfetto import PerfettoTrace
from furtrace.export.table import CsvTable
from furtrace.model.conversation import Conversation
from furtrace.model.paths import Subject
from furtrace.model.requests import Requests_
from furtrace.trace.reading import Origin
from furtrace.trace.record import Records, events_only

FORMATS: Final = ("json", "csv", "perfetto", "parquet")

Write = Callable[[bytes], object]
"""Takes all of some bytes."""


class Origins(Protocol):
    """What is read. ``origins``: the boots that its records are of, as far as it was read."""

    @property
    def origins(self) -> list[Origin]:
        """They."""


@dataclass(frozen=True)
class Source:
    """Where a form has it all from.

    Attributes:
        conversation: takes in every batch before the form does.
        mounts: mount points by connection.
        recordings: what is read.
        start_ns: when they start.

    """

    conversation: Conversation
    mounts: dict[int, str]
    recordings: Origins
    start_ns: int

    def ended(self, finished: Requests_) -> Part:
        """The requests that ended in the last batch."""
        return self._part(finished, self.conversation.paths.subjects(finished))

    def under_way(self) -> Part:
        """The requests that are under way."""
        rows = self.conversation.requests.under_way
        return self._part(rows, self.conversation.paths.present(rows))

    def events(self, batch: Records) -> Part:
        """The events of a batch."""
        return self._part(events_only(batch), [])

    def _part(self, rows: Requests_ | Records, subjects: Sequence[Subject]) -> Part:
        return Part(rows, subjects, self.mounts, self.recordings.origins)


class Form(Protocol):
    """A form of a recording."""

    def batch(self, batch: Records, finished: Requests_) -> bool:
        """Write a batch, or the requests that ended in it; True: more may come."""

    def end(self, elapsed_ns: int, now_ns: int) -> None:
        """Write what is still under way at a time, and the end."""


class JsonForm:
    """JSON lines, the last of which is the summary.

    Args:
        source: where they are from.
        write: takes the text in UTF-8.
        events: a line is an event, not a request.
    """

    def __init__(self, source: Source, write: Write, *, events: bool) -> None:
        self._source = source
        self._write = write
        self._events = events

    def batch(self, batch: Records, finished: Requests_) -> bool:
        """Write lines."""
        if self._events:
            self._lines(map(event_object, events_only(batch)))
        else:
            self._requests(self._source.ended(finished))
        return True

    def end(self, elapsed_ns: int, _now_ns: int) -> None:
        """Write what is still under way, and the summary."""
        if not self._events:
            self._requests(self._source.under_way())
        self._lines(iter([summary_object(self._source.conversation, elapsed_ns)]))

    def _requests(self, part: Part) -> None:
        self._lines(request_objects(part.rows, part.subjects))

    def _lines(self, objects: Iterator[dict[str, Any]]) -> None:
        text = "\n".join(json_lines(objects))
        if text:
            self._write(text.encode() + b"\n")


class _Table(Protocol):
    """Takes rows."""

    def add(self, part: Part) -> None:
        """Write rows."""


class _TableForm:
    """A table of requests, or of events."""

    def __init__(self, source: Source, table: _Table, *, events: bool) -> None:
        self._source = source
        self._table = table
        self._events = events

    def batch(self, batch: Records, finished: Requests_) -> bool:
        """Write rows."""
        self._table.add(self._source.events(batch) if self._events else self._source.ended(finished))
        return True

    def end(self, _elapsed_ns: int, _now_ns: int) -> None:
        """Write what is still under way."""
        if not self._events:
            self._table.add(self._source.under_way())


class CsvForm(_TableForm):
    """CSV; arguments as of :class:`JsonForm`."""

    def __init__(self, source: Source, write: Write, *, events: bool) -> None:
        super().__init__(source, CsvTable(_columns(events=events), write), events=events)


class ParquetForm(_TableForm):
    """Parquet.

    Args:
        source: where rows are from.
        file: where to; it is left open.
        events: a row is an event, not a request.

    Raises:
        ImportError: pyarrow is not installed.
    """

    def __init__(self, source: Source, file: BinaryIO, *, events: bool) -> None:
        from furtrace.export.parquet import ParquetTable  # noqa: PLC0415 - all else works without pyarrow

        self._parquet = ParquetTable(_columns(events=events), file, "events" if events else "requests")
        super().__init__(source, self._parquet, events=events)

    def end(self, elapsed_ns: int, now_ns: int) -> None:
        """Write what is still under way, and the file's metadata."""
        super().end(elapsed_ns, now_ns)
        self._parquet.end(self._source.recordings.origins, summary_object(self._source.conversation, elapsed_ns))


def _columns(*, events: bool) -> tuple[Column, ...]:
    return EVENT_COLUMNS if events else REQUEST_COLUMNS


class PerfettoForm:
    """Trace events for Perfetto.

    Args:
        source: where they are from.
        write: takes the text in UTF-8.
    """

    def __init__(self, source: Source, write: Write) -> None:
        self._source = source
        self._trace = PerfettoTrace(write, source.start_ns)

    def batch(self, batch: Records, finished: Requests_) -> bool:
        """Write slices, and what counters did."""
        self._trace.add(batch, self._source.ended(finished), self._source.conversation)
        return True

    def end(self, elapsed_ns: int, now_ns: int) -> None:
        """Write what is still under way, and what is true of all."""
        self._trace.end(self._source.under_way(), now_ns, summary_object(self._source.conversation, elapsed_ns))

"""Parquet: a table of typed columns, with what is true of the recordings in the file's metadata.

Needs pyarrow, which the extra ``furtrace[parquet]`` brings.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final

import pyarrow as pa
from pyarrow import parquet as pq

from furtrace.export.columns import BLOB, TEXT, TIME, WORD, Blobs, Column, Numbers, Part, Texts, Times, Values, Words
from furtrace.export.jsonlines import recording_object
from furtrace.trace.reading import Origin

ROW_GROUP: Final = 1 << 16
"""Rows that are written at once, at least: so many are held in memory."""


class ParquetTable:
    """Writes a table.

    Args:
        columns: its columns.
        file: where to; it is left open.
        rows: what a row is: ``requests`` or ``events``.
    """

    def __init__(self, columns: Sequence[Column], file: BinaryIO, rows: str) -> None:
        self._columns = columns
        self._schema = pa.schema([pa.field(column.name, _type(column)) for column in columns])
        self._rows = rows
        self._held: list[pa.RecordBatch] = []
        self._count = 0
        self._writer = pq.ParquetWriter(
            pa.PythonFile(file, mode="w"), self._schema, compression="zstd", use_dictionary=True
        )

    def add(self, part: Part) -> None:
        """Write rows, once there are enough for a group."""
        if not len(part.rows):
            return
        arrays = [_array(column.take(part), column) for column in self._columns]
        self._held.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._count += len(part.rows)
        if self._count >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            table = pa.Table.from_batches(self._held, self._schema).unify_dictionaries()
            self._writer.write_table(table, row_group_size=self._count)
            self._held, self._count = [], 0

    def end(self, origins: Sequence[Origin], summary: dict[str, Any]) -> None:
        """Write what is left, and the metadata: nothing can be read of the file before.

        Args:
            origins: the boots that the rows are of.
            summary: what all came to, as JSON lines end with; how many events were lost stands there.
        """
        self._flush()
        self._writer.add_key_value_metadata(dict(_metadata(self._rows, origins, summary)))
        self._writer.close()


def _metadata(rows: str, origins: Sequence[Origin], summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys of the file's metadata; of several boots ``host`` and the like have those of all, separated by blanks."""
    yield "furtrace.rows", rows
    for name in _TOLD:
        told = dict.fromkeys(str(getattr(origin.info, name)) for origin in origins)
        yield f"furtrace.{name}", " ".join(told)
    yield "furtrace.lost", str(summary["lost"])
    yield "furtrace.recordings", json.dumps([recording_object(origin.info) for origin in origins])
    yield "furtrace.summary", json.dumps(summary)


_TOLD: Final = ("host", "kernel", "boot", "dialect", "version")


def _type(column: Column) -> pa.DataType:
    return _TYPES[column.type] if column.type in _TYPES else pa.type_for_alias(column.type)


_TYPES: Final = {
    WORD: pa.dictionary(pa.int32(), pa.string()),
    TEXT: pa.string(),
    TIME: pa.timestamp("ns", tz="UTC"),
    BLOB: pa.binary(),
}


def _array(values: Values, column: Column) -> pa.Array:
    if isinstance(values, Words):
        return pa.DictionaryArray.from_arrays(
            pa.array(values.places, mask=values.places < 0), pa.array(values.texts, pa.string())
        )
    if isinstance(values, Texts | Blobs):
        return pa.array(values.values, _type(column))
    return _numbers(values, column)


def _numbers(values: Numbers | Times, column: Column) -> pa.Array:
    mask = None if values.known is None else ~values.known
    if isinstance(values, Times):
        return pa.array(values.values, pa.int64(), mask=mask).cast(_type(column))
    return pa.array(values.values, _type(column), mask=mask)

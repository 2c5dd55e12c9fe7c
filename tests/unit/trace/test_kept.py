"""What a recording keeps of records: all that is valid of them."""

from pathlib import Path

import numpy as np

from furtrace.model.conversation import Conversation
from furtrace.trace.files import SingleFile
from furtrace.trace.info import TraceInfo
from furtrace.trace.merging import Recordings
from furtrace.trace.record import Kind, Records, no_records
from furtrace.wire.opcodes import Opcode
from tests.unit.events import batch, ended, found, queued, renamed

_INFO = TraceInfo("7.3.0", "plain", "tracepoints", 0, boot="a")


def _kept(folder: Path, records: Records) -> Records:
    file = SingleFile(str(folder / "one.pcapng"), _INFO)
    file.write(records)
    file.close()
    with Recordings([str(folder / "one.pcapng")]) as recordings:
        return np.concatenate([no_records(), *recordings.batches()])


def test_where_a_name_went_is_kept_though_the_reply_is_shorter(tmp_path: Path) -> None:
    moves = [
        renamed(6, 30, (1, b"old"), (5, b"new"), header_size=16),
        renamed(8, 40, (5, b"new"), (1, b"newer"), flags=0, header_size=16),
    ]
    moves[1]["kind"] = Kind.NAMED
    kept = _kept(tmp_path, batch(found(4, 10, Opcode.MKDIR, 1, b"dir", 5), found(2, 20, 1, 1, b"old", 9), *moves))
    conversation = Conversation()
    paths = []
    for part in [*np.split(kept, [3]), batch(ended(10, 50, node_id=9))]:
        rows = conversation.feed(batch(part, queued(100, 45, node_id=9), ended(100, 46, node_id=9)))
        paths.append(conversation.paths.subjects(rows)[-1].path.raw)
    assert paths == [b"/dir/new", b"/newer", b"/newer"]


def test_what_is_not_valid_is_not_kept(tmp_path: Path) -> None:
    stale = ended(2, 10, Opcode.READ, header=b"\xaa" * 288, header_size=16, extra=b"\xbb" * 192, extra_size=0)
    (record,) = _kept(tmp_path, stale)
    assert record["header"].tobytes() == b"\xaa" * 16 + bytes(272)
    assert record["extra"].tobytes() == bytes(192)

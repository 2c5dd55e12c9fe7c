"""Statistics as an object of JSON."""

import json

from furtrace.export.statistics import statistics_object
from furtrace.model.statistics import Statistics
from furtrace.trace.info import TraceInfo
from furtrace.wire.opcodes import Opcode
from tests.unit.events import batch, whole
from tests.unit.export.reckoning import SHIPPED, reckoned, recorded

INFO = TraceInfo("6.18.0", "plain", "tracepoints", 5)


def test_numbers_are_those_of_a_plain_reckoning() -> None:
    records = recorded(SHIPPED / "zero-copy.pcapng.zst")
    statistics = Statistics(("file",))
    statistics.feed(statistics.brief([records]))
    made = json.loads(json.dumps(statistics_object(INFO, statistics)))
    requests = [request for request in reckoned(records).values() if request.times["ended"]]
    assert {one["opcode"]: one["count"] for one in made["operations"]} == {
        opcode: sum(request.opcode == opcode for request in requests)
        for opcode in {request.opcode for request in requests}
    }
    zero_copied = [request for request in requests if request.zero_copied]
    assert made["copying"]["zero_copied"] == {
        "requests": len(zero_copied),
        "moved": sum(request.moved or 0 for request in zero_copied),
    }
    assert sum(number for _, _, number in made["histograms"]["total"]) == made["requests"]["latency"]["total"]["count"]
    assert sum(one["count"] for one in made["failures"]) == sum(request.error != 0 for request in requests)
    assert [one["count"] for one in made["files"]] == sorted((one["count"] for one in made["files"]), reverse=True)
    assert made["clients"] is None


def test_what_a_process_chose_is_text() -> None:
    statistics = Statistics(("client",))
    events = batch(*whole(2, 1000, Opcode.READ))
    events["comm"][0] = b"\xff\x1b".ljust(16, b"\0")
    statistics.feed(statistics.brief([events]))
    info = TraceInfo("6.18.0", "plain", "tracepoints", 5, mounts={7: "/m\udcff"})
    made = json.loads(json.dumps(statistics_object(info, statistics)))
    assert made["clients"][0]["client_comm"] == "\\xff\x1b"
    assert made["connections"][0]["mount"] == "/m\\xff"

"""What statistics say of trouble, and of names that a traced process chose."""

from furtrace.model.statistics import Statistics
from furtrace.trace.info import TraceInfo
from furtrace.trace.record import Flag, Kind, lost_record
from furtrace.views.live_table import ASCII, UNICODE, Glyphs
from furtrace.views.statistics import Shown, StatisticsView
from furtrace.wire.opcodes import Opcode
from tests.unit.events import batch, event, queued, whole

INFO = TraceInfo("6.18.0", "plain", "tracepoints", 0)


def shown(statistics: Statistics, glyphs: Glyphs = UNICODE, *by: str) -> list[str]:
    return list(StatisticsView(INFO, statistics, Shown(by or Shown.by), glyphs).lines(100))


def test_trouble_is_told() -> None:
    statistics = Statistics()
    events = batch(
        queued(2, 900, Opcode.READ),
        lost_record(950, 1005, 7, cpu=1),
        *whole(2, 1000, Opcode.READ)[1:],
        event(Kind.REFUSED, 2000, error=-22, command_op=2, flags=Flag.HAS_ERROR),
        event(Kind.DELIVERED, 2100, unique=8, flags=Flag.CQE_OVERFLOW),
    )
    statistics.feed(statistics.brief([events]))
    lines = shown(statistics)
    trouble = lines[lines.index("── Trouble") + 1 :]
    assert trouble == [
        "1 command refused: COMMIT_AND_FETCH EINVAL",
        "1 CQE overflowed",
        "7 events lost (CPU 1: 7)",
        "1 request is counted without times, since events of that time were lost",
    ]
    assert not any(line.startswith("total") for line in lines)  # it has none that are sure


def test_names_are_escaped() -> None:
    statistics = Statistics(("client",))
    events = batch(*whole(2, 1000, Opcode.READ))
    events["comm"][events["kind"] == Kind.QUEUED] = "[red]\x1b\u00e9".encode().ljust(16, b"\0")
    statistics.feed(statistics.brief([events]))
    assert any(line.startswith("[red]\\x1b\u00e9[40]") for line in shown(statistics, UNICODE, "client"))
    lines = shown(statistics, ASCII, "client")
    assert any(line.startswith("[red]\\x1b\\xe9[40]") for line in lines)
    assert all(line.isascii() for line in lines)

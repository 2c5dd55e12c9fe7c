"""What the live view shows, and what its keys do."""

import io
import itertools
import struct
from typing import Any, Final

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from furtrace.checks.checker import Checker
from furtrace.checks.findings import Finding
from furtrace.model.conversation import Conversation
from furtrace.model.requests import first_seen, new_requests
from furtrace.trace.record import Flag, Kind, Records, Transport
from furtrace.views.live import VIEWS, LiveView
from furtrace.views.live_operations import Rates
from furtrace.views.live_requests import STATES, states, top
from furtrace.views.live_table import ASCII, UNICODE, Column, fitted, layout
from furtrace.wire.opcodes import Opcode
from tests.unit.events import after_loss
from tests.unit.views.live_events import (
    CONNECTION,
    MS,
    NOW,
    SECOND,
    Traffic,
    batch,
    committed,
    delivered,
    ended,
    event,
    info,
    made,
    queued,
    whole,
)


def frame(view: LiveView, width: int = 120, height: int = 30) -> list[str]:
    """The lines of a picture, without colours."""
    output = io.StringIO()
    console = Console(file=output, width=1000, height=height, color_system=None, force_terminal=False)
    console.print(view.render(width, height), crop=False, end="")
    return output.getvalue().split("\n")


def shown(*parts: Records, keys: str = "", lost: int = 0, **size: int) -> list[str]:
    """The picture of a conversation that had these events."""
    return frame(view_of(*parts, keys=keys, lost=lost), **size)


def view_of(*parts: Records, keys: str = "", lost: int = 0, now_ns: int = NOW, **options: Any) -> LiveView:
    view = LiveView(info(), **options)
    conversation = Conversation()
    for part in parts:
        conversation.feed(part)
    if lost:
        conversation.feed(after_loss(batch()[:0] if not parts else parts[0][:0], lost))
    view.update(conversation, now_ns)
    for key in keys:
        assert view.key(key)
    return view


def row(lines: list[str], *words: str) -> str:
    """The only line that has all the words."""
    (found,) = [line for line in lines if all(word in line for word in words)]
    return found


def column(lines: list[str], title: str, head: str = "operation") -> list[str]:
    """What stands in a column of the right-aligned kind, below its title."""
    at = next(number for number, line in enumerate(lines) if title in line and head in line)
    end = lines[at].index(title) + len(title)
    cells = [line[:end].split(" ")[-1] for line in lines[at + 1 : -1]]
    return list(itertools.takewhile(bool, cells))


class TestRequests:
    def test_states_of_requests_under_way(self) -> None:
        lines = shown(
            queued(1, NOW - 4 * SECOND),
            batch(queued(3, NOW - 3 * SECOND), delivered(3, NOW - 2 * SECOND)),
            batch(queued(5, NOW - 2 * SECOND), delivered(5, NOW - SECOND), committed(5, NOW - MS)),
            keys="2",
        )
        for words in (
            "1 READ #17 54 3? - queued 4.00s cat/4711",
            "3 READ #17 54 3 0 in server 3.00s cat/4711",
            "5 READ #17 54 3 1 in kernel 2.00s cat/4711",
        ):
            assert " ".join(row(lines, f" {words[0]}  READ").split()) == words
        assert "Requests in flight: 3" in lines[2]

    def test_a_read_of_dev_fuse_that_was_seen_is_in_the_server(self) -> None:
        read = event(Kind.DELIVERED, 1, NOW - MS, opcode=Opcode.READ, transport=Transport.DEV)
        assert "in server" in row(shown(queued(1, NOW - SECOND), read, keys="2"), "READ")

    def test_state_is_unknown_where_events_were_lost(self) -> None:
        lines = shown(queued(1, NOW - SECOND), keys="2", lost=7)
        assert "unknown (events lost)" in row(lines, "READ")
        assert "queued" not in row(lines, "READ")

    def test_every_combination_of_times_has_a_state_and_a_first_time(self) -> None:
        for known in itertools.product((False, True), repeat=4):
            rows = new_requests(1)
            times = dict(zip(("queued_ns", "delivered_ns", "committed_ns"), (10, 20, 30), strict=True))
            for (name, ns), there in zip(times.items(), known, strict=False):
                rows[name] = ns if there else 0
            rows["uncertain"] = known[3]
            if known[3]:
                state = "unknown (events lost)"
            else:
                state = "in kernel" if known[2] else "in server" if known[1] else "queued"
            assert STATES[states(rows)[0]] == state
            assert first_seen(rows)[0] == next((ns for ns, there in zip((10, 20, 30), known, strict=False) if there), 0)

    def test_an_ended_request_is_gone(self) -> None:
        lines = shown(whole(1, NOW - SECOND), keys="2")
        assert "Requests in flight: 0" in lines[2]
        assert not any("READ" in line for line in lines)

    def test_age_of_a_request_seen_from_its_delivery_on(self) -> None:
        assert "2.00s" in row(shown(delivered(1, NOW - 2 * SECOND), keys="2"), "READ")

    def test_an_event_newer_than_the_picture_has_no_negative_age(self) -> None:
        assert row(shown(queued(1, NOW + 5), keys="2"), "READ").split()[-2] == "0ns"

    def test_names_are_shown_behind_their_directory(self) -> None:
        def of_two(directory: int) -> dict[str, Any]:
            header = bytes(128) + struct.pack("<QII", directory, 0, 0)
            return {"header": header, "header_size": len(header), "extra": b"old\0new\0", "second": 4}

        lines = shown(
            made(17, b"dir"),
            batch(
                queued(1, NOW, Opcode.LOOKUP, extra=b"file.txt\0"),
                queued(3, NOW, Opcode.RENAME2, **of_two(1)),
                queued(5, NOW, Opcode.LINK, **(of_two(18) | {"extra": b"new\0", "second": 0})),
                queued(7, NOW, Opcode.RENAME, extra=b"old\0new\0", second=4),
                queued(9, NOW, Opcode.SETXATTR, extra=b"user.a\0"),
                queued(11, NOW, Opcode.CREATE, node_id=19),
            ),
            keys="2",
            width=160,
        )
        for opcode, subject in (
            ("LOOKUP", "/dir/file.txt"),
            ("RENAME2", "/dir/old → /new"),
            ("LINK", "#18 → /dir/new"),
            ("RENAME", "/dir/old → ?"),
            ("SETXATTR", '/dir "user.a"'),
            ("CREATE", "#19/?"),
        ):
            assert f" {subject}  " in row(lines, f" {opcode} ")

    def test_an_unsure_or_removed_path_is_marked(self) -> None:
        gone = batch(made(17, b"dir"), ended(8, NOW, Opcode.RMDIR, node_id=1, extra=b"dir\0"), queued(1, NOW + 1))
        assert " /dir (deleted)  " in row(shown(gone, keys="2"), " READ ")
        unsure = shown(made(17, b"dir"), queued(1, NOW), keys="2", lost=1)
        assert " /dir?  " in row(unsure, " READ ")

    def test_a_frozen_list_keeps_its_paths(self) -> None:
        view, conversation = LiveView(info()), Conversation()
        conversation.feed(batch(made(17, b"dir"), queued(1, NOW)))
        view.update(conversation, NOW)
        for key in "2 ":
            view.key(key)
        conversation.feed(made(17, b"other", ns=NOW + 5))
        view.update(conversation, NOW + 10)
        assert " /dir  " in row(frame(view), " READ ")
        view.key(" ")
        view.update(conversation, NOW + 10)
        assert " /other  " in row(frame(view), " READ ")

    def test_a_name_that_was_cut_is_marked(self) -> None:
        cut = queued(1, NOW, Opcode.LOOKUP, extra=b"x" * 20)
        cut["flags"] |= np.uint8(Flag.NAME_CUT)
        assert f" #17/{'x' * 20}...  " in row(shown(cut, keys="2", width=160), "LOOKUP")
        cut = queued(1, NOW, Opcode.GETXATTR, extra=b"x" * 20)
        cut["flags"] |= np.uint8(Flag.NAME_CUT)
        assert f' #17 "{"x" * 20}"…  ' in row(shown(cut, keys="2", width=160), "GETXATTR")

    def test_text_of_traced_processes_is_escaped_and_no_markup(self) -> None:
        evil = queued(1, NOW, Opcode.LOOKUP, extra=b"\x1b[2J[red]a\nb[/]\0", comm=b"\x1b]0;x\x07[b]\n")
        lines = shown(evil, keys="2", width=160)
        assert r"\x1b[2J[red]a\nb[/]" in row(lines, "LOOKUP")
        assert r"\x1b]0;x\x07[b]\n/4711" in row(lines, "LOOKUP")
        assert not any(ord(char) < 32 for line in lines for char in line)
        assert len(lines) == 30

    def test_clients(self) -> None:
        unseen = queued(1, NOW, Opcode.OPEN)
        unseen["flags"], unseen["client_tid"] = 0, 99
        lines = shown(unseen, queued(3, NOW, Opcode.READ, comm=b"dd\0junk"), delivered(5, NOW, Opcode.WRITE), keys="2")
        assert row(lines, "OPEN").endswith(
            "tid 99" + " " * (len(row(lines, "OPEN")) - len(row(lines, "OPEN").rstrip()))
        )
        assert "dd/4711" in row(lines, "READ")
        assert "junk" not in row(lines, "READ")
        assert row(lines, "WRITE").split()[-1] == "-"

    def test_sorting(self) -> None:
        view = view_of(
            batch(queued(5, NOW - 3 * SECOND, Opcode.WRITE, pid=30), delivered(5, NOW, Opcode.WRITE, queue=1)),
            batch(queued(1, NOW - 2 * SECOND, Opcode.ACCESS, pid=10), delivered(1, NOW, Opcode.ACCESS, queue=2)),
            queued(3, NOW - SECOND, Opcode.READ, pid=20),
            keys="2",
        )
        seen = {}
        for _ in range(6):
            lines = frame(view)
            order = lines[2].split(", by ")[1].split(" ")[0]
            seen[order] = "".join(column(lines, "unique"))
            view.key("r")
            # Of those that are equal in state the order stays.
            assert "".join(column(frame(view), "unique")) == ("153" if order == "state" else seen[order][::-1])
            view.key("s")
        assert seen == {
            "age": "513",
            "unique": "135",
            "operation": "135",
            "state": "315",
            "queue": "513",
            "client": "135",
        }
        assert ", by age ▼" in frame(view)[2]
        view.key("S")
        assert ", by client ▲" in frame(view)[2]

    def test_scrolling(self) -> None:
        view = view_of(batch(*(queued(number, NOW - SECOND + number) for number in range(1, 101))), keys="2")
        page = 15 - 2 - 1 - 2

        def uniques() -> list[int]:
            return [int(text) for text in column(frame(view, height=15), "unique")]

        assert uniques() == list(range(1, page + 1))
        for keys, first in (
            (["down"], 2), (["j"], 3), (["up"], 2), (["k"], 1), (["k"], 1), (["pgdn"], 11), (["pgup"], 1),
            (["end"], 91), (["pgdn", "down"], 91), (["home"], 1),
        ):  # fmt: skip
            for key in keys:
                view.key(key)
            assert uniques() == list(range(first, first + page)), keys
        assert "(1-10)" in frame(view, height=15)[2]

    def test_scrolled_to_the_end_it_stays_within_what_is_left(self) -> None:
        conversation = Conversation()
        conversation.feed(batch(*(queued(number, NOW) for number in range(1, 101))))
        view = LiveView(info())
        view.update(conversation, NOW)
        for key in ("2", "end"):
            frame(view)
            view.key(key)
        conversation.feed(batch(*(ended(number, NOW) for number in range(4, 101))))
        view.update(conversation, NOW)
        assert column(frame(view), "unique") == ["1", "2", "3"]


class TestTop:
    @pytest.mark.parametrize("falling", [False, True])
    @pytest.mark.parametrize(("first", "count"), [(0, 10), (5, 30), (995, 10), (0, 2000)])
    def test_agrees_with_sorting_everything(self, first: int, count: int, falling: bool) -> None:
        keys = np.random.default_rng(1).integers(0, 50, 1000).astype(np.uint64)
        whole_order = sorted(range(1000), key=lambda at: (-int(keys[at]) if falling else int(keys[at]), at))
        assert top(keys, first, count, falling=falling).tolist() == whole_order[first : first + count]

    def test_of_nothing(self) -> None:
        assert top(np.empty(0, np.uint64), 0, 10, falling=True).tolist() == []


class TestOperations:
    def test_counts_errors_and_times(self) -> None:
        lines = shown(
            *(whole(2 * number + 1, NOW - SECOND, server_ns=MS) for number in range(98)),
            *(whole(2 * number + 1, NOW - SECOND, server_ns=100 * MS) for number in range(98, 101)),
            whole(1001, NOW - SECOND, Opcode.GETATTR, error=-2),
            keys="3",
            width=160,
        )
        name, count, rate, errors, queue, delivery, wait, server, total = row(lines, "READ").split()
        assert (name, count, rate, errors, queue, delivery) == ("READ", "101", "-", "0", "-", "-")
        for shown_times, expected in (
            (wait, (MS / 10, MS / 10)),
            (server, (MS, 100 * MS)),
            (total, (1.1 * MS, 100 * MS)),
        ):
            for text, ns in zip(shown_times.split("/"), expected, strict=True):
                assert abs(np.log2(_nanoseconds(text) / ns)) < 1 / 16
        assert row(lines, "GETATTR").split()[3] == "1"

    def test_times_follow_the_requests(self) -> None:
        view, conversation = LiveView(info()), Conversation()
        view.key("3")
        for requests, server_ns in ((3, MS), (30, SECOND)):
            for number in range(requests):
                conversation.feed(whole(2 * number + 1, NOW, server_ns=server_ns))
            view.update(conversation, NOW)
            server = row(frame(view, width=160), "READ").split()[7].split("/")[0]
            assert abs(np.log2(_nanoseconds(server) / server_ns)) < 1 / 16

    def test_queue_and_delivery_where_the_model_knows_them(self) -> None:
        first = whole(1, NOW - SECOND)
        second = whole(3, NOW - SECOND // 2)
        for part in (first, second):
            part["entry"][1:3] = 0xFFFF0000
        cells = row(shown(first, second, keys="3", width=160), "READ").split()
        assert cells[4] == "0ns/0ns"
        assert cells[5].startswith(("9", "10"))

    def test_rate_over_the_last_seconds(self) -> None:
        view, conversation = LiveView(info()), Conversation()
        unique = itertools.count(1, 2)
        for step in range(41):
            now_ns = NOW + step * SECOND // 4
            for _ in range(10 if step <= 20 else 2):
                conversation.feed(whole(next(unique), now_ns - 2 * MS))
            view.update(conversation, now_ns)
            if step == 0:
                assert "- requests/s" in frame(view)[1]
            if step == 20:
                assert "40 requests/s" in frame(view)[1]
                assert "160 events/s" in frame(view)[1]
        view.key("3")
        assert row(frame(view), "READ").split()[2] == "8.0"

    def test_sorting(self) -> None:
        view = view_of(
            *(whole(number, NOW - SECOND, Opcode.READ) for number in (1, 3, 5)),
            *(whole(number, NOW - SECOND, Opcode.WRITE, error=-5) for number in (7, 9)),
            whole(11, NOW - SECOND, Opcode.ACCESS, server_ns=SECOND),
            keys="3",
        )
        seen = {}
        for _ in range(6):
            lines = frame(view)
            order = lines[2].split(", by ")[1].split(" ▼")[0].split(" ▲")[0]
            seen[order] = [line.split()[0] for line in lines[4:7]]
            view.key("s")
        del seen["rate"]
        assert seen == {
            "count": ["READ", "WRITE", "ACCESS"],
            "total p99": ["ACCESS", "READ", "WRITE"],
            "server p99": ["ACCESS", "READ", "WRITE"],
            "errors": ["WRITE", "ACCESS", "READ"],
            "name": ["ACCESS", "READ", "WRITE"],
        }
        view.key("S")
        view.key("r")
        assert [line.split()[0] for line in frame(view)[4:7]] == ["WRITE", "READ", "ACCESS"]


class TestRates:
    def test_needs_two_samples(self) -> None:
        rates = Rates()
        assert rates.of("events") is None
        rates.add(NOW, {"events": 5})
        assert rates.of("events") is None

    def test_same_time_twice(self) -> None:
        rates = Rates()
        rates.add(NOW, {"events": 5})
        rates.add(NOW, {"events": 9})
        assert rates.of("events") is None

    def test_forgets_what_is_older_than_two_seconds(self) -> None:
        rates = Rates()
        for second, total in enumerate((0, 1000, 1000, 1010, 1020)):
            rates.add(NOW + second * SECOND, {"events": total})
        assert rates.of("events") == 10.0

    def test_a_total_that_is_new(self) -> None:
        rates = Rates()
        rates.add(NOW, {})
        rates.add(NOW + SECOND // 2, {7: 3})
        assert rates.of(7) == 6.0
        assert rates.of(8) == 0.0


class TestQueues:
    def lines(self, keys: str = "4", **size: int) -> list[str]:
        register = [event(Kind.REGISTER, 0, NOW - 9 * SECOND, queue=3, command_op=1) for _ in range(4)]
        register += [event(Kind.REGISTER, 0, NOW - 9 * SECOND, queue=1, command_op=1) for _ in range(2)]
        return shown(
            batch(*register),
            batch(queued(1, NOW), delivered(1, NOW)),
            batch(queued(3, NOW), delivered(3, NOW), committed(3, NOW)),
            batch(queued(5, NOW), queued(7, NOW), queued(9, NOW)),
            keys=keys,
            **size,
        )

    def test_where_the_entries_are(self) -> None:
        lines = self.lines()
        assert row(lines, "2/4").split() == ["54", "3", "2/4", "2", "1", "1", "3", "3", "2", "/mnt/demo"]
        assert row(lines, "0/2").split() == ["54", "1", "0/2", "2", "0", "0", "0", "0", "0", "/mnt/demo"]

    def test_sorting(self) -> None:
        assert [line.split()[1] for line in self.lines("4")[4:6]] == ["1", "3"]
        assert [line.split()[1] for line in self.lines("4r")[4:6]] == ["3", "1"]
        assert [line.split()[1] for line in self.lines("4s")[4:6]] == ["3", "1"]
        assert [line.split()[1] for line in self.lines("4sr")[4:6]] == ["1", "3"]

    def test_entries_registered_before_tracing(self) -> None:
        assert "1/?" in row(shown(queued(1, NOW), delivered(1, NOW), keys="4"), "/mnt/demo", "54      3")


def selected(unique: int, ns: int, free: int, **members: Any) -> Records:
    """An entry takes a buffer, or if there is an ``error`` finds none."""
    known = {"queue": 3, "entry": 0xFFFF0000 + unique, "opcode": Opcode.READ, "node_id": 17, "buffer_id": unique % 8}
    known |= {"pool_offset": unique % 8 * 4096, "flags": int(Flag.HAS_BUFFER), "buffers": 8, "buffers_free": free}
    return event(Kind.SELECTED, unique, ns, **(known | members))


class TestPools:
    on_pool: Final = {"flags": int(Flag.POOL | Flag.QUEUE_ZERO_COPY | Flag.HAS_PAGES | Flag.HAS_BUFFER)}
    parts: Final = (
        made(17, b"dir"),
        batch(queued(1, NOW - SECOND), selected(1, NOW - SECOND, 0), delivered(1, NOW, buffer_id=1, **on_pool)),
        event(
            Kind.PAGES_REGISTERED,
            1,
            NOW - SECOND // 2,
            slot=4,
            length=8192,
            queue=3,
            entry=0xFFFF0001,
            opcode=Opcode.READ,
            node_id=17,
        ),
        batch(queued(9, NOW), selected(9, NOW, 0, error=-105), queued(11, NOW)),
        batch(delivered(5, NOW - 2 * SECOND, queue=1, buffer_id=2, pool_offset=8192, **on_pool)),
        batch(
            delivered(6, NOW - SECOND, queue=1, buffer_id=3, **on_pool),
            committed(6, NOW - SECOND, queue=1, buffer_id=3, **on_pool),
            ended(6, NOW - SECOND, queue=1),
        ),
    )

    def lines(self, keys: str = "5", **size: int) -> list[str]:
        return shown(*self.parts, keys=keys, **size)

    def test_pools(self) -> None:
        lines = self.lines(width=180)
        heads = "conn queue buffers free in use peak dry waiting selected slots registered failed zero-copied copied"
        assert " ".join(lines[3].split()) == f"{heads} mount point"
        expected = ["54", "3", "8", "0", "8", "8", "1", "2", "1", "1", "1", "0", "0", "-", "/mnt/demo"]
        assert row(lines, " 8 ", "/mnt/demo").split() == expected
        expected = ["54", "1", "?", "?", "1+", "2+", "?", "?", "?", "0", "-", "0", "0", "file", "1", "/mnt/demo"]
        assert row(lines, "1+").split() == expected

    def test_what_is_held(self) -> None:
        lines = self.lines(width=160)
        heads = "conn queue entry buffer offset slot bytes held for state unique operation path"
        assert heads in [" ".join(line.split()) for line in lines]
        words = ["54", "3", "0", "1", "4096", "4", "8192", "1.00s", "1", "READ", "/dir"]
        assert row(lines, " 8192 ", "READ", "/dir", "1.00s").split() == words
        assert row(lines, "2.00s").split() == ["54", "1", "0", "2", "8192", "-", "-", "2.00s", "5", "READ", "/dir"]
        assert "Buffers and slots in use: 2, by held for" in row(lines, "Buffers and slots")

    def test_a_buffer_that_is_kept_and_one_that_is_idle(self) -> None:
        taken = batch(selected(1, NOW - 9 * SECOND, 7), queued(1, NOW), delivered(1, NOW, buffer_id=1, **self.on_pool))
        gone = ended(1, NOW, queue=3)
        assert row(shown(taken, gone, keys="5"), "9.00s").split()[5:] == ["-", "-", "9.00s", "idle", "1", "READ", "-"]
        again = delivered(3, NOW, entry=0xFFFF0001, buffer_id=1, **self.on_pool)
        assert row(shown(taken, gone, again, keys="5"), "9.00s").split()[7:10] == ["9.00s", "kept", "3"]

    def test_a_queue_without_a_pool_whose_files_were_opened_for_zero_copy(self) -> None:
        flags = int(Flag.FILE_ZERO_COPY | Flag.HAS_PAGES)
        lines = shown(queued(1, NOW), delivered(1, NOW, flags=flags), ended(1, NOW, queue=3), keys="5", width=160)
        assert row(lines, "queue 1").split()[2:9] == ["-"] * 7

    def test_sorting(self) -> None:
        assert [line.split()[1] for line in self.lines("5")[4:6]] == ["1", "3"]
        for keys in ("5r", "5s", "5ss", "5sss", "5ssssr"):
            assert [line.split()[1] for line in self.lines(keys)[4:6]] == ["3", "1"] if keys != "5ssssr" else ["1", "3"]

    def test_what_is_essential_has_room(self) -> None:
        lines = [" ".join(line.split()) for line in self.lines(width=80, height=24)]
        assert "conn queue buffers free in use peak dry waiting slots zero-copied copied" in lines
        assert "conn queue entry buffer slot held for state unique operation path" in lines
        lines = [" ".join(line.split()) for line in self.lines(width=40, height=15)]
        assert "conn queue buffers free dry waiting" in lines
        assert "queue buffer slot held for operation" in lines

    def test_all_shows_pools_where_there_are_any(self) -> None:
        assert any("Buffer pools and zero-copy: 2" in line for line in self.lines("1", height=50))
        assert not any("pools" in line for line in shown(whole(1, NOW), keys="1", height=50))
        assert any("Buffer pools and zero-copy: 0" in line for line in shown(whole(1, NOW), keys="5"))

    @pytest.mark.parametrize("height", range(1, 30))
    def test_both_tables_share_what_there_is(self, height: int) -> None:
        lines = self.lines(height=height)
        assert len(lines) == height
        if height >= 9:
            assert any("2.00s" in line for line in lines)

    def test_many_pools_leave_half_to_what_is_held(self) -> None:
        parts = [selected(2 * n, NOW - n * SECOND, 7, queue=n) for n in range(1, 65)]
        view = view_of(batch(*parts), keys="5")
        lines = frame(view, height=31)
        assert "Buffer pools and zero-copy: 64, by number" in lines[2]
        at = next(number for number, line in enumerate(lines) if "Buffers and slots in use: 64" in line)
        assert at == 2 + 14
        assert lines[at + 2].split()[1] == "64"
        view.key("end")
        assert frame(view, height=31)[15].split()[1] == "64"


class TestMemory:
    parts = (
        queued(1, NOW - 5 * SECOND, Opcode.READ),
        delivered(1, NOW - 4 * SECOND, Opcode.READ, headers=0x7000, entry=0xE0),
        ended(1, NOW - 4 * SECOND, Opcode.READ),
        queued(5, NOW - 3 * SECOND, Opcode.WRITE),
        delivered(5, NOW - 2 * SECOND, Opcode.WRITE, headers=0x7000, entry=0xE0),
        event(Kind.REGISTER, 0, NOW - 6 * SECOND, queue=3, command_op=1, headers=0x7200, payload=0x9000),
    )

    def view(self, **options: Any) -> LiveView:
        view, conversation = LiveView(info(), **options), Conversation()
        for part in self.parts:
            conversation.feed(part)
        view.key("6")
        view.update(conversation, NOW)
        return view

    def test_who_has_which_header(self) -> None:
        lines = frame(self.view())
        assert f"Queue 3 of connection {CONNECTION}" in lines[3]
        text = "\n".join(lines)
        for words in ("Headers buffer: 2 slots", "[ent 0] 0x7000", "WRITE unique=5", "in the server, 3.00s"):
            assert words in text
        for words in ("[not used yet] 0x7200", "payload 0x9000", "1 of 2 entries have a request"):
            assert words in text

    def test_it_is_scrolled(self) -> None:
        view = self.view()
        assert "Headers buffer" in "\n".join(frame(view, height=8))
        view.key("end")
        assert "Headers buffer" not in "\n".join(frame(view, height=8))
        assert "Each entry has a payload buffer" in frame(view, height=8)[-2]
        view.key("home")
        for key in "sr":  # there is nothing to sort
            view.key(key)
        assert "Queue 3" in frame(view, height=8)[3]

    @pytest.mark.parametrize("ascii_only", [False, True])
    def test_at_every_size(self, *, ascii_only: bool) -> None:
        view = self.view(ascii_only=ascii_only)
        for width in range(1, 200, 7):
            for height in range(1, 30, 3):
                lines = frame(view, width=width, height=height)
                assert len(lines) == height
                assert max(map(cell_len, lines)) <= width

    def test_nothing_was_seen(self) -> None:
        view = LiveView(info())
        view.key("6")
        view.update(Conversation(), NOW)
        assert "Nothing was seen of a queue yet." in "\n".join(frame(view))


class TestTrouble:
    events = (
        event(Kind.REFUSED, 0, NOW, command_op=2, commit_id=77, error=-2, queue=3, comm=b"ser\x1bver", pid=9),
        event(Kind.STOPPED, 0, NOW, command_op=1, error=-107),
        event(Kind.DELIVERED, 0, NOW, flags=int(Flag.CQE_OVERFLOW), queue=1),
    )

    def test_newest_first(self) -> None:
        lines = shown(*self.events, width=120)
        at = next(number for number, line in enumerate(lines) if "Trouble" in line)
        assert "refused 1, stopped 1, CQE overflow 1" in lines[at]
        assert [" ".join(line.split()[1:3]) for line in lines[at + 2 : at + 5]] == [
            "CQE OVERFLOW",
            "STOPPED 54",
            "REFUSED 54",
        ]
        assert lines[at + 4].split()[1:] == ["REFUSED", "54", "3", "COMMIT_AND_FETCH", "77", "ENOENT", r"ser\x1bver/9"]
        assert lines[at + 3].split()[1:6] == ["STOPPED", "54", "-", "REGISTER", "-"]

    def test_none_no_table(self) -> None:
        assert not any("Trouble" in line for line in shown(whole(1, NOW)))

    def test_a_command_that_is_not_known(self) -> None:
        assert row(shown(event(Kind.REFUSED, 0, NOW, command_op=9, error=-22)), "EINVAL").split()[4] == "9"


class TestPicture:
    def test_top_lines(self) -> None:
        lines = shown(whole(1, NOW - SECOND), width=160)
        assert lines[0].rstrip().endswith("furtrace: Linux 7.3.0-test  bufpool  tracepoints")
        assert "1 connection: 54 /mnt/demo" in lines[1]
        assert "lost 0" in lines[1]

    def test_connections_without_a_known_mount_point(self) -> None:
        other = queued(1, NOW)
        other["connection"] = 60
        assert "2 connections: 54 /mnt/demo, 60 ?" in shown(other, width=160)[1]

    def test_a_mount_point_that_becomes_known_later(self) -> None:
        setting = info(mounts={})
        view, conversation = LiveView(setting), Conversation()
        view.update(conversation, NOW)
        assert "0 connections" in frame(view)[1]
        setting.mounts[77] = "/mnt/\x1b[2Jlater"
        view.update(conversation, NOW)
        assert r"1 connection: 77 /mnt/\x1b[2Jlater" in frame(view)[1]

    def test_elapsed_time(self) -> None:
        view = LiveView(info())
        view.update(Conversation(), NOW)
        assert frame(view)[0].startswith("0:00:00 ")
        view.update(Conversation(), NOW + 3725 * SECOND)
        assert frame(view)[0].startswith("1:02:05 ")

    @pytest.mark.parametrize("height", [1, 3, 5, 8, 24])
    @pytest.mark.parametrize("width", [20, 40, 80, 160])
    def test_loss_is_told_at_every_size(self, width: int, height: int) -> None:
        assert any("LOST 1.2k" in line for line in shown(queued(1, NOW), lost=1234, width=width, height=height))

    def test_what_loss_means_is_told_in_red(self) -> None:
        output = io.StringIO()
        console = Console(file=output, width=160, force_terminal=True, color_system="standard")
        console.print(view_of(queued(1, NOW), lost=1234).render(160, 24))
        assert "\x1b[1;31mLOST 1.2k events (ring buffer full): their requests are shown as unknown" in output.getvalue()
        assert not any("LOST" in line for line in shown(queued(1, NOW)))

    def test_a_recording_can_not_put_controls_on_the_screen(self) -> None:
        view = LiveView(info(kernel="6\x1b[2J", dialect="[red]x", vantage="\n"))
        view.update(Conversation(), NOW)
        assert r"Linux 6\x1b[2J  [red]x  \n" in frame(view, width=160)[0]

    def test_all_has_every_table(self) -> None:
        text = "\n".join(shown(whole(1, NOW), queued(3, NOW), *TestTrouble.events, height=40))
        for title in ("Requests in flight: 1", "Operations: 1", "Queues: ", "Trouble: "):
            assert title in text

    def test_before_the_first_update(self) -> None:
        assert "Requests in flight: 0" in frame(LiveView(info()))[2]


def _nanoseconds(duration: str) -> float:
    unit = duration.lstrip("0123456789.")
    return float(duration.removesuffix(unit)) * {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1}[unit]


def busy(**options: Any) -> LiveView:
    """Everything at once: traffic, trouble, loss, wide characters."""
    view, conversation = LiveView(info(mounts={CONNECTION: "/mnt/日本語"}), **options), Conversation()
    traffic = Traffic()
    conversation.feed(batch(queued(900_001, NOW - SECOND, Opcode.LOOKUP, extra="übel-日本語-🦊🦊🦊".encode() + b"\0")))
    conversation.feed(batch(*TestTrouble.events))
    for part in TestPools.parts:
        conversation.feed(part)
    for step in range(3):
        view.update(conversation, NOW + step * SECOND)
        more = traffic.next(NOW + step * SECOND, NOW + (step + 1) * SECOND, 500)
        conversation.feed(after_loss(more, int(step == 2)))
    for number in range(40):
        conversation.feed(queued(950_001 + 2 * number, NOW + 2 * SECOND, cpu=number))
    view.update(conversation, NOW + 3 * SECOND)
    return view


class TestSizes:
    @pytest.mark.parametrize("ascii_only", [False, True])
    @pytest.mark.parametrize("key", [*"123456", "?"])
    def test_no_line_is_wider_than_the_terminal(self, key: str, ascii_only: bool) -> None:
        view = busy(ascii_only=ascii_only)
        view.key(key)
        for width in range(20, 201):
            lines = frame(view, width=width, height=30)
            assert len(lines) == 30
            assert max(map(cell_len, lines)) <= width, width

    @pytest.mark.parametrize("key", [*"123456", "?"])
    def test_every_height(self, key: str) -> None:
        view = busy()
        view.key(key)
        for height in range(1, 60):
            lines = frame(view, width=80, height=height)
            assert len(lines) == height
            assert any(line.strip() for line in lines)
            if height >= 3:
                assert "q quit" in lines[-1]

    @pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 5), (10, 2)])
    def test_sizes_that_nobody_has(self, size: tuple[int, int]) -> None:
        lines = frame(busy(), *size)
        assert len(lines) == size[1]
        assert max(map(cell_len, lines)) <= size[0]

    def test_80_columns_have_what_is_essential(self) -> None:
        view = busy()
        heads = {"2": "unique operation path conn queue entry state age client",
                 "3": "operation count rate/s errors wait server total",
                 "4": "conn queue entries available in kernel in server backlog deepest delivered"}  # fmt: skip
        for key, head in heads.items():
            view.key(key)
            assert head in [" ".join(line.split()) for line in frame(view, width=80, height=24)]

    def test_40_columns_drop_whole_columns(self) -> None:
        view = busy()
        heads = {"2": "unique operation state age", "3": "operation count errors total",
                 "4": "conn queue in server backlog delivered"}  # fmt: skip
        for key, head in heads.items():
            view.key(key)
            assert head in [" ".join(line.split()) for line in frame(view, width=40, height=15)]

    def test_five_lines_show_a_row(self) -> None:
        lines = shown(queued(1, NOW - SECOND), width=40, height=5)
        assert "READ" in lines[3]

    def test_ascii_only(self) -> None:
        view = busy(ascii_only=True)
        for key in [*"123456", "?"]:
            view.key(key)
            assert all(line.isascii() for line in frame(view, width=60, height=40))
        view.key("2")
        assert r"\xfcbel-\u65e5" in "\n".join(frame(view, width=160))

    def test_layout_drops_by_rank_and_gives_room_by_rank(self) -> None:
        columns = (Column("a", 5, rank=2), Column("b", 5, rank=0, grow=3), Column("c", 5, rank=1, grow=10))
        assert layout(columns, 17).widths == ((0, 5), (1, 5), (2, 5))
        assert layout(columns, 16).widths[0][0] == 1
        assert layout(columns, 24).widths == ((0, 5), (1, 8), (2, 7))
        assert layout(columns, 3).widths == ((1, 3),)

    @pytest.mark.parametrize(
        ("text", "width", "right", "result"),
        [
            ("abc", 5, False, "abc  "), ("abc", 5, True, "  abc"), ("abcdef", 4, False, "abc…"),
            ("123456", 4, True, "…456"), ("日本語", 5, False, "日本…"), ("日本語", 4, False, "日 …"),
            ("日本", 6, True, "  日本"), ("abc", 1, True, "…"), ("abc", 0, False, ""), ("日", 0, False, ""),
        ],
    )  # fmt: skip
    def test_fitted(self, text: str, width: int, right: bool, result: str) -> None:
        assert fitted(text, width, UNICODE.cut, right=right) == result
        assert cell_len(result) == width

    @pytest.mark.parametrize(
        ("text", "width", "result"),
        [
            ("comm/1234567", 10, "com…234567"),
            ("日本語日本語/12", 8, "日…語/12"),
            ("日本語日本語/12", 9, "日 …語/12"),
            ("comm/1", 6, "comm/1"),
            ("ab", 1, "…"),
        ],
    )
    def test_a_client_that_is_too_long_keeps_both_ends(self, text: str, width: int, result: str) -> None:
        assert fitted(text, width, UNICODE.cut, middle=True) == result
        assert cell_len(result) == width

    def test_glyphs_that_are_plain(self) -> None:
        assert "".join((ASCII.rule, ASCII.cut, ASCII.arrow, ASCII.up, ASCII.down)).isascii()


class TestChecks:
    def found(self, *events: Records) -> list[Finding]:
        checker = Checker(info(), Conversation())
        return list(checker.feed(batch(*events))) + list(checker.end())

    def test_what_is_found_is_shown(self) -> None:
        view, conversation = LiveView(info()), Conversation()
        view.note(self.found(queued(2, NOW - 9 * SECOND), delivered(2, NOW - 9 * SECOND + 10), queued(4, NOW)))
        view.update(conversation, NOW)
        assert any("Checks: errors 0, warnings 1, notes 0" in line for line in frame(view))
        view.key("7")
        lines = frame(view)
        assert view.view == "checks"
        assert "READ, unique 2, has been" in row(lines, "warning", "unanswered")
        whole = "READ, unique 2, has been in the hands of server[900], by queue 3, for 9.0 s."
        assert any(line.startswith(whole) for line in lines)
        assert any("gdb -p PID" in line for line in lines)
        assert all(len(line) <= 60 for line in frame(view, width=60))

    def test_nothing_is_found(self) -> None:
        view = LiveView(info())
        view.update(Conversation(), NOW)
        assert not any("Checks" in line for line in frame(view))
        view.key("7")
        assert any("Checks: errors 0, warnings 0, notes 0" in line for line in frame(view))

    def test_the_newest_is_first_and_there_is_an_end_to_them(self) -> None:
        view = LiveView(info())
        for number in range(300):
            events = [queued(2, NOW), delivered(2, NOW + 10), queued(4, NOW + (9 + number) * SECOND)]
            view.note(self.found(*events))
        view.update(Conversation(), NOW)
        view.key("7")
        lines = frame(view)
        assert "warnings 300" in row(lines, "Checks")
        assert any("for 308.0 s" in line for line in lines)
        view.key("end")
        assert lines[4] not in frame(view)


class TestKeys:
    def test_only_q_quits(self) -> None:
        view = busy()
        keys = [*"12345 sSrjk?xXQ", "tab", "backtab", "up", "down", "pgup", "pgdn", "home", "end", "escape", "left", ""]
        assert all(view.key(key) for key in keys)
        assert not view.key("q")

    def test_views(self) -> None:
        view = LiveView(info())
        assert view.view == "all"
        for number, name in enumerate(VIEWS, start=1):
            view.key(str(number))
            assert view.view == name
        view.key("tab")
        assert view.view == "all"
        view.key("backtab")
        assert view.view == "checks"

    def test_paused_the_picture_stands_still(self) -> None:
        conversation, view = Conversation(), LiveView(info())
        conversation.feed(batch(queued(1, NOW), whole(3, NOW - SECOND), delivered(5, NOW)))
        view.update(conversation, NOW)
        view.key(" ")
        assert view.paused
        before = {key: frame(view) for key in "12345" if view.key(key)}
        assert all(lines[0].startswith("PAUSED") for lines in before.values())
        conversation.feed(
            after_loss(batch(queued(7, NOW), committed(5, NOW + 1), whole(9, NOW), *TestTrouble.events), 5)
        )
        view.update(conversation, NOW + SECOND)
        assert {key: frame(view) for key in "12345" if view.key(key)} == before
        view.key(" ")
        view.key("2")
        view.update(conversation, NOW + SECOND)
        lines = frame(view)
        assert not lines[0].startswith("PAUSED")
        assert "Requests in flight: 3" in lines[3]
        assert "unknown" in row(lines, " 1  READ")

    @pytest.mark.parametrize("size", [(20, 1), (20, 5), (40, 15), (80, 24)])
    def test_paused_is_said_at_every_size(self, size: tuple[int, int]) -> None:
        view = busy()
        view.key(" ")
        assert "PAUSED" in frame(view, *size)[0]

    def test_sorting_works_while_paused(self) -> None:
        view = view_of(queued(3, NOW - 2), queued(1, NOW - 1), keys="2 ")
        assert column(frame(view), "unique") == ["3", "1"]
        view.key("s")
        assert column(frame(view), "unique") == ["1", "3"]

    def test_help(self) -> None:
        view = view_of(queued(1, NOW), keys="?")
        lines = frame(view, width=80, height=50)
        assert row(lines, "s S", "sort by")
        assert not any("READ" in line for line in lines)
        assert any("READ" in line for line in frame(view_of(queued(1, NOW), keys="??")))
        view.key("escape")
        assert any("READ" in line for line in frame(view))

    def test_help_scrolls_where_it_is_longer_than_the_screen(self) -> None:
        view = view_of(keys="?")
        assert frame(view, width=40, height=10)[2].rstrip() == "Keys"
        view.key("down")
        assert "quit" in frame(view, width=40, height=10)[2]
        for _ in range(20):
            view.key("pgdn")
        assert "go on" in "".join(frame(view, width=40, height=10)[-3:-1])
        view.key("up")
        assert "go on" not in frame(view, width=40, height=10)[-2]

    def test_the_keys_are_on_the_last_line(self) -> None:
        words = frame(LiveView(info()), width=80)[-1]
        for word in ("q quit", "space pause", "1-7 view", "s/S sort", "r reverse", "? help", "arrows scroll"):
            assert word in words

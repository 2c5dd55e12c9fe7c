"""`furtrace live` on this kernel: filters, ends, and what it says when it can't."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from furtrace.demo.process import DemoServer
from furtrace.probe.mounts import fuse_mounts
from tests.live.conftest import FURTRACE, Trace, run_furtrace

pytestmark = pytest.mark.live


def touch(path: Path, *, times: int = 1) -> None:
    """Have another process look a file up: furtrace's tests are not the ones who are traced."""
    subprocess.run(["sh", "-c", f'for i in $(seq {times}); do test -e "$0"; done', str(path)], check=False)


def logged(log: Path) -> list[dict[str, object]]:
    """The demo server's own log, without requests that have no reply."""
    return [one for one in map(json.loads, log.read_text().splitlines()) if one["error"] is not None]


def test_agrees_with_the_servers_own_log(demo_server: DemoServer, live: Callable[..., Trace], tmp_path: Path) -> None:
    trace = live("--json", "--mount", str(demo_server.mountpoint))
    command = [sys.executable, "-m", "furtrace.demo.traffic", str(demo_server.mountpoint), "--profile", "mixed"]
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
    assert trace.end() == 0
    demo_server.stop()
    assert trace.summary()["lost"] == 0
    ours = trace.requests()
    uniques = {one["unique"] for one in ours}
    theirs = [one for one in logged(tmp_path / "server.log") if one["unique"] in uniques]

    def fates(requests: list[dict[str, object]]) -> Counter[tuple[object, ...]]:
        names = ("unique", "op", "error", "transport", "queue", "commit_id")
        return Counter(tuple(one[name] for name in names) for one in requests)

    assert len(ours) > 1000
    assert fates(ours) == fates(theirs)
    # Entries are numbered in the order of their use, so their numbers differ from the server's; but one to one.
    by_unique = {one["unique"]: one["entry"] for one in theirs}
    pairs = {(one["queue"], one["entry"], by_unique[one["unique"]]) for one in ours}
    assert len(pairs) == len({pair[:2] for pair in pairs}) == len({(pair[0], pair[2]) for pair in pairs})
    # The server has a request in its hands between DELIVERED and COMMITTED.
    times = {one["unique"]: one for one in theirs}
    for one in ours:
        log = times[one["unique"]]
        assert one["delivered_ns"] <= log["receipt_ns"]
        assert one["committed_ns"] >= log["reply_ns"]
        assert one["server_pid"] == demo_server.pid


def test_a_server_is_traced_from_its_init_on(
    uring: None, live: Callable[..., Trace], tmp_path: Path, demo_server: DemoServer
) -> None:
    place = tmp_path / "mnt"
    place.mkdir()
    # Another connection's traffic all the while, which must not show.
    other = subprocess.Popen(["sh", "-c", 'while test ! -e "$0"; do :; done', demo_server.mountpoint / "end"])
    trace = live("--events", "--json", "--mount", str(place), ready="Waiting for a FUSE mount")
    with DemoServer(depth=3, directory=place) as server:
        touch(place / "name")
        connection, pid = server.connection, server.pid
        assert trace.end() == 0
    other.terminate()
    other.wait()
    events = [json.loads(line) for line in trace.lines()][:-1]
    kinds = Counter(event["event"] for event in events)
    assert {event["connection"] for event in events} == {connection}
    assert kinds["INIT"] == 1
    assert kinds["REGISTER"] == 3 * (os.cpu_count() or 1)
    assert kinds["REFUSED"] == 0
    assert [event["event"] for event in events[:2]] == ["QUEUED", "ENDED"] or events[0]["op"] == "INIT"
    assert {event["pid"] for event in events if event["event"] in ("REGISTER", "DELIVERED", "COMMITTED")} == {pid}
    register = next(event for event in events if event["event"] == "REGISTER")
    assert register["queue"] == int.from_bytes(bytes.fromhex(register["extra"])[16:18], "little")
    assert len(register["extra"]) == 2 * 80
    delivered = next(event for event in events if event["event"] == "DELIVERED")
    header = bytes.fromhex(delivered["header"])
    assert len(header) == 288
    assert int.from_bytes(header[8:16], "little") == delivered["unique"]
    assert int.from_bytes(header[264:272], "little") == delivered["commit_id"]


def test_a_server_without_io_uring_is_shown_too(live: Callable[..., Trace]) -> None:
    with DemoServer(uring=False) as server:
        trace = live("--json", "--connection", str(server.connection))
        touch(server.mountpoint / "nothing")
        assert trace.end() == 0
        pid = server.pid
    lookup = next(one for one in trace.requests() if one["names"] == ["nothing"])
    assert (lookup["op"], lookup["error"], lookup["transport"]) == ("LOOKUP", -2, "dev")
    assert (lookup["queue"], lookup["entry"], lookup["commit_id"], lookup["committed_ns"]) == (None,) * 4
    assert lookup["server_pid"] == pid


@pytest.mark.parametrize("option", ["--op", "--client", "--queue", "--pid"])
def test_filters(demo_server: DemoServer, live: Callable[..., Trace], option: str) -> None:
    client = subprocess.Popen(
        ["sh", "-c", 'read go; for i in $(seq 50); do test -e "$0/a$i"; done; read end', demo_server.mountpoint],
        stdin=subprocess.PIPE,
    )
    assert client.stdin is not None
    os.sched_setaffinity(client.pid, {0})
    value = {"--op": "lookup", "--client": str(client.pid), "--queue": "0", "--pid": str(demo_server.pid)}[option]
    trace = (
        live("--json", "--mount" if option != "--pid" else "--json", str(demo_server.mountpoint), option, value)
        if (option != "--pid")
        else live("--json", option, value)
    )
    subprocess.run(["taskset", "-c", "1", "stat", demo_server.mountpoint / "b"], check=False, capture_output=True)
    subprocess.run(["ls", demo_server.mountpoint], check=True, capture_output=True)
    client.stdin.write(b"go\n")
    client.stdin.flush()
    time.sleep(0.5)
    assert trace.end() == 0
    client.communicate(b"end\n", timeout=10)
    requests = trace.requests()
    names = {name for one in requests for name in one["names"]}
    assert {f"a{i}" for i in range(1, 51)} <= names
    if option == "--op":
        assert {one["op"] for one in requests} == {"LOOKUP"}
        assert "b" in names
    elif option == "--client":
        assert {one["client_pid"] for one in requests} == {client.pid}
        assert "b" not in names
    elif option == "--queue":
        assert {one["queue"] for one in requests} == {0}
    else:
        assert {one["connection"] for one in requests} == {demo_server.connection}
        assert {"b"} <= names
        assert "READDIRPLUS" in {one["op"] for one in requests} or "READDIR" in {one["op"] for one in requests}


def test_its_own_requests_do_not_appear(demo_server: DemoServer, tmp_path: Path) -> None:
    out = demo_server.mountpoint / "trace"
    with out.open("wb") as file:
        command = [*FURTRACE, "live", "--json", "--mount", str(demo_server.mountpoint), "--duration", "2"]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE)
        assert process.stderr is not None
        process.stderr.readline()
        touch(demo_server.mountpoint / "visible")
        assert process.wait(30) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {one["client_pid"] for one in lines[:-1]}.isdisjoint({process.pid})
    assert any("visible" in one["names"] for one in lines[:-1])


def test_names_are_shown_escaped(demo_server: DemoServer, live: Callable[..., Trace], tmp_path: Path) -> None:
    evil = "a\x1b[31m\n[bold]\u202e"
    tool = tmp_path / "\x1b]0;x"
    tool.symlink_to("/usr/bin/stat")
    plain = live("--plain", "--mount", str(demo_server.mountpoint))
    events = live("--events", "--mount", str(demo_server.mountpoint))
    subprocess.run([tool, demo_server.mountpoint / evil], check=False, capture_output=True)
    assert plain.end() == 0
    assert events.end() == 0
    for trace in (plain, events):
        text = trace.out.read_text()
        assert r"a\x1b[31m\n[bold]\u202e" in text
        assert r"\x1b]0;x" in text
        assert not set(text) & {"\x1b", "\u202e"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("delay", [0.05, 0.3, 0.6, 0.9, 1.4])
def test_a_signal_at_any_moment_ends_it_in_order(
    demo_server: DemoServer, number: signal.Signals, delay: float, tmp_path: Path
) -> None:
    with (tmp_path / "err").open("wb") as err:
        command = [*FURTRACE, "live", "--plain", "--mount", str(demo_server.mountpoint)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err)
        time.sleep(delay)
        process.send_signal(number)
        status = process.wait(30)
    said = (tmp_path / "err").read_text()
    assert "Traceback" not in said
    # Before the command itself runs, the signal ends the process as it ends any other.
    assert (status == 0 and "requests" in said) or (status == -number and said == "")


def test_the_servers_death_ends_the_trace(demo_server: DemoServer, live: Callable[..., Trace]) -> None:
    trace = live("--json", "--mount", str(demo_server.mountpoint))
    touch(demo_server.mountpoint / "x")
    os.kill(demo_server.pid, signal.SIGKILL)
    assert trace.process.wait(20) == 0
    assert f"Connection {demo_server.connection}" in trace.err.read_text()
    assert trace.requests()


def test_an_unmount_ends_the_trace(demo_server: DemoServer, live: Callable[..., Trace]) -> None:
    trace = live("--json", "--pid", str(demo_server.pid))
    touch(demo_server.mountpoint / "x")
    subprocess.run(["umount", demo_server.mountpoint], check=True)
    assert trace.process.wait(20) == 0
    assert "has ended" in trace.err.read_text()
    assert trace.summary()["stopped"] == 4 * (os.cpu_count() or 1)


def test_a_command_gives_the_length_and_the_status(demo_server: DemoServer) -> None:
    mount = str(demo_server.mountpoint)
    done = run_furtrace("live", "--json", "--mount", mount, "--", "sh", "-c", f"stat {mount}/none; exit 7")
    assert done.returncode == 7
    assert "No such file" in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert any(one.get("names") == ["none"] for one in lines)
    assert lines[-1]["type"] == "summary"


def test_count_is_exact(demo_server: DemoServer, live: Callable[..., Trace]) -> None:
    trace = live("--plain", "--count", "5", "--mount", str(demo_server.mountpoint))
    touch(demo_server.mountpoint / "x", times=50)
    assert trace.process.wait(20) == 0
    assert len(trace.lines()) == 5


WRONG = {
    "connection": (["--connection", "99999"], "There is no FUSE connection 99999"),
    "pid": (["--pid", "4194304"], "There is no process 4194304"),
    "no server": (["--pid", "1"], "Process 1 serves no FUSE connection"),
    "client": (["--client", "4194304"], "There is no process 4194304"),
    "directory": (["--mount", "/nowhere/at/all"], "There is no directory /nowhere/at/all"),
    "command": (["--", "/nowhere/program"], "The command '/nowhere/program' can't be run: No such file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_can_not_be_traced_is_one_sentence(name: str) -> None:
    arguments, sentence = WRONG[name]
    done = run_furtrace("live", "--plain", *arguments)
    said = [line for line in done.stderr.splitlines() if not line.startswith("Tracing on")]
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(said) == 1
    assert said[0].startswith(f"furtrace: {sentence}")


def test_without_privilege_one_sentence_says_so() -> None:
    drop = ["setpriv", "--bounding-set=-sys_admin,-bpf,-perfmon", "--inh-caps=-sys_admin,-bpf,-perfmon"]
    done = subprocess.run([*drop, *FURTRACE, "live", "--plain"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "furtrace: Tracing needs CAP_BPF and CAP_PERFMON, which root without its capabilities (a container?) has not; "
        "run furtrace as root.\n"
    )


def test_a_reader_that_goes_away_ends_it(demo_server: DemoServer) -> None:
    read, write = os.pipe()
    command = [*FURTRACE, "live", "--plain", "--mount", str(demo_server.mountpoint)]
    process = subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Tracing on")
    os.close(read)
    touch(demo_server.mountpoint / "x")
    assert process.wait(20) == 1
    assert process.stderr.read() == "furtrace: The reader of the output is gone, so the trace has ended.\n"


def test_a_full_disk_ends_it(demo_server: DemoServer) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [*FURTRACE, "live", "--plain", "--mount", str(demo_server.mountpoint)]
        process = subprocess.Popen(command, stdout=full, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        process.stderr.readline()
        touch(demo_server.mountpoint / "x")
        assert process.wait(20) == 1
    said = process.stderr.read()
    assert said == "furtrace: The output can't be written (No space left on device), so the trace has ended.\n"


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_the_full_screen_comes_and_goes(demo_server: DemoServer, columns: int) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", LANG="C.UTF-8")
        os.execv(sys.executable, [*FURTRACE, "live", "--mount", str(demo_server.mountpoint)])
    set_size(terminal, columns, 24)
    shown = read_until(terminal, b"LOOKUP" if columns > 40 else b"LOOK", lambda: touch(demo_server.mountpoint / "y"))
    os.write(terminal, b"q")
    rest = read_to_end(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"\x1b[?1049h" in shown
    assert b"\x1b[?1049l" in rest
    assert b"requests" in rest  # the summary, on the screen that was there before


def set_size(terminal: int, columns: int, rows: int) -> None:
    """Set a terminal's size."""
    subprocess.run(["stty", "cols", str(columns), "rows", str(rows)], stdin=terminal, check=True)


def read_until(terminal: int, wanted: bytes, poke: Callable[[], None]) -> bytes:
    """Read from a terminal until it shows something."""
    shown, end = b"", time.monotonic() + 20
    while wanted not in shown:
        assert time.monotonic() < end, shown
        poke()
        shown += os.read(terminal, 1 << 16)
    return shown


def read_to_end(terminal: int) -> bytes:
    """Read from a terminal until the other side closes it."""
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # EIO: nobody has it open any more
            return shown
        if not piece:
            return shown
        shown += piece


def test_what_is_lost_is_counted_and_nothing_is_made_up(
    demo_server: DemoServer, live: Callable[..., Trace], tmp_path: Path
) -> None:
    file = demo_server.mountpoint / "file"
    subprocess.run(["truncate", "-s", "200M", file], check=True)
    trace = live("--json", "--mount", str(demo_server.mountpoint))
    os.kill(trace.process.pid, signal.SIGSTOP)
    # A tracer that is not let run: its ring buffer holds 104 000 events, these are more than 190 000.
    subprocess.run(["dd", f"if={file}", "of=/dev/null", "bs=4k", "iflag=direct"], check=True, capture_output=True)
    os.kill(trace.process.pid, signal.SIGCONT)
    touch_until_seen(trace, demo_server.mountpoint)
    assert trace.end() == 0
    demo_server.stop()
    summary, requests = trace.summary(), trace.requests()
    assert summary["lost"] > 50_000
    assert sum(summary["lost_by_cpu"]) + summary["passed_over"] == summary["lost"]
    theirs = {one["unique"]: one for one in logged(tmp_path / "server.log")}
    for one in requests:
        if one["ended_ns"] is not None:
            assert (one["op"], one["error"]) == (theirs[one["unique"]]["op"], theirs[one["unique"]]["error"])
        else:
            assert one["uncertain"]
    after = [one for one in requests if one["names"] and one["names"][0].startswith("after")]
    assert [one["error"] for one in after] == [-2] * len(after)
    assert not after[-1]["uncertain"]


def touch_until_seen(trace: Trace, folder: Path, seconds: float = 120) -> None:
    """Look up one name after another until the tracer, which has much to catch up with, is sure of what it saw of one.

    A slow machine's ring may still be full for some seconds, and what comes meanwhile is lost as well.
    """
    end, number = time.monotonic() + seconds, 0
    while not _is_sure_of(trace.out, f'"after{number}"'):
        assert time.monotonic() < end, "the tracer does not catch up"
        number += 1
        touch(folder / f"after{number}")
        time.sleep(0.5)


def _is_sure_of(out: Path, name: str) -> bool:
    with out.open() as lines:
        return any(name in line and '"uncertain":false' in line for line in lines)


def test_nothing_stays_mounted() -> None:
    assert not [mount for mount in fuse_mounts() if "furtrace" in mount.fstype]

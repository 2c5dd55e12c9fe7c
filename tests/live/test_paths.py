"""Paths that furtrace shows, against those that a client used: it asks the kernel itself which inode is where."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from furtrace.demo.process import DemoServer
from furtrace.probe.filters import Filters
from furtrace.probe.live import LiveTrace, Target
from furtrace.trace.record import HINTS, Kind, is_lost
from furtrace.wire.opcodes import Opcode
from tests.external import Unavailable, libfuse
from tests.live.conftest import Trace

pytestmark = pytest.mark.live

_OF_NAMES: Final = frozenset(
    {"LOOKUP", "CREATE", "MKNOD", "MKDIR", "SYMLINK", "LINK", "UNLINK", "RMDIR", "RENAME", "RENAME2"}
)


@dataclass
class Names:
    """What a client knows of names: the paths of each inode number, the newest last; of a removed one its last."""

    paths: dict[int, list[str]] = field(default_factory=dict)
    removed: dict[int, str] = field(default_factory=dict)

    def made(self, path: str, inode: int) -> None:
        self.paths.setdefault(inode, []).append(path)

    def gone(self, path: str) -> None:
        for inode, known in self.paths.items():
            if path in known:
                known.remove(path)
                if not known:
                    self.removed[inode] = path

    def moved(self, old: str, new: str) -> None:
        self.gone(new)
        self._replace({old: new})

    def exchanged(self, one: str, other: str) -> None:
        self._replace({one: other, other: one})

    def _replace(self, changes: dict[str, str]) -> None:
        for known in self.paths.values():
            for at, path in enumerate(known):
                for old, new in changes.items():
                    if path == old or path.startswith(old + "/"):
                        known[at] = new + path[len(old) :]
                        break

    def now(self) -> dict[int, set[tuple[str, bool]]]:
        """Paths of each inode, and whether they are removed."""
        there = {inode: {(path, False) for path in known} for inode, known in self.paths.items() if known}
        gone = {inode: {(path, True)} for inode, path in self.removed.items() if not self.paths[inode]}
        return there | gone | {1: {("/", False)}}


class Client:
    """A process that makes system calls, and an account of them; paths are given from the mount's root on."""

    def __init__(self, root: Path, names: Names | None = None) -> None:
        self.names = names or Names()
        self._root = str(root)
        self._begins: list[int] = [0]
        self._states = [self.names.now()]
        self.asked: list[tuple[str, str]] = []
        command = [sys.executable, "-m", "tests.live.path_client"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def call(self, name: str, *arguments: str, errno: int = 0) -> int:
        """Make a call; return the inode number that it brings, 0: none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        told = [self._root + argument if argument.startswith("/") else argument for argument in arguments]
        self._process.stdin.write(json.dumps([name, *told]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["errno"] == errno
        self._begins.append(answer["begin"])
        if not errno:
            self._note(name, arguments, answer["ino"] or 0)
        self._states.append(self.names.now())
        return answer["ino"] or 0

    def _note(self, name: str, arguments: tuple[str, ...], inode: int) -> None:
        if name in ("mkdir", "create"):
            self.names.made(arguments[0], inode)
        elif name == "symlink":
            self.names.made(arguments[1], inode)
        elif name == "link":
            self.names.made(arguments[1], next(one for one, known in self.names.paths.items() if arguments[0] in known))
        elif name in ("unlink", "rmdir"):
            self.names.gone(arguments[0])
        elif name == "rename":
            self.names.moved(*arguments)
        elif name == "exchange":
            self.names.exchanged(*arguments)

    def close(self) -> None:
        """End the process."""
        if self._process.returncode is None:
            self._process.communicate(timeout=30)

    def allowed(self, request: dict[str, Any], inode: int) -> set[tuple[str, bool]]:
        """Where an inode was while a request was under way, as far as the client knows."""
        first = bisect_right(self._begins, request["queued_ns"] or request["ended_ns"]) - 1
        last = bisect_right(self._begins, request["ended_ns"])
        states = self._states[max(0, first - 1) : last + 1]
        return {place for state in states for place in state.get(inode, ())}

    def check(self, request: dict[str, Any]) -> None:
        """Assert that a request is given a path that the client knows."""
        assert request["path_sure"], request
        above = self.allowed(request, request["node_id"])
        assert above, request
        if request["op"] in _OF_NAMES:
            above = {(f"{path.removesuffix('/')}/{request['names'][0]}", gone) for path, gone in above}
        assert (request["path"], request["path_deleted"]) in above, request


@pytest.fixture
def clients() -> Iterator[Callable[..., Client]]:
    """Start clients; they end with the test."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: Any) -> Client:
            client = Client(*arguments)
            stack.callback(client.close)
            return client

        yield start


def _of(trace: Trace, *clients: Client) -> list[dict[str, Any]]:
    """Requests of these clients that have ended."""
    pids = {client.pid for client in clients}
    return [one for one in trace.requests() if one["client_pid"] in pids and one["ended_ns"]]


def _paths(requests: list[dict[str, Any]], op: str) -> list[Any]:
    """Path of each request of an operation that went well; both where there are two."""
    chosen = [one for one in requests if one["op"] == op and not one["error"]]
    return [(one["path"], one["other_path"]) if one["other_path"] else one["path"] for one in chosen]


def _forget_dentries() -> None:
    """Have the kernel drop names and inodes that nobody uses."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("2\n")


def _live_of_names(client: Client) -> None:
    """A file's and a directory's life."""
    for step in (
        ("mkdir", "/a"),
        ("mkdir", "/a/b"),
        ("create", "/a/b/f", "F"),
        ("write", "F"),
        ("rename", "/a/b/f", "/a/g"),
        ("write", "F"),
        ("rename", "/a", "/c"),
        ("write", "F"),
        ("link", "/c/g", "/c/b/h"),
        ("open", "/c/b/h", "H"),
        ("read", "H"),
        ("unlink", "/c/b/h"),
        ("write", "F"),
        ("create", "/c/x", "X"),
        ("exchange", "/c/x", "/c/b"),
        ("write", "X"),
        ("rename", "/c/g", "/c/b"),
        ("write", "F"),
        ("write", "X"),
        ("unlink", "/c/b"),
        ("write", "F"),
        ("truncate", "F"),
        ("close", "H"),
        ("close", "F"),
        ("close", "X"),
        ("symlink", "some where", "/c/link"),
        ("readlink", "/c/link"),
        ("rmdir", "/c/x"),
    ):
        client.call(*step)


def test_every_request_has_the_path_that_the_client_used(
    demo_server: DemoServer, live: Callable[..., Trace], clients: Callable[..., Client]
) -> None:
    trace = live("--json", "--mount", str(demo_server.mountpoint))
    client = clients(demo_server.mountpoint)
    _live_of_names(client)
    client.call("stat", "/c/none", errno=2)
    assert trace.end() == 0
    requests = _of(trace, client)
    for request in requests:
        client.check(request)
    assert _paths(requests, "WRITE") == ["/a/b/f", "/a/g", "/c/g", "/c/g", "/c/b", "/c/b", "/c/b", "/c/b"]
    gone = [one["path_deleted"] for one in requests if one["op"] == "WRITE"]
    assert gone == [False] * 6 + [True] * 2
    assert _paths(requests, "READ") == ["/c/b/h"]
    assert _paths(requests, "CREATE") == ["/a/b/f", "/c/x"]
    assert _paths(requests, "RENAME2") + _paths(requests, "RENAME") == [
        ("/c/x", "/c/b"),
        ("/a/b/f", "/a/g"),
        ("/a", "/c"),
        ("/c/g", "/c/b"),
    ]
    assert _paths(requests, "LINK") == [("/c/b/h", "/c/g")]
    assert _paths(requests, "UNLINK") == ["/c/b/h", "/c/b"]
    assert (_paths(requests, "SYMLINK"), _paths(requests, "READLINK")) == (["/c/link"], ["/c/link"])
    assert _paths(requests, "RMDIR") == ["/c/x"]


def test_lines_show_what_json_has(
    demo_server: DemoServer, live: Callable[..., Trace], clients: Callable[..., Client]
) -> None:
    traces = [live(how, "--mount", str(demo_server.mountpoint)) for how in ("--json", "--plain", "--events")]
    client = clients(demo_server.mountpoint)
    _live_of_names(client)
    assert [trace.end() for trace in traces] == [0, 0, 0]
    json_, plain, events = traces
    # RELEASE may end at any time after close(2).
    told = [_line(one) for one in _of(json_, client) if one["op"] != "RELEASE"]
    mine = [line.split(" ", 3)[3] for line in plain.lines() if f"[{client.pid}]" in line]
    shown = [line for line in mine if not line.startswith("RELEASE")]
    assert len(shown) == len(told) > 40
    for line, start in zip(shown, told, strict=True):
        assert line.startswith(start + " ")
    assert sum("WRITE /c/b off=0 len=4096 → 4096 " in line for line in shown) == 2
    assert sum("WRITE /c/b (deleted) off=0 len=4096 → 4096 " in line for line in shown) == 2
    assert sum("RENAME2 /c/x to=/c/b flags=EXCHANGE → 0 " in line for line in shown) == 1
    assert sum('SYMLINK /c/link "some where" → #' in line for line in shown) == 1
    # An event has the path of its time, and the names that QUEUED brings.
    words = [line.split(" ", 2)[2] for line in events.lines()]
    asked = {line.split(" ", 2)[2].rpartition(" ")[0] for line in words if line.startswith("QUEUED")}
    assert {"RENAME2 /c/x to=/c/b flags=EXCHANGE", "LINK /c/b/h from=/c/g", 'SYMLINK /c/link "some where"'} <= asked
    assert not [line for line in words if line.startswith(("NAMED", "ENTRIES"))]


def _line(request: dict[str, Any]) -> str:
    """Operation and path as a line begins with them."""
    between = " to=" if request["op"] != "LINK" else " from="
    other = between + request["other_path"] if request["other_path"] else ""
    return f"{request['op']} {request['path']}" + (" (deleted)" if request["path_deleted"] else "") + other


_ODD: Final = ("a b", "new\nline", 'quo"te', "was?", "ü→", "\udcff\udcfe", "back\\slash", "x...", "f (deleted)", "#5")


def test_odd_names(demo_server: DemoServer, live: Callable[..., Trace], clients: Callable[..., Client]) -> None:
    trace = live("--json", "--mount", str(demo_server.mountpoint))
    client = clients(demo_server.mountpoint)
    for name in _ODD:
        client.call("mkdir", f"/{name}")
        client.call("create", f"/{name}/{name}", "F")
        client.call("write", "F")
        client.call("close", "F")
    client.call("create", "/" + "n" * 191, "F")
    client.call("close", "F")
    client.call("create", "/" + "n" * 192, "F")
    client.call("write", "F")
    client.call("close", "F")
    assert trace.end() == 0
    requests = _of(trace, client)
    assert _paths(requests, "WRITE") == [*(f"/{name}/{name}" for name in _ODD), None]
    assert _paths(requests, "CREATE") == [*(f"/{name}/{name}" for name in _ODD), "/" + "n" * 191, None]


def test_a_directory_that_was_listed_names_its_files(
    demo_server: DemoServer, live: Callable[..., Trace], clients: Callable[..., Client]
) -> None:
    """READDIRPLUS: no LOOKUP follows, and a directory of 300 takes several replies of several parts."""
    early = clients(demo_server.mountpoint)
    early.call("mkdir", "/d")
    files = [f"/d/file {number:03}" for number in range(300)]
    for file in files:
        early.call("create", file, "F")
        early.call("close", "F")
    _forget_dentries()
    trace = live("--json", "--mount", str(demo_server.mountpoint))
    client = clients(demo_server.mountpoint, early.names)
    client.call("list", "/d")
    for file in files:
        client.call("open", file, "F")
        client.call("write", "F")
        client.call("close", "F")
    client.call("list", "/d")
    assert trace.end() == 0
    requests = _of(trace, client)
    for request in requests:
        client.check(request)
    assert _paths(requests, "WRITE") == _paths(requests, "OPEN") == files
    assert len(_paths(requests, "READDIRPLUS")) > 1
    assert len([path for path in _paths(requests, "LOOKUP") if path.startswith("/d/")]) < len(files)


@pytest.mark.parametrize("option", [("--op", "READ,WRITE"), ("--client",), ("--queue", "0")])
def test_a_filter_hides_requests_but_not_what_they_name(
    demo_server: DemoServer, live: Callable[..., Trace], clients: Callable[..., Client], option: tuple[str, ...]
) -> None:
    mover = clients(demo_server.mountpoint)
    client = clients(demo_server.mountpoint, mover.names)
    os.sched_setaffinity(client.pid, {0})
    os.sched_setaffinity(mover.pid, {(os.cpu_count() or 1) - 1})
    value = (str(client.pid),) if option[0] == "--client" else ()
    trace = live("--json", "--mount", str(demo_server.mountpoint), *option, *value)
    mover.call("mkdir", "/a")
    mover.call("create", "/a/f", "M")
    client.call("open", "/a/f", "F")
    for number in range(5):
        client.call("write", "F")
        mover.call("rename", "/a", "/tmp")
        client.call("write", "F")
        mover.call("rename", "/tmp", "/a")
        mover.call("rename", "/a/f", f"/f{number}")
        client.call("write", "F")
        mover.call("rename", f"/f{number}", "/a/f")
    mover.call("unlink", "/a/f")
    client.call("write", "F")
    assert trace.end() == 0
    requests = _of(trace, client)
    assert _paths(requests, "WRITE") == [path for number in range(5) for path in ("/a/f", "/tmp/f", f"/f{number}")] + [
        "/a/f"
    ]
    assert [one["path_deleted"] for one in requests if one["op"] == "WRITE"] == [False] * 15 + [True]
    everything = {one["op"] for one in trace.requests()}
    if option[0] == "--op":
        assert everything == {"WRITE"}
    else:
        assert not everything & {"RENAME", "RENAME2", "MKDIR", "UNLINK"}
    if option[0] != "--queue":  # a hint is no event
        assert trace.summary()["events"] == 4 * len(trace.requests())


def test_a_number_of_a_connection_that_comes_again_names_nothing_of_the_last(
    uring: None, live: Callable[..., Trace], clients: Callable[..., Client], tmp_path: Path
) -> None:
    """The filter hides INIT; inodes have the same numbers in both file systems."""
    trace = live("--json", "--op", "WRITE")
    numbers, expected = [], []
    for name in ("one", "two", "three"):
        with DemoServer(depth=1) as server:
            numbers.append(server.connection)
            client = clients(server.mountpoint)
            inode = client.call("create", f"/{name}", "F")
            client.call("write", "F")
            client.call("rename", f"/{name}", "/renamed")
            client.call("close", "F")
            client.close()
            expected.append((server.connection, inode, f"/{name}"))
    assert trace.end() == 0
    requests = [one for one in trace.requests() if one["connection"] in numbers]
    assert [(one["connection"], one["node_id"], one["path"]) for one in requests] == expected
    if len(set(numbers)) == 3:
        pytest.skip("this kernel gave three numbers to three connections")


def test_a_hidden_init_is_hinted_at(uring: None) -> None:
    """All that was known by the connection's number is another one's then."""
    hidden = Filters(opcodes=frozenset({int(Opcode.WRITE)}))
    with LiveTrace(Target(), hidden) as trace, DemoServer(depth=1) as server:
        (server.mountpoint / "f").write_bytes(b"x")
        batch = trace.read()
        records = batch[batch["connection"] == server.connection]
        told = [(Kind(kind), Opcode(opcode)) for kind, opcode in records[["kind", "opcode"]].tolist()]
    assert not is_lost(batch).any()
    of_requests = [(kind, opcode) for kind, opcode in told if opcode != Opcode.WRITE and kind in (*HINTS, Kind.INIT)]
    assert of_requests[0] == (Kind.NAMED, Opcode.INIT)
    assert (Kind.NAMED, Opcode.CREATE) in of_requests
    assert not [opcode for kind, opcode in told if kind is Kind.ENDED and opcode != Opcode.WRITE]


_FORGETTING: Final = ("FORGET", "BATCH_FORGET")


def test_forget(demo_server: DemoServer, live: Callable[..., Trace], clients: Callable[..., Client]) -> None:
    trace = live("--json", "--forgets", "--mount", str(demo_server.mountpoint))
    client = clients(demo_server.mountpoint)
    files = {}
    for number in range(40):
        inode = client.call("create", f"/f{number}", "F")
        client.call("close", "F")
        files[inode] = f"/f{number}"
    client.call("unlink", "/f0")
    _forget_dentries()
    for file in list(files.values())[1:]:
        client.call("stat", file)
    assert trace.end() == 0
    said = [one for one in trace.requests() if one["op"] in _FORGETTING]
    counted = sum(1 if one["op"] == "FORGET" else one["arguments"]["count"] for one in said)
    assert counted == len(files)
    assert all(one["transport"] == "dev" and one["error"] == 0 and one["server_pid"] == demo_server.pid for one in said)
    singles = {one["node_id"]: one for one in said if one["op"] == "FORGET"}
    first = min(files)
    assert (singles[first]["path"], singles[first]["path_deleted"]) == ("/f0", True)
    assert singles[first]["arguments"] == {"nlookup": 1}
    for inode, one in singles.items():
        assert one["path"] == files[inode]
    for request in _of(trace, client):
        client.check(request)


def test_an_inode_is_forgotten_with_its_path(
    demo_server: DemoServer, live: Callable[..., Trace], clients: Callable[..., Client]
) -> None:
    trace = live("--plain", "--forgets", "--op", "WRITE,FORGET", "--mount", str(demo_server.mountpoint))
    client = clients(demo_server.mountpoint)
    inode = client.call("create", "/f", "F")
    client.call("write", "F")
    client.call("close", "F")
    client.call("unlink", "/f")
    time.sleep(0.3)
    assert trace.end() == 0
    shown = [line.split(" ", 3)[3].partition(" <")[0] for line in trace.lines()]
    assert shown == ["WRITE /f off=0 len=4096 → 4096", "FORGET /f (deleted) nlookup=1 → no reply"], inode


def test_without_forgets_none_is_shown(
    demo_server: DemoServer, live: Callable[..., Trace], clients: Callable[..., Client]
) -> None:
    trace = live("--json", "--mount", str(demo_server.mountpoint))
    client = clients(demo_server.mountpoint)
    client.call("create", "/f", "F")
    client.call("close", "F")
    client.call("unlink", "/f")
    time.sleep(0.3)
    assert trace.end() == 0
    assert not [one for one in trace.requests() if one["op"] in _FORGETTING]
    assert _of(trace, client)


# ---- against what strace says of cp, mv and rm ----


_CALL: Final = re.compile(r"^(\w+)\((.*)\)\s+= (\d+)")
_PATH: Final = re.compile(r'(?:(?:AT_FDCWD|\d+)<((?:[^>\\]|\\.)*)>, )?"((?:[^"\\]|\\.)*)"')
_CALLS: Final = "openat,mkdir,mkdirat,unlink,unlinkat,rmdir,rename,renameat,renameat2,symlink,symlinkat,link,linkat"


def _straced(command: list[str], mount: Path, log: Path) -> list[tuple[str, str]]:
    """Run a command; return what it did on the mount: the operation that each call must have become, and its path."""
    strace = ["strace", "-y", "-s", "4096", "-e", f"trace={_CALLS}", "-o", str(log)]
    subprocess.run([*strace, *command], check=True, timeout=120, capture_output=True)
    found = [_operation(line, str(mount)) for line in log.read_text().splitlines()]
    return [one for one in found if one is not None]


def _operation(line: str, mount: str) -> tuple[str, str] | None:
    call = _CALL.match(line)
    if call is None:
        return None
    paths = [str(Path(directory) / name) for directory, name in _PATH.findall(call[2])]
    inside = ["/" + os.path.relpath(path, mount) for path in paths if path.startswith(mount + "/")]
    if not inside or "O_PATH" in call[2]:
        return None
    name = call[1].removesuffix("at2").removesuffix("at")
    if name == "open":
        name = "CREATE" if "O_CREAT" in call[2] else "OPENDIR" if "O_DIRECTORY" in call[2] else "OPEN"
    if name == "unlink" and "AT_REMOVEDIR" in call[2]:
        name = "rmdir"
    return name.upper(), " ".join(inside)


@pytest.fixture
def passthrough(uring: None, tmp_path: Path) -> Iterator[libfuse.Server]:
    """libfuse's own server on a folder with a small tree in it."""
    source = tmp_path / "source"
    (source / "old" / "deep" / "er").mkdir(parents=True)
    for number in range(30):
        (source / "old" / ("deep" if number % 2 else "deep/er") / f"file {number}").write_bytes(b"x" * 5000)
    (source / "old" / "link").symlink_to("deep/er")
    try:
        with libfuse.passthrough_hp(source) as server:
            yield server
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_paths_are_those_that_strace_saw(
    passthrough: libfuse.Server, live: Callable[..., Trace], tmp_path: Path
) -> None:
    mount = passthrough.mountpoint
    trace = live("--json", "--mount", str(mount))
    did = []
    for command in (
        ["cp", "-r", f"{mount}/old", f"{mount}/new"],
        ["mv", f"{mount}/new/deep", f"{mount}/moved"],
        ["mv", f"{mount}/moved/file 1", f"{mount}/new"],
        ["cp", "-r", f"{mount}/moved", f"{mount}/again"],
        ["rm", "-r", f"{mount}/new"],
        ["cp", "-r", f"{mount}/old", f"{mount}/new"],
        ["rm", "-r", f"{mount}/moved", f"{mount}/again", f"{mount}/new"],
    ):
        did += _straced(command, mount, tmp_path / "strace")
        _forget_dentries()
    assert trace.end() == 0
    assert trace.summary()["lost"] == 0
    requests = trace.requests()
    seen = [
        (one["op"].removesuffix("2"), " ".join(filter(None, (one["path"], one["other_path"]))))
        for one in requests
        if not one["error"] and one["op"].removesuffix("2") in {op for op, _ in did}
    ]
    assert seen == did
    assert len(did) > 300
    for one in requests:
        # Whatever else was asked of a file or a directory was asked by a path that there was.
        assert one["path_sure"], one
        assert one["path"] is not None or not one["node_id"] or one["op"] == "STATFS", one

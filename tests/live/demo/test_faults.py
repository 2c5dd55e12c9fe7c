"""Each fault is really committed: by the server's fault log, and by what the client saw or the kernel answered."""

import errno
import itertools
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from furtrace.demo import enable, mounting
from furtrace.demo.affinity import possible_cpus
from furtrace.demo.errors import DemoError
from furtrace.demo.faults import FAULTS
from furtrace.demo.modes import Mode
from tests.live.conftest import PATIENCE, run_furtrace
from tests.live.demo.conftest import CPU, Begin, Faulty, eventually, witnessed

pytestmark = pytest.mark.live

PAGE = 4096


@pytest.fixture
def several() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine has one CPU")


def only(lines: list[dict[str, Any]]) -> dict[str, Any]:
    (line,) = lines
    return line


def of_op(log: Path, op: str) -> list[dict[str, Any]]:
    return [line for line in witnessed(log) if line["op"] == op]


def refused(sent: Path) -> list[dict[str, Any]]:
    """Commands that the kernel answered with an error, other than that of the connection's end."""
    return [line for line in witnessed(sent) if (line["result"] or 0) < 0 and line["result"] != -errno.ENOTCONN]


BAD_ANSWERS = {
    "wrong-unique": errno.ENOENT,
    "zero-unique": errno.EINVAL,
    "positive-error": errno.EINVAL,
    "illegal-error": errno.EINVAL,
    "too-much-payload": errno.EINVAL,
    "payload-beyond-buffer": errno.EINVAL,
}


@pytest.mark.parametrize(("name", "error"), BAD_ANSWERS.items())
def test_a_bad_answer_fails_its_read_and_no_other(
    faulty: Faulty, begin: Begin, faults: Path, sent: Path, log: Path, name: str, error: int
) -> None:
    server = faulty(name, depth=1)
    assert begin(server.mountpoint, "write", "read", "read", "byte").end() == [PAGE, -error, PAGE, ord("x")]
    server.stop()
    committed, reads = only(witnessed(faults)), of_op(log, "READ")
    assert [line["unique"] for line in reads].index(committed["unique"]) == 0
    assert committed["fault"] == name
    assert (committed["queue"], committed["commit_id"]) == (reads[0]["queue"], reads[0]["commit_id"])
    assert committed["ns"] >= reads[0]["receipt_ns"]
    assert len(reads) == 3
    assert refused(sent) == []


def test_a_short_reply_fails_its_request_and_no_other(faulty: Faulty, begin: Begin, faults: Path, log: Path) -> None:
    server = faulty("short-reply")
    assert begin(server.mountpoint, "write", "size", "size").end() == [PAGE, -errno.EINVAL, PAGE]
    server.stop()
    committed = only(witnessed(faults))
    (short,) = [line for line in of_op(log, "GETATTR") if line["out"] == 8]
    assert (committed["unique"], committed["commit_id"]) == (short["unique"], short["commit_id"])


@pytest.mark.parametrize("name", ["unknown-commit-id", "commit-twice", "wrong-queue"])
def test_a_commit_that_the_kernel_refuses_costs_nothing(
    several: None, faulty: Faulty, begin: Begin, faults: Path, sent: Path, log: Path, name: str
) -> None:
    server = faulty(name, depth=1)
    assert begin(server.mountpoint, "write", "read", "byte").end() == [PAGE, PAGE, ord("x")]
    server.stop()
    committed, bad = only(witnessed(faults)), only(refused(sent))
    assert (bad["op"], bad["result"]) == ("COMMIT_AND_FETCH", -errno.ENOENT)
    assert (bad["commit_id"] == committed["commit_id"]) == (name != "unknown-commit-id")
    assert (bad["queue"] == committed["queue"]) == (name != "wrong-queue")
    assert committed["unique"] == of_op(log, "READ")[0]["unique"]
    good = [line for line in witnessed(sent) if line["commit_id"] == committed["commit_id"] and line is not bad]
    assert 0 in [line["result"] for line in good]


@pytest.mark.parametrize("name", ["no-answer", "no-commit"])
def test_a_read_without_an_answer_hangs_until_the_end(
    faulty: Faulty, begin: Begin, faults: Path, log: Path, name: str
) -> None:
    server = faulty(name)
    client = begin(server.mountpoint, "write", "read")
    assert eventually(lambda: faults.stat().st_size > 0, PATIENCE)
    assert client.hangs()
    assert begin(server.mountpoint, "read", "byte").end() == [PAGE, ord("x")]
    client.process.kill()
    assert client.hangs()
    server.stop()
    assert client.end() == [PAGE]
    committed, answered = only(witnessed(faults)), of_op(log, "READ")
    assert len(answered) == 2
    assert committed["unique"] not in [line["unique"] for line in answered]


def test_an_answer_can_be_late_while_others_are_not(faulty: Faulty, begin: Begin, faults: Path, log: Path) -> None:
    server = faulty("slow-answer")
    assert begin(server.mountpoint, "write").end() == [PAGE]
    began = time.monotonic()
    client = begin(server.mountpoint, "read")
    assert eventually(lambda: of_op(log, "OPEN") != [])
    assert begin(server.mountpoint, "write", "space").end() == [PAGE, PAGE]
    assert client.process.poll() is None
    assert client.end() == [PAGE]
    assert time.monotonic() - began >= 3
    server.stop()
    late = only(of_op(log, "READ"))
    assert late["reply_ns"] - late["receipt_ns"] >= 3e9
    assert only(witnessed(faults))["unique"] == late["unique"]


def test_without_one_queue_nothing_is_ever_answered(faulty: Faulty, begin: Begin, faults: Path, log: Path) -> None:
    server = faulty("missing-queue")
    client = begin(server.mountpoint, "space")
    assert client.hangs()
    server.stop()
    client.process.wait(PATIENCE)
    assert only(witnessed(faults))["queue"] == possible_cpus() - 1
    assert {line["op"] for line in witnessed(log)} == {"INIT"}


def test_uring_is_asked_for_though_it_is_off(faulty: Faulty, begin: Begin, faults: Path, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            server = faulty("uring-off")
            break
        except DemoError as problem:
            if "offers by itself" not in str(problem):
                raise
        if time.monotonic() > end:
            pytest.skip("another program keeps enable_uring on")
        time.sleep(0.5)
    assert server.transport == "dev"
    assert begin(server.mountpoint, "write", "read").end() == [PAGE, PAGE]
    server.stop()
    assert only(witnessed(faults))["detail"] == "INIT flags 0x20000000000 replied and not offered"
    assert {line["transport"] for line in witnessed(log)} == {"dev"}


@pytest.mark.parametrize("name", ["short-headers", "short-payload", "one-iovec", "queue-out-of-range"])
def test_a_registration_is_refused(
    faulty: Faulty, begin: Begin, faults: Path, sent: Path, log: Path, has_pools: bool, name: str
) -> None:
    server = faulty(name)
    assert enable.is_enabled()
    assert begin(server.mountpoint, "write", "read", "byte").end() == [PAGE, PAGE, ord("x")]
    server.stop()
    assert only(witnessed(faults))["queue"] == 0
    first, *others = refused(sent)
    assert (first["op"], first["entry"], first["result"]) == ("REGISTER", None, -errno.EINVAL)
    # Linux 7.3 gives up rings for the whole connection, 6.18 that one command only.
    assert {line["result"] for line in others} == ({-errno.EOPNOTSUPP} if has_pools else set())
    assert {line["transport"] for line in of_op(log, "READ")} == {"dev" if has_pools else "uring"}


@pytest.mark.parametrize("name", ["no-pool", "register-not-fixed", "payload-beside-pool", "slot-not-zero-copy"])
def test_a_registration_that_does_not_suit_the_queue_is_refused(
    pools: None, faulty: Faulty, begin: Begin, faults: Path, sent: Path, log: Path, name: str
) -> None:
    server = faulty(name)
    assert begin(server.mountpoint, "write", "read", "byte").end() == [PAGE, PAGE, ord("x")]
    server.stop()
    assert only(witnessed(faults))["queue"] == 0
    first, *others = refused(sent)
    assert (first["op"], first["result"]) == ("REGISTER", -errno.EINVAL)
    assert {line["result"] for line in others} == {-errno.EOPNOTSUPP}
    assert {line["transport"] for line in of_op(log, "READ")} == {"dev"}
    made = [line for line in witnessed(sent) if line["op"] == "ADD_BUFPOOL" and line["queue"] == 0]
    assert bool(made) == (name != "no-pool")


def test_what_comes_before_init_is_answered_is_refused(
    faulty: Faulty, begin: Begin, faults: Path, sent: Path, log: Path
) -> None:
    server = faulty("register-early")
    assert begin(server.mountpoint, "write", "read", "byte").end() == [PAGE, PAGE, ord("x")]
    server.stop()
    bad, init = only(refused(sent)), only(of_op(log, "INIT"))
    assert (bad["op"], bad["queue"], bad["entry"], bad["result"]) == ("REGISTER", 0, None, -errno.EAGAIN)
    assert bad["done_ns"] <= only(witnessed(faults))["ns"] <= init["reply_ns"]
    assert {line["transport"] for line in of_op(log, "READ")} == {"uring"}


def test_small_sqes_are_refused(faulty: Faulty, begin: Begin, faults: Path, log: Path) -> None:
    server = faulty("no-sqe128")
    assert only(witnessed(faults))["detail"].endswith(os.strerror(errno.EINVAL))
    assert begin(server.mountpoint, "write", "read").end() == [PAGE, PAGE]
    server.stop()
    assert only(of_op(log, "READ"))["transport"] == "uring"


def test_a_queue_without_its_thread_answers_nobody(faulty: Faulty, begin: Begin, faults: Path) -> None:
    server = faulty("dead-thread")
    tasks = Path(f"/proc/{server.pid}/task")
    before = len(list(tasks.iterdir()))
    client = begin(server.mountpoint, "write", "read")
    assert eventually(lambda: faults.stat().st_size > 0, PATIENCE)
    assert eventually(lambda: len(list(tasks.iterdir())) == before - 1)
    another = begin(server.mountpoint, "space", "space")
    assert client.hangs()
    assert another.hangs()
    server.stop()
    assert client.end()[1] < 0
    # The entry that was left is given a request, which can't be delivered any more; then there is none.
    assert another.end() == [-errno.ECANCELED, -errno.ECONNABORTED]
    assert only(witnessed(faults))["queue"] == CPU


def test_a_server_dies_with_a_request_in_hand(faulty: Faulty, begin: Begin, faults: Path) -> None:
    server = faulty("server-dies")
    written, failed = begin(server.mountpoint, "write", "read").end()
    assert (written, -failed in (errno.ENOTCONN, errno.ECONNABORTED)) == (PAGE, True)
    assert server.wait(PATIENCE) == -signal.SIGKILL
    assert only(witnessed(faults))["fault"] == "server-dies"
    assert eventually(lambda: mounting.find(server.mountpoint) == [])


def switches(pid: int) -> dict[frozenset[int], int]:
    """How often the threads that are bound to a CPU have waited, by that."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        found[frozenset(os.sched_getaffinity(int(task.name)))] = int(fields["voluntary_ctxt_switches"])
    return found


def test_a_thread_serves_another_cpus_queue(several: None, faulty: Faulty, begin: Begin, faults: Path) -> None:
    server = faulty("other-cpu")
    other = frozenset({(CPU + 1) % possible_cpus()})
    assert begin(server.mountpoint, "write").end() == [PAGE]
    before = switches(server.pid)
    assert begin(server.mountpoint, "reads").end() == [200]
    after = switches(server.pid)
    assert after[other] - before[other] >= 200 > after[frozenset({CPU})] - before[frozenset({CPU})]
    assert sorted(line["queue"] for line in witnessed(faults)) == list(range(possible_cpus()))


def overflowing(pid: int) -> bool:
    """Tell whether the kernel holds completions back, by its own description of the process's rings."""
    for place in Path(f"/proc/{pid}/fdinfo").iterdir():
        _, found, held = place.read_text().partition("CqOverflowList:\n")
        if found and "user_data=" in held:
            return True
    return False


def test_a_completion_queue_overflows(faulty: Faulty, begin: Begin, faults: Path) -> None:
    server = faulty("cq-overflow", depth=8)
    assert begin(server.mountpoint, "write").end() == [PAGE]
    client = begin(server.mountpoint, "together", "byte")
    assert eventually(lambda: overflowing(server.pid))
    assert client.end() == [4, ord("x")]
    assert {line["queue"] for line in witnessed(faults)} >= {CPU}


def test_requests_wait_for_the_only_entry(faulty: Faulty, begin: Begin, faults: Path, sent: Path, log: Path) -> None:
    server = faulty("one-entry", depth=4)
    assert begin(server.mountpoint, "write", "crowd").end() == [PAGE, 400]
    server.stop()
    registered = [line for line in witnessed(sent) if line["op"] == "REGISTER"]
    assert sorted(line["queue"] for line in registered) == list(range(possible_cpus()))
    assert sorted(line["queue"] for line in witnessed(faults)) == list(range(possible_cpus()))
    reads = of_op(log, "READ")
    assert {line["queue"] for line in reads} == {CPU}
    assert all(line["reply_ns"] - line["receipt_ns"] >= 10e6 for line in reads)
    assert all(one["reply_ns"] <= other["receipt_ns"] for one, other in itertools.pairwise(reads))


def test_an_interrupt_is_ignored(faulty: Faulty, begin: Begin, faults: Path, log: Path) -> None:
    server = faulty("no-interrupt")
    client = begin(server.mountpoint, "write")
    assert client.hangs()
    assert witnessed(faults) == []
    client.process.kill()
    assert eventually(lambda: faults.stat().st_size > 0)
    assert client.hangs()
    server.stop()
    assert client.end() == []
    committed, interrupt = only(witnessed(faults)), only(of_op(log, "INTERRUPT"))
    assert interrupt["unique"] == committed["unique"] + 1
    assert committed["unique"] not in [line["unique"] for line in witnessed(log)]


@pytest.mark.parametrize(
    ("name", "op", "error"),
    [
        ("bufpool-first", "ADD_BUFPOOL", errno.EINVAL),
        ("bufpool-too-small", "ADD_BUFPOOL", errno.EINVAL),
        ("bad-queue-flags", "ADD_QUEUE", errno.EINVAL),
        ("without-privilege", "ADD_QUEUE", errno.EPERM),
    ],
)
def test_a_setup_command_is_refused(
    pools: None, faulty: Faulty, begin: Begin, faults: Path, sent: Path, name: str, op: str, error: int
) -> None:
    server = faulty(name)
    assert begin(server.mountpoint, "write", "read", "byte").end() == [PAGE, PAGE, ord("x")]
    server.stop()
    bad = only(refused(sent))
    assert (bad["op"], bad["queue"], bad["result"]) == (op, 0, -error)
    assert only(witnessed(faults))["queue"] == 0


def test_a_slot_out_of_range_fails_what_would_be_zero_copied(
    pools: None, faulty: Faulty, begin: Begin, faults: Path, sent: Path, log: Path
) -> None:
    server = faulty("slot-out-of-range")
    assert begin(server.mountpoint, "write", "space").end() == [-errno.EINVAL, PAGE]
    server.stop()
    assert of_op(log, "WRITE") == []
    registered = [line for line in witnessed(sent) if line["op"] == "REGISTER"]
    assert {line["slot"] for line in registered} == {0xFFF0}
    assert len(witnessed(faults)) == len(registered) == 2 * possible_cpus()


def test_a_slot_that_is_taken_fails_a_request(
    pools: None, faulty: Faulty, begin: Begin, faults: Path, sent: Path, log: Path
) -> None:
    server = faulty("slot-busy")
    assert begin(server.mountpoint, "write").end() == [PAGE]
    client = begin(server.mountpoint, "read")
    assert eventually(lambda: any(line["op"] == "OPEN" for line in witnessed(log)[-1:]))
    assert begin(server.mountpoint, "read").end() == [-errno.EBUSY]
    assert client.end() == [PAGE]
    server.stop()
    assert {line["slot"] for line in witnessed(sent) if line["op"] == "REGISTER"} == {1}
    assert sorted(line["queue"] for line in witnessed(faults)) == list(range(possible_cpus()))


def test_queues_that_are_not_made_for_zero_copy_copy(
    pools: None, faulty: Faulty, begin: Begin, faults: Path, sent: Path, log: Path
) -> None:
    server = faulty("queue-not-zero-copy")
    assert begin(server.mountpoint, "write", "byte").end() == [PAGE, ord("x")]
    server.stop()
    made = [line for line in witnessed(sent) if line["op"] == "ADD_QUEUE"]
    assert [line["flags"] for line in made] == [0] * possible_cpus()
    assert sorted(line["queue"] for line in witnessed(faults)) == list(range(possible_cpus()))
    assert [only(of_op(log, op))["zero_copied"] for op in ("WRITE", "READ")] == [False, False]


def test_files_that_are_not_opened_for_zero_copy_are_copied(
    pools: None, faulty: Faulty, begin: Begin, faults: Path, sent: Path, log: Path
) -> None:
    server = faulty("file-not-zero-copy")
    assert begin(server.mountpoint, "write", "byte").end() == [PAGE, ord("x")]
    server.stop()
    assert {line["flags"] for line in witnessed(sent) if line["op"] == "ADD_QUEUE"} == {1}
    opened = [line["unique"] for op in ("CREATE", "OPEN") for line in of_op(log, op)]
    assert [line["unique"] for line in witnessed(faults)] == opened
    assert [only(of_op(log, op))["zero_copied"] for op in ("WRITE", "READ")] == [False, False]


@pytest.mark.parametrize(("name", "index"), [("not-fixed", None), ("other-buffer", 2)])
def test_a_commit_without_the_registered_pool_is_refused(
    pools: None, faulty: Faulty, begin: Begin, faults: Path, sent: Path, name: str, index: int | None
) -> None:
    server = faulty(name)
    assert begin(server.mountpoint, "write", "read", "byte").end() == [PAGE, PAGE, ord("x")]
    server.stop()
    bad = only(refused(sent))
    assert (bad["op"], bad["buf_index"], bad["result"]) == ("COMMIT_AND_FETCH", index, -errno.EINVAL)
    assert only(witnessed(faults))["commit_id"] == bad["commit_id"]


def test_a_write_that_nobody_has_read_is_lost(
    pools: None, faulty: Faulty, begin: Begin, faults: Path, sent: Path, log: Path
) -> None:
    server = faulty("write-unread")
    assert begin(server.mountpoint, "write", "read", "write", "byte").end() == [PAGE, 0, PAGE, ord("x")]
    server.stop()
    lost = of_op(log, "WRITE")[0]
    assert (lost["error"], only(witnessed(faults))["unique"]) == (0, lost["unique"])
    assert len([line for line in witnessed(sent) if line["op"] == "WRITE_FIXED"]) == 1


def test_a_read_that_nobody_has_written_leaves_the_pages(
    pools: None, faulty: Faulty, begin: Begin, faults: Path, sent: Path
) -> None:
    server = faulty("read-unwritten")
    assert begin(server.mountpoint, "write", "byte", "byte").end() == [PAGE, ord("Z"), ord("x")]
    server.stop()
    assert only(witnessed(faults))["detail"] == f"{PAGE} bytes not moved"
    assert len([line for line in witnessed(sent) if line["op"] == "READ_FIXED"]) == 1


def test_requests_wait_for_the_only_buffer(pools: None, faulty: Faulty, begin: Begin, faults: Path, log: Path) -> None:
    server = faulty("dry-pool", depth=4)
    assert begin(server.mountpoint, "write").end() == [PAGE]
    client = begin(server.mountpoint, "read")
    assert eventually(lambda: of_op(log, "OPEN") != [])
    waiting = begin(server.mountpoint, "space")
    assert waiting.hangs()
    assert waiting.end() == [PAGE]
    assert client.end() == [PAGE]
    server.stop()
    held = only(of_op(log, "READ"))
    assert only(witnessed(faults))["unique"] == held["unique"]
    behind = of_op(log, "STATFS")[-1]
    assert behind["receipt_ns"] >= held["reply_ns"]


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode.pooled])
@pytest.mark.parametrize("name", ["wrong-unique", "too-much-payload", "commit-twice", "short-headers"])
def test_faults_go_together_with_modes(
    pools: None, faulty: Faulty, begin: Begin, faults: Path, sent: Path, name: str, mode: Mode
) -> None:
    server = faulty(name, mode=mode)
    failed = -BAD_ANSWERS[name] if name in BAD_ANSWERS else PAGE
    assert begin(server.mountpoint, "write", "read", "byte").end() == [PAGE, failed, ord("x")]
    server.stop()
    assert only(witnessed(faults))["queue"] == CPU
    wanted = {"commit-twice": "COMMIT_AND_FETCH", "short-headers": "REGISTER"}.get(name)
    assert [line["op"] for line in refused(sent)][:1] == ([wanted] if wanted else [])


@pytest.mark.parametrize("name", [pytest.param("no-answer", marks=pytest.mark.slow), "server-dies", "wrong-unique"])
def test_the_demo_commits_a_fault_and_ends(name: str) -> None:
    began = time.monotonic()
    done = run_furtrace("demo", "--fault", name, "--lines", "3", "--scale", "0.3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"The server committed {name}, queue " in done.stdout
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < PATIENCE
    (place,) = [word for word in done.stdout.split() if word.startswith(f"{tempfile.gettempdir()}/furtrace-demo-")]
    assert mounting.find(Path(place)) == []
    assert not Path(place).parent.exists()


def test_a_fault_that_a_kernel_can_not_have_is_named(has_pools: bool) -> None:
    if has_pools:
        pytest.skip("this kernel has buffer pools")
    done = run_furtrace("demo", "--fault", "dry-pool")
    assert (done.returncode, done.stdout) == (1, "")
    assert "The fault can't be committed on this machine: its kernel has no buffer pools" in done.stderr


def test_every_fault_is_tried_here() -> None:
    text = Path(__file__).read_text()
    assert [name for name in FAULTS if f'"{name}"' not in text] == []

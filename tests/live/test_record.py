"""`furtrace record` on this kernel: what is in the file, when it ends, and what becomes of it when it goes wrong."""

import json
import os
import pty
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from furtrace.demo.process import DemoServer
from furtrace.model.conversation import Conversation
from furtrace.model.requests import no_requests
from furtrace.trace.errors import RecordingError
from furtrace.trace.merging import Recordings
from furtrace.trace.record import Kind, Records, is_event, no_records, part
from furtrace.wire.opcodes import Opcode
from tests.live.conftest import FURTRACE, PATIENCE, Trace, run_furtrace

pytestmark = pytest.mark.live

SECRET = b"what is in a file stays there. "


@dataclass
class Read:
    """What a recording holds."""

    records: Records
    finished: "np.ndarray[Any, np.dtype[np.void]]"
    conversation: Conversation
    damages: dict[str, str] = field(default_factory=dict)
    dropped: int = 0

    @property
    def events(self) -> Records:
        return self.records[is_event(self.records)]

    def of(self, *kinds: Kind) -> Records:
        return self.records[np.isin(self.records["kind"], kinds)]


def read(*files: Path) -> Read:
    conversation = Conversation()
    batches, finished = [no_records()], []
    with Recordings([str(file) for file in files]) as recordings:
        for batch in recordings.batches():
            batches.append(batch.copy())
            finished.append(conversation.feed(batch))
        return Read(
            np.concatenate(batches),
            np.concatenate([no_requests(), *finished]),
            conversation,
            recordings.damages,
            recordings.noted.dropped,
        )


@contextmanager
def recording(file: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """`furtrace record` from when it records; killed at the end of the block if it still runs."""
    command = [*FURTRACE, "record", "-o", str(file), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            while line and "Ctrl-C" not in line:
                line = process.stderr.readline()
            assert "Ctrl-C" in line
            yield process
        finally:
            process.kill()


def end(process: "subprocess.Popen[str]", number: signal.Signals = signal.SIGINT) -> str:
    """End it, and return what it said; its status is 0."""
    time.sleep(0.3)
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return said


def traffic(mount: Path, *options: str) -> None:
    command = [sys.executable, "-m", "furtrace.demo.traffic", str(mount), *options]
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)


@contextmanager
def steady_traffic(mount: Path) -> Iterator[None]:
    """Something that asks a thousand times a second; as fast as it can it would make gigabytes on a fast machine."""
    loop = "import os, sys, time\nwhile True: os.stat(sys.argv[1]); open(sys.argv[1], 'rb').read(); time.sleep(0.001)"
    (mount / "steady").write_bytes(bytes(4096))
    with subprocess.Popen([sys.executable, "-c", loop, str(mount / "steady")]) as process:
        try:
            yield
        finally:
            process.kill()


@pytest.mark.parametrize("ending", [".pcapng", ".pcapng.zst"])
def test_agrees_with_the_servers_own_log(demo_server: DemoServer, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"trace{ending}"
    with recording(file, "--mount", str(demo_server.mountpoint)) as process:
        traffic(demo_server.mountpoint, "--scale", "0.3")
        demo_server.stop()
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "has ended: it is unmounted, or its server is gone." in said
    found = read(file)
    assert (found.damages, found.dropped, found.conversation.lost) == ({}, 0, 0)
    told = re.search(r"(\d+) events in [\d.]+s, 0 lost; ", said)
    assert told is not None
    assert int(told[1]) == len(found.events)
    logged = [json.loads(line) for line in (tmp_path / "server.log").read_text().splitlines()]
    ours = {int(unique) for unique in found.finished["unique"]}
    assert len(ours) > 1000
    theirs = Counter(
        (one["unique"], one["opcode"], one["error"])
        for one in logged
        if one["error"] is not None and one["unique"] in ours
    )
    names = ("unique", "opcode", "error")
    assert Counter(zip(*(found.finished[name].tolist() for name in names), strict=True)) == theirs
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("options", [(), ("--events",)])
def test_what_is_kept_is_what_was_shown(
    demo_server: DemoServer, live: Callable[..., Trace], tmp_path: Path, options: tuple[str, ...]
) -> None:
    """`replay` prints what `live` printed of the same run, line by line."""
    file = tmp_path / "trace.pcapng"
    trace = live("--json", *options, "--mount", str(demo_server.mountpoint), "--record", str(file))
    traffic(demo_server.mountpoint, "--scale", "0.2")
    assert trace.end() == 0
    replayed = run_furtrace("replay", "--json", *options, str(file))
    assert replayed.returncode == 0, replayed.stderr
    shown, again = trace.lines(), replayed.stdout.splitlines()
    assert len(shown) > 1000
    assert again[:-1] == shown[:-1]
    summaries = [json.loads(lines[-1]) | {"elapsed_ns": None} for lines in (shown, again)]
    assert summaries[0] == summaries[1]


def test_count(demo_server: DemoServer, tmp_path: Path) -> None:
    file = tmp_path / "trace.pcapng"
    with steady_traffic(demo_server.mountpoint), recording(file, "--count", "1234") as process:
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert len(read(file).events) == 1234


def test_duration(demo_server: DemoServer, tmp_path: Path) -> None:
    file = tmp_path / "trace.pcapng"
    with steady_traffic(demo_server.mountpoint), recording(file, "--duration", "1.5") as process:
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    times = read(file).events["ns"]
    assert 0.5e9 < int(times.max()) - int(times.min()) < 2.5e9


def test_size(demo_server: DemoServer, tmp_path: Path) -> None:
    file = tmp_path / "trace.pcapng"
    with steady_traffic(demo_server.mountpoint), recording(file, "--max-size", "1M") as process:
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert 1 << 20 <= file.stat().st_size < 20 << 20  # what had come at the time is written
    assert read(file).damages == {}


def test_ring_of_files(demo_server: DemoServer, tmp_path: Path) -> None:
    file = tmp_path / "trace.pcapng"
    options = ("--ring", "3x300k", "--snapshot-names", "--mount", str(demo_server.mountpoint))
    with steady_traffic(demo_server.mountpoint), recording(file, *options) as process:
        end_time = time.monotonic() + PATIENCE
        while not list(tmp_path.glob("trace_00006_*.pcapng")):
            assert time.monotonic() < end_time
            time.sleep(0.05)
        end(process)
    files = sorted(tmp_path.glob("trace_*.pcapng"))
    assert not file.exists()
    assert len(files) in (3, 4)  # the newest three, and the one that was begun
    numbers = [int(re.fullmatch(r"trace_(\d{5})_\d{14}\.pcapng", one.name)[1]) for one in files]  # type: ignore[index]
    assert numbers == list(range(numbers[0], numbers[0] + len(files)))
    found = [read(one) for one in files]
    assert all(one.damages == {} for one in found)
    together = read(*files)
    assert len(together.events) == sum(len(one.events) for one in found)
    ended = together.finished["unique"][together.finished["queued_ns"] != 0]
    assert len(np.unique(ended)) == len(ended) > 500
    # Nothing is missing between files: only the first and the last requests may be cut in two.
    whole = np.sort(ended)
    assert np.diff(whole).max() <= 4 * 4


def test_names_that_are_known_already(demo_server: DemoServer, tmp_path: Path) -> None:
    folder = demo_server.mountpoint / "deep" / "er"
    folder.mkdir(parents=True)
    path = folder / "open file"
    path.write_bytes(bytes(1000))
    file = tmp_path / "trace.pcapng"
    reader = "import sys; f = open(sys.argv[1], 'rb', 0); print(flush=True); sys.stdin.read(); f.read(10)"
    command = [sys.executable, "-c", reader, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        client.stdout.readline()
        with recording(file, "--snapshot-names", "--mount", str(demo_server.mountpoint)) as process:
            client.communicate(b"")
            end(process)
    found = read(file)
    reads = found.finished[found.finished["opcode"] == Opcode.READ]
    assert len(reads)
    (subject,) = {one.path.shown for one in found.conversation.paths.present(reads)}
    assert subject == '"/deep/er/open file"'


@pytest.mark.parametrize("ending", [".pcapng", ".pcapng.zst"])
def test_nothing_is_lost_where_every_cpu_is_busy(demo_server: DemoServer, tmp_path: Path, ending: str) -> None:
    """The recorder works in spare time, of which there is none here."""
    file = tmp_path / f"trace{ending}"
    with ExitStack() as stack:
        for _ in range(2 * (os.cpu_count() or 1)):
            hog = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(hog.kill)
        process = stack.enter_context(recording(file, "--mount", str(demo_server.mountpoint)))
        traffic(demo_server.mountpoint, "--scale", "0.3")
        until = time.monotonic() + PATIENCE
        while file.stat().st_size < 20_000:  # it does not wait until the CPUs are idle
            assert time.monotonic() < until
            time.sleep(0.1)
        end(process)
    found = read(file)
    assert (found.damages, found.dropped, found.conversation.lost) == ({}, 0, 0)
    assert len(found.finished) > 1000


def test_payload_is_left_out(demo_server: DemoServer, tmp_path: Path) -> None:
    file = tmp_path / "trace.pcapng"
    with recording(file, "--mount", str(demo_server.mountpoint)) as process:
        _write_and_read(demo_server.mountpoint / "f", SECRET * 20)
        end(process)
    assert SECRET[:8] not in file.read_bytes()


@pytest.mark.parametrize("most", [481, 4096])
def test_payload(demo_server: DemoServer, tmp_path: Path, most: int) -> None:
    data = b"".join(b"%07d " % number for number in range(250))  # 2000 bytes
    file = tmp_path / "trace.pcapng"
    with recording(file, "--payload", str(most), "--mount", str(demo_server.mountpoint)) as process:
        _write_and_read(demo_server.mountpoint / "f", data)
        end(process)
    found = read(file)
    for kind, opcode in ((Kind.REQUEST_PAYLOAD, Opcode.WRITE), (Kind.REPLY_PAYLOAD, Opcode.READ)):
        parts = [one for one in found.of(kind) if one["opcode"] == opcode]
        assert b"".join(part(one) for one in parts) == data[:most]
        assert {int(one["payload_size"]) for one in parts} == {len(data)}
        assert [int(one["length"]) for one in parts] == list(range(0, min(most, len(data)), 480))


def _write_and_read(path: Path, data: bytes) -> None:
    script = (
        "import os, sys\nfd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_DIRECT)\n"
        "import mmap\nm = mmap.mmap(-1, 4096)\ndata = bytes.fromhex(sys.stdin.read())\nm[:len(data)] = data\n"
        "os.writev(fd, [memoryview(m)[:len(data)]])\nos.lseek(fd, 0, 0)\nos.readv(fd, [m])\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], input=data.hex(), text=True, check=True)


def test_a_command_s_output_and_status_are_its_own(demo_server: DemoServer, tmp_path: Path) -> None:
    file = tmp_path / "trace.pcapng"
    script = f"test -e {demo_server.mountpoint}/nothing; echo said; exit 7"
    done = run_furtrace("record", "-o", str(file), "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (7, "said\n")
    assert Opcode.LOOKUP in read(file).finished["opcode"]


@pytest.mark.parametrize(
    ("number", "ending"),
    [(signal.SIGINT, ".pcapng.zst"), (signal.SIGTERM, ".pcapng"), (signal.SIGHUP, ".pcapng")],
)
def test_signals_end_it_in_order(demo_server: DemoServer, tmp_path: Path, number: signal.Signals, ending: str) -> None:
    file = tmp_path / f"trace{ending}"
    with steady_traffic(demo_server.mountpoint), recording(file) as process:
        end(process, number)
    assert read(file).damages == {}


@pytest.mark.slow
def test_killed_at_any_moment(demo_server: DemoServer, tmp_path: Path) -> None:
    """What was written is read; that it has no end is said."""
    chance = random.Random(7)
    files = [tmp_path / f"trace{number}{'.pcapng' if number % 4 else '.pcapng.zst'}" for number in range(20)]

    def kill(file: Path) -> None:
        with recording(file) as process:
            time.sleep(chance.uniform(0.02, 0.9))
            process.send_signal(signal.SIGKILL)
            process.wait()

    with steady_traffic(demo_server.mountpoint), ThreadPoolExecutor(3) as pool:
        list(pool.map(kill, files))
    whole = 0
    for file in files:
        try:
            found = read(file)
        except RecordingError as error:  # nothing was written yet
            assert re.search("it is empty|it ends before it has begun", str(error))  # noqa: PT017
            assert file.stat().st_size < 1000
            continue
        assert set(found.damages) == {str(file)}
        ended = found.finished["unique"][found.finished["queued_ns"] != 0]
        assert len(ended) >= len(found.events) // 4 - 100
        whole += len(found.events) > 1000
    assert whole > 5


def test_it_can_be_read_while_it_is_written(demo_server: DemoServer, tmp_path: Path) -> None:
    file = tmp_path / "trace.pcapng"
    counts = []
    with steady_traffic(demo_server.mountpoint), recording(file) as process:
        for _ in range(3):
            time.sleep(0.7)
            found = read(file)
            assert "still writes" in found.damages[str(file)] or "cut off" in found.damages[str(file)]
            counts.append(len(found.events))
        end(process)
    assert 0 < counts[0] < counts[1] < counts[2] < len(read(file).events)


@pytest.mark.parametrize("ending", [".pcapng", ".pcapng.zst"])
def test_a_full_disk(demo_server: DemoServer, tmp_path: Path, ending: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    size = "3m" if ending == ".pcapng" else "60k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "small", disk], check=True)
    try:
        file = disk / f"trace{ending}"
        with steady_traffic(demo_server.mountpoint), recording(file) as process:
            _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        sentence = said.strip().splitlines()[-1]
        found = re.fullmatch(
            r"furtrace: .*trace\S+ can't be written: No space left on device; it holds the (\d+) events until then\.",
            sentence,
        )
        assert found, said
        kept = read(file)
        # Whole blocks, all of those that were written; what is not there is told.
        assert len(kept.events) == int(found[1]) or ending != ".pcapng"
        assert len(kept.events) > 100
    finally:
        subprocess.run(["umount", disk], check=True)


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    file, link, fifo = tmp_path / "there", tmp_path / "link", tmp_path / "fifo"
    file.write_text("precious")
    link.symlink_to(file)
    os.mkfifo(fifo)
    for path, why in (
        (file, "it is there already; name another one, or replace it with --force"),
        (link, "it is a symbolic link, which is not followed; name the file itself"),
        (fifo, "there is something else than a file; name another one"),
    ):
        done = run_furtrace("record", "-o", str(path), "--duration", "0.1")
        assert (done.returncode, done.stderr) == (1, f"furtrace: {path} can't be made: {why}.\n")
    done = run_furtrace("record", "-o", str(link), "--force", "--duration", "0.1")
    assert done.returncode == 1
    assert file.read_text() == "precious"
    done = run_furtrace("record", "-o", str(file), "--force", "--duration", "0.1")
    assert done.returncode == 0, done.stderr
    assert read(file).damages == {}
    done = run_furtrace("record", "-o", str(tmp_path / "no" / "folder"), "--duration", "0.1")
    assert (done.returncode, done.stderr) == (
        1,
        f"furtrace: {tmp_path}/no/folder can't be written: No such file or directory.\n",
    )


def test_standard_output(demo_server: DemoServer, tmp_path: Path) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("there is no tshark here to read from a pipe")
    script = f"{' '.join(FURTRACE)} record -o - --count 50 --mount {demo_server.mountpoint} | {tshark} -r - | wc -l"
    with steady_traffic(demo_server.mountpoint):
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert 50 <= int(done.stdout) <= 55  # hints are packets too
    terminal, other = pty.openpty()
    refused = subprocess.run(
        [*FURTRACE, "record", "-o", "-"], stdout=other, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
    )
    os.close(terminal)
    os.close(other)
    assert refused.returncode == 1
    assert refused.stderr.startswith("furtrace: Standard output can't be made: a recording is no text for a terminal")


def test_a_reader_that_goes(demo_server: DemoServer) -> None:
    script = f"{' '.join(FURTRACE)} record -o - | head -c 100 > /dev/null; echo ${{PIPESTATUS[0]}}"
    with steady_traffic(demo_server.mountpoint):
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "1\n"
    assert done.stderr.endswith("furtrace: The reader of the recording is gone, so it has ended.\n")

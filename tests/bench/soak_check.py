"""No false accusation: `furtrace check` beside servers that do nothing wrong, for as long as is said.

One check, with its defaults, judges all that comes. Meanwhile libfuse's passthrough_hp, memfs_ll and hello_ll over
io_uring and the demo's server in each of its modes take turns under fio, shell work, a `git clone`, a compile, links
and renames, direct I/O and the demo's random traffic; every turn is a start and an end of a server. Then all that was
found is told, by rule. Exit status 1: there was an error or a warning, which then has to be shown to be true.

Usage, as root: python -m tests.bench.soak_check [MINUTES [SERVER...]], as in 10 "demo pool" "demo zero-copy"
"""

import contextlib
import itertools
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from furtrace.demo import traffic
from furtrace.demo.enable import enable_uring
from furtrace.demo.errors import DemoError
from furtrace.demo.modes import Mode
from furtrace.demo.process import DemoServer
from tests.bench.load import fio
from tests.external import libfuse
from tests.live.conftest import FURTRACE

REPOSITORY: Final = Path(__file__).parents[2]
FIO_SECONDS: Final = 3
PATIENCE: Final = 300.0
SHOWN: Final = 5
"""Findings of a rule that are shown."""

SHELL: Final = r"""
cd "$1" || exit
git clone -q "$2" tree && cd tree && git status -s && git log --oneline | tail -1
tar cf ../tree.tar . && find . -name '*.py' -exec grep -l import {} + && cp -r furtrace copy && diff -r furtrace copy
cd .. && rm -rf tree tree.tar
mkdir names && cd names
for at in $(seq 200); do echo $at >f$at; ln f$at l$at; ln -s f$at s$at; mv f$at g$at; done
ls -lR . && cd .. && rm -rf names
printf '#include <stdio.h>\nint main(void) { return puts("x") < 0; }\n' >main.c
for at in 1 2 3; do gcc -O2 main.c -o main$at && ./main$at; done
sync; truncate -s 1M sparse; fallocate -l 2M sparse; dd if=sparse of=copy bs=64k; cmp sparse copy
dd if=/dev/urandom of=direct bs=1M count=20 oflag=direct; dd if=direct of=/dev/null bs=1M iflag=direct
rm -f main.c main? sparse copy direct
"""


def shell(mount: Path) -> None:
    """What people do from a shell; not every server can do all of it."""
    limit = ["timeout", "--signal=KILL", str(PATIENCE)]  # of a machine that is emulated; it ends all that bash began
    command = [*limit, "bash", "-c", SHELL, "soak", str(mount), str(REPOSITORY)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def reading(mount: Path) -> None:
    """Read the one file of ``hello_ll``, list, and ask for what is not there."""
    script = 'for at in $(seq 500); do cat "$1/hello"; done; ls -l "$1"; cat "$1/none"'
    command = ["bash", "-c", script, "soak", str(mount)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=PATIENCE)


def randomly(mount: Path) -> None:
    """The demo's traffic, another one each time."""
    with contextlib.suppress(DemoError):  # a server that can't do something
        traffic.run(mount, seed=random.randrange(1 << 30), scale=0.5)


@contextlib.contextmanager
def passthrough() -> Iterator[None]:
    """``passthrough_hp`` under all kinds of load."""
    with tempfile.TemporaryDirectory() as folder, libfuse.passthrough_hp(Path(folder)) as server:
        for load in (shell, randomly):
            load(server.mountpoint)
        fio(server.mountpoint, FIO_SECONDS)
        yield


@contextlib.contextmanager
def example(program: Path, load: Callable[[Path], None]) -> Iterator[None]:
    """Another example of libfuse's."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        mount = Path(folder)
        process = subprocess.Popen([program, "-f", "-o", "io_uring", mount], stdout=log, stderr=log)
        try:
            wait_until(mount.is_mount, f"{program} does not mount")
            load(mount)
            yield
        finally:
            subprocess.run(["umount", mount], check=False)
            process.wait(PATIENCE)


@contextlib.contextmanager
def demo(mode: Mode) -> Iterator[None]:
    """The demo's server."""
    with DemoServer(depth=4, mode=mode) as server:
        for load in (shell, randomly):
            load(server.mountpoint)
        fio(server.mountpoint, FIO_SECONDS)
        yield


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait for a condition."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(otherwise)
        time.sleep(0.05)


def turns() -> dict[str, Callable[[], contextlib.AbstractContextManager[None]]]:
    """Every server with its load, by name."""
    built = libfuse.examples()
    return {
        "passthrough_hp": passthrough,
        "memfs_ll": lambda: example(built.memfs_ll, shell),
        "hello_ll": lambda: example(built.hello_ll, reading),
        **{f"demo {mode}": partial(demo, mode) for mode in modes()},
    }


def modes() -> list[Mode]:
    """Those that this kernel can serve."""
    types = (Path("/sys/kernel/btf") / name for name in ("vmlinux", "fuse"))
    pools = any(b"\0fuse_bufpool\0" in file.read_bytes() for file in types if file.exists())
    return [mode for mode in Mode if pools or not mode.pooled]


@contextlib.contextmanager
def checked(folder: Path) -> Iterator[None]:
    """Have a check run, whose output is ``findings`` in the folder."""
    with (folder / "findings").open("wb") as out, (folder / "said").open("wb") as said:
        process = subprocess.Popen([*FURTRACE, "check", "--json"], stdout=out, stderr=said)
    wait_until(lambda: b"Ctrl-C" in (folder / "said").read_bytes(), "furtrace check does not begin")
    try:
        yield
        time.sleep(1)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)


def told(lines: list[dict[str, Any]]) -> bool:
    """Print what was found; False: an error or a warning."""
    *findings, summary = lines
    print(json.dumps(summary))
    shown: Counter[str] = Counter()
    for one in findings:
        shown[one["rule"]] += 1
        if shown[one["rule"]] <= SHOWN:
            print(f"{one['severity']} {one['rule']}, connection {one['connection']}: {one['sentence']}")
    return all(one["severity"] == "note" for one in findings)


def main() -> None:
    """Let servers take turns, and tell what was found."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    done: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as root, enable_uring():
        folder = Path(root)
        with checked(folder):
            end = time.monotonic() + 60 * minutes
            for name in itertools.cycle(sys.argv[2:] or turns()):
                with turns()[name]():
                    done[name] += 1
                if time.monotonic() > end:
                    break
        for name, count in done.items():
            print(f"{count:5} times {name}")
        fine = told([json.loads(line) for line in (folder / "findings").read_text().splitlines()])
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()

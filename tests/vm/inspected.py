"""Has a server inspected that hangs: ``inspected.py FOLDER MODE``.

The server has one entry a queue, or in mode ``pool`` two of them and one buffer, which a request holds that it never
answers; another request waits for it. What it leaves in FOLDER: ``inspected.json``, what `furtrace inspect` says of the
connection, ``live.jsonl`` and ``check.jsonl``, what `furtrace live` and `furtrace check` do that begin only then, and
``inspected.jsonl``, what the server says.
"""

import subprocess
import sys
import time
from pathlib import Path

from furtrace.demo.enable import enable_uring
from furtrace.demo.modes import Mode
from furtrace.demo.process import DemoServer
from tests.live.demo.conftest import Client
from tests.vm.faulted import PATIENCE, SETTLED, wait_until


def run(file: Path, *command: str) -> None:
    """Keep what a command of furtrace prints."""
    with file.open("wb") as out:
        subprocess.run([sys.executable, "-m", "furtrace", *command], stdout=out, check=False)


def main() -> None:
    """Have it hang, and look."""
    folder, mode = Path(sys.argv[1]), Mode(sys.argv[2])
    said = folder / "inspected.jsonl"
    depth, buffers = (2, 1) if mode.pooled else (1, None)
    with (
        enable_uring(),
        DemoServer(mode=mode, fault="no-answer", depth=depth, buffers=buffers, log_faults=said) as server,
    ):
        Client(server.mountpoint, "write").process.communicate(timeout=PATIENCE)
        clients = [Client(server.mountpoint, "read")]
        wait_until(lambda: said.exists() and said.read_text() != "")
        clients.append(Client(server.mountpoint, "space"))
        time.sleep(2 * SETTLED)
        asked, long = ("--json", "--connection", str(server.connection)), ("--unanswered", str(SETTLED))
        run(folder / "inspected.json", "inspect", *asked, *long)
        run(folder / "live.jsonl", "live", *asked, "--duration", "0.5")
        run(folder / "check.jsonl", "check", *asked, *long, "--duration", "1")
        for client in clients:
            client.process.kill()
    for client in clients:
        client.process.communicate(timeout=PATIENCE)


if __name__ == "__main__":
    main()

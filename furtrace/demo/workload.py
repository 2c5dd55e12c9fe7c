"""What the traffic's profiles are made of: file operations that count themselves and check what they get back."""

import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

from furtrace.demo.errors import DemoError

_COMMAND_TIMEOUT = 120.0


@dataclass
class Summary:
    """What a run has done: operations (system calls on files, or commands), bytes written and bytes read."""

    operations: int = 0
    written: int = 0
    read: int = 0

    def add(self, other: "Summary") -> None:
        """Add another run's figures to this one's."""
        self.operations += other.operations
        self.written += other.written
        self.read += other.read


class Workload:
    """One profile's run in its own directory ``root``: seeded chance, and operations that are counted and checked.

    ``DemoError`` from whatever finds data, names or attributes that are not what was put there.
    """

    def __init__(self, root: Path, seed: int, scale: float) -> None:
        self.root = root
        self.chance = random.Random(seed)  # noqa: S311 - repeatable traffic, no secrets
        self.summary = Summary()
        self._scale = scale

    def times(self, count: int) -> int:
        """Return ``count`` scaled, at least 1."""
        return max(1, round(count * self._scale))

    def write(self, path: Path, data: bytes) -> None:
        """Make a file with ``data`` in it."""
        path.write_bytes(data)
        self.did(written=len(data))

    def check_file(self, path: Path, wanted: bytes) -> None:
        """Read a file and compare it."""
        data = path.read_bytes()
        self.did(read=len(data))
        self.check(data == wanted, f"{path} does not hold what was written to it")

    def check_names(self, directory: Path, wanted: set[str]) -> None:
        """List a directory and compare the names."""
        names = [entry.name for entry in directory.iterdir()]
        self.did()
        self.check(
            len(names) == len(wanted) and set(names) == wanted, f"{directory} does not list the names made in it"
        )

    def command(self, *words: str | Path) -> bytes:
        """Run a program and return its output; ``DemoError`` when it fails."""
        try:
            done = subprocess.run(words, capture_output=True, timeout=_COMMAND_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise DemoError(f"{words[0]} can't be run to its end: {problem}") from problem
        self.did()
        complaint = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        self.check(done.returncode == 0, f"{words[0]} failed: {complaint}")
        return done.stdout

    def did(self, *, written: int = 0, read: int = 0) -> None:
        """Count one operation."""
        self.summary.add(Summary(1, written, read))

    @staticmethod
    def check(right: bool, complaint: str) -> None:
        """Raise ``DemoError(complaint)`` unless ``right``."""
        if not right:
            raise DemoError(complaint)

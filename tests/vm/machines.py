"""Machines that tests share: each kernel is booted once, as long as nothing ends its machine."""

from contextlib import ExitStack
from functools import partial
from typing import Final

from tests.vm.harness import COMMAND, Completed, Machine, booted
from tests.vm.kernels import find_kernel, oldest_kernel
from tests.vm.qemu import require_machines
from tests.vm.stale import again

OLDEST: Final = "oldest"
RUNS: Final = 2
"""How often a command is tried where QEMU runs stale code."""


class Machines:
    """One machine at a time, kept until another kernel is wanted; the last one until this is closed."""

    def __init__(self) -> None:
        self._wanted = ""
        self._machine: Machine | None = None
        self._stack = ExitStack()

    def get(self, wanted: str) -> Machine:
        """Return a machine that takes commands and runs the kernel which ``wanted`` means: see ``find_kernel``.

        Raises:
            Unavailable: it can't be had here.
            MachineError: it did not come up.
        """
        if self._machine is None or not self._machine.usable or self._wanted != wanted:
            self.close()
            require_machines()  # without root even the cache of packages may be closed
            kernel = oldest_kernel() if wanted == OLDEST else find_kernel(wanted)
            self._machine, self._wanted = self._stack.enter_context(booted(kernel)), wanted
        return self._machine

    def run(self, wanted: str, *command: str, timeout: float = COMMAND) -> Completed:
        """Run a command on such a machine; where QEMU ran stale code, once more on a new one, with a warning.

        Raises:
            Unavailable: there is no such machine here.
            MachineError: it did not come up, or did not come to the command's end.
        """
        return again(partial(self._run, wanted, command, timeout), f"{command[0]} on Linux {wanted}", RUNS)

    def _run(self, wanted: str, command: tuple[str, ...], timeout: float) -> Completed:
        return self.get(wanted).run(*command, timeout=timeout)

    def close(self) -> None:
        """End the machine, if there is one."""
        self._machine = None
        self._stack.close()

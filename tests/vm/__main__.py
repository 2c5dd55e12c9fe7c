"""Runs a command, or a shell, on another kernel: ``python -m tests.vm KERNEL -- command…``."""

import argparse
import sys
from pathlib import Path

from tests.external import Unavailable
from tests.vm.errors import MachineError
from tests.vm.harness import RESULTS, booted, follow_here, interactive
from tests.vm.kernels import FLAVOURS, find_kernel, oldest_kernel
from tests.vm.qemu import Hardware, require_machines

NOT_RUN = 125
"""Exit status if the command was not run, or did not come to its end; otherwise it is the command's own."""


def main() -> int:
    """Do what the command line says, and return the exit status."""
    arguments = _parser().parse_args()
    hardware = Hardware(arguments.cpus, arguments.memory)
    try:
        require_machines()
        kernel = oldest_kernel() if arguments.kernel == "oldest" else find_kernel(arguments.kernel)
        if not arguments.command:
            return interactive(kernel, hardware, arguments.results)
        print(f"Booting Linux {kernel.release} ...", file=sys.stderr)
        with booted(kernel, hardware, arguments.results) as machine:
            print(f"It is up after {machine.boot_seconds:.0f} s.", file=sys.stderr)
            return machine.run(*arguments.command, timeout=arguments.timeout, follow=follow_here).status
    except (Unavailable, MachineError) as error:
        print(error, file=sys.stderr)
        return NOT_RUN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.vm",
        description="Boot a kernel of Debian under QEMU on this machine's root directory, whatever is written going to "
        "memory, and run a command there, or a shell (which Ctrl-A X ends, if nothing else does).",
    )
    flavours = ", ".join(FLAVOURS)
    parser.add_argument("kernel", help=f"version, then perhaps -FLAVOUR ({flavours}): 7.3, 7.3-generic; or oldest")
    parser.add_argument("command", nargs="*", help="command and its arguments, after --")
    parser.add_argument("--cpus", type=int, default=Hardware.cpus, help="number of CPUs (%(default)s)")
    parser.add_argument("--memory", type=int, default=Hardware.memory, help="MiB of memory (%(default)s)")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for the command (%(default)s)")
    parser.add_argument("--results", type=Path, help=f"folder of this machine that is {RESULTS} there")
    return parser


if __name__ == "__main__":
    sys.exit(main())

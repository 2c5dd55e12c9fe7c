"""The command line of QEMU for a machine whose root directory is a share."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.external import Unavailable
from tests.vm.kernels import Kernel

QEMU: Final = "qemu-system-x86_64"
REPOSITORY: Final = Path(__file__).resolve().parents[2]
INIT: Final = Path(__file__).with_name("init.sh")
NEEDED: Final = {QEMU: "QEMU", "setpriv": "setpriv", "insmod": "kmod", "ip": "iproute2"}
"""Programs, here and on the machine's root directory, which is the same, and what has them."""


@dataclass(frozen=True)
class Hardware:
    """What a machine has.

    Attributes:
        cpus: number of CPUs.
        memory: MiB of memory; what is written to files is in it as well.
    """

    cpus: int = 2
    memory: int = 3072


def require_machines() -> None:
    """Make sure that virtual machines can be run.

    Raises:
        Unavailable: they can't.
    """
    if os.geteuid() != 0:
        raise Unavailable("Virtual machines need root, whose directory they share.")
    everywhere = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    missing = [name for program, name in NEEDED.items() if shutil.which(program, path=everywhere) is None]
    if missing:
        raise Unavailable(f"Virtual machines need {', '.join(missing)}.")


def qemu_command(
    kernel: Kernel, hardware: Hardware, sockets: Path, init: Sequence[str], devices: Sequence[str]
) -> list[str]:
    """Return the command that boots ``kernel``.

    Args:
        kernel: what boots.
        hardware: on which machine.
        sockets: folder with the sockets ``root`` and ``results`` of the two shares.
        init: arguments for the script that is process 1.
        devices: options for the console, and whatever else the machine talks by.
    """
    return [
        *("setpriv", "--pdeathsig", "KILL", QEMU),  # it does not outlive us; virtiofsd in turn ends with it
        *("-nodefaults", "-display", "none", "-no-reboot"),
        # With "max", QEMU 7.2 miscomputes some of AVX2, on which numpy's sorts rely.
        *("-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-smp", str(hardware.cpus)),
        *("-m", f"{hardware.memory}M", "-numa", "node,memdev=memory"),
        *("-object", f"memory-backend-memfd,id=memory,size={hardware.memory}M,share=on"),
        *_share(sockets, "root"),
        *_share(sockets, "results"),
        *("-kernel", str(kernel.image), "-append", " ".join(_parameters(kernel, init))),
        *devices,
    ]


def _share(sockets: Path, name: str) -> Iterator[str]:
    yield from ("-chardev", f"socket,id={name},path={sockets / name}")
    yield from ("-device", f"vhost-user-fs-pci,queue-size=1024,chardev={name},tag={name}")


def _parameters(kernel: Kernel, init: Sequence[str]) -> Iterator[str]:
    yield from ("root=root", "rootfstype=virtiofs", "ro", "console=ttyS0", "quiet", "mitigations=off")
    # A kernel that is broken ends at once, rather than going on somehow, and QEMU with it.
    yield from ("panic=-1", "oops=panic")
    yield from ("init=/bin/bash", "--")
    yield from (f'"{argument}"' for argument in (INIT, REPOSITORY, kernel.overlay, *init))

"""How a virtual machine can fail, other than by a command's exit status."""


class MachineError(Exception):
    """A machine did not do what it was asked for; the message ends with the end of its console."""


class KernelPanicError(MachineError):
    """The machine's kernel panicked."""


class StaleCodeError(KernelPanicError):
    """The machine's kernel panicked, and that was QEMU's fault: see ``tests.vm.stale``."""


class HangError(MachineError):
    """The machine, or the command in it, said nothing for too long."""


class EndError(MachineError):
    """The machine ended without a panic."""

"""What a trace is limited to, as the probes ask it in the kernel."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Filters:
    """Empty or None: no limit. ``client`` is a process (thread group) id, ``opcodes`` and ``queues`` are numbers.

    ``forgets``: also what only read(2) of /dev/fuse shows, FORGET, BATCH_FORGET and INTERRUPT. ``payload``: bytes of
    each request's payload, and of its reply's, that are taken as well.

    Which connections are shown is not here: it may change while a trace goes on
    (:meth:`furtrace.probe.program.Program.show_connections`).
    """

    client: int | None = None
    opcodes: frozenset[int] = field(default_factory=frozenset)
    queues: frozenset[int] = field(default_factory=frozenset)
    forgets: bool = False
    payload: int = 0

    def defines(self) -> str:
        """The settings of ``probes/common.h`` that say this, as C preprocessor lines."""
        lines = [f"#define FT_CLIENT {self.client or 0}", f"#define FT_PAYLOAD_BYTES {self.payload}"]
        for name, variable, numbers in (("OPCODE", "opcode", self.opcodes), ("QUEUE", "queue", self.queues)):
            test = " || ".join(f"({variable}) == {number}" for number in sorted(numbers)) or "1"
            lines += [f"#define FT_{name}S {int(bool(numbers))}", f"#define FT_{name}_WANTED({variable}) ({test})"]
        return "\n".join(lines) + "\n"

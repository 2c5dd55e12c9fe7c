"""The kernel's functions that the function vantage watches, and what is done at each.

The handlers are in ``probes/function.c``; :mod:`furtrace.probe.programs` writes the programs that call them.
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from string import Formatter
from typing import Final

from furtrace.trace.record import Kind, Step


class Moment(Enum):
    """When a program runs: as the function begins, or when it comes back."""

    ENTER = "enter"
    LEAVE = "leave"


class Way(Enum):
    """How a program is attached; the names are the kernel's, for :attr:`Moment.ENTER` and :attr:`Moment.LEAVE`."""

    FENTRY = ("fentry", "fexit")
    KPROBE = ("kprobe", "kretprobe")

    def called(self, moment: Moment) -> str:
        """What the kernel calls it."""
        return self.value[moment is Moment.LEAVE]


@dataclass(frozen=True)
class Watch:
    """One thing to be seen at a function.

    ``functions``: its names, of which a kernel has one or none; the first that is there counts. ``call``: what the
    program does, C with the arguments by name in braces, ``{result}`` among them at :attr:`Moment.LEAVE`. ``kernel``:
    only with ``--steps kernel``. ``order``: the parameters as they stand in the kernel's source, for the variants that
    a compiler makes (``.constprop.0``), of whose parameters BTF does not tell; such a variant may lack some that come
    later, so only the leading ones are named. ``guard``: what has to be true, in C as ``call``, for the program to do
    anything; asked first, for it is cheap. ``needs``: structures and members without which the event is not there.
    """

    about: Kind | Step
    functions: tuple[str, ...]
    moment: Moment
    call: str
    kernel: bool = False
    order: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    guard: str = ""

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of the arguments that ``call`` uses, ``result`` left out."""
        names = [name for _, name, _, _ in Formatter().parse(self.call) if name and name != "result"]
        return tuple(dict.fromkeys(names))


_ENTER, _LEAVE = Moment.ENTER, Moment.LEAVE
POOLS: Final = ("fuse_ring_queue.bufpool",)
"""What a kernel with buffer pools has, as :attr:`Watch.needs`."""
SLOTS: Final = ("fuse_ring_ent.zero_copied", "io_mapped_ubuf.priv")
"""What a kernel has that puts a request's pages into a slot."""


def _step(step: Step, call: str, *functions: str, moment: Moment = _ENTER, order: tuple[str, ...] = ()) -> Watch:
    return Watch(step, functions or (step.function,), moment, call, kernel=True, order=order)


def _of_request(step: Step, *, order: tuple[str, ...]) -> Watch:
    return _step(step, f"ft_step({int(step)}, {{ent}}, {{req}})", order=order)


def _of_command(step: Step) -> Watch:
    return _step(step, f"ft_step_of_command({int(step)}, {{cmd}})", order=("cmd",))


def _of_ring(step: Step) -> Watch:
    return _step(step, f"ft_step_of_ring({int(step)}, {{ring}})")


COMMANDS: Final = (Kind.ADD_QUEUE, Kind.ADD_BUFPOOL, Kind.REGISTER, Kind.COMMITTED)
"""Events that are one program: a command was submitted."""

WATCHES: Final = (
    Watch(Kind.COMMITTED, ("fuse_uring_cmd",), _ENTER, "ft_cmd({cmd}, {issue_flags})"),
    Watch(Kind.READY, ("fuse_uring_cmd",), _LEAVE, "ft_cmd_left({cmd}, {issue_flags}, {result})",
          guard="ft_cmd_left_matters({cmd})"),
    Watch(Kind.SELECTED, ("fuse_uring_select_buffer",), _LEAVE, "ft_select_buffer_left({ent}, {result})",
          order=("ent",), needs=POOLS),
    Watch(Kind.RECYCLED, ("fuse_uring_recycle_buffer",), _ENTER, "ft_recycle_buffer({ent})",
          order=("ent",), needs=POOLS),
    Watch(Kind.PAGES_REGISTERED, ("io_buffer_register_bvec",), _LEAVE,
          "ft_register_bvec_left({cmd}, {nr_bvecs}, {priv}, {dir}, {index}, {result})", needs=SLOTS),
    Watch(Kind.PAGES_UNREGISTERED, ("io_buffer_unregister",), _LEAVE,
          "ft_unregister_left({cmd}, {index}, {result})", needs=SLOTS),
    Watch(Kind.PAGES_RELEASED, ("fuse_zero_copy_release",), _ENTER, "ft_zero_copy_release({priv})",
          kernel=True, order=("priv",), needs=SLOTS),
    Watch(Kind.COPIED, ("fuse_uring_copy_to_ring", "fuse_uring_args_to_ring"), _LEAVE,
          f"ft_done({int(Kind.COPIED)}, {{ent}}, {{req}}, {{result}})", kernel=True),
    Watch(Kind.RETURNED, ("fuse_uring_copy_from_ring",), _LEAVE,
          f"ft_done({int(Kind.RETURNED)}, {{ent}}, {{req}}, {{result}})", kernel=True),
    _step(Step.QUEUE_FUSE_REQ, f"ft_step({int(Step.QUEUE_FUSE_REQ)}, 0, {{req}})"),
    _step(Step.QUEUE_BQ_REQ, f"ft_step({int(Step.QUEUE_BQ_REQ)}, 0, {{req}})"),
    _of_request(Step.ADD_REQ_TO_RING_ENT, order=("ent", "req")),
    _of_command(Step.SEND_IN_TASK),
    _of_request(Step.PREPARE_SEND, order=("ent", "req")),
    _step(Step.COPY_HEADER_TO_RING, "ft_header_left({ent}, {type}, {result})", moment=_LEAVE),
    _of_request(Step.SET_UP_ZERO_COPY, order=("ent", "req")),
    _step(Step.SEND, f"ft_step_of_entry({int(Step.SEND)}, {{ent}})", order=("ent",)),
    _step(Step.CMD_DONE, "ft_cmd_done({cmd}, {ret})", "__io_uring_cmd_done", "io_uring_cmd_done"),
    _step(Step.CMD, "ft_cmd_left({cmd}, {issue_flags}, {result})", moment=_LEAVE),
    _of_command(Step.COMMIT_FETCH),
    _of_request(Step.COMMIT, order=("ent", "req")),
    _step(Step.REQ_END, f"ft_step_result({int(Step.REQ_END)}, {{ent}}, {{req}}, {{error}})"),
    _step(Step.GET_NEXT_FUSE_REQ, f"ft_step_of_entry({int(Step.GET_NEXT_FUSE_REQ)}, {{ent}})",
          "fuse_uring_get_next_fuse_req", "fuse_uring_next_fuse_req", order=("ent",)),
    _of_ring(Step.STOP_QUEUES),
    _of_ring(Step.ABORT_END_REQUESTS),
    _step(Step.ENTRY_TEARDOWN, f"ft_step_of_entry({int(Step.ENTRY_TEARDOWN)}, {{ent}})", order=("ent",)),
)  # fmt: skip
"""What is seen at functions. READY's program also tells the step :attr:`Step.CMD`; it is attached once."""

_OTHER_NAMES: Final = {
    "ent": ("ring_ent",),
    "cmd": ("ioucmd", "tw_req"),  # io_uring_cmd_from_tw(): the io_kiocb, at whose start the command lies
    "ret": ("res", "result"),
    "nr_bvecs": ("nr_bvs",),
}
SCALARS: Final = frozenset({"issue_flags", "type", "index", "dir", "nr_bvecs", "priv", "ret", "error"})


def base_name(symbol: str) -> str:
    """The function's name in the source, without what compilers add to that of a variant (``.constprop.0``).

    ``.cold`` is no variant: it is a piece that the function jumps to.
    """
    return re.sub(r"\.(constprop|isra|part)\.\d+", "", symbol)


def position(name: str, names: tuple[str, ...]) -> int | None:
    """The place among a function's parameters of the one that we call ``name``; None if it has none such."""
    return next((names.index(one) for one in (name, *_OTHER_NAMES.get(name, ())) if one in names), None)


@dataclass(frozen=True)
class Attachment:
    """A program for one function of this kernel.

    ``symbol``: the function, a variant's name included. ``positions``: of each parameter that the call uses, its place
    among the arguments. ``count``: how many arguments there are, after which fexit finds the result. ``checked``: BTF
    tells of the parameters; if it does not, that the entry is one is asked in the kernel.
    """

    watch: Watch
    symbol: str
    way: Way
    positions: tuple[int, ...]
    count: int
    checked: bool

    @property
    def program(self) -> str:
        """The program's name in C; that of the program which keeps a kretprobe's arguments ends in ``_args``."""
        return f"{self.watch.moment.value}_{re.sub(r'[^a-z0-9_]', '_', self.symbol)}"

    @property
    def keeps_arguments(self) -> bool:
        """Whether a second program is there, a kprobe that keeps the arguments until the function comes back."""
        return self.way is Way.KPROBE and self.watch.moment is Moment.LEAVE

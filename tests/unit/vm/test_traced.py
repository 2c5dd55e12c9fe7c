"""What each way to trace is said to show."""

from pathlib import Path

import pytest

from tests.vm.poolserver import PoolServer
from tests.vm.sequences import Shown
from tests.vm.traced import CASES, Seen

SEEN = Seen(
    events={
        "QUEUED": "tracepoint fuse_request_send",
        "COPIED": "fexit fuse_uring_args_to_ring",
        "SELECTED": "fexit fuse_uring_select_buffer",
        "COMMITTED": "fentry fuse_uring_cmd (cmd_op 2)",
        "PAGES_REGISTERED": None,
    },
    steps={"fuse_uring_send": "kprobe fuse_uring_send.constprop.0", "fuse_uring_commit": None},
    kernel_events=["COPIED"],
    tracepoint_events=["QUEUED", "COMMITTED"],
    late_numbers=False,
)


@pytest.mark.parametrize(
    ("tracer", "shown"),
    [
        ("tracepoint", Shown(frozenset({"QUEUED", "COMMITTED"}))),
        ("function", Shown(frozenset({"QUEUED", "COMMITTED", "SELECTED"}))),
        (
            "kernel",
            Shown(frozenset({"QUEUED", "COMMITTED", "SELECTED", "COPIED"}), frozenset({"fuse_uring_send"})),
        ),
    ],
)
def test_what_is_shown(tracer: str, shown: Shown) -> None:
    assert SEEN.shown(tracer) == shown


def test_where_the_last_header_is_copied() -> None:
    seen = Seen({**SEEN.events, "COPIED": "fentry fuse_uring_copy_to_ring"}, *list(vars(SEEN).values())[1:])
    assert seen.shown("kernel").copied_at_last


def test_cases() -> None:
    assert len(CASES) == 7
    places = (Path("/mnt"), Path("/backing"), Path("/log"))
    assert {name for name, case in CASES.items() if isinstance(case.server(*places), PoolServer)} == {
        "pool-server-pool",
        "pool-server-fixed-pool",
        "pool-server-zero-copy",
    }

"""What holds for all tests: how properties are tried, and which tests may run at the same time."""

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

# How long an example takes is the machine's matter. In continuous integration the examples are the same each time; by
# hand they are new ones, and one that was found to fail is tried first the next time.
settings.register_profile("by hand", deadline=None)
settings.register_profile("ci", settings.get_profile("by hand"), derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "by hand")

# A shell that starts tests in the background has them ignore SIGINT, and every process that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ALONE = ("tests/live/", "tests/vm/")
"""Folders of whose tests one at a time runs: they trace the whole kernel, and share machines. A file has the others."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "LoadScopeScheduling":
    """Give each process of ``pytest -n`` whole folders of these, or whole files."""
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415  # only there if it is used

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return next((folder for folder in ALONE if file.startswith(folder)), file)

    return Scheduling(config, log)

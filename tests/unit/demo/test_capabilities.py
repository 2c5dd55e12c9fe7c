"""Capabilities that a thread does without for a while."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from furtrace.demo import capabilities
from furtrace.demo.errors import DemoError

ADMIN = 1 << capabilities.SYS_ADMIN


def effective() -> int:
    """The calling thread's, by the kernel's own word."""
    status = Path(f"/proc/self/task/{threading.get_native_id()}/status").read_text()
    (found,) = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")]
    return int(found, 16)


@pytest.fixture
def admin() -> int:
    """What this thread has."""
    found = effective()
    if not found & ADMIN:
        pytest.skip("this process has no CAP_SYS_ADMIN")
    return found


def test_a_thread_does_without_one_and_has_it_again(admin: int) -> None:
    with ThreadPoolExecutor(1) as another:
        assert another.submit(effective).result() == admin
        with capabilities.without(capabilities.SYS_ADMIN):
            assert effective() == admin & ~ADMIN
            assert another.submit(effective).result() == admin
        assert effective() == admin


def test_it_has_it_again_after_a_failure(admin: int) -> None:
    with pytest.raises(ZeroDivisionError), capabilities.without(capabilities.SYS_ADMIN):
        _ = 1 // 0
    assert effective() == admin


def test_what_is_not_there_can_t_be_laid_down(admin: int) -> None:
    with capabilities.without(capabilities.SYS_ADMIN):
        with pytest.raises(DemoError, match="no capability 21"), capabilities.without(capabilities.SYS_ADMIN):
            pytest.fail("it was there")
        assert effective() == admin & ~ADMIN

"""The kernel's switch is left as it was found."""

from contextlib import suppress
from pathlib import Path

import pytest

from tests.external import Unavailable, kernel


@pytest.mark.parametrize("before", ["N", "Y"])
def test_the_switch_is_as_it_was(before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = tmp_path / "enable_uring"
    switch.write_text(f"{before}\n")
    monkeypatch.setattr(kernel, "ENABLE_URING", switch)
    with suppress(InterruptedError), kernel.uring_enabled():
        assert switch.read_text().strip() == "Y"
        raise InterruptedError
    assert switch.read_text().strip() == before


def test_says_that_there_is_no_switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "ENABLE_URING", tmp_path / "absent")
    with pytest.raises(Unavailable, match="has no FUSE over io_uring"), kernel.uring_enabled():
        pass

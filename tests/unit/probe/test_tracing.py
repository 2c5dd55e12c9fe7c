"""Asking the kernel for a module's types."""

import ctypes
import errno

import pytest

from furtrace.probe import tracing


class _Libbpf:
    """Has no BTF, for the reason given."""

    def __init__(self, why: int) -> None:
        self._why = why

    def bpf_btf_get_next_id(self, *_: object) -> int:
        ctypes.set_errno(self._why)
        return -self._why


@pytest.mark.parametrize(
    ("why", "said"),
    [(errno.ENOENT, "the kernel has no BTF of the module fuse"), (errno.EPERM, "Operation not permitted")],
)
def test_why_there_are_no_types_of_a_module(monkeypatch: pytest.MonkeyPatch, why: int, said: str) -> None:
    monkeypatch.setattr(tracing, "libbpf", lambda: _Libbpf(why))
    with pytest.raises(OSError, match=said) as refused:
        tracing.module_types("fuse")
    assert refused.value.errno == why

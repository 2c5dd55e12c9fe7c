"""Calls of a number of ours, turned into calls of the kernel's function."""

import struct
from typing import cast

import pytest

from furtrace.probe import direct
from furtrace.probe.btf import KernelTypes
from furtrace.probe.tracing import Target


class _Types:
    """Knows one function, by the BTF id given; 0: it does not."""

    def __init__(self, number: int) -> None:
        self._number = number

    def function_id(self, name: str) -> int:
        assert name == "bpf_rdonly_cast"
        return self._number


def _types(number: int) -> KernelTypes:
    return cast("KernelTypes", _Types(number))


def _instruction(opcode: int, registers: int, number: int) -> bytes:
    return struct.pack("=BBhi", opcode, registers, 0, number)


_CALL = _instruction(0x85, 0, direct.CALL)
_EXIT = _instruction(0x95, 0, 0)


def test_the_number_is_the_function_s() -> None:
    other = _instruction(0x85, 0, 112)  # bpf_probe_read_kernel
    found = direct.resolved(_CALL + other + _CALL + _EXIT, _types(0x12345))
    assert found == _instruction(0x85, 0x20, 0x12345) + other + _instruction(0x85, 0x20, 0x12345) + _EXIT


def test_bytes_that_only_look_like_it() -> None:
    """Across two instructions."""
    code = b"\x18\x01\x00\x00" + _CALL + b"\x00" * 4 + _EXIT
    assert direct.resolved(code, _types(7)) == code
    assert direct.resolved(code + _CALL, _types(7))[: len(code)] == code


@pytest.mark.parametrize(("number", "refused", "expected"), [(0, False, False), (7, True, False), (7, False, True)])
def test_whether_it_is_possible_is_tried(
    monkeypatch: pytest.MonkeyPatch, number: int, refused: bool, expected: bool
) -> None:
    given: list[bytes] = []
    closed: list[int] = []

    def load(code: bytes, target: Target) -> int:
        given.append(code)
        if refused:
            raise OSError(22, "Invalid argument")
        return 1234

    monkeypatch.setattr(direct, "load", load)
    monkeypatch.setattr("furtrace.probe.direct.os.close", closed.append)
    assert direct.possible(_types(number)) is expected
    assert closed == ([1234] if expected else [])
    assert len(given) == bool(number)
    assert all(_instruction(0x85, 0x20, number) in code for code in given)

"""The programs that are written around the handlers."""

import platform
import re
import struct
from dataclasses import replace
from typing import Final

import pytest

from furtrace.probe.functions import Attachment, Moment, Watch, Way, base_name, position
from furtrace.probe.program import sources
from furtrace.probe.programs import Preemptible, Tracepoint, source, stand_ins
from furtrace.trace.record import Kind, Step

_WATCH: Final = Watch(Kind.COPIED, ("copy",), Moment.LEAVE, "ft_done(9, {ent}, {req}, {result})")
_STEP: Final = Watch(Step.REQ_END, ("end",), Moment.ENTER, "ft_ended({ent}, {error})")


@pytest.fixture(autouse=True)
def x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def _attachment(
    watch: Watch, way: Way, positions: tuple[int, ...], count: int = 3, *, checked: bool = True
) -> Attachment:
    return Attachment(watch, watch.functions[0], way, positions, count, checked)


def _program(text: str, name: str) -> str:
    """The body of a program."""
    found = re.search(rf"^int {name}\(.*?\) \{{\n(.*?)^\}}", text, re.DOTALL | re.MULTILINE)
    assert found, text
    return found[1]


def test_parameters_are_those_of_the_call() -> None:
    assert _WATCH.parameters == ("ent", "req")
    assert _STEP.parameters == ("ent", "error")


def test_fexit_finds_the_result_after_the_arguments() -> None:
    body = _program(source([], [_attachment(_WATCH, Way.FENTRY, (2, 1))], stand_ins=Preemptible.NONE), "leave_copy")
    assert "ent = (void *)ctx[2];" in body
    assert "req = (void *)ctx[1];" in body
    assert "s32 result = ctx[3];" in body
    assert "ft_done(9, ent, req, result);" in body


def test_a_kprobe_finds_its_arguments_in_registers() -> None:
    body = _program(source([], [_attachment(_STEP, Way.KPROBE, (0, 2))], stand_ins=Preemptible.ALL), "enter_end")
    assert "bpf_probe_read_kernel(&ent, sizeof(ent), (char *)ctx + OFFSET_pt_regs_di);" in body
    assert "bpf_probe_read_kernel(&error, sizeof(error), (char *)ctx + OFFSET_pt_regs_dx);" in body


def test_a_kretprobe_has_them_kept() -> None:
    text = source([], [_attachment(_WATCH, Way.KPROBE, (2, 1))], stand_ins=Preemptible.ALL)
    keeper, body = _program(text, "leave_copy_args"), _program(text, "leave_copy")
    assert "&flight.arguments[0], sizeof(flight.arguments[0]), (char *)ctx + OFFSET_pt_regs_dx" in keeper
    assert "ent = (void *)flight->arguments[0];" in body
    assert "bpf_probe_read_kernel(&result, sizeof(result), (char *)ctx + OFFSET_pt_regs_ax);" in body
    assert "struct ft_flight { u64 arguments[2]; };" in text


def test_a_seventh_argument_is_on_the_stack() -> None:
    keeper = _program(
        source([], [_attachment(_WATCH, Way.KPROBE, (0, 6))], stand_ins=Preemptible.ALL), "leave_copy_args"
    )
    assert "bpf_probe_read_kernel(&sp, sizeof(sp), (char *)ctx + OFFSET_pt_regs_sp);" in keeper
    assert "&flight.arguments[1], sizeof(flight.arguments[1]), (void *)(sp + 8));" in keeper


def test_unchecked_arguments_are_checked_in_the_kernel() -> None:
    text = source([], [_attachment(_STEP, Way.KPROBE, (0, 1), checked=False)], stand_ins=Preemptible.NONE)
    assert "if (!ft_is_entry(ent))" in text
    text = source([], [_attachment(_STEP, Way.KPROBE, (0, 1))], stand_ins=Preemptible.NONE)
    assert "ft_is_entry" not in text


def test_what_may_be_preempted_asks_whose_turn_it_is() -> None:
    tracepoint = Tracepoint("fuse_request_send", (0,))
    attachments = [_attachment(_STEP, Way.FENTRY, (0, 2)), _attachment(_WATCH, Way.KPROBE, (0, 1))]
    text = source([tracepoint], attachments, stand_ins=Preemptible.ALL)
    named = re.findall(r"^int (\w+)\(", text, re.MULTILINE)
    assert named == ["at_fuse_request_send", "leave_copy_args", "enter_end", "leave_copy", "trial"]
    asking = [name for name in named if "ft_is_its_turn" in _program(text, name)]
    assert asking == ["at_fuse_request_send", "enter_end", "trial"]


_ROLE: Final = 0x66747261636531
_NUMBER: Final = struct.pack("<BBhi", 0x18, 1, 0, _ROLE & 0xFFFFFFFF) + struct.pack("<BBhi", 0, 0, 0, _ROLE >> 32)
_OTHER: Final = struct.pack("<BBhi", 0x18, 2, 0, 7) + struct.pack("<BBhi", 0, 0, 0, 0)
_EXIT: Final = struct.pack("<BBhi", 0x95, 0, 0, 0)


def _in_role(role: int) -> bytes:
    return struct.pack("<BBhi", 0x18, 1, 0, role) + bytes(8)


def test_stand_ins_have_other_roles() -> None:
    assert stand_ins(_OTHER + _NUMBER + _EXIT) == [_OTHER + _in_role(role) + _EXIT for role in (2, 0)]


@pytest.mark.parametrize("code", [_OTHER + _EXIT, _NUMBER + _NUMBER + _EXIT, _EXIT[:4] + _NUMBER + _EXIT[:4]])
def test_the_role_has_to_be_there_once(code: bytes) -> None:
    with pytest.raises(ValueError, match="role"):
        stand_ins(code)


def test_the_role_is_that_of_the_source() -> None:
    text = (sources() / "common.h").read_text()
    assert f"#define FT_FIRST {_ROLE:#x}ULL\n#define FT_SECOND 2\n#define FT_LAST 0\n" in text


def test_the_guard_is_asked_before_the_turn() -> None:
    watch = replace(_WATCH, guard="matters({req})")
    body = _program(source([], [_attachment(watch, Way.FENTRY, (2, 1))], stand_ins=Preemptible.ALL), "leave_copy")
    steps = ("req = (void *)ctx[1];", "if (!matters(req))", "if (!ft_is_its_turn())", "ft_done(")
    assert [body.index(step) for step in steps] == sorted(body.index(step) for step in steps)
    body = _program(source([], [_attachment(watch, Way.KPROBE, (2, 1))], stand_ins=Preemptible.ALL), "leave_copy")
    assert "if (!matters(req))" in body


def test_no_stand_ins_where_nothing_is_preempted() -> None:
    text = source(
        [Tracepoint("fuse_request_end", (0, 2))], [_attachment(_STEP, Way.FENTRY, (0, 2))], stand_ins=Preemptible.NONE
    )
    assert "ft_is_its_turn" not in text
    assert "ft_at_fuse_request_end(ctx->args[0], ctx->args[2]);" in text


@pytest.mark.parametrize(
    ("symbol", "base"),
    [
        ("fuse_uring_send", "fuse_uring_send"),
        ("fuse_uring_send.constprop.0", "fuse_uring_send"),
        ("fuse_uring_send.isra.0.part.12", "fuse_uring_send"),
        ("fuse_uring_send.cold", "fuse_uring_send.cold"),
        ("fuse_uring_send.part.0.cold", "fuse_uring_send.cold"),
    ],
)
def test_the_name_in_the_source(symbol: str, base: str) -> None:
    assert base_name(symbol) == base


def test_positions() -> None:
    assert position("cmd", ("tw_req", "tw")) == 0
    assert position("ent", ("queue", "ring_ent")) == 1
    assert position("ent", ("ring_ent", "ent")) == 1
    assert position("index", ("cmd",)) is None


def test_stand_ins_only_where_programs_are_preempted() -> None:
    tracepoint, attachment = Tracepoint("fuse_request_end", (0, 2)), _attachment(_STEP, Way.FENTRY, (0, 2))
    text = source([tracepoint], [attachment], stand_ins=Preemptible.AT_FUNCTIONS)
    assert "ft_is_its_turn" not in _program(text, "at_fuse_request_end")
    assert "ft_is_its_turn" in _program(text, attachment.program)

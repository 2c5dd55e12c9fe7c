"""Every structure lies as the C compiler, the running kernel and the proposal say."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from furtrace.wire import commands, headers, init, protocol, ring, sqe, xattrs
from furtrace.wire.dialect import Dialect, dialect_of
from furtrace.wire.layout import Field, Layout
from tests.unit.wire.compiler import Compiler

AnyLayout = Layout[Any]

LAYOUTS: Final = tuple(
    dict.fromkeys(
        [
            *protocol.common_structures(),
            *protocol.structures(Dialect.PLAIN),
            *protocol.structures(Dialect.BUFPOOL),
        ]
    )
)
"""All but the bufring form's, which no header has."""

# C expressions of the size of those that are not the whole structure of Linux 7.3.
SIZES: Final[dict[AnyLayout, str]] = {
    commands.CMD_REQ: "offsetof(struct fuse_uring_cmd_req, bufpool)",
    commands.CMD_REQ_REGISTER: (
        "offsetof(struct fuse_uring_cmd_req, ent_zero_copy_buf_index)"
        " + sizeof(((struct fuse_uring_cmd_req *)0)->ent_zero_copy_buf_index)"
    ),
    init.INIT_IN_COMPAT: "offsetof(struct fuse_init_in, flags2)",
    init.INIT_OUT_COMPAT: "FUSE_COMPAT_INIT_OUT_SIZE",
    init.INIT_OUT_COMPAT_22: "FUSE_COMPAT_22_INIT_OUT_SIZE",
    xattrs.SETXATTR_IN_COMPAT: "FUSE_COMPAT_SETXATTR_IN_SIZE",
    sqe.SQE_URING_CMD: "offsetof(struct io_uring_sqe, cmd)",
    sqe.SQE_OTHER: "offsetof(struct io_uring_sqe, cmd)",
}
# What the header of Linux 7.3 calls otherwise.
RENAMED: Final[dict[AnyLayout, dict[str, str]]] = {
    ring.ENT_IN_OUT_PLAIN: {"padding": "offset"},
    ring.REQ_HEADER_PLAIN: {"ring_ent_in_out.padding": "ring_ent_in_out.offset"},
}
# Structures of linux/fuse.h that furtrace does not read, and why.
NOT_ON_THE_WIRE: Final = {"fuse_backing_map": "an argument of ioctl(2) on /dev/fuse"}
# Flexible arrays: they have no place in a structure of fixed size, and are read behind it.
BEHIND: Final = {("fuse_dirent", "name"), ("fuse_direntplus", "dirent.name"), ("fuse_supp_groups", "groups")}


@dataclass(frozen=True)
class Form:
    """A field as C has it.

    Attributes:
        field: where it lies.
        is_array: whether it is one of C, of characters too.
        item: bytes of one item of an array, or of the field.
        signed: whether it is below zero with all bits set; None for characters, where it depends on the machine.
    """

    field: Field
    is_array: bool
    item: int
    signed: bool | None


def _forms(layout: AnyLayout) -> Iterator[Form]:
    for field in layout.fields:
        kind = layout.dtype
        for name in field.name.split("."):
            kind = kind[f"{name[2:]}_" if name.startswith("__") else name]
        if kind.kind == "V" and not kind.shape:  # characters: raw bytes for numpy
            yield Form(field, True, 1, None)
        else:
            yield Form(field, bool(kind.shape), kind.base.itemsize, kind.base.kind == "i")


def _questions(layout: AnyLayout) -> Iterator[str]:
    """Size of the structure, then offset, size, size of an item, and sign of each field."""
    yield SIZES.get(layout, f"sizeof(struct {layout.name})")
    for form in _forms(layout):
        name = RENAMED.get(layout, {}).get(form.field.name, form.field.name)
        place = f"((struct {layout.name} *)0)->{name}"
        item = f"{place}[0]" if form.is_array else place
        yield f"offsetof(struct {layout.name}, {name})"
        yield f"sizeof({place})"
        yield f"sizeof({item})"
        yield f"(__typeof__({item}))-1 < 0"


def _answered(layout: AnyLayout, answers: Iterator[int]) -> tuple[int, list[Form]]:
    size = next(answers)
    forms = []
    for form in _forms(layout):
        place = Field(form.field.name, next(answers), next(answers))
        item, signed = next(answers), bool(next(answers))
        forms.append(Form(place, form.is_array, item, None if form.signed is None else signed))
    return size, forms


@pytest.fixture(scope="module")
def in_c(compiler: Compiler) -> dict[AnyLayout, tuple[int, list[Form]]]:
    """Return size and fields of each layout, from one program."""
    questions = [question for layout in LAYOUTS for question in _questions(layout)]
    answers = iter(compiler.values(["linux/fuse.h", "linux/io_uring.h"], questions))
    return {layout: _answered(layout, answers) for layout in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.name}-{layout.size}")
def test_is_as_c_lays_it_out(in_c: dict[AnyLayout, tuple[int, list[Form]]], layout: AnyLayout) -> None:
    assert (layout.size, list(_forms(layout))) == in_c[layout]


def test_fields_follow_each_other() -> None:
    for layout in (*LAYOUTS, *protocol.structures(Dialect.BUFRING)):
        at = 0
        for field in layout.fields:
            assert field.offset == at, (layout.name, field)
            at += field.size
        assert layout.size == layout.dtype.itemsize == at


# ---- the other way round ----


def _declared(text: str) -> dict[str, str]:
    """Return the bodies of the header's structures, without comments, by name."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return dict(re.findall(r"^struct (\w+) \{\n(.*?)^\};", text, re.MULTILINE | re.DOTALL))


def _members(body: str, declared: dict[str, str], prefix: str = "") -> Iterator[str]:
    """Yield the members of a structure's body, dotted for those of structures within."""
    # A union's members are the structure's own; a structure that is declared in place has a name of its own.
    body = re.sub(r"union \{(.*)\};", r"\1", body, flags=re.DOTALL)
    for inner, name in re.findall(r"struct \{([^{}]*)\} (\w+);", body):
        yield from _members(inner, declared, f"{prefix}{name}.")
    plain = re.sub(r"struct \{[^{}]*\} \w+;", "", body)
    for kind, name in re.findall(r"^\s*(?:struct )?(\w+)\s+(\w+)(?:\[\w*\])?;", plain, re.MULTILINE):
        if kind in declared:
            yield from _members(declared[kind], declared, f"{prefix}{name}.")
        else:
            yield prefix + name


def _known() -> set[tuple[str, str]]:
    return {(layout.name, field.name) for layout in LAYOUTS for field in layout.fields}


def test_every_structure_and_member_of_the_header_is_known(fuse_header: Path) -> None:
    declared = _declared(fuse_header.read_text())
    assert len(declared) == fuse_header.read_text().count("\nstruct ")
    ours = {layout.name for layout in LAYOUTS}
    assert declared.keys() - ours == NOT_ON_THE_WIRE.keys()
    members = {(name, member) for name, body in declared.items() if name in ours for member in _members(body, declared)}
    assert members - _known() == BEHIND
    older = {(layout.name, name) for layout, names in RENAMED.items() for name in names}
    assert {one for one in _known() if one[0] != "io_uring_sqe"} - members == older
    # The text above is read by regular expressions; that they see all of it shows in the lines.
    assert sum(body.count(";") for body in declared.values()) - _elsewhere(declared) == _leaves(declared)


def _elsewhere(declared: dict[str, str]) -> int:
    """Return how many semicolons are not a member's: those that end a union or a structure within."""
    return sum(body.count("};") + len(re.findall(r"\} \w+;", body)) for body in declared.values())


def _leaves(declared: dict[str, str]) -> int:
    return sum(len(list(_members(body, {}))) for body in declared.values())


def test_version(compiler: Compiler) -> None:
    macros = compiler.values(["linux/fuse.h"], ["FUSE_KERNEL_VERSION", "FUSE_KERNEL_MINOR_VERSION"])
    assert macros == [protocol.MAJOR, protocol.MINOR]


# ---- the running kernel ----

BTF: Final = Path("/sys/kernel/btf/vmlinux")
# Structures that the kernel's own BTF may lack, and why.
NOT_BUILT_IN: Final = {
    "cuse_init_in": "CUSE is a module, or not built at all",
    "cuse_init_out": "CUSE is a module, or not built at all",
    "fuse_setupmapping_in": "virtiofs is a module, or not built at all",
    "fuse_removemapping_in": "virtiofs is a module, or not built at all",
    "fuse_removemapping_one": "virtiofs is a module, or not built at all",
    "fuse_rename_in": "the kernel uses fuse_rename2_in for both, and sends the start of it",
    "fuse_notify_prune_out": "since 7.45, Linux 6.18",
    "fuse_copy_file_range_out": "since 7.45, Linux 6.18",
}
# Members that came after FUSE over io_uring itself, and those that they made smaller.
ADDED: Final[dict[str, set[str]]] = {"fuse_init_out": {"request_timeout", "unused"}}
# The layouts that only a kernel of a dialect has.
IN_BTF: Final[dict[Dialect, list[AnyLayout]]] = {
    Dialect.PLAIN: [ring.ENT_IN_OUT_PLAIN, ring.REQ_HEADER_PLAIN, commands.CMD_REQ],
    Dialect.BUFRING: [ring.ENT_IN_OUT_BUFRING, ring.REQ_HEADER_BUFRING],
    Dialect.BUFPOOL: [ring.ENT_IN_OUT_BUFPOOL, ring.REQ_HEADER_BUFPOOL, commands.CMD_REQ_ADD_BUFPOOL],
}


@pytest.fixture(scope="module")
def btf() -> dict[int, dict[str, Any]]:
    """Return the types of the running kernel, by id."""
    bpftool = shutil.which("bpftool", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
    if bpftool is None:
        pytest.skip("There is no bpftool here to read the kernel's BTF.")
    if not BTF.exists():
        pytest.skip("The running kernel has no BTF.")
    dump = subprocess.run(
        [bpftool, "btf", "dump", "file", BTF, "format", "raw", "-j"], capture_output=True, check=False
    )
    if dump.returncode:
        pytest.skip("bpftool can't read the running kernel's BTF.")
    return {kind["id"]: kind for kind in json.loads(dump.stdout)["types"]}


@pytest.fixture(scope="module")
def structures(btf: dict[int, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the running kernel's structures by name."""
    return {kind["name"]: kind for kind in btf.values() if kind["kind"] == "STRUCT"}


def _btf_offsets(btf: dict[int, dict[str, Any]], kind: dict[str, Any], base: int = 0) -> Iterator[tuple[str, int]]:
    for member in kind["members"]:
        offset = base + member["bits_offset"] // 8
        if member["name"] == "(anon)":
            yield from _btf_offsets(btf, btf[member["type_id"]], offset)
        else:
            yield member["name"], offset


def _offsets(layout: AnyLayout) -> dict[str, int]:
    """Return where the members of the outermost structure begin."""
    return {member.name: member.offset for member in layout.members}


def _lies_as_in(btf: dict[int, dict[str, Any]], kind: dict[str, Any], layout: AnyLayout) -> None:
    theirs = dict(_btf_offsets(btf, kind))
    added = ADDED.get(layout.name, set())
    ours = {name: at for name, at in _offsets(layout).items() if added <= theirs.keys() or name not in added}
    # A structure's union has one member here and all of them there.
    assert ours.items() <= theirs.items(), layout.name
    if layout not in SIZES:
        assert layout.size == kind["size"], layout.name


@pytest.fixture(scope="module")
def running(structures: dict[str, dict[str, Any]]) -> Dialect:
    """Return the running kernel's dialect."""
    if "fuse_uring_ent_in_out" not in structures:
        pytest.skip("The running kernel has no FUSE over io_uring.")
    return dialect_of({member["name"] for member in structures["fuse_uring_ent_in_out"]["members"]})


def test_ring_is_as_the_running_kernel_lays_it_out(
    btf: dict[int, dict[str, Any]], structures: dict[str, dict[str, Any]], running: Dialect
) -> None:
    for layout in IN_BTF[running]:
        kind = structures[layout.name]
        _lies_as_in(btf, kind, layout)
        assert layout.size == kind["size"], layout.name


def test_the_rest_is_as_the_running_kernel_lays_it_out(
    btf: dict[int, dict[str, Any]], structures: dict[str, dict[str, Any]], running: Dialect
) -> None:
    absent = set()
    for layout in protocol.common_structures():
        if layout.name in structures:
            _lies_as_in(btf, structures[layout.name], layout)
        else:
            absent.add(layout.name)
    assert absent <= NOT_BUILT_IN.keys()


# ---- the proposal ----

# include/uapi/linux/fuse.h after "[PATCH v2 10/14] fuse: add io-uring buffer rings" and "[PATCH v2 13/14] fuse: add
# zero-copy over io-uring" (linux-fsdevel, 2026-04-02). No released kernel has it.
BUFRING_ENT_IN_OUT = [
    Field("flags", 0, 8),
    Field("commit_id", 8, 8),
    Field("payload_sz", 16, 4),
    Field("buf_id", 20, 2),
    Field("padding", 22, 2),
    Field("reserved", 24, 8),
]
BUFRING_CMD_REQ = [
    Field("flags", 0, 8),
    Field("commit_id", 8, 8),
    Field("qid", 16, 2),
    Field("padding", 18, 2),
    Field("init.buf_size", 20, 4),
    Field("init.queue_depth", 24, 2),
    Field("init.padding", 26, 2),
]


def test_is_as_the_proposal_lays_it_out() -> None:
    assert list(ring.ENT_IN_OUT_BUFRING.fields) == BUFRING_ENT_IN_OUT
    assert list(commands.CMD_REQ_BUFRING.fields) == BUFRING_CMD_REQ
    assert ring.ENT_IN_OUT_BUFRING.size == 32
    assert ring.REQ_HEADER_BUFRING.size == 288
    within = [Field(f"ring_ent_in_out.{field.name}", 256 + field.offset, field.size) for field in BUFRING_ENT_IN_OUT]
    assert list(ring.REQ_HEADER_BUFRING.fields) == [Field("in_out", 0, 128), Field("op_in", 128, 128), *within]
    assert set(protocol.structures(Dialect.BUFRING)) == {
        ring.REQ_HEADER_BUFRING,
        ring.ENT_IN_OUT_BUFRING,
        commands.CMD_REQ_BUFRING,
    }


def test_every_command_fits_the_command_area() -> None:
    assert commands.CMD_AREA_SIZE == sqe.SQE_SIZE - sqe.COMMAND_OFFSET
    sizes = [commands.CMD_REQ_REGISTER.size, commands.CMD_REQ_ADD_BUFPOOL.size, commands.CMD_REQ_BUFRING.size]
    assert max(sizes) <= commands.CMD_AREA_SIZE


def test_no_layout_is_forgotten() -> None:
    modules = (commands, ring)
    of_the_ring = {value for module in modules for value in vars(module).values() if isinstance(value, Layout)}
    known = {layout for dialect in Dialect for layout in protocol.structures(dialect)}
    assert known == of_the_ring
    assert {headers.IN_HEADER, headers.OUT_HEADER, init.INIT_IN} <= set(protocol.common_structures())

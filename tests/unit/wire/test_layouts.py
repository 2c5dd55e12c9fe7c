"""Every structure lies as the C compiler, the running kernel and the proposal say."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from furtrace.wire import commands, headers, init, ring
from furtrace.wire.dialect import Dialect, dialect_of
from furtrace.wire.layout import Field, Layout

AnyLayout = Layout[Any]

# Layout, and C expressions of its size and of the fields that the header of Linux 7.3 calls otherwise.
IN_C: list[tuple[AnyLayout, str, dict[str, str]]] = [
    (headers.IN_HEADER, "sizeof(struct fuse_in_header)", {}),
    (headers.OUT_HEADER, "sizeof(struct fuse_out_header)", {}),
    (ring.ENT_IN_OUT_BUFPOOL, "sizeof(struct fuse_uring_ent_in_out)", {}),
    (ring.ENT_IN_OUT_PLAIN, "sizeof(struct fuse_uring_ent_in_out)", {"padding": "offset"}),
    (ring.REQ_HEADER_BUFPOOL, "sizeof(struct fuse_uring_req_header)", {}),
    (
        ring.REQ_HEADER_PLAIN,
        "sizeof(struct fuse_uring_req_header)",
        {"ring_ent_in_out.padding": "ring_ent_in_out.offset"},
    ),
    (commands.CMD_REQ, "offsetof(struct fuse_uring_cmd_req, bufpool)", {}),
    (
        commands.CMD_REQ_REGISTER,
        "offsetof(struct fuse_uring_cmd_req, ent_zero_copy_buf_index) + sizeof(uint16_t)",
        {},
    ),
    (commands.CMD_REQ_ADD_BUFPOOL, "sizeof(struct fuse_uring_cmd_req)", {}),
    (init.INIT_IN_COMPAT, "offsetof(struct fuse_init_in, flags2)", {}),
    (init.INIT_IN, "sizeof(struct fuse_init_in)", {}),
    (init.INIT_OUT_COMPAT, "FUSE_COMPAT_INIT_OUT_SIZE", {}),
    (init.INIT_OUT_COMPAT_22, "FUSE_COMPAT_22_INIT_OUT_SIZE", {}),
    (init.INIT_OUT, "sizeof(struct fuse_init_out)", {}),
]

# The layouts that a kernel of each dialect has, by the name of the structure.
IN_BTF: dict[Dialect, list[AnyLayout]] = {
    Dialect.PLAIN: [ring.ENT_IN_OUT_PLAIN, ring.REQ_HEADER_PLAIN, commands.CMD_REQ],
    Dialect.BUFRING: [ring.ENT_IN_OUT_BUFRING, ring.REQ_HEADER_BUFRING],
    Dialect.BUFPOOL: [ring.ENT_IN_OUT_BUFPOOL, ring.REQ_HEADER_BUFPOOL, commands.CMD_REQ_ADD_BUFPOOL],
}
BTF = Path("/sys/kernel/btf/vmlinux")


def _c_fields(layout: AnyLayout, renamed: dict[str, str]) -> Iterator[str]:
    for field in layout.fields:
        place = f"struct {layout.name}, {renamed.get(field.name, field.name)}"
        yield f'  printf("%zu %zu\\n", offsetof({place}), sizeof((({place.replace(", ", " *)0)->", 1)}));\n'


@pytest.fixture(scope="module")
def in_c(fuse_header: Path, gcc: str, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, list[Field]]]:
    """Return size and fields of each of ``IN_C``, from one program."""
    folder = tmp_path_factory.mktemp("layouts")
    body = "".join(
        f'  printf("size %zu\\n", (size_t) ({size}));\n' + "".join(_c_fields(layout, renamed))
        for layout, size, renamed in IN_C
    )
    (folder / "layouts.c").write_text(
        f'#include <stddef.h>\n#include <stdio.h>\n#include "{fuse_header}"\nint main(void)\n{{\n{body}}}\n'
    )
    subprocess.run([gcc, "-o", folder / "layouts", folder / "layouts.c"], check=True)
    lines = iter(subprocess.check_output([folder / "layouts"], text=True).splitlines())
    return [
        (int(next(lines).split()[1]), [Field(field.name, *map(int, next(lines).split())) for field in layout.fields])
        for layout, _, _ in IN_C
    ]


@pytest.mark.parametrize(
    "index", range(len(IN_C)), ids=lambda index: f"{IN_C[index][0].name}-{IN_C[index][0].size}-{index}"
)
def test_is_as_c_lays_it_out(in_c: list[tuple[int, list[Field]]], index: int) -> None:
    layout = IN_C[index][0]
    assert (layout.size, list(layout.fields)) == in_c[index]


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


def _structure(btf: dict[int, dict[str, Any]], name: str) -> dict[str, Any]:
    for kind in btf.values():
        if kind["kind"] == "STRUCT" and kind["name"] == name:
            return kind
    pytest.skip(f"The running kernel has no struct {name}.")


def _btf_offsets(btf: dict[int, dict[str, Any]], kind: dict[str, Any], base: int = 0) -> Iterator[tuple[str, int]]:
    for member in kind["members"]:
        offset = base + member["bits_offset"] // 8
        if member["name"] == "(anon)":
            yield from _btf_offsets(btf, btf[member["type_id"]], offset)
        else:
            yield member["name"], offset


def _offsets(layout: AnyLayout) -> dict[str, int]:
    """Return where the fields of the outermost structure begin."""
    return {field.name.split(".")[0]: field.offset for field in reversed(layout.fields)}


def test_is_as_the_running_kernel_lays_it_out(btf: dict[int, dict[str, Any]]) -> None:
    dialect = dialect_of({member["name"] for member in _structure(btf, "fuse_uring_ent_in_out")["members"]})
    handshake: list[AnyLayout] = [headers.IN_HEADER, headers.OUT_HEADER, init.INIT_IN, init.INIT_OUT]
    for layout in handshake + IN_BTF[dialect]:
        kind = _structure(btf, layout.name)
        theirs = dict(_btf_offsets(btf, kind))
        # A structure's union has one member here and all of them there.
        assert _offsets(layout).items() <= theirs.items(), layout.name
        assert layout.size == kind["size"], layout.name


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


def test_every_command_fits_the_command_area() -> None:
    sizes = [commands.CMD_REQ_REGISTER.size, commands.CMD_REQ_ADD_BUFPOOL.size, commands.CMD_REQ_BUFRING.size]
    assert max(sizes) <= commands.CMD_AREA_SIZE

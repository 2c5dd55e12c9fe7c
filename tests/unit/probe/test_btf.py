"""Types out of BTF: of a kernel made by hand, and of the one that runs."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from furtrace.probe import btf
from furtrace.probe.btf import KernelTypes, libbpf
from furtrace.probe.errors import ProbeError
from tests.unit.probe import btf_file

RUNNING = Path("/sys/kernel/btf/vmlinux")


@pytest.fixture(scope="module", autouse=True)
def _has_libbpf() -> None:
    try:
        libbpf()
    except ProbeError as problem:
        pytest.skip(str(problem))


@pytest.fixture
def vmlinux(tmp_path: Path) -> Path:
    path = tmp_path / "vmlinux"
    path.write_bytes(btf_file.kernel().build())
    return path


@pytest.fixture
def types(vmlinux: Path) -> KernelTypes:
    return KernelTypes(vmlinux)


def test_members_of_anonymous_members_are_members(types: KernelTypes) -> None:
    assert types.members("fuse_req") == {"flags", "deep", "deeper", "either"}


def test_offsets(types: KernelTypes) -> None:
    assert types.offsets("fuse_req") == {"flags": 0, "deep": 8, "deeper": 12, "either": 8}
    assert types.offsets("fuse_conn") == {"dev": 0, "abort": 8, "init": 9, "last": 16}  # of a bit field, its byte
    assert types.offsets("fuse_chan") == {}
    assert types.offset_macros(["fuse_conn", "fuse_chan"]).splitlines() == [
        "#define OFFSET_fuse_conn_dev 0",
        "#define OFFSET_fuse_conn_abort 8",
        "#define OFFSET_fuse_conn_init 9",
        "#define OFFSET_fuse_conn_last 16",
    ]


def test_layout_checks(types: KernelTypes, tmp_path: Path) -> None:
    """They hold for the definitions that libbpf makes, and for no other layout; bit fields have no offset in C."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("There is no gcc here to compile the checks.")
    structs = ["fuse_req", "fuse_conn", "fuse_chan"]
    definitions, checks = types.definitions(structs), types.layout_checks(structs)
    assert checks.count("_Static_assert") == 4 + 2 + 2

    def compiles(text: str) -> bool:
        source = tmp_path / "checks.c"
        source.write_text(text)
        compiler = [gcc, "-w", "-c", "-o", str(tmp_path / "checks.o"), str(source)]
        return subprocess.run(compiler, capture_output=True, check=False).returncode == 0

    assert compiles(definitions + checks)
    moved = definitions.replace("unsigned int deep;", "unsigned int gap;\n unsigned int deep;")
    assert moved != definitions
    assert compiles(moved)
    assert not compiles(moved + checks)


def test_what_is_not_there_is_empty(types: KernelTypes) -> None:
    assert types.members("fuse_chan") == frozenset()
    assert types.members("fuse_empty") == frozenset()
    assert types.size("fuse_chan") == 0
    assert types.enumerators("fuse_opcode") == {}
    assert types.function_id("fuse_dev_close") == 0
    assert not types.has_tracepoint("fuse_request_sent")


def test_a_name_is_found_by_its_kind_only(types: KernelTypes) -> None:
    assert types.members("fuse_req_flag") == frozenset()
    assert types.enumerators("fuse_req") == {}
    assert types.function_id("fuse_req") == 0
    assert not types.has_tracepoint("fuse_dev_open")


def test_sizes_enumerators_functions_tracepoints(types: KernelTypes) -> None:
    assert types.size("fuse_req") == 16
    assert types.enumerators("fuse_req_flag") == {"FR_ISREPLY": 0, "FR_BACKGROUND": 2, "FR_NEGATIVE": -5}
    assert types.function_id("fuse_dev_open") == btf_file.kernel().next_id - 1
    assert types.has_tracepoint("fuse_request_send")


def test_macros(types: KernelTypes) -> None:
    lines = types.feature_macros(["fuse_chan", "fuse_req"], ["fuse_req_flag"]).splitlines()
    names = ["fuse_req_deep", "fuse_req_deeper", "fuse_req_either", "fuse_req_flags"]
    assert lines == [f"#define HAVE_{name} 1" for name in [*names, "FR_ISREPLY", "FR_BACKGROUND", "FR_NEGATIVE"]]


def test_definitions_are_c(types: KernelTypes, tmp_path: Path) -> None:
    text = types.definitions(["fuse_req", "fuse_chan"], ["fuse_req_flag", "fuse_opcode"])
    assert "fuse_chan" not in text
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("There is no gcc here to compile the definitions.")
    checks = "sizeof(struct fuse_req) == 16 && __builtin_offsetof(struct fuse_req, deeper) == 12 && FR_BACKGROUND == 2"
    source = tmp_path / "types.c"
    source.write_text(f'{text}\n_Static_assert({checks}, "");\n')
    subprocess.run([gcc, "-c", "-o", tmp_path / "types.o", source], check=True)


def test_a_module_goes_on_where_the_kernel_ends(vmlinux: Path) -> None:
    module = vmlinux.with_name("fuse")
    module.write_bytes(btf_file.module(btf_file.kernel()).build())
    types = KernelTypes(vmlinux, module)
    assert types.members("fuse_uring_ent_in_out") == {"buf_id"}
    assert types.size("fuse_uring_ent_in_out") == 4
    assert types.members("fuse_req") >= {"flags", "deep"}  # the kernel's own are found through the module's too
    assert types.has_tracepoint("fuse_request_end")
    assert types.has_tracepoint("fuse_request_send")
    assert "buf_id" in types.definitions(["fuse_uring_ent_in_out"])
    assert not KernelTypes(vmlinux).has_tracepoint("fuse_request_end")


def _is_a_sentence(problem: pytest.ExceptionInfo[ProbeError]) -> bool:
    text = str(problem.value)
    return text[0].isupper() and text[-1] in ".?" and "\n" not in text


def test_no_btf(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="CONFIG_DEBUG_INFO_BTF") as problem:
        KernelTypes(tmp_path / "vmlinux")
    assert _is_a_sentence(problem)


@pytest.mark.parametrize("garbage", [b"", b"\0", b"garbage" * 100, btf_file.kernel().build()[:60]])
def test_garbage(tmp_path: Path, garbage: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(garbage)
    with pytest.raises(ProbeError, match="can't be read") as problem:
        KernelTypes(path)
    assert _is_a_sentence(problem)
    assert capfd.readouterr() == ("", "")  # libbpf itself keeps silent


def test_a_directory_is_no_btf(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="can't be read"):
        KernelTypes(tmp_path)


@pytest.mark.parametrize("garbage", [b"", b"garbage" * 100])
def test_a_module_that_does_not_fit(vmlinux: Path, garbage: bytes) -> None:
    module = vmlinux.with_name("fuse")
    module.write_bytes(garbage)
    with pytest.raises(ProbeError, match="does not fit") as problem:
        KernelTypes(vmlinux, module)
    assert _is_a_sentence(problem)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, vmlinux: Path) -> Iterator[Path]:
    """``running_kernel()`` with its directory elsewhere; nothing of it stays cached."""
    monkeypatch.setattr(btf, "BTF_DIRECTORY", vmlinux.parent)
    monkeypatch.setattr(btf, "_FUSE", vmlinux.with_name("loaded"))
    btf.running_kernel.cache_clear()
    yield vmlinux
    btf.running_kernel.cache_clear()


def test_running_kernel_with_fuse_built_in(running: Path) -> None:
    assert btf.running_kernel().members("fuse_uring_ent_in_out") == frozenset()


def test_running_kernel_with_fuse_as_a_module(running: Path) -> None:
    running.with_name("fuse").write_bytes(btf_file.module(btf_file.kernel()).build())
    assert btf.running_kernel().members("fuse_uring_ent_in_out") == {"buf_id"}


@pytest.mark.parametrize(
    ("loaded", "said"), [(False, "modprobe fuse"), (True, "module fuse is loaded, but without BTF")]
)
def test_running_kernel_without_fuse(running: Path, loaded: bool, said: str) -> None:
    made = btf_file.Btf()
    made.integer("int", 4)
    running.write_bytes(made.build())
    if loaded:
        running.with_name("loaded").mkdir()
    with pytest.raises(ProbeError, match=said) as problem:
        btf.running_kernel()
    assert _is_a_sentence(problem)


# ---- the kernel that runs ----

_UAPI = {
    "linux/io_uring.h": ("io_uring_sqe", "io_uring_cqe", "io_uring_params"),
    "linux/fuse.h": ("fuse_in_header", "fuse_out_header", "fuse_attr", "fuse_entry_out"),
    "linux/uio.h": ("iovec",),
}


@pytest.fixture(scope="module")
def this_kernel() -> KernelTypes:
    if not RUNNING.exists():
        pytest.skip(f"This kernel has no {RUNNING}.")
    return KernelTypes(RUNNING)


def test_members_of_this_kernel(this_kernel: KernelTypes) -> None:
    # user_data is in no union, off and addr2 are in the same, uring_cmd_flags is in another.
    assert this_kernel.members("io_uring_sqe") >= {"opcode", "user_data", "off", "addr2", "rw_flags"}
    assert "" not in this_kernel.members("task_struct")


@pytest.mark.parametrize("header", _UAPI)
def test_sizes_of_this_kernel(this_kernel: KernelTypes, header: str, tmp_path: Path) -> None:
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("There is no gcc here to ask for C's sizes.")
    if not (Path("/usr/include") / header).exists():
        pytest.skip(f"There is no {header} here.")
    structs = [name for name in _UAPI[header] if this_kernel.size(name)]
    if not structs:
        pytest.skip(f"This kernel's BTF has none of {header}: fuse is a module.")
    prints = "".join(f'printf("%zu\\n", sizeof(struct {name}));' for name in structs)
    source, program = tmp_path / "size.c", tmp_path / "size"
    source.write_text(f"#include <stdio.h>\n#include <{header}>\nint main(void) {{ {prints} }}\n")
    subprocess.run([gcc, "-o", program, source], check=True)
    said = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    assert [this_kernel.size(name) for name in structs] == list(map(int, said.split()))


def test_enumerators_of_this_kernel(this_kernel: KernelTypes) -> None:
    opcodes = this_kernel.enumerators("io_uring_op")
    assert (opcodes["IORING_OP_NOP"], opcodes["IORING_OP_READV"], opcodes["IORING_OP_URING_CMD"]) == (0, 1, 46)

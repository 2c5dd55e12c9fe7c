"""Functions out of kallsyms."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from furtrace.probe import kallsyms
from furtrace.probe.errors import ProbeError
from furtrace.probe.kallsyms import fuse_functions

_SYMBOLS = """\
ffffffff81000000 T _stext
ffffffff81000010 t fuse_dev_read
ffffffff81000020 T io_uring_cmd_done
ffffffff81000030 W io_buffer_register_bvec
ffffffff81000040 t fuse_uring_send.constprop.0\t[fuse]
ffffffff81000050 d fuse_dev_operations
ffffffff81000060 r fuse_names
ffffffff81000070 t fuse_dev_read
"""


@pytest.fixture
def symbols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "kallsyms"
    monkeypatch.setattr(kallsyms, "_KALLSYMS", path)
    fuse_functions.cache_clear()
    yield path
    fuse_functions.cache_clear()


def test_functions_by_name(symbols: Path) -> None:
    symbols.write_text(_SYMBOLS)
    assert fuse_functions() == {
        "fuse_dev_read": 0xFFFFFFFF81000010,  # the first of two of that name
        "io_uring_cmd_done": 0xFFFFFFFF81000020,
        "io_buffer_register_bvec": 0xFFFFFFFF81000030,
        "fuse_uring_send.constprop.0": 0xFFFFFFFF81000040,
    }


def test_hidden_addresses(symbols: Path) -> None:
    symbols.write_text(_SYMBOLS.replace("ffffffff810000", "00000000000000").replace("10 t", "00 t"))
    for line in "12345678":
        symbols.write_text(symbols.read_text().replace(f"{line}0 ", "00 "))
    with pytest.raises(ProbeError, match="kptr_restrict"):
        fuse_functions()


def test_a_kernel_without_fuse(symbols: Path) -> None:
    symbols.write_text("ffffffff81000000 T _stext\n")
    assert fuse_functions() == {}

"""The kernel's own header, against which names and layouts are checked."""

import os
import shutil
from pathlib import Path

import pytest

from tests.external import Unavailable, debian
from tests.unit.wire.compiler import Compiler


@pytest.fixture(scope="session")
def fuse_header() -> Path:
    """Return ``linux/fuse.h``: that of FURTRACE_FUSE_H if it is set, else of Debian's newest backported kernel."""
    override = os.environ.get("FURTRACE_FUSE_H")
    if override:
        return Path(override)
    try:
        return debian.binary_package("trixie-backports", "linux-libc-dev") / "usr/include/linux/fuse.h"
    except Unavailable as reason:
        pytest.skip(f"No fuse.h of Linux 7.3: {reason} FURTRACE_FUSE_H can name one.")


@pytest.fixture(scope="session")
def gcc() -> str:
    """Return the C compiler."""
    found = shutil.which("gcc")
    if found is None:
        pytest.skip("There is no gcc here to ask for C's layouts.")
    return found


@pytest.fixture(scope="session")
def compiler(fuse_header: Path, gcc: str, tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    """Return the C compiler with the headers that lie where ``linux/fuse.h`` does."""
    uapi = fuse_header.parent.parent
    if not (uapi / "linux/io_uring.h").exists():
        pytest.skip(f"There is no linux/io_uring.h beside {fuse_header}.")
    return Compiler(gcc, uapi, tmp_path_factory.mktemp("compiler"))

"""The distribution's bcc: found, checked to be the real one, and set up to need no kernel headers.

The project called ``bcc`` on PyPI is a lattice library, so bcc is taken from where distributions put it, whatever
``sys.path`` says, and what is found there has to have bcc's own parts.
"""

import functools
import importlib.util
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from furtrace.probe.errors import ProbeError

_PLACES = ("/usr/lib/python3/dist-packages", "/usr/lib/python3*/site-packages", "/usr/lib64/python3*/site-packages")
_MISSING = (
    "bcc's Python module is not installed; install the distribution's package "
    "(Debian and Ubuntu: python3-bpfcc, Fedora: python3-bcc, Arch: python-bcc)."
)

# bcc puts its own helpers.h before every program; this is all that it wants of a kernel tree.
_STUBS = {
    "linux/kconfig.h": "#define CONFIG_BPF_SYSCALL 1\n",
    "linux/types.h": """#pragma once
typedef unsigned char __u8; typedef signed char __s8; typedef unsigned short __u16; typedef short __s16;
typedef unsigned int __u32; typedef int __s32; typedef unsigned long long __u64; typedef long long __s64;
typedef __u8 u8; typedef __s8 s8; typedef __u16 u16; typedef __s16 s16;
typedef __u32 u32; typedef __s32 s32; typedef __u64 u64; typedef __s64 s64;
typedef __u16 __be16; typedef __u32 __be32; typedef __u64 __be64; typedef __u32 __wsum; typedef __u16 __sum16;
typedef __u64 __aligned_u64 __attribute__((aligned(8)));
typedef _Bool bool; typedef unsigned long size_t; typedef long ssize_t; typedef unsigned long uintptr_t;
typedef int pid_t;
#define true 1
#define false 0
#ifndef NULL
#define NULL ((void *)0)
#endif
""",
    "asm/page.h": "#define PAGE_SIZE 4096\n",
    **dict.fromkeys(
        ("linux/bpf_common.h", "linux/log2.h", "linux/ptrace.h", "uapi/linux/ptrace.h", "uapi/linux/bpf.h",
         "uapi/linux/if_packet.h"),
        "",
    ),
}  # fmt: skip


def _places() -> Iterator[Path]:
    for pattern in _PLACES:
        yield from sorted(Path("/").glob(pattern.removeprefix("/")), reverse=True)


@functools.cache
def load() -> ModuleType:
    """Import the distribution's bcc.

    Raises:
        ProbeError: it is not installed, or what has its name there is something else.
    """
    for place in _places():
        package = place / "bcc"
        if not (package / "libbcc.py").exists():
            continue
        spec = importlib.util.spec_from_file_location(
            "bcc", package / "__init__.py", submodule_search_locations=[str(package)]
        )
        if spec is None or spec.loader is None:
            continue
        module = importlib.util.module_from_spec(spec)
        sys.modules["bcc"] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # whatever a broken installation comes to
            del sys.modules["bcc"]
            raise ProbeError(f"bcc in {place} does not load ({error}); reinstall the distribution's package.") from None
        if not hasattr(module, "BPF"):
            del sys.modules["bcc"]
            raise ProbeError(f"What {place} has under the name bcc is not the BPF Compiler Collection. {_MISSING}")
        return module
    raise ProbeError(_MISSING)


def place() -> Path:
    """Where it was found."""
    return Path(str(load().__file__)).parent


def version() -> str:
    """Bcc's own version, as in ``0.26.0``."""
    return str(getattr(load(), "__version__", "unknown"))


def _version_header() -> str:
    major, minor, patch = (*map(int, re.findall(r"\d+", platform.release())[:3]), 0, 0)[:3]
    return (
        "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))\n"
        f"#define LINUX_VERSION_CODE KERNEL_VERSION({major}, {minor}, {min(patch, 255)})\n"
    )


@contextmanager
def kernel_tree(headers: Mapping[str, str]) -> Iterator[Path]:
    """A directory that serves bcc as kernel headers while a program is compiled, with ``headers`` in it by name."""
    before = os.environ.get("BCC_KERNEL_SOURCE")
    with tempfile.TemporaryDirectory(prefix="furtrace-") as root:
        include = Path(root) / "include"
        for name, text in {**_STUBS, "linux/version.h": _version_header(), **headers}.items():
            path = include / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        os.environ["BCC_KERNEL_SOURCE"] = root
        try:
            yield include
        finally:
            if before is None:
                del os.environ["BCC_KERNEL_SOURCE"]
            else:
                os.environ["BCC_KERNEL_SOURCE"] = before

"""Types and functions of a module, by the split BTF that it brings: ``python -m tests.vm.split_types``, as root.

Debian's kernels have fuse built in, other distributions' have it as a module. What is done then is tried with cuse,
which is a module in all of them and has to be loaded: its types are found, a program for one of its functions is
compiled, attached by fentry, and called.
"""

import ctypes
import os
import sys

from furtrace.probe import bcc
from furtrace.probe.btf import BTF_DIRECTORY, KernelTypes
from furtrace.probe.tracing import FENTRY, Tracing

_PROGRAM = """
#include "types.h"
BPF_ARRAY(opened, u64, 1);
int enter(unsigned long long *ctx) {
	struct inode *inode = (void *)ctx[0];
	int zero = 0;
	u32 device = 0;
	u64 *count = opened.lookup(&zero);
	bpf_probe_read_kernel(&device, sizeof(device), (char *)inode + OFFSET_inode_i_rdev);
	if (count && device)
		*count += 1;
	return 0;
}
"""
_FUNCTION = "cuse_channel_open"


def main() -> int:
    """Open /dev/cuse three times, and return 0 if that was seen."""
    types = KernelTypes(BTF_DIRECTORY / "vmlinux", BTF_DIRECTORY / "cuse")
    assert {"fc", "list"} <= types.members("cuse_conn"), types.members("cuse_conn")
    assert types.in_module(types.function_id(_FUNCTION))
    assert not types.in_module(types.function_id("fuse_dev_open"))
    assert types.parameters(_FUNCTION) == ("inode", "file")
    # cuse_conn holds a fuse_conn, a type of the kernel's own: one text has both.
    header = "#pragma once\n#include <linux/types.h>\n" + types.definitions(["cuse_conn"])
    header += types.layout_checks(["cuse_conn"]) + types.offset_macros(["inode"])
    with bcc.kernel_tree({"types.h": header}):
        bpf = bcc.load().BPF(text=_PROGRAM)
    tracing = Tracing(types)
    tracing.at_function(_FUNCTION, bpf.dump_func(b"enter"), FENTRY)
    for _ in range(3):
        os.close(os.open("/dev/cuse", os.O_RDWR))
    tracing.close()
    os.close(os.open("/dev/cuse", os.O_RDWR))
    count = int(bpf["opened"][ctypes.c_int(0)].value)
    print(f"{_FUNCTION} was seen {count} times.")
    return 0 if count == 3 else 1


if __name__ == "__main__":
    sys.exit(main())

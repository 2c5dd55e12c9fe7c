"""Codes and flags are those of the kernel's headers: none is missing, none is extra."""

from enum import IntEnum, IntFlag
from typing import Final

import pytest

from furtrace.wire import extensions, flags, headers, sqe, vfs
from furtrace.wire.flags import macros
from furtrace.wire.notifications import Notification
from furtrace.wire.opcodes import Opcode, UringCommand
from tests.unit.wire.compiler import X86, Compiler

FUSE_H: Final = "linux/fuse.h"
FLAGS: Final = tuple(
    kind
    for kind in vars(flags).values()
    if isinstance(kind, type) and issubclass(kind, IntFlag) and kind not in (IntFlag, flags.BufringFlag, flags.NoFlag)
)
"""Those of ``linux/fuse.h``; the bufring form's are in no header."""
ALIASES: Final = {"FUSE_DIRECT_IO_RELAX", "FUSE_WRITE_KILL_PRIV"}
"""Old names of flags."""
NUMBERS: Final = {
    "FUSE_KERNEL_VERSION": 7,
    "FUSE_KERNEL_MINOR_VERSION": 46,
    "FUSE_ROOT_ID": 1,
    "FUSE_UNIQUE_RESEND": headers.UNIQUE_RESEND,
    "FUSE_INVALID_UIDGID": headers.INVALID_ID,
    "FUSE_URING_IN_OUT_HEADER_SZ": 128,
    "FUSE_URING_OP_IN_OUT_SZ": 128,
    "FUSE_NAME_OFFSET": 24,
    "FUSE_NAME_OFFSET_DIRENTPLUS": 152,
}
"""Macros that are no flags, and that furtrace goes by."""
ELSEWHERE: Final = (
    "FUSE_DEV_IOC_",  # ioctl(2) on /dev/fuse
    "FUSE_COMPAT_",  # sizes of old forms; test_layouts has those that are read
    "FUSE_IOCTL_MAX_IOV", "FUSE_MIN_READ_BUFFER", "CUSE_INIT_INFO_MAX",  # limits of kernel and server
    "FUSE_REMOVEMAPPING_MAX_ENTRY",  # needs PAGE_SIZE, which no header has
)  # fmt: skip


def _ours(*kinds: type[IntFlag]) -> dict[str, int]:
    """Return the flags of classes, by their names in C."""
    return {macros(int(flag), kind)[0]: int(flag) for kind in kinds for flag in kind}


def _fuse_macros(compiler: Compiler) -> dict[str, int]:
    return compiler.macros(FUSE_H, ("FUSE_", "CUSE_", "FATTR_", "FOPEN_"), but=ELSEWHERE)


def test_flags_and_numbers_of_the_protocol(compiler: Compiler) -> None:
    theirs = {name: value for name, value in _fuse_macros(compiler).items() if name not in ALIASES}
    # 1 << 31 is below zero in C; on the wire it is not.
    theirs["FUSE_INIT_RESERVED"] %= 1 << 32
    assert _ours(*FLAGS) | NUMBERS == theirs


def test_old_names_of_flags_are_those_of_flags(compiler: Compiler) -> None:
    macros_of_c = _fuse_macros(compiler)
    assert {name: macros_of_c[name] for name in ALIASES} == {
        "FUSE_DIRECT_IO_RELAX": flags.InitFlag.DIRECT_IO_ALLOW_MMAP,
        "FUSE_WRITE_KILL_PRIV": flags.WriteFlag.KILL_SUIDGID,
    }


@pytest.mark.parametrize(
    ("kind", "name", "prefix", "others"),
    [
        # The two *_BSWAP_RESERVED keep a number free by which a reader notices the other byte order; nobody sends them.
        (Opcode, "fuse_opcode", "FUSE_", {"INIT_BSWAP_RESERVED", "CUSE_INIT_BSWAP_RESERVED"}),
        (UringCommand, "fuse_uring_cmd", "FUSE_IO_URING_CMD_", {"INVALID"}),
        (Notification, "fuse_notify_code", "FUSE_NOTIFY_", set()),
    ],
)
def test_codes(compiler: Compiler, kind: type[IntEnum], name: str, prefix: str, others: set[str]) -> None:
    theirs = {member.removeprefix(prefix): value for member, value in compiler.enumeration(FUSE_H, name).items()}
    ours = {code.name: int(code) for code in kind}
    assert theirs.keys() - ours.keys() == others
    assert ours == {member: value for member, value in theirs.items() if member not in others}


def test_types_of_extensions(compiler: Compiler) -> None:
    assert compiler.enumeration(FUSE_H, "fuse_ext_type") == {
        "FUSE_MAX_NR_SECCTX": extensions.MAX_NR_SECCTX,
        "FUSE_EXT_GROUPS": extensions.EXT_GROUPS,
    }


# ---- flags of system calls ----

# Class, header, prefixes of the macros there, and those that are no flags of the class.
OF_SYSTEM_CALLS: Final[list[tuple[type[IntFlag], str, tuple[str, ...], set[str]]]] = [
    (vfs.RenameFlag, "linux/fs.h", ("RENAME_",), set()),
    (vfs.XattrFlag, "linux/xattr.h", ("XATTR_CREATE", "XATTR_REPLACE"), set()),
    (vfs.FallocateFlag, "linux/falloc.h", ("FALLOC_FL_",), {"FALLOC_FL_ALLOCATE_RANGE"}),
    # STATX__RESERVED is for more bits than these; the other two are several bits.
    (
        vfs.StatxMask,
        "linux/stat.h",
        ("STATX_",),
        {"STATX__RESERVED", "STATX_BASIC_STATS", "STATX_ALL"},
    ),
    (vfs.StatxAttribute, "linux/stat.h", ("STATX_ATTR_",), set()),
    (vfs.PollEvent, "asm-generic/poll.h", ("POLL",), set()),
    (sqe.SqeFlag, "linux/io_uring.h", ("IOSQE_",), set()),
    (sqe.UringCmdFlag, "linux/io_uring.h", ("IORING_URING_CMD_",), {"IORING_URING_CMD_MASK"}),
]


@pytest.mark.parametrize(
    ("kind", "header", "prefixes", "others"), OF_SYSTEM_CALLS, ids=[kind.__name__ for kind, *_ in OF_SYSTEM_CALLS]
)
def test_flags_of_system_calls(
    compiler: Compiler, kind: type[IntFlag], header: str, prefixes: tuple[str, ...], others: set[str]
) -> None:
    # POLLFREE and POLL_BUSY_LOOP are the kernel's own, and of a type of its own.
    but = ("STATX_ATTR_",) if kind is vfs.StatxMask else ("POLLFREE", "POLL_")
    theirs = compiler.macros(header, prefixes, but=but)
    assert _ours(kind) == {name: value for name, value in theirs.items() if name not in others}


def test_flags_of_statx(compiler: Compiler) -> None:
    theirs = compiler.macros("linux/fcntl.h", ("AT_",))
    ours = _ours(vfs.StatxFlag)
    assert ours.items() <= theirs.items()
    # All AT_STATX_* but the mask of them, and the three that statx(2) shares with other calls.
    names = {name for name in theirs if name.startswith("AT_STATX_") and theirs[name]} - {"AT_STATX_SYNC_TYPE"}
    assert ours.keys() == names | {"AT_SYMLINK_NOFOLLOW", "AT_NO_AUTOMOUNT", "AT_EMPTY_PATH"}


def test_access_mask() -> None:
    # Not in the kernel's headers: include/linux/fs.h calls them MAY_*.
    assert _ours(vfs.AccessMask) == {"X_OK": 1, "W_OK": 2, "R_OK": 4}


ARM64: Final = "aarch64-linux-gnu"
O_ALIASES: Final = {"O_NDELAY", "O_SYNC", "O_TMPFILE", "O_ACCMODE", "O_RDONLY", "O_WRONLY", "O_RDWR"}


def _open_flags(compiler: Compiler, machine: str) -> dict[str, int]:
    """Return the single bits of open(2)'s flags; one that C writes with underscores is called as here."""
    theirs: dict[str, int] = {}
    for header in ("asm/fcntl.h", "asm-generic/fcntl.h"):
        theirs = compiler.macros(header, ("O_", "__O_", "FASYNC"), machine) | theirs
    bits = {name.removeprefix("__"): value for name, value in theirs.items() if name not in O_ALIASES}
    assert all(value.bit_count() == 1 for value in bits.values())
    return bits


def test_flags_of_open(compiler: Compiler) -> None:
    # FMODE_EXEC is the kernel's own, include/linux/fs.h.
    assert _ours(vfs.OpenFlag) == _open_flags(compiler, X86) | {"FMODE_EXEC": 0o40}


@pytest.mark.parametrize("machine", [ARM64, "arm-linux-gnueabihf"])
def test_flags_of_open_on_arm(compiler: Compiler, machine: str) -> None:
    ours = _ours(vfs.OpenFlag) | _ours(vfs.ArmOpenFlag)
    assert ours == _open_flags(compiler, machine) | {"FMODE_EXEC": 0o40}
    same = _open_flags(compiler, X86)
    assert {name for name, value in _open_flags(compiler, machine).items() if same[name] != value} == set(
        _ours(vfs.ArmOpenFlag)
    )


@pytest.mark.parametrize("arm", [False, True])
def test_names_of_open_flags_are_those_of_c(compiler: Compiler, *, arm: bool) -> None:
    theirs = _open_flags(compiler, ARM64 if arm else X86)
    for name, value in theirs.items():
        assert vfs.open_flag_names(value, arm=arm) == ("O_RDONLY", name)


def test_open_flags_of_two_bits() -> None:
    assert vfs.open_flag_names(0o4010002, arm=False) == ("O_RDWR", "O_SYNC")
    assert vfs.open_flag_names(0o10001, arm=False) == ("O_WRONLY", "O_DSYNC")
    assert vfs.open_flag_names(0o20000003 | 1 << 30, arm=True) == ("O_ACCMODE", "O_TMPFILE", "0x40000000")


# Enumeration, header, and the macros of its members; those that mean the same on all machines.
ENUMERATIONS: Final[list[tuple[type[IntEnum], str, tuple[str, ...], set[str]]]] = [
    (vfs.Whence, "linux/fs.h", ("SEEK_",), {"SEEK_MAX"}),
    (vfs.LockType, "asm-generic/fcntl.h", ("F_RDLCK", "F_WRLCK", "F_UNLCK"), set()),
]


@pytest.mark.parametrize(("kind", "header", "prefixes", "others"), ENUMERATIONS)
def test_numbers_of_system_calls(
    compiler: Compiler, kind: type[IntEnum], header: str, prefixes: tuple[str, ...], others: set[str]
) -> None:
    theirs = compiler.macros(header, prefixes)
    assert {one.name: int(one) for one in kind} == {name: theirs[name] for name in theirs if name not in others}


def test_types_of_directory_entries(compiler: Compiler) -> None:
    names = [one.name for one in vfs.DirentType]
    assert [int(one) for one in vfs.DirentType] == compiler.values(["dirent.h"], names)


def test_io_uring_operations(compiler: Compiler) -> None:
    theirs = compiler.enumeration("linux/io_uring.h", "io_uring_op")
    del theirs["IORING_OP_LAST"]
    assert {f"IORING_OP_{one.name}": int(one) for one in sqe.IoUringOp} == theirs
    assert {theirs["IORING_OP_URING_CMD"], theirs["IORING_OP_URING_CMD128"]} == sqe.COMMANDS


def test_every_class_of_flags_is_compared() -> None:
    known = {kind for kind, *_ in OF_SYSTEM_CALLS}
    known |= {vfs.StatxFlag, vfs.AccessMask, vfs.OpenFlag, vfs.ArmOpenFlag}
    found = {
        kind
        for module in (vfs, sqe)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, IntFlag) and kind is not IntFlag
    }
    assert found == known
    assert len(FLAGS) > 15

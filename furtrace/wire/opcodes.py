"""Operation and command codes of the FUSE protocol, 7.46 (``include/uapi/linux/fuse.h`` of Linux 7.3)."""

from enum import IntEnum


class Opcode(IntEnum):
    """``enum fuse_opcode``: what a request asks for."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    GETLK = 31
    SETLK = 32
    SETLKW = 33
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    BMAP = 37
    DESTROY = 38
    IOCTL = 39
    POLL = 40
    NOTIFY_REPLY = 41
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    SETUPMAPPING = 48
    REMOVEMAPPING = 49
    SYNCFS = 50
    TMPFILE = 51
    STATX = 52
    COPY_FILE_RANGE_64 = 53
    CUSE_INIT = 4096


class UringCommand(IntEnum):
    """``enum fuse_uring_cmd``: ``cmd_op`` of an ``IORING_OP_URING_CMD`` SQE on /dev/fuse."""

    REGISTER = 1
    COMMIT_AND_FETCH = 2
    ADD_QUEUE = 3
    ADD_BUFPOOL = 4


class FixedIo(IntEnum):
    """I/O on registered buffers: those of ``enum io_uring_op``, ``include/uapi/linux/io_uring.h`` of Linux 7.3."""

    READ_FIXED = 4
    WRITE_FIXED = 5
    READV_FIXED = 60
    WRITEV_FIXED = 61


class HeaderPart(IntEnum):
    """``enum fuse_uring_header_type`` of ``fs/fuse/dev_uring.c``: the parts of an entry's header."""

    IN_OUT = 0
    OP = 1
    RING_ENT = 2


_OPCODE_NAMES = {int(code): code.name for code in Opcode}


def opcode_name(code: int) -> str:
    """Return the operation's name without its prefix (``WRITE``), or ``OP_<number>`` for a code that is not known."""
    return _OPCODE_NAMES.get(code) or f"OP_{code}"


_NAME_ROLES: dict[int, tuple[str, ...]] = {
    Opcode.LOOKUP: ("name",),
    Opcode.SYMLINK: ("name", "target"),
    Opcode.MKNOD: ("name",),
    Opcode.MKDIR: ("name",),
    Opcode.UNLINK: ("name",),
    Opcode.RMDIR: ("name",),
    Opcode.RENAME: ("oldname", "newname"),
    Opcode.LINK: ("newname",),  # the old one is oldnodeid of fuse_link_in
    Opcode.SETXATTR: ("attribute",),
    Opcode.GETXATTR: ("attribute",),
    Opcode.REMOVEXATTR: ("attribute",),
    Opcode.CREATE: ("name",),
    Opcode.RENAME2: ("oldname", "newname"),
    Opcode.TMPFILE: ("name",),
}


def name_roles(code: int) -> tuple[str, ...]:
    """Return what each name is that a request brings, in their order: ``()``, or say ``("oldname", "newname")``.

    They are in_args of ``fs/fuse/dir.c`` and ``fs/fuse/xattr.c``; ``names.parse_names`` reads them.
    """
    return _NAME_ROLES.get(code, ())


_FIXED_IO_NAMES = {int(code): code.name for code in FixedIo}
_HEADER_PART_NAMES = {int(part): part.name for part in HeaderPart}


def fixed_io_name(code: int) -> str:
    """Return the name of an SQE's opcode without its prefix (``READ_FIXED``), ``OP_<number>`` if it is no fixed I/O."""
    return _FIXED_IO_NAMES.get(code) or f"OP_{code}"


def header_part_name(part: int) -> str:
    """Return the name of a part of an entry's header (``IN_OUT``), or ``PART_<number>`` if it is not known."""
    return _HEADER_PART_NAMES.get(part) or f"PART_{part}"


_COMMAND_NAMES = {int(command): command.name for command in UringCommand}


def command_name(code: int) -> str:
    """Return the uring command's name without its prefix (``REGISTER``), or ``CMD_<number>`` if it is not known."""
    return _COMMAND_NAMES.get(code) or f"CMD_{code}"

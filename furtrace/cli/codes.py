"""Options that take one code of the protocol, by name or number."""

from typing import Any

import click

from furtrace.cli.options import OpcodeList
from furtrace.wire.opcodes import UringCommand


class OpcodeCode(click.ParamType[int]):
    """One operation: ``READ``, ``FUSE_READ``, ``15``. Case does not matter."""

    name = "op"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the operation's code."""
        if isinstance(value, int):
            return value
        if "," in str(value):
            self.fail(f"{value!r} are several; give one operation", param, ctx)
        (code,) = OpcodeList().convert(value, param, ctx)
        return code


class CommandCode(click.ParamType[int]):
    """One command of FUSE over io_uring: ``REGISTER``, ``FUSE_IO_URING_CMD_REGISTER``, ``1``."""

    name = "cmd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the command's code."""
        if isinstance(value, int):
            return value
        name = str(value).strip().upper().removeprefix("FUSE_IO_URING_CMD_")
        if name in UringCommand.__members__:
            return int(UringCommand[name])
        is_number = name.isascii() and name.isdigit() and len(name) <= 10 and int(name) < 1 << 32
        if not is_number:
            self.fail(f"{value!r} is no command; there are {', '.join(UringCommand.__members__)}", param, ctx)
        return int(name)

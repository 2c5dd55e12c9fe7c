"""The setting up of a connection, in words: FUSE_INIT and the commands that make queues and entries."""

import numpy as np

from furtrace.trace.record import INIT_SIZE, Kind
from furtrace.wire.commands import CmdReqAddBufpool, CmdReqBufring, CmdReqRegister, parse_cmd_req
from furtrace.wire.dialect import Dialect
from furtrace.wire.errnos import errno_name
from furtrace.wire.errors import DecodeError
from furtrace.wire.flags import cmd_flag_names, init_flag_names
from furtrace.wire.init import InitOut, InitOutCompat22, parse_init_in, parse_init_out


def describe_init(extra: bytes, error: int) -> str:
    """What kernel and server agreed on in INIT.

    Args:
        extra: 64 bytes of ``fuse_init_in``, then, if the server did not fail, 64 of ``fuse_init_out``.
        error: of the reply.
    """
    try:
        offered = parse_init_in(extra[:INIT_SIZE])
        text = f"kernel {offered.major}.{offered.minor}"
        if error:
            return f"{text} = -{errno_name(abs(error))}"
        taken = parse_init_out(extra[INIT_SIZE:])
    except DecodeError as problem:
        return f"(not decoded: {problem})"
    text += f", server {taken.major}.{taken.minor}"
    if isinstance(taken, InitOutCompat22):
        text += f" max_write={taken.max_write} max_background={taken.max_background}"
    if isinstance(taken, InitOut):
        text += f" max_pages={taken.max_pages}"
    return f"{text} flags={'|'.join(init_flag_names(taken.flag_bits)) or '0'}"


def describe_command(event: np.void, dialect: Dialect) -> str:
    """The command area of a REGISTER, ADD_QUEUE or ADD_BUFPOOL."""
    kind = Kind(event["kind"])
    area = event["extra"].tobytes()[: int(event["extra_size"])]
    try:
        command = parse_cmd_req(area, dialect, int(event["command_op"]))
    except DecodeError as problem:
        return f"(not decoded: {problem})"
    flags = cmd_flag_names(command.flags, dialect, int(event["command_op"]))
    words = [f"qid={command.qid}", f"flags={'|'.join(flags) or '0'}"]
    if isinstance(command, CmdReqAddBufpool):
        words.append(f"uaddr={command.bufpool.uaddr:#x} len={command.bufpool.len}")
    if isinstance(command, CmdReqBufring):
        words.append(f"buf_size={command.init.buf_size} queue_depth={command.init.queue_depth}")
    if isinstance(command, CmdReqRegister) and command.ent_zero_copy_buf_index:
        words.append(f"ent_zero_copy_buf_index={command.ent_zero_copy_buf_index}")
    if kind is Kind.REGISTER and event["headers"]:
        words.append(f"headers={int(event['headers']):#x} payload={int(event['payload']):#x}+{event['payload_size']}")
    return " ".join(words)

"""``furtrace decode``."""

import sys
from typing import Any

import click

from furtrace.cli import hexinput
from furtrace.cli.codes import CommandCode, OpcodeCode
from furtrace.cli.errors import InputError
from furtrace.cli.hextext import HexError
from furtrace.cli.inputs import STDIN, has_stdin, read_input
from furtrace.cli.showing import show
from furtrace.export.decoded import decoded_object
from furtrace.export.protocol import protocol_object
from furtrace.views.decoded import DecodedView
from furtrace.views.protocol import ProtocolView
from furtrace.wire.decode import Context, Part, decode
from furtrace.wire.dialect import Dialect
from furtrace.wire.protocol import listing


@click.command("decode", short_help="Read a message of the protocol, field by field.")
@click.argument("file", required=False)
@click.option("--hex", "text", metavar="HEX", help="The bytes, in place of a file: '38 00 00 00'.")
@click.option("--format", "form", type=click.Choice(["hex", "binary"]), help="What FILE holds; default: found out.")
@click.option(
    "--part", type=click.Choice([str(part) for part in Part]), help="What the bytes are; default: found out from them."
)
@click.option(
    "--dialect",
    type=click.Choice([str(one) for one in Dialect]),
    help="Form of ring headers and commands; default: plain.",
)
@click.option("--opcode", metavar="OP", type=OpcodeCode(), help="Operation, where the bytes do not tell: READ or 15.")
@click.option(
    "--command",
    "command_op",
    metavar="CMD",
    type=CommandCode(),
    help="The bytes are the command area of this command: REGISTER or 1.",
)
@click.option(
    "--buf-size",
    metavar="BYTES",
    type=click.IntRange(min=1),
    help="Size of a buffer of the ring; only in the bufring dialect.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "--list", "to_list", is_flag=True, help="List the protocol instead; with --opcode or --dialect, that part of it."
)
def command(to_list: bool, as_json: bool, **options: Any) -> None:
    """Show what the bytes of a message or structure say: each field with its offset, bytes, value and meaning.

    FILE holds the bytes, or hex as it is pasted: digits, an array of C, strings as of strace -xx, or a dump of xxd,
    hexdump -C, od -A x -t x1z, gdb's x/xb or the kernel's log. - is standard input, and so is no FILE at all.

    Exit status 1 if something in the bytes is not as it should be; all that could be read is shown.

    \b
    Examples:
      furtrace decode --hex '10000000 feffffff 0400000000000000'
      furtrace decode --part out --opcode GETATTR reply.bin
      furtrace decode --list --opcode WRITE
    """  # noqa: D301 - click wants the control character itself
    if to_list:
        _list(options, as_json=as_json)
    else:
        sys.exit(_decode(_checked(options), as_json=as_json))


def _list(options: dict[str, Any], *, as_json: bool) -> None:
    if any(options[name] is not None for name in options.keys() - {"dialect", "opcode"}):
        raise click.UsageError("--list lists the protocol; only --dialect, --opcode and --json go with it.")
    dialect = options["dialect"]
    found = listing(None if dialect is None else Dialect(dialect), options["opcode"])
    if not found.operations:
        raise click.UsageError(f"There is no operation {options['opcode']}.")
    show(protocol_object(found) if as_json else ProtocolView(found))


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """The options, with defaults.

    Raises:
        click.UsageError: they do not fit together.
    """
    options["dialect"] = Dialect(options["dialect"] or Dialect.PLAIN)
    part = options["part"] = options["part"] and Part(options["part"])
    if options["text"] is not None and (options["file"] is not None or options["form"] is not None):
        raise click.UsageError("--hex takes the place of FILE and --format; put quotes around what has spaces.")
    if options["text"] is None and options["file"] is None and not has_stdin():
        raise click.UsageError("Give a FILE, - or --hex.")
    if part in (Part.IN, Part.OUT) and options["opcode"] is None:
        raise click.UsageError(f"--part {part} needs --opcode, since the bytes do not tell the operation.")
    if options["command_op"] is not None:
        if part not in (None, Part.COMMAND):
            raise click.UsageError(f"--command tells of a command area, --part of something else: {part}.")
        options["part"] = Part.COMMAND
    if options["buf_size"] is not None and options["dialect"] is not Dialect.BUFRING:
        raise click.UsageError("--buf-size belongs to --dialect bufring.")
    return options


def _decode(options: dict[str, Any], *, as_json: bool) -> int:
    """Show what bytes say, and return the exit status."""
    given, name = _given(options)
    dialect, part = options["dialect"], options["part"]
    context = Context(dialect, options["opcode"], options["command_op"], options["buf_size"])
    decoded = decode(given.data, part, context)
    if as_json:
        show(decoded_object(decoded, given.data, dialect, given.form, guessed=part is None))
    else:
        how = " (found out)" if part is None else ""
        note = f"{len(given.data)} bytes from {name} ({given.form}), read as --part {decoded.part}{how}"
        show(DecodedView(decoded, given.data, [note]))
    return 1 if decoded.problems else 0


def _given(options: dict[str, Any]) -> tuple[hexinput.Given, str]:
    """The bytes, and where they are from.

    Raises:
        InputError: there are none, or they can't be read.
    """
    form, name = options["form"], STDIN if options["file"] is None else options["file"]
    shown = "--hex" if options["text"] is not None else "standard input" if name == STDIN else ascii(name)
    try:
        if options["text"] is not None:
            given = hexinput.from_text(options["text"])
        else:
            given = hexinput.from_bytes(read_input(name), binary=None if form is None else form == "binary")
    except HexError as error:
        hint = "" if form or options["text"] is not None else "; if it is no hex, say --format binary"
        raise InputError(f"{shown[0].upper()}{shown[1:]} can't be read as hex: {error}{hint}.") from None
    if not given.data:
        raise InputError(f"There are no bytes in {shown}.")
    return given, shown

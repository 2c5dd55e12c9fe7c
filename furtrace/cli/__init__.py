"""The command line: one module a command, thin."""

import importlib
import os
import sys

import click

from furtrace import __version__
from furtrace.cli.errors import InputError, OutputError, WriteError
from furtrace.probe.errors import ProbeError

_COMMANDS = {
    "check": "Say what is wrong between a server and the kernel, live or in a recording.",
    "decode": "Read a message or structure of the protocol, given as hex or binary, field by field.",
    "demo": "Mount a FUSE-over-io_uring server of our own, give it traffic, and trace it.",
    "doctor": "Say what can be traced on this machine, and what is in the way.",
    "inspect": "Look at the state of connections as the kernel has it, a mount that hangs too.",
    "live": "Trace what FUSE servers and the kernel say to each other, as it happens.",
    "flow": "Draw the way of a request through kernel and server, step by step.",
    "export": "Turn a recording into JSON lines, CSV, Parquet or a Perfetto trace.",
    "record": "Write what happens to a file.",
    "replay": "Show a recording as if it happened now.",
    "stats": "Count and measure what is in a recording.",
}


class _Commands(click.Group):
    """Imports a command's module when it is run: `--help` and `doctor` need not wait for numpy and rich."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"furtrace.cli.{name}").command
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="furtrace")
def furtrace() -> None:
    """Trace and inspect FUSE over io_uring: what a server and the kernel say to each other.

    \b
    Examples:
      furtrace doctor                 what can be traced here
      furtrace live                   everything, on a full screen
      furtrace live --plain --mount /mnt
                                      a line a request of one mount
      furtrace record -o f.pcapng     write it to a file, to look at it later
      furtrace replay f.pcapng        look at it
      furtrace stats f.pcapng         count and measure
      furtrace check --mount /mnt     say what is wrong
      furtrace flow -r f.pcapng --slowest
                                      draw what happened to a request
      furtrace demo                   see it work, with a server of our own
      furtrace decode dump.txt        what the bytes of a hex dump say
    """  # noqa: D301 - click wants the control character itself


def run() -> None:
    """Run the command line. Exit status: 0, 1 (failed), 2 (misuse)."""
    try:
        furtrace.main(standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as misuse:
        misuse.show()
        sys.exit(misuse.exit_code)
    except (ProbeError, InputError, OutputError, WriteError) as problem:
        click.echo(f"furtrace: {problem}", err=True)
        if isinstance(problem, OutputError):
            # What is still buffered can't be written either; the interpreter's own attempt at exit would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)

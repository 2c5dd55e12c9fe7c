"""``python -m furtrace``, and the console script."""

import signal


def main() -> None:
    """Run the command line.

    Until a command takes care of signals, Ctrl-C ends the process as it ends any other: Python's own traceback in the
    middle of an import tells nobody anything.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from furtrace.cli import run  # noqa: PLC0415 - after the line above

    run()


if __name__ == "__main__":
    main()

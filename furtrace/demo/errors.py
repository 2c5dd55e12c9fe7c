"""What goes wrong in the demo: an operation that the file system refuses, and a server that can't be had."""

import os


class TreeError(Exception):
    """The tree refuses an operation; ``errno`` is the positive number that the client gets."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.errno = number

    def __str__(self) -> str:
        return os.strerror(self.errno)


class DemoError(Exception):
    """The server, its mount or its traffic can't be had; the message is one sentence for the user."""


class Deserted(Exception):  # noqa: N818 - it is no error of the program, but a fault that is committed on purpose
    """The thread that raises it ends, and the server goes on without it."""

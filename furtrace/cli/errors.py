"""What can go wrong with a command's input and output."""

import errno
import os


class InputError(Exception):
    """What was given can't be read; the message is a sentence."""


class WriteError(Exception):
    """A file can't be written; the message is a sentence."""


class OutputError(Exception):
    """Standard output can't be written; the message is a sentence."""

    def __init__(self, error: OSError, *, tracing: bool = True) -> None:
        if error.errno == errno.EPIPE:
            text = "The reader of the output is gone"
        else:
            text = f"The output can't be written ({os.strerror(error.errno or 0)})"
        super().__init__(text + (", so the trace has ended." if tracing else "."))

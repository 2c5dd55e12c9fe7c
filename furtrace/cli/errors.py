"""What can go wrong with a command's output."""

import errno
import os


class OutputError(Exception):
    """Standard output can't be written; the message is a sentence."""

    def __init__(self, error: OSError) -> None:
        if error.errno == errno.EPIPE:
            text = "The reader of the output is gone, so the trace has ended."
        else:
            text = f"The output can't be written ({os.strerror(error.errno or 0)}), so the trace has ended."
        super().__init__(text)

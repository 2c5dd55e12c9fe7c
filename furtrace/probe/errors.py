"""The one exception of this package."""


class ProbeError(Exception):
    """Live tracing can't work, or not as asked.

    The message is one sentence that says what is the matter and what to do.
    """

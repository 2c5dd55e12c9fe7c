"""The one exception of the decoder."""


class DecodeError(ValueError):
    """Bytes that cannot be what they are read as; the message names the structure and what it lacks.

    Every parse function of this package raises this and nothing else, whatever bytes it is given.
    """

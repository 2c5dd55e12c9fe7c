"""What can be wrong with a recording."""


class RecordingError(Exception):
    """A recording can't be read, or not further; the message says why, without the file's name and a full stop."""

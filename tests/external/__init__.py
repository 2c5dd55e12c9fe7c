"""Other people's software that tests need, fetched, built and cached under the repository's ``.cache/``."""

from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache"


class Unavailable(Exception):  # noqa: N818 - a state of this machine, not a fault; tests skip with its message
    """Something that a test needs can't be had here; the message is one sentence that says what and why."""

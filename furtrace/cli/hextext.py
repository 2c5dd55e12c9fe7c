"""A text to be read as hex, and what is wrong with it at which place."""

from dataclasses import dataclass
from typing import Final

LIMIT: Final = 16 << 20
"""Bytes that an input may have, or come to; no message of the protocol is as long."""


class HexError(ValueError):
    """Text that can't be read as hex; the message is a sentence without a full stop, with the place in front."""


@dataclass(frozen=True, slots=True)
class Text:
    """All of a text, to find places in it."""

    content: str

    def error(self, reason: str, at: int) -> HexError:
        """What is wrong at an index, with line and column, both counted from 1."""
        line = self.content.count("\n", 0, at) + 1
        column = at - (self.content.rfind("\n", 0, at) + 1) + 1
        return HexError(f"line {line}, column {column}: {reason}")

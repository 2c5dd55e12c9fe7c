"""Keys of a terminal: from the bytes that it sends to names."""

import re
from typing import Final

_SEQUENCES: Final = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "Z": "backtab",
    "1~": "home",
    "4~": "end",
    "5~": "pgup",
    "6~": "pgdn",
    "7~": "home",
    "8~": "end",
}
_CONTROLS: Final = {"\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace"}

# ECMA-48: CSI, parameters, intermediates, a final byte. SS3 and one byte: cursor keys in application mode.
_WHOLE: Final = re.compile(rb"\x1b(?:\[([0-?]*[ -/]*[@-~])|O([ -~]))")
_BEGUN: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|O)?")
_LONGEST_SEQUENCE: Final = 32


class KeyDecoder:
    """Decodes keys from bytes that may come in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def pending(self) -> bool:
        """Whether there is the beginning of a key whose end has not come; a lone ESC is one."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[str]:
        """Take in bytes and return the names of the keys that are complete; unknown ones have none."""
        self._rest += data
        keys = []
        while self._rest and not self._incomplete():
            key = self._take()
            if key:
                keys.append(key)
        return keys

    def flush(self) -> list[str]:
        """Nothing more came in time: what looked like the beginning of a key was the Escape key, and other keys."""
        rest, self._rest = self._rest, b""
        if not rest:
            return []
        if rest.startswith(b"\x1b"):
            return ["escape", *self.feed(rest[1:])]
        return []  # the torso of a character

    def _incomplete(self) -> bool:
        if self._rest.startswith(b"\x1b"):
            return _BEGUN.fullmatch(self._rest) is not None and len(self._rest) < _LONGEST_SEQUENCE
        return len(self._rest) < _character_size(self._rest[0])

    def _take(self) -> str | None:
        """Remove one key from the front."""
        if self._rest.startswith(b"\x1b"):
            found = _WHOLE.match(self._rest)
            if found is None:
                self._rest = self._rest[1:]
                return "escape"
            self._rest = self._rest[found.end() :]
            return _SEQUENCES.get((found[1] or found[2]).decode("ascii"))
        size = _character_size(self._rest[0])
        character, self._rest = self._rest[:size].decode(errors="ignore"), self._rest[size:]
        return _CONTROLS.get(character, character if character.isprintable() else None) or None


def _character_size(first: int) -> int:
    """How many bytes the UTF-8 character has that begins with this one."""
    if first < 0xC0 or first >= 0xF8:
        return 1
    return 2 if first < 0xE0 else 3 if first < 0xF0 else 4

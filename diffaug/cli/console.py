"""The terminal: a text is only a text there, since it holds names of files, keys and classes."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.text import Text

__all__ = ["PlainConsole", "PrintError"]

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, without the tab and the line's end
    "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of what follows
    "\ud800-\udfff]"  # bytes of a name that are not UTF-8
)


class PrintError(OSError):
    """The terminal, or the file in its place, does not take what is printed."""


class PlainConsole(Console):
    """A console without markup, emoji codes and highlighting, on which every character shows.

    What would move the cursor, change colours or hide text is shown as its escape, such as `\\x1b`.

    Args:
        options: of rich's console.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(soft_wrap=True, markup=False, emoji=False, highlight=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print objects on a line.

        Raises:
            PrintError: they cannot be written.
        """
        try:
            super().print(*objects, **options)
        except OSError as error:
            with suppress(OSError):  # drops what was not written, not to print it later
                self.begin_capture()
                self.end_capture()
            raise PrintError(error.errno, error.strerror) from error

    def render_str(self, text: str, **options: Any) -> Text:
        """The text of a message or of a table's cell."""
        return super().render_str(_UNSEEN.sub(_escape, text), **options)


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    if 0xDC80 <= number <= 0xDCFF:  # how Python writes a byte that it cannot decode
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"

"""A text, as it is read and identified."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diffaug.errors import DefectError

if TYPE_CHECKING:
    from diffaug.models.pieces import Tokens

__all__ = [
    "MOST_BYTES",
    "MOST_CHARACTERS",
    "Text",
    "check_length",
    "field_of",
    "read_text",
]

MOST_BYTES = 4_000_000
"""The size of a member that is read at all; a JSON member may hold more than the text."""

MOST_CHARACTERS = 100_000
"""How long a text may be."""

MOST_MARKS = 1000
"""How many combining marks may follow each other: the time to order them grows with the square."""


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """A text.

    Attributes:
        text: what it says, in Unicode's normal form C.
        tokens: as a model's tokenizer has it; None where no model is at hand.
    """

    text: str
    tokens: Tokens | None = None

    @property
    def sha256(self) -> str:
        """What identifies it, whatever its file: in hex, over the text in UTF-8."""
        return hashlib.sha256(b"text " + self.text.encode()).hexdigest()


def read_text(data: bytes, field: str | None = None) -> str:
    """The text in a member, in normal form C and without a byte order mark.

    Args:
        data: the member: UTF-8, or with `field` a JSON object.
        field: of the object, which holds the text.

    Raises:
        DefectError: it is no text, or too long.
    """
    if len(data) > MOST_BYTES:
        raise _too_long(f"the member has {len(data):,} bytes, at most {MOST_BYTES:,} are read")
    try:
        text: Any = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DefectError(
            "unreadable_text", f"the text is not UTF-8: {error.reason} at byte {error.start}"
        ) from None
    if field is not None:
        text = _of_json(text, field)
    text = text.lstrip("\ufeff")
    check_length(text)
    if not text.isascii():
        _check_marks(text)
        text = unicodedata.normalize("NFC", text)
        check_length(text)
    return str(text)


def check_length(text: str) -> None:
    """Check that a text is not too long.

    Raises:
        DefectError: it is.
    """
    if len(text) > MOST_CHARACTERS:
        raise _too_long(f"the text has {len(text):,} characters, at most {MOST_CHARACTERS:,} count")


def _check_marks(text: str) -> None:
    found = 0
    for letter in text:
        found = found + 1 if unicodedata.combining(letter) else 0
        if found > MOST_MARKS:
            raise DefectError(
                "unreadable_text", f"a letter of the text has more than {MOST_MARKS:,} marks"
            )


def _too_long(found: str) -> DefectError:
    return DefectError("too_long", f"{found}: cut it into several samples")


def _of_json(text: str, field: str) -> str:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise DefectError("unreadable_text", "the member is not JSON") from None
    return field_of(found, field)


def field_of(found: Any, field: str) -> str:
    """The text in a field of a JSON object.

    Raises:
        DefectError: it is no object, or the field holds no text.
    """
    value = found.get(field) if isinstance(found, dict) else None
    if not isinstance(value, str):
        raise DefectError("no_text", f"the JSON member has no text in a field {field!r} at its top")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DefectError("unreadable_text", f"the field {field!r} holds half a letter") from None
    return value

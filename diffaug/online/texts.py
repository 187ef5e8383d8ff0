"""The forms a text is given in, and conversion between them and texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from diffaug.errors import ConfigError, DefectError
from diffaug.media import as_model_takes
from diffaug.online.offer import model_here
from diffaug.pictures.codec import Decoded
from diffaug.recipe import Recipe
from diffaug.texts.text import Text, field_of, read_text

__all__ = ["TextForm", "refuse_served"]


class TextForm:
    """Texts: a `str`, the bytes of a file, or with text_key=json:FIELD a dict. See `forms.Form`.

    A `str` is the text itself, even where a field is named. Bytes and dicts are as webdataset has a
    member before and after its `decode`: of a JSON object the field is replaced and the rest kept.

    Args:
        recipe: says which field of a JSON object holds the text.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._field = recipe.text_field

    def decoded(self, given: Any) -> Decoded[Text]:
        """See `Form`."""
        text = Text(self._read(given))
        return Decoded(text, text)

    def like(self, result: Text, given: Any) -> Any:
        """See `Form`."""
        if isinstance(given, str):
            return result.text
        if isinstance(given, dict):
            return {**given, self._field: result.text}
        if self._field is None:
            return result.text.encode()
        changed = {**json.loads(given.decode("utf-8-sig")), self._field: result.text}
        return json.dumps(changed, ensure_ascii=False).encode()

    def listed(self, given: Any) -> tuple[list[Any], bool]:
        """See `Form`."""
        if isinstance(given, Sequence) and not isinstance(given, (str, bytes, bytearray)):
            return list(given), False
        if isinstance(given, (str, bytes, bytearray, dict)):
            return [given], True
        raise _no_text(given, self._field)

    def _read(self, given: Any) -> str:
        if isinstance(given, str):
            try:
                return read_text(given.encode())
            except UnicodeEncodeError:
                raise DefectError("unreadable_text", "the text holds half a letter") from None
        if isinstance(given, dict) and self._field is not None:
            return read_text(field_of(given, self._field).encode())
        if isinstance(given, (bytes, bytearray)):
            return read_text(bytes(given), self._field)
        raise _no_text(given, self._field)


def _no_text(given: Any, field: str | None) -> TypeError:
    """The error for what holds no text, with the cure for its kind."""
    said = f"a text must be a str or the bytes of its file, got {type(given).__name__}"
    if isinstance(given, dict) and field is None:
        return TypeError(f"{said}: text_key=json:FIELD names the field of an object that holds it")
    return TypeError(said)


def refuse_served(recipe: Recipe) -> None:
    """Refuse to have texts made by a server.

    Raises:
        ConfigError: the recipe is of texts, as far as can be known on this machine.
    """
    if recipe.medium is None and (checkpoint := model_here(recipe)) is not None:
        recipe = as_model_takes(recipe, checkpoint)
    if recipe.medium == "text":
        raise ConfigError("medium=text: texts are not served: use Augmenter, or diffaug augment")

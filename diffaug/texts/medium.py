"""The medium `text` (see `pictures.medium`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from diffaug.manifest.part import Row
from diffaug.pictures.codec import Decoded
from diffaug.recipe import Recipe
from diffaug.texts.measures import text_scores
from diffaug.texts.text import Text, read_text

if TYPE_CHECKING:
    from diffaug.models.pieces import Pieces

__all__ = ["Texts"]


class Texts:
    """Texts, compared word by word. See `Medium`.

    Args:
        field: of a JSON member, which holds the text; None: the member is the text.
        pieces: of the model's tokenizer, by which texts are counted in tokens; None: they are not.
    """

    name, offered = "text", ()

    def __init__(self, field: str | None = None, pieces: Pieces | None = None) -> None:
        self._field, self._pieces = field, pieces

    @classmethod
    def of(cls, recipe: Recipe, pieces: Pieces | None = None) -> Texts:
        """The medium of a recipe."""
        return cls(recipe.text_field, pieces)

    def declared(self, data: bytes, max_pixels: int) -> int:
        """See `Medium`: nothing of it is pixels."""
        return 0

    def pixels(self, x: Text) -> int:
        """See `Medium`."""
        return 0

    def kept(self, x: Text) -> str:
        """See `Medium`."""
        return ""

    def read(self, data: bytes, max_pixels: int, background: str | None) -> Decoded[Text]:
        """See `Medium`."""
        text = self.counted(Text(read_text(data, self._field)))
        return Decoded(text, text)

    def digest(self, x: Text) -> str:
        """See `Medium`."""
        return x.sha256

    def source_facts(self, x: Text) -> Row:
        """See `Medium`."""
        return {} if x.tokens is None else {"tokens": len(x.tokens)}

    def output_facts(self, x: Text) -> Row:
        """See `Medium`."""
        return {} if x.tokens is None else {"output_tokens": len(x.tokens)}

    def write(self, x: Text, format: str) -> bytes:
        """See `Medium`."""
        return x.text.encode()

    def read_back(self, data: bytes, max_pixels: int, background: str | None = None) -> Text:
        """See `Medium`."""
        return self.counted(Text(read_text(data)))

    def compare(self, pairs: Sequence[tuple[Text, Text]]) -> list[dict[str, float | None]]:
        """See `Medium`."""
        return [text_scores(source.text, result.text) for source, result in pairs]

    def counted(self, x: Text) -> Text:
        """The text with its tokens, if there is a tokenizer."""
        if self._pieces is None or x.tokens is not None:
            return x
        return replace(x, tokens=self._pieces.tokens(x.text))

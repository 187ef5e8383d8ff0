"""How a text is brought to a model's tokens, and a result back."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffaug.errors import DefectError
from diffaug.models.pieces import Pieces
from diffaug.pictures.fit import Geometry
from diffaug.texts.splice import spliced
from diffaug.texts.text import Text, check_length

__all__ = ["TextFit"]


class TextFit:
    """A text as a model has it. See `pictures.medium.Fitted`.

    Args:
        source: with its tokens.
        pieces: of the model's tokenizer.
        kept: (N,): which tokens are of words that stay as they are.
    """

    detail: str | None = None
    geometry: Geometry = "in_place"

    def __init__(self, source: Text, pieces: Pieces, kept: NDArray[np.bool_] | None = None) -> None:
        self._source, self._pieces, self._kept = source, pieces, kept

    def losses(self, x: Text) -> tuple[Any, ...]:
        """None: what is not changed stays as it is written."""
        return ()

    def from_model(self, x_0: NDArray[np.int64], mask: Any = None) -> Text:
        """The text with these tokens (N,) in place of its own.

        Raises:
            DefectError: the model predicted values that are not finite, or the text is too long.
        """
        source = self._source
        assert source.tokens is not None
        changed = x_0 != source.tokens.ids
        if not self._pieces.drawn[x_0[changed]].all():  # a token that could not be drawn
            raise DefectError("non_finite", "the model's result for this text is not finite")
        text = unicodedata.normalize(
            "NFC", spliced(source.text, source.tokens, x_0, self._pieces, self._kept)
        )
        check_length(text)
        return Text(text, self._pieces.tokens(text))

    def seen(self, x: Text) -> Text:
        """The text itself."""
        return x

    def shown(self, result: Text) -> Text:
        """The result itself."""
        return result

"""A masked language model with all its parts, which edits texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffaug.diffusion.by_length import ByLength
from diffaug.diffusion.lanes import Lanes
from diffaug.diffusion.masked import Masked, MaskedEdit, MaskedNetwork, Passage
from diffaug.diffusion.parts import InParts
from diffaug.diffusion.steps import Steps
from diffaug.models.pieces import Pieces

__all__ = ["LENGTHS", "MaskedModel"]

LENGTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""The lengths at which networks are called, in tokens; a text is padded to the next."""


@dataclass(frozen=True, kw_only=True)
class MaskedModel:
    """What a checkpoint's adapter loads.

    Attributes:
        network: predicts hidden tokens.
        pieces: of its tokenizer.
        before: the tokens that stand before every text.
        behind: the tokens that stand behind every text.
        padding: the token that fills a call.
        classes: the token that stands, for each class, before the text; empty if it takes none.
        lengths: those of LENGTHS that it takes, rising.
    """

    network: MaskedNetwork
    pieces: Pieces
    before: tuple[int, ...]
    behind: tuple[int, ...]
    padding: int
    classes: tuple[int, ...]
    lengths: tuple[int, ...]

    def around(self, label: int | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The tokens before and behind a text, of which the model is told this class, or none."""
        told = () if label is None else (self.classes[label],)
        return (*self.before, *told), self.behind

    def room(self, label: int | None) -> int:
        """How many tokens of a text it takes at once."""
        before, behind = self.around(label)
        return self.lengths[-1] - len(before) - len(behind) - 1

    def padded(self, count: int) -> int:
        """The length at which so many tokens are called.

        At least one token is padding: without any in a whole call, transformers leaves out the
        mask, so that the neighbours of a text would decide which kernel runs.
        """
        return next(one for one in self.lengths if one > count)

    def steps(self, batch_size: int) -> Steps[Any, Passage]:
        """New lanes from texts to texts, whose results come in order."""

        def lanes(length: int) -> Lanes[Any]:
            return Lanes(Masked(self.network, batch_size, length))

        count = Masked(self.network, batch_size, self.lengths[0]).lanes
        windows = ByLength[Any](lanes, count)
        return InParts[Any, Passage, MaskedEdit](windows, _windows, Passage.joined)


def _windows(passage: Passage) -> tuple[MaskedEdit, ...]:
    return passage.windows

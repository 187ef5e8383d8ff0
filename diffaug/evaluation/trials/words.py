"""Texts as a small classifier reads them: words and pairs of words, each by a number."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffaug.texts.measures import words_of

__all__ = ["BagOfWords", "numbered"]

_NUMBERS = 1 << 15
"""How many numbers there are; words that share one are rare, and are taken for one (Weinberger et
al. 2009, https://arxiv.org/abs/0902.2206)."""

_NONE = 0
"""The number of nothing, which fills a batch."""


def numbered(texts: Sequence[str]) -> Tensor:
    """The numbers of the words of texts, written small, and of all pairs of neighbours.

    Returns:
        int64 (N, L), those of a shorter text filled up with 0.
    """
    found = [_numbers(text) for text in texts]
    whole = torch.full((len(found), max(1, *map(len, found))), _NONE)
    for row, one in zip(whole, found, strict=True):
        row[: len(one)] = torch.from_numpy(one)
    return whole


@lru_cache(maxsize=1 << 14)
def _numbers(text: str) -> NDArray[np.int32]:
    words = words_of(text.lower())
    pairs = (f"{one} {other}" for one, other in pairwise(words))
    found = [1 + zlib.crc32(one.encode()) % (_NUMBERS - 1) for one in (*words, *pairs)]
    return np.array(found, dtype=np.int32)


class BagOfWords(nn.Module):
    """The mean of what words and pairs of words mean, then a linear layer (fastText: Joulin et al.
    2016, https://arxiv.org/abs/1607.01759).

    Args:
        classes: how many.
    """

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        self.meanings = nn.EmbeddingBag(_NUMBERS, width, mode="mean", padding_idx=_NONE)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of numbers (B, L)."""
        logits: Tensor = self.head(self.meanings(x))
        return logits

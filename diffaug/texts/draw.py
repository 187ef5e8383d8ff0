"""Drawing texts from nothing: every token is hidden at first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from diffaug.diffusion.masked import Mixing, Passage
from diffaug.diffusion.noise import SampleRandom
from diffaug.models.masked import MaskedModel
from diffaug.texts.windows import passage

__all__ = ["draw_texts"]


def draw_texts(
    model: MaskedModel,
    labels: Sequence[int | None],
    counts: Sequence[int],
    *,
    steps: int,
    mixing: Mixing,
    seed: int = 0,
    batch_size: int,
) -> Iterator[str]:
    """Yield one text for each of `labels`.

    At a given batch size, text i is a function of (seed, i, its class), however many there are.

    Args:
        model: the model to draw from.
        labels: the class of each text; None: none.
        counts: numbers of tokens, rising, of which each text draws one.
        steps: network calls, at most.
        mixing: how tokens are drawn.
        seed: of all randomness.
        batch_size: texts in the one fixed batch shape.
    """

    def passages() -> Iterator[tuple[None, Passage]]:
        for index, label in enumerate(labels):
            random = SampleRandom(seed, "generated", index)
            drawn = counts[int(random.uniform() * len(counts))]
            ids = np.full(max(1, min(drawn, model.room(label))), model.network.mask)
            everything = np.ones(len(ids), dtype=np.bool_)
            yield None, passage(ids, everything, model, random, mixing, 1.0, steps, label)

    for _, ids in model.steps(batch_size).run(passages()):
        assert ids is not None
        yield model.pieces.written(ids.tolist())

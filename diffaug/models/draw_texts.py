"""Drawing texts from nothing: every token is hidden at first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from diffaug.diffusion.masked import MaskedEdit, Mixing, Passage, turns
from diffaug.diffusion.noise import SampleRandom
from diffaug.models.masked import MaskedModel

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
            count = counts[int(random.uniform() * len(counts))]
            yield None, _hidden(model, random, count, label, steps, mixing)

    for _, ids in model.steps(batch_size).run(passages()):
        assert ids is not None
        yield model.pieces.written(ids.tolist())


def _hidden(
    model: MaskedModel,
    random: SampleRandom,
    count: int,
    label: int | None,
    steps: int,
    mixing: Mixing,
) -> Passage:
    before, behind = model.around(label)
    count = max(1, min(count, model.room(label)))
    at = slice(len(before), len(before) + count)
    whole = at.stop + len(behind)
    length = model.padded(whole)
    tokens = np.full(length, model.padding, dtype=np.int64)
    tokens[:whole] = [*before, *[model.network.mask] * count, *behind]
    when = np.full(length, -1, dtype=np.int64)
    when[at] = turns(random, np.ones(count, dtype=np.bool_), steps, mixing.confident)
    window = MaskedEdit(
        tokens=tokens,
        attended=np.arange(length) < whole,
        turns=when,
        places=np.maximum(0, np.arange(length) - at.start),
        calls=int(when.max()) + 1,
        random=random,
        mixing=mixing,
    )
    return Passage(tokens=tokens[at], windows=(window,), taken=((at, slice(0, count)),))

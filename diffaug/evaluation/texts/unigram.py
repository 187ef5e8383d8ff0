"""The control for texts: what an arm changes, replaced by words that know nothing of the text."""

from __future__ import annotations

import numpy as np

from diffaug.evaluation.images.corruptions import generator
from diffaug.evaluation.images.pictures import Samples, blank
from diffaug.evaluation.images.pool import Pool
from diffaug.texts.measures import edit_distance

__all__ = ["matched_unigram"]


def matched_unigram(texts: Samples, digests: tuple[str, ...], like: Pool) -> Pool:
    """A copy for every copy of a pool, in which as many words are replaced by words drawn from all
    the texts, as often as they occur in them.

    Unigram noising (Xie et al. 2017, https://arxiv.org/abs/1703.02573).

    Args:
        texts: N of them.
        digests: of each, which their words are drawn from.
        like: the pool.
    """
    made = Pool(blank(like.copies.shape, like.copies), like.there, like.psnr)
    every = np.array([word for text in texts for word in text.split()], dtype=object)
    for place, text in enumerate(texts):
        random, words = generator("matched-unigram", digests[place]), text.split()
        for copy in np.flatnonzero(like.there[place]):
            changed = list(words)
            distance = edit_distance(words, like.copies[place, copy].split())
            for where in random.permutation(len(words))[:distance]:
                changed[where] = every[random.integers(len(every))]
            made.copies[place, copy] = " ".join(changed)
    return made

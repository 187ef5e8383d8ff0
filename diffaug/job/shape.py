"""The batch shape of a new job: small where there is little to make.

A network call always has as many rows as the batch shape, and those without a lane are padding. One
image alone would pay for 32 rows a call; with four, it costs a fifth of that. The shape is part of
what decides an image's last bits, so it is chosen once, by how many images there are and never by
load, and frozen in run.json. Rows of small calls cost up to 1.4 times as much, hence the bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from diffaug import storage
from diffaug.recipe import Recipe
from diffaug.shards import read_samples
from diffaug.shards.reading import Reading

__all__ = ["lanes_for"]

_FEW = 16
"""Up to how many rows, if all of a job's lanes ran at the same time, count as few."""

_SMALL = 4
"""Lanes of a job of few."""


def lanes_for(urls: Sequence[str], recipe: Recipe) -> int | None:
    """The batch size of a new job that is given none: 4 lanes for few images; None: the usual 32.

    Reads no further than it takes to see that there are more than a few.

    Args:
        urls: of the shards. One that cannot be read is left to the job.
        recipe: says how many copies, and whether a copy takes two rows a call.
    """
    if recipe.medium == "clip":  # its frames fill the lanes
        return None
    copies = recipe.copies if recipe.balance == "none" else recipe.max_copies
    rows = copies * (1 if recipe.guidance == 1 else 2)
    left, reading = _FEW // rows, Reading.of(recipe)
    for url in urls:
        try:
            with storage.open_read(url) as stream:
                read = read_samples(stream, lambda _: False)
                samples = (one for one in read if reading.is_sample(one.names))
                left -= sum(1 for _ in islice(samples, _FEW + 1))
        except OSError:
            return None
        if left < 0:
            return None
    return _SMALL

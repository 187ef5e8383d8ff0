"""The split of a source: a function of the seed and of each sample's pixels and class alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from diffaug.errors import ConfigError

__all__ = ["Split", "draw"]


@dataclass(frozen=True, slots=True)
class Split:
    """Places in a source, all distinct.

    Attributes:
        labelled: samples to train on: one of each class, then one of each again, and so on.
        validation: samples to choose strength and filters on.
    """

    labelled: NDArray[np.int64]
    validation: NDArray[np.int64]


def draw(
    labels: NDArray[np.int64],
    pixels: Sequence[str],
    seed: int,
    per_class: int | None,
    validation: int,
) -> Split:
    """Draw a class-balanced split.

    The order of the source does not matter. A draw with fewer samples per class is the beginning of
    a draw with more, and the validation split does not depend on `per_class`.

    Args:
        labels: (N,), the classes.
        pixels: the N digests of their pixels.
        seed: selects the draw.
        per_class: labelled samples of each class; None: every one that is not for validation.
        validation: validation samples of each class.

    Raises:
        ConfigError: a class has too few samples.
    """
    ranks = [hashlib.sha256(f"{seed}|{digest}".encode()).digest() for digest in pixels]
    labelled, held_out = list[list[int]](), list[int]()
    for label in np.unique(labels):
        places = sorted(np.flatnonzero(labels == label).tolist(), key=ranks.__getitem__)
        needed = (1 if per_class is None else per_class) + validation
        if len(places) < needed:
            raise ConfigError(
                f"class {label} has {len(places)} samples, but {needed - validation} labelled and "
                f"{validation} validation samples are needed: ask for fewer, or give more"
            )
        rest = len(places) - validation
        labelled.append(places[: rest if per_class is None else per_class])
        held_out += places[rest:]
    in_turn = [place for row in zip_longest(*labelled) for place in row if place is not None]
    return Split(np.array(in_turn, dtype=np.int64), np.array(held_out, dtype=np.int64))

"""A text as windows that a network takes, which overlap where the text is longer than one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffaug.diffusion.masked import MaskedEdit, Mixing, Passage, hide, turns
from diffaug.diffusion.noise import SampleRandom
from diffaug.models.masked import MaskedModel

__all__ = ["passage", "windows_of"]

_OVERLAP = 4
"""Two neighbouring windows share one token in so many."""


def windows_of(count: int, most: int) -> list[tuple[int, int, int, int]]:
    """How a text is cut: (begin, end) of each window, and (from, to) of what is taken of it.

    What neighbours share is taken in halves, so that every token has others on both sides.

    Args:
        count: tokens of the text; at least one.
        most: tokens of a window; at least four.
    """
    if count <= most:
        return [(0, count, 0, count)]
    stride = most - most // _OVERLAP
    begins = [*range(0, count - most, stride), count - most]
    ends = [begin + most for begin in begins]
    cuts = [0, *((end + begin) // 2 for end, begin in zip(ends, begins[1:], strict=False)), count]
    return list(zip(begins, ends, cuts[:-1], cuts[1:], strict=True))


def passage(
    ids: NDArray[np.int64],
    may_change: NDArray[np.bool_],
    model: MaskedModel,
    random: SampleRandom,
    mixing: Mixing,
    strength: float,
    calls: int,
    label: int | None,
) -> Passage:
    """A text on its way into masks and back.

    Args:
        ids: (N,): its tokens.
        may_change: (N,): which may be hidden; at least one.
        model: what is to predict them.
        random: of the text and copy.
        mixing: how tokens are drawn.
        strength: the time to which it is taken, in (0, 1].
        calls: of the network, at most.
        label: the class that the model is told; None: none.
    """
    hidden = hide(random, strength, may_change)
    before, behind = model.around(label)
    windows, taken = [], []
    for begin, end, first, last in windows_of(len(ids), model.room(label)):
        if not hidden[first:last].any():
            continue
        own = np.zeros(len(ids), dtype=np.bool_)
        own[begin:end] = hidden[begin:end]
        when = turns(random, own, calls, mixing.confident)[begin:end]
        at = slice(len(before), len(before) + end - begin)
        length = model.padded(at.stop + len(behind))
        tokens = np.full(length, model.padding, dtype=np.int64)
        tokens[: at.stop + len(behind)] = [*before, *ids[begin:end], *behind]
        wanted = np.full(length, -1, dtype=np.int64)
        wanted[at] = when
        places = np.zeros(length, dtype=np.int64)
        places[at] = np.arange(begin, end)
        windows.append(
            MaskedEdit(
                tokens=tokens,
                attended=np.arange(length) < at.stop + len(behind),
                turns=wanted,
                places=places,
                calls=int(wanted.max()) + 1,
                random=random,
                mixing=mixing,
            )
        )
        here = slice(at.start + first - begin, at.start + last - begin)
        taken.append((here, slice(first, last)))
    return Passage(tokens=ids, windows=tuple(windows), taken=tuple(taken))

"""Frames: clips edited by a model of pictures, a lane for each frame.

The frames of a clip share trajectory, condition and mask. What they share of their noise decides
how they hang together: with noise of its own, each frame is changed in its own way, and the clip
flickers. `mixed` noise is that of Ge et al. 2023 (https://arxiv.org/abs/2305.10474), written with
the correlation of two frames instead of a ratio.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffaug.diffusion.edit import Edit
from diffaug.diffusion.noise import SampleRandom
from diffaug.diffusion.parts import InParts
from diffaug.diffusion.steps import Steps

__all__ = ["clip_noise", "correlation_of", "frame_by_frame", "frames_of"]


def correlation_of(noise_time: str) -> float:
    """How the noise of two frames correlates: `shared` 1, `independent` 0, `mixed:RHO` RHO.

    Raises:
        ValueError: it is none of these, or RHO is not in [0, 1].
    """
    named = {"shared": 1.0, "independent": 0.0}
    kind, colon, text = noise_time.partition(":")
    try:
        found = float(text) if kind == "mixed" and colon else named[noise_time]
    except (KeyError, ValueError):
        found = -1.0
    if not 0 <= found <= 1:
        raise ValueError(
            f"noise_time must be shared, independent or mixed:RHO with 0 <= RHO <= 1, such as "
            f"mixed:0.5, got {noise_time!r}"
        )
    return found


def clip_noise(
    random: SampleRandom, shape: tuple[int, ...], draws: int, frames: int, correlation: float
) -> NDArray[np.float32]:
    """The noise of a clip's frames, then that of `draws` steps: (frames, 1 + draws, *shape).

    Args:
        random: of the clip and copy.
        shape: of a frame.
        draws: how many steps add noise.
        frames: how many there are.
        correlation: of the noise of any two frames, at the same pixel.
    """
    shared = random.noise(shape, draws)
    if correlation == 1:
        return np.broadcast_to(shared, (frames, *shared.shape))
    own = np.stack([random.noise(shape, draws, frame) for frame in range(frames)])
    own *= np.float32(np.sqrt(1 - correlation))
    own += np.float32(np.sqrt(correlation)) * shared
    return own


def frames_of(edit: Edit) -> Iterator[Edit]:
    """The edit of each frame, where a model of pictures edits a clip; else the edit itself."""
    if edit.frames is None:
        yield edit
        return
    assert edit.x_0 is not None
    for x_0, noise in zip(edit.x_0, edit.noise, strict=True):
        yield replace(edit, x_0=x_0, noise=noise, frames=None)


def frame_by_frame(steps: Steps[Any, Edit]) -> InParts[Any, Edit, Edit]:
    """Steps that also run edits of clips, each frame as an edit of its own.

    The sample of a clip is (frames, *).
    """
    return InParts(steps, frames_of, _clip)


def _clip(edit: Edit, frames: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.stack(frames)

"""Fitting a clip to a model of pictures, frame by frame, and the results back to a clip."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug.clips.clip import Clip
from diffaug.pictures.fit import Geometry, Loss
from diffaug.pictures.medium import FittedPicture

__all__ = ["ClipFit"]


class ClipFit:
    """The fit of each frame of a clip. See `pictures.medium.Fitted`.

    Args:
        clip: the clip.
        fits: one for each of its frames, all of one kind.
    """

    def __init__(self, clip: Clip, fits: Iterable[FittedPicture[Image.Image]]) -> None:
        self._clip = clip
        self._fits = tuple(fits)

    @property
    def detail(self) -> str | None:
        """See `Fitted`."""
        return self._fits[0].detail

    @property
    def geometry(self) -> Geometry:
        """See `Fitted`."""
        return self._fits[0].geometry

    def losses(self, x: Clip) -> tuple[Loss, ...]:
        """See `Fitted`."""
        return self._fits[0].losses(x.frames[0])

    def to_model(self, x: Clip) -> NDArray[np.float32]:
        """The frames as the model's input: float32 (T, C, H, W)."""
        pairs = zip(self._fits, x.frames, strict=True)
        return np.stack([fit.to_model(frame) for fit, frame in pairs])

    def mask_to_model(self, mask: Image.Image) -> NDArray[np.float32]:
        """A mask, which is the same for all frames: float32 (1, H, W)."""
        return self._fits[0].mask_to_model(mask)

    def from_model(self, x_0: NDArray[np.float32], mask: Image.Image | None = None) -> Clip:
        """The model's (T, C, H, W) as a clip, whose frames are shown when the source's are.

        A model of whole clips gives (T * C, H, W).
        """
        frames = x_0.reshape(len(self._fits), -1, *x_0.shape[-2:])
        pairs = zip(self._fits, frames, strict=True)
        return self._like(fit.from_model(frame, mask) for fit, frame in pairs)

    def keep(self, result: Clip, source: Clip, mask: Image.Image) -> Clip:
        """See `Fitted`."""
        three = zip(self._fits, result.frames, source.frames, strict=True)
        return self._like(fit.keep(made, own, mask) for fit, made, own in three)

    def seen(self, x: Clip) -> Clip:
        """See `Fitted`."""
        pairs = zip(self._fits, x.frames, strict=True)
        return self._like(fit.seen(frame) for fit, frame in pairs)

    def shown(self, result: Clip) -> Clip:
        """See `Fitted`."""
        pairs = zip(self._fits, result.frames, strict=True)
        return self._like(fit.shown(frame) for fit, frame in pairs)

    def _like(self, frames: Iterable[Image.Image]) -> Clip:
        """A clip that is the source but for its frames."""
        return replace(self._clip, frames=tuple(frames))

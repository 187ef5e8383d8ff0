"""Pictures, and clips of them, as a training takes them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug.clips.clip import Selection
from diffaug.clips.decode import decode_clip
from diffaug.errors import ConfigError, DefectError
from diffaug.pictures.codec import decode
from diffaug.pictures.fit import Fit
from diffaug.shards import Sample
from diffaug.shards.reading import Reading
from diffaug.train.data import label_of, read
from diffaug.train.recipe import PictureRecipe
from diffaug.train.variation import Variation

__all__ = ["Pictures", "settle"]

R = TypeVar("R", bound=PictureRecipe)

_LOOKED_AT, _LARGEST = 100, 256
"""Number of images that the size is inferred from, and the largest size that is inferred."""


class Pictures:
    """Pictures (C, H, W) in [-1, 1]; of clips, the channels of their frames behind one another.

    See `data.Form`.

    Args:
        recipe: of the training.
    """

    def __init__(self, recipe: PictureRecipe) -> None:
        self._recipe = recipe
        keys = recipe.image_key if recipe.clip_length is None else recipe.clip_keys
        self.reading = Reading(keys, recipe.label_key, needs_label=recipe.class_count > 0)

    def prepare(
        self, sample: Sample, place: Sequence[int] | None = None
    ) -> tuple[NDArray[np.float32], int]:
        """See `Form`."""
        recipe = self._recipe
        variation = None if place is None else Variation.of(recipe, place)
        frames = _run_of(self.decoded(sample), recipe.clip_length or 1, place)
        x_0 = np.concatenate([_fitted(frame, recipe, variation) for frame in frames])
        return x_0, label_of(sample, recipe, self.reading)

    def together(self, samples: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """See `Form`."""
        return np.stack(samples)

    def decoded(self, sample: Sample) -> tuple[Image.Image, ...]:
        """The picture of a sample, or the frames of its clip."""
        recipe, data = self._recipe, self.reading.image(sample).data
        if recipe.clip_length is None:
            return (decode(data, recipe.max_pixels, recipe.background).shown,)
        return decode_clip(data, recipe.max_pixels, recipe.background, Selection()).frames


def settle(recipe: R, shards: list[str]) -> R:
    """Fill in size and channels, if not given, from the first images that decode.

    Raises:
        ConfigError: the shards hold no image, or size is not given and the images are large.
    """
    if recipe.size is not None and recipe.channels is not None:
        return recipe
    images = list(islice(_images(shards, recipe), _LOOKED_AT))
    if not images:
        raise ConfigError("no image in the source can be read: check SOURCE and image_key")
    largest = max(max(image.size) for image in images)
    size = recipe.size or max(8, -(-largest // 8) * 8)
    if recipe.size is None and size > _LARGEST:
        raise ConfigError(
            f"size: the images are up to {largest} pixels wide or high; give the size to train at, "
            "such as 64"
        )
    colour = any(image.mode == "RGB" for image in images)
    channels = recipe.channels or (3 if colour else 1)
    return recipe.model_copy(update={"size": size, "channels": channels})


def _images(shards: list[str], recipe: PictureRecipe) -> Iterator[Image.Image]:
    for shard in shards:
        for sample in read(shard, Pictures(recipe).reading):
            with contextlib.suppress(DefectError):
                frames = Pictures(recipe).decoded(sample)
                yield frames[0]


def _run_of(
    frames: tuple[Image.Image, ...], length: int, place: Sequence[int] | None
) -> tuple[Image.Image, ...]:
    """So many frames in a row: the first ones, or those that a place in the training draws."""
    spare = len(frames) - length
    if spare < 0:
        raise DefectError(
            "too_few_frames", f"the clip has {len(frames)} frames, fewer than frames={length}"
        )
    begin = 0
    if spare and place is not None:
        begin = int(np.random.default_rng((*place, length)).integers(spare + 1))
    return frames[begin : begin + length]


def _fitted(
    image: Image.Image, recipe: PictureRecipe, variation: Variation | None
) -> NDArray[np.float32]:
    """The image (C, H, W) as the model takes it, with the frame that it has when it is whole."""
    fit = Fit.of(image, recipe.shape, recipe.fit)
    if variation is None:
        return fit.to_model(image)
    whole, image = image.size, variation.applied(image)
    if not fit.pad:  # the crop of a large photograph goes straight to the model's size
        how = "fit" if recipe.fit == "fit" else "resize"
        return Fit.of(image, recipe.shape, how).to_model(image)
    if image.size != whole:
        image = image.resize(whole, Image.Resampling.BICUBIC)
    return fit.to_model(image)

"""Batches from shards, in an order that depends only on (seed, position)."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import TypeVar

import numpy as np
import webdataset as wds
from numpy.typing import NDArray
from PIL import Image

from diffaug import storage
from diffaug.clips.clip import Selection
from diffaug.clips.decode import decode_clip
from diffaug.errors import ConfigError, DefectError
from diffaug.pictures.codec import decode
from diffaug.pictures.fit import Fit
from diffaug.shards import Sample, read_samples
from diffaug.shards.census import Census
from diffaug.shards.reading import Reading
from diffaug.train.recipe import LoopRecipe
from diffaug.train.variation import Variation

__all__ = ["NAMED", "Batch", "Position", "Skipped", "batches", "settle", "usable"]

R = TypeVar("R", bound=LoopRecipe)

_log = logging.getLogger(__name__)

_EPOCH_STRIDE = 1_000_003
"""Distance between the seeds of two trainings, so that no epochs of theirs share an order."""
_LOOKED_AT, _LARGEST = 100, 256
"""Number of images that the size is inferred from, and the largest size that is inferred."""
NAMED = 1000
"""Number of skipped samples that are kept by name; all are counted."""


@dataclass(frozen=True, slots=True)
class Position:
    """Position in the data: `sample` samples into epoch `epoch`, both from 0."""

    epoch: int = 0
    sample: int = 0


@dataclass(frozen=True, slots=True)
class Skipped:
    """An unusable sample and the reason."""

    shard: str
    key: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.shard} {self.key or '(the shard)'}: {self.reason}"


@dataclass(slots=True)
class Batch:
    """The data of one step.

    Attributes:
        x_0: float32 (B, C, H, W) in [-1, 1]; of clips, the channels of their frames behind one
            another.
        labels: int64 (B,); the number of classes means none; zeros if the model takes no class.
        position: position in the data after this batch.
        skips: number of samples skipped since the batch before.
        skipped: the first thousand of them.
    """

    x_0: NDArray[np.float32]
    labels: NDArray[np.int64]
    position: Position
    skips: int = 0
    skipped: list[Skipped] = field(default_factory=list)


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


def _images(shards: list[str], recipe: LoopRecipe) -> Iterator[Image.Image]:
    for shard in shards:
        for sample in _read(shard, recipe):
            with contextlib.suppress(DefectError):
                frames = _decode(sample, recipe)
                yield frames[0]


def batches(shards: list[str], recipe: LoopRecipe, start: Position) -> Iterator[Batch]:
    """Yield batches endlessly, epoch after epoch, starting at `start`.

    Each epoch reads the shards in a new order and passes them through webdataset's shuffle buffer.
    To start within an epoch, the samples before are read but not decoded.

    Raises:
        ConfigError: a whole epoch holds no usable image.
        OSError: a shard cannot be read.
    """
    images: list[NDArray[np.float32]] = []
    labels: list[int] = []
    skips, skipped = 0, list[Skipped]()
    census = Census(_reading(recipe))
    for epoch in count(start.epoch):
        begin = start.sample if epoch == start.epoch else 0
        usable = begin > 0
        for index, (shard, sample) in enumerate(
            islice(_shuffled(shards, recipe, epoch, census), begin, None), begin
        ):
            try:
                image, label = _prepare(sample, recipe, (recipe.seed, epoch, index))
            except DefectError as defect:
                skips += 1
                if len(skipped) < NAMED:
                    skipped.append(Skipped(storage.public_url(shard), sample.key, defect.reason))
                continue
            usable = True
            images.append(image)
            labels.append(label)
            if len(images) == recipe.batch_size:
                position = Position(epoch, index + 1)
                yield Batch(np.stack(images), np.array(labels), position, skips, skipped)
                images, labels, skips, skipped = [], [], 0, []
        if not usable:
            why = f": the first one, {skipped[0]}" if skipped else ""
            raise ConfigError(f"no sample of the source can be used{why}")


def usable(shards: list[str], recipe: LoopRecipe) -> Iterator[tuple[NDArray[np.float32], int]]:
    """The image (C, H, W) and class of every usable sample once, in order, as a model takes them.

    Unusable samples are logged.

    Raises:
        OSError: a shard cannot be read.
    """
    census = Census(_reading(recipe))
    for shard in shards:
        for sample in _read(shard, recipe, census):
            try:
                yield _prepare(sample, recipe)
            except DefectError as defect:
                left_out = Skipped(storage.public_url(shard), sample.key, defect.reason)
                _log.warning("left out %s", left_out)


def _shuffled(
    shards: list[str], recipe: LoopRecipe, epoch: int, census: Census
) -> Iterator[tuple[str, Sample]]:
    """The samples of an epoch, in its order, each with its shard."""
    seed = recipe.seed * _EPOCH_STRIDE + epoch
    order = list(shards)
    random.Random(seed).shuffle(order)
    samples = ((shard, sample) for shard in order for sample in _read(shard, recipe, census))
    buffer = wds.detshuffle(recipe.shuffle, initial=recipe.shuffle, seed=seed)
    shuffled: Iterator[tuple[str, Sample]] = buffer.run(samples)
    return shuffled


def _read(shard: str, recipe: LoopRecipe, census: Census | None = None) -> Iterator[Sample]:
    """The samples of a shard; without a census, also keys that are no sample."""
    names = {*_keys(recipe), *([recipe.label_key] if recipe.class_count else [])}
    with storage.open_read(shard) as stream:
        if census is None:
            yield from read_samples(stream, names.__contains__)
        else:
            yield from census.of(shard).samples(stream, names.__contains__)


def _reading(recipe: LoopRecipe) -> Reading:
    return Reading(_keys(recipe), recipe.label_key, needs_label=recipe.class_count > 0)


def _keys(recipe: LoopRecipe) -> tuple[str, ...]:
    return recipe.image_key if recipe.clip_length is None else recipe.clip_keys


def _decode(sample: Sample, recipe: LoopRecipe) -> tuple[Image.Image, ...]:
    """The picture of a sample, or the frames of its clip."""
    data = _reading(recipe).image(sample).data
    if recipe.clip_length is None:
        return (decode(data, recipe.max_pixels, recipe.background).shown,)
    return decode_clip(data, recipe.max_pixels, recipe.background, Selection()).frames


def _prepare(
    sample: Sample, recipe: LoopRecipe, place: Sequence[int] | None = None
) -> tuple[NDArray[np.float32], int]:
    """The image (C, H, W) and class of a sample, as the model takes them.

    Args:
        sample: what was read.
        recipe: of the training.
        place: in the training, which says how it is varied; None: not at all.
    """
    variation = None if place is None else Variation.of(recipe, place)
    frames = _run_of(_decode(sample, recipe), recipe.clip_length or 1, place)
    x_0 = np.concatenate([_fitted(frame, recipe, variation) for frame in frames])
    if not recipe.class_count:
        return x_0, 0
    if recipe.label_key not in sample.members and recipe.unlabelled == "keep":
        return x_0, recipe.class_count
    label = _reading(recipe).class_number(sample)
    if not 0 <= label < recipe.class_count:
        raise DefectError(
            "unknown_label", f"class {label} is not one of the {recipe.class_count} classes"
        )
    return x_0, label


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
    image: Image.Image, recipe: LoopRecipe, variation: Variation | None
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

"""Batches from shards, in an order that depends only on (seed, position)."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, Protocol

import numpy as np
import webdataset as wds
from numpy.typing import NDArray

from diffaug import storage
from diffaug.errors import ConfigError, DefectError
from diffaug.shards import Sample, read_samples
from diffaug.shards.census import Census
from diffaug.shards.reading import Reading
from diffaug.train.recipe import LoopRecipe

__all__ = ["NAMED", "Batch", "Form", "Position", "Skipped", "batches", "label_of", "read", "usable"]

_log = logging.getLogger(__name__)

_EPOCH_STRIDE = 1_000_003
"""Distance between the seeds of two trainings, so that no epochs of theirs share an order."""
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
            another; of texts, int64 (B, L) tokens.
        labels: int64 (B,); the number of classes means none; zeros if the model takes no class.
        position: position in the data after this batch.
        skips: number of samples skipped since the batch before.
        skipped: the first thousand of them.
    """

    x_0: NDArray[Any]
    labels: NDArray[np.int64]
    position: Position
    skips: int = 0
    skipped: list[Skipped] = field(default_factory=list)


class Form(Protocol):
    """What a training takes of a sample."""

    @property
    def reading(self) -> Reading:
        """Which of its members."""
        ...

    def prepare(
        self, sample: Sample, place: Sequence[int] | None = None
    ) -> tuple[NDArray[Any], int]:
        """A sample as the model takes it, and its class.

        Args:
            sample: what was read.
            place: in the training, which says how it is varied; None: not at all.

        Raises:
            DefectError: it cannot be used.
        """
        ...

    def together(self, samples: list[NDArray[Any]]) -> NDArray[Any]:
        """Samples as one array (B, ...)."""
        ...


def batches(shards: list[str], recipe: LoopRecipe, form: Form, start: Position) -> Iterator[Batch]:
    """Yield batches endlessly, epoch after epoch, starting at `start`.

    Each epoch reads the shards in a new order and passes them through webdataset's shuffle buffer.
    To start within an epoch, the samples before are read but not decoded.

    Raises:
        ConfigError: a whole epoch holds no usable sample.
        OSError: a shard cannot be read.
    """
    samples: list[NDArray[Any]] = []
    labels: list[int] = []
    skips, skipped = 0, list[Skipped]()
    census = Census(form.reading)
    for epoch in count(start.epoch):
        begin = start.sample if epoch == start.epoch else 0
        usable = begin > 0
        for index, (shard, sample) in enumerate(
            islice(_shuffled(shards, recipe, form, epoch, census), begin, None), begin
        ):
            try:
                x_0, label = form.prepare(sample, (recipe.seed, epoch, index))
            except DefectError as defect:
                skips += 1
                if len(skipped) < NAMED:
                    skipped.append(Skipped(storage.public_url(shard), sample.key, defect.reason))
                continue
            usable = True
            samples.append(x_0)
            labels.append(label)
            if len(samples) == recipe.batch_size:
                position = Position(epoch, index + 1)
                whole = form.together(samples)
                yield Batch(whole, np.array(labels), position, skips, skipped)
                samples, labels, skips, skipped = [], [], 0, []
        if not usable:
            why = f": the first one, {skipped[0]}" if skipped else ""
            raise ConfigError(f"no sample of the source can be used{why}")


def usable(shards: list[str], form: Form) -> Iterator[tuple[NDArray[Any], int]]:
    """Every usable sample and its class once, in order, as a model takes them.

    Unusable samples are logged.

    Raises:
        OSError: a shard cannot be read.
    """
    census = Census(form.reading)
    for shard in shards:
        for sample in read(shard, form.reading, census):
            try:
                yield form.prepare(sample)
            except DefectError as defect:
                left_out = Skipped(storage.public_url(shard), sample.key, defect.reason)
                _log.warning("left out %s", left_out)


def _shuffled(
    shards: list[str], recipe: LoopRecipe, form: Form, epoch: int, census: Census
) -> Iterator[tuple[str, Sample]]:
    """The samples of an epoch, in its order, each with its shard."""
    seed = recipe.seed * _EPOCH_STRIDE + epoch
    order = list(shards)
    random.Random(seed).shuffle(order)
    samples = ((shard, sample) for shard in order for sample in read(shard, form.reading, census))
    buffer = wds.detshuffle(recipe.shuffle, initial=recipe.shuffle, seed=seed)
    shuffled: Iterator[tuple[str, Sample]] = buffer.run(samples)
    return shuffled


def read(shard: str, reading: Reading, census: Census | None = None) -> Iterator[Sample]:
    """The samples of a shard; without a census, also keys that are no sample."""
    names = {*reading.image_keys, *([reading.label_key] if reading.needs_label else [])}
    with storage.open_read(shard) as stream:
        if census is None:
            yield from read_samples(stream, names.__contains__)
        else:
            yield from census.of(shard).samples(stream, names.__contains__)


def label_of(sample: Sample, recipe: LoopRecipe, reading: Reading) -> int:
    """The class of a sample; 0 without classes, and their number where it has none.

    Raises:
        DefectError: it has no class, and is not to be kept without; or it is none of those.
    """
    if not recipe.class_count:
        return 0
    if recipe.label_key not in sample.members and recipe.unlabelled == "keep":
        return recipe.class_count
    label = reading.class_number(sample)
    if not 0 <= label < recipe.class_count:
        raise DefectError(
            "unknown_label", f"class {label} is not one of the {recipe.class_count} classes"
        )
    return label

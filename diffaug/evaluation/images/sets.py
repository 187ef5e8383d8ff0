"""The sets of images that trainings read from OUTPUT: labelled ones, and those to be scored on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffaug.evaluation.images.corruptions import corrupt
from diffaug.evaluation.images.found import read_found
from diffaug.evaluation.images.pictures import TEXT_MODE, Pictures, Samples, read_pictures
from diffaug.evaluation.kinds import CLEAN
from diffaug.evaluation.plan import read_plan
from diffaug.evaluation.settings import Evaluation
from diffaug.output.evaluation import EvaluationOutput
from diffaug.storage import writing

__all__ = [
    "ScoredSet",
    "labelled",
    "scored_sets",
    "test_labels",
    "write_scored_sets",
]

_CLEAN = (CLEAN, 0)
"""Stands for a corruption and its severity where there is none."""


@dataclass(frozen=True, slots=True)
class ScoredSet:
    """Images that a classifier is scored on.

    Attributes:
        split: `validation` or `test`.
        corruption: `clean`, or the corruption.
        severity: from 1 to 5; 0 for clean images.
        images: pictures, memory-mapped, or texts.
        labels: int64 (N,).
    """

    split: str
    corruption: str
    severity: int
    images: Samples
    labels: NDArray[np.int64]


def labelled(output: str, seed: int) -> Pictures:
    """A seed's labelled images, at the largest budget; a smaller budget has the first of them."""
    return read_pictures(EvaluationOutput(output).labelled(seed), read_found(output).mode)


def test_labels(output: str) -> NDArray[np.int64]:
    """The classes of the test images, in their order."""
    return _labels(EvaluationOutput(output).test, read_found(output).mode)


def scored_sets(output: str, seed: int) -> Iterator[ScoredSet]:
    """All sets of images that the classifiers of a seed are scored on."""
    plan, mode, files = read_plan(output), read_found(output).mode, EvaluationOutput(output)
    shards = {"validation": files.validation(seed)}
    if plan.test:
        shards["test"] = files.test
    for split, shard in shards.items():
        if mode == TEXT_MODE:
            texts = read_pictures(shard, mode)
            yield ScoredSet(split, *_CLEAN, texts.images, texts.labels)
            continue
        labels = _labels(shard, mode)
        for corruption, severity in _corruptions(plan.settings):
            images = np.load(_path(shard, corruption, severity), mmap_mode="r")
            yield ScoredSet(split, corruption, severity, images, labels)


def write_scored_sets(shard: Path, mode: str, settings: Evaluation) -> None:
    """Write the images of a shard, clean and corrupted, next to it.

    Args:
        shard: one that `write_shard` wrote.
        mode: of its images: L, RGB, or text.
        settings: which corruptions, how severe.
    """
    pictures = read_pictures(shard, mode)
    with writing(_labels_path(shard)):
        np.save(_labels_path(shard), pictures.labels)
    if mode == TEXT_MODE:
        return  # they are read from the shard
    for corruption, severity in _corruptions(settings):
        images = pictures.images
        if (corruption, severity) != _CLEAN:
            channels = 1 if mode == "L" else 3
            images = corrupt(images, pictures.pixels, corruption, severity, channels)
        path = _path(shard, corruption, severity)
        with writing(path):
            np.save(path, images)


def _corruptions(settings: Evaluation) -> list[tuple[str, int]]:
    return [_CLEAN, *settings.corrupted]


def _labels(shard: Path, mode: str) -> NDArray[np.int64]:
    path = _labels_path(shard)
    if not path.is_file():  # of an evaluation that an earlier version began
        return read_pictures(shard, mode).labels
    labels: NDArray[np.int64] = np.load(path)
    return labels


def _labels_path(shard: Path) -> Path:
    return shard.with_name(f"{shard.stem}-labels.npy")


def _path(shard: Path, corruption: str, severity: int) -> Path:
    return shard.with_name(f"{shard.stem}-{corruption}-{severity}.npy")

"""What the trainings of one seed read from OUTPUT."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffaug import storage
from diffaug.evaluation.images.corruptions import Images
from diffaug.evaluation.images.labelled import Pictures, as_array, read_pictures
from diffaug.evaluation.images.prepare import read_found, set_names, set_path
from diffaug.evaluation.plan import read_plan
from diffaug.evaluation.trials.variants import Pool
from diffaug.output.layout import Output
from diffaug.pictures.codec import decode
from diffaug.recipe import Recipe
from diffaug.shards import read_samples

__all__ = ["ScoredSet", "labelled", "labelled_shard", "read_pool", "scored_sets"]


@dataclass(frozen=True, slots=True)
class ScoredSet:
    """Images that a classifier is scored on.

    Attributes:
        split: `validation` or `test`.
        corruption: `clean`, or what they were corrupted by.
        severity: from 1 to 5; 0 for clean ones.
        images: uint8 (N, H, W, C), on disk.
        labels: int64 (N,).
    """

    split: str
    corruption: str
    severity: int
    images: Images
    labels: NDArray[np.int64]


def labelled_shard(output: str, seed: int) -> str:
    """Where a seed's labelled images are."""
    return str(Path(output, f"seed-{seed}", "labelled.tar"))


@lru_cache(maxsize=1)
def labelled(output: str, seed: int) -> Pictures:
    """A seed's labelled images: of any budget, the first ones."""
    return read_pictures(Path(labelled_shard(output, seed)), read_found(output).mode)


def scored_sets(output: str, seed: int) -> Iterator[ScoredSet]:
    """All images that the classifiers of a seed are scored on."""
    plan = read_plan(output)
    shards = {"validation": Path(output, f"seed-{seed}", "validation.tar")}
    if plan.test:
        shards["test"] = Path(output, "test", "test.tar")
    for split, shard in shards.items():
        labels = _labels(shard, read_found(output).mode)
        for kind, severity in set_names(plan.settings):
            images = np.load(set_path(shard, kind, severity), mmap_mode="r")
            yield ScoredSet(split, kind, severity, images, labels)


@lru_cache(maxsize=2)
def _labels(shard: Path, mode: str) -> NDArray[np.int64]:
    return read_pictures(shard, mode).labels


def read_pool(output: str, of: Pictures) -> tuple[Pool, NDArray[np.bool_]]:
    """The copies that a job made of a labelled shard.

    Args:
        output: the job's OUTPUT.
        of: the labelled images.

    Returns:
        All copies, and (N, K) those that the recipe's filters let pass.
    """
    columns = ["source_key", "copy", "status", "score_psnr", "output_shard", "output_key"]
    rows = pd.read_parquet(Output(output).manifest, columns=columns)
    shape = (len(of), int(rows["copy"].max()) + 1, *of.images.shape[1:])
    pool = Pool(
        np.zeros(shape, dtype=np.uint8), np.zeros(shape[:2], dtype=bool), np.full(shape[:2], np.nan)
    )
    passed, mode = np.zeros(shape[:2], dtype=bool), "L" if shape[-1] == 1 else "RGB"
    rows = rows[rows["status"] != "failed"]
    places = {
        key: (int(source), copy, psnr, status)
        for key, source, copy, psnr, status in rows[
            ["output_key", "source_key", "copy", "score_psnr", "status"]
        ].to_numpy()
    }
    for tar in sorted(set(rows["output_shard"])):
        with storage.open_read(storage.join(output, tar)) as stream:
            for sample in read_samples(stream, {"png"}.__contains__):
                place, copy, psnr, status = places[str(sample.key)]
                image = decode(sample.members["png"].data, Recipe().max_pixels)
                pool.copies[place, copy] = as_array(image, mode)
                pool.there[place, copy] = True
                pool.psnr[place, copy] = psnr
                passed[place, copy] = status == "ok"
    return pool, passed

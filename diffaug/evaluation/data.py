"""What the trainings of one seed need, read once a process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffaug import storage
from diffaug.codec import decode
from diffaug.errors import ConfigError
from diffaug.evaluation.corruptions import corrupt
from diffaug.evaluation.pictures import Pictures, as_array, read_pictures, write_pictures
from diffaug.evaluation.plan import EvaluationPlan, read_plan
from diffaug.evaluation.settings import Evaluation
from diffaug.evaluation.split import draw
from diffaug.evaluation.variants import Images, Pool
from diffaug.recipe import Recipe
from diffaug.shards import read_samples

__all__ = ["CLEAN", "Sets", "draw_subsets", "labelled", "labelled_shard", "read_pool", "sets"]

CLEAN = ("clean", 0)
"""The corruption and the severity of images as they are."""


@dataclass(frozen=True, slots=True)
class Sets:
    """Images to score a classifier on, clean and corrupted.

    Attributes:
        images: by corruption and severity, uint8 (N, H, W, C).
        pictures: the clean ones, with their classes.
    """

    images: Mapping[tuple[str, int], Images]
    pictures: Pictures


def draw_subsets(plan: EvaluationPlan, output: str) -> list[str]:
    """Write each seed's labelled and validation images as shards, if they are not there yet.

    Returns:
        A sentence for every sample of the source that could not be used.

    Raises:
        ConfigError: a class has too few images; or the validation source has other classes.
    """
    settings = plan.settings
    seeds = [seed for seed in range(settings.seeds) if not _folder(output, seed).is_dir()]
    if not seeds:
        return []
    source = read_pictures(list(plan.sources), plan.recipe, settings.size)
    apart = (
        read_pictures(list(plan.validation), plan.recipe, settings.size)
        if plan.validation
        else None
    )
    if apart is not None and set(apart.labels.tolist()) != set(source.labels.tolist()):
        raise ConfigError("--validation-source: its classes are not those of the source")
    with storage.scratch(output) as scratch:
        for seed in seeds:
            held_out = settings.validation if apart is None else 0
            split = draw(source.labels, source.pixels, seed, settings.labels[-1], held_out)
            chosen = source.at(split.validation)
            if apart is not None:
                of_apart = draw(apart.labels, apart.pixels, seed, 0, settings.validation)
                chosen = apart.at(of_apart.validation)
            made = scratch / f"seed-{seed}"
            made.mkdir()
            write_pictures(source.at(split.labelled), made / "labelled.tar")
            write_pictures(chosen, made / "validation.tar")
            made.rename(_folder(output, seed))
    return [*source.left_out, *(apart.left_out if apart is not None else ())]


def labelled_shard(output: str, seed: int) -> str:
    """Where a seed's labelled images are."""
    return str(_folder(output, seed) / "labelled.tar")


@lru_cache(maxsize=1)
def labelled(output: str, seed: int) -> Pictures:
    """A seed's labelled images: of any budget, the first ones."""
    return read_pictures([labelled_shard(output, seed)], Recipe())


def sets(output: str, seed: int) -> dict[str, Sets]:
    """The images that the classifiers of a seed are scored on: `validation`, and `test` if any."""
    found = {"validation": _validation(output, seed)}
    return found | {"test": _test(output)} if read_plan(output).test else found


@lru_cache(maxsize=1)
def _validation(output: str, seed: int) -> Sets:
    pictures = read_pictures([str(_folder(output, seed) / "validation.tar")], Recipe())
    return _sets(pictures, read_plan(output).settings)


@lru_cache(maxsize=1)
def _test(output: str) -> Sets:
    plan = read_plan(output)
    return _sets(read_pictures(list(plan.test), plan.recipe, plan.settings.size), plan.settings)


def _sets(pictures: Pictures, settings: Evaluation) -> Sets:
    images = {CLEAN: pictures.images}
    for kind in settings.corruptions:
        for severity in settings.severities:
            images[kind, severity] = corrupt(pictures.images, pictures.pixels, kind, severity)
    return Sets(images, pictures)


def read_pool(output: str, of: Pictures) -> tuple[Pool, NDArray[np.bool_]]:
    """The copies that a job made of a labelled shard.

    Args:
        output: the job's OUTPUT.
        of: the labelled images.

    Returns:
        All copies, and (N, K) those that the recipe's filters let pass.
    """
    columns = ["source_key", "copy", "status", "score_psnr", "output_shard", "output_key"]
    rows = pd.read_parquet(storage.join(output, "manifest"), columns=columns)
    shape = (len(of), int(rows["copy"].max()) + 1, *of.images.shape[1:])
    pool = Pool(
        np.zeros(shape, dtype=np.uint8), np.zeros(shape[:2], dtype=bool), np.full(shape[:2], np.nan)
    )
    passed = np.zeros(shape[:2], dtype=bool)
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
                place, copy, psnr, status = places[sample.key]
                image = decode(sample.members["png"].data, Recipe().max_pixels)
                pool.copies[place, copy] = as_array(image, of.images[place])
                pool.there[place, copy] = True
                pool.psnr[place, copy] = psnr
                passed[place, copy] = status == "ok"
    return pool, passed


def _folder(output: str, seed: int) -> Path:
    return Path(output, f"seed-{seed}")

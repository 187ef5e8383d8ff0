"""The pool of augmented images that an arm draws from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffaug import storage
from diffaug.evaluation.images.pictures import Pictures, Samples, as_array, blank, frames_of
from diffaug.media import medium_of
from diffaug.output.layout import Output
from diffaug.output.run import the_run
from diffaug.recipe import Recipe
from diffaug.shards import read_samples

__all__ = ["Draw", "Places", "Pool", "psnr_of", "read_pool"]

Places = NDArray[np.int64]
"""(N,), places of labelled images."""


class Draw(NamedTuple):
    """Variants of labelled images.

    Attributes:
        places: (N,), the labelled images that they are of.
        images: the variants.
        classes: (N,), their classes; None: those of the labelled images.
    """

    places: Places
    images: Samples
    classes: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """Copies made beforehand.

    Attributes:
        copies: (N, K), and as far as these are pictures (N, K, H, W, C).
        there: bool (N, K), which of them can be drawn.
        psnr: (N, K), against their image, in dB; NaN where a copy is missing, and of texts.
        classes: int64 (N, K), the class of each; None: that of its image.
    """

    copies: Samples
    there: NDArray[np.bool_]
    psnr: NDArray[np.float64]
    classes: NDArray[np.int64] | None = None

    def draw(self, places: Places, random: np.random.Generator) -> Draw:
        """One copy of the image at each place, and the places whose copies were in fact drawn.

        An image without copies gives up its turn to another image that has some. It does not stand
        in for its own copies: that would be oversampling.
        """
        which = np.argwhere(self.there)
        starts = np.searchsorted(which[:, 0], np.arange(len(self.there) + 1))
        counts = np.diff(starts)
        lost = counts[places] == 0
        places = places.copy()
        places[lost] = random.choice(np.flatnonzero(counts), lost.sum())
        picked = starts[places] + (random.random(len(places)) * counts[places]).astype(np.int64)
        image, copy = which[picked].T
        classes = None if self.classes is None else self.classes[image, copy]
        return Draw(image, self.copies[image, copy], classes)

    def first(self, count: int) -> Pool:
        """The copies of the first `count` images."""
        classes = None if self.classes is None else self.classes[:count]
        return Pool(self.copies[:count], self.there[:count], self.psnr[:count], classes)

    def kept(self, there: NDArray[np.bool_]) -> Pool:
        """The pool without the copies that are not `there`."""
        return replace(self, there=self.there & there)


def psnr_of(copies: NDArray[Any], image: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(K,), in dB, of copies (K, H, W, C) against an image (H, W, C)."""
    errors = np.square(copies - image).mean(axis=(1, 2, 3), dtype=np.float64)
    decibels: NDArray[np.float64] = 10 * np.log10(255**2 / np.maximum(errors, 1e-4))
    return decibels


def read_pool(output: str, of: Pictures) -> tuple[Pool, NDArray[np.bool_]]:
    """The copies that a job made of a labelled shard.

    Args:
        output: the job's OUTPUT.
        of: the labelled images.

    Returns:
        All copies, and (N, K) which of them pass the recipe's filters.
    """
    columns = ["source_key", "copy", "status", "score_psnr", "output_shard", "output_key"]
    towards = ["to_label"] if "to_label" in the_run(output).columns else []
    rows = pd.read_parquet(Output(output).manifest, columns=[*columns, *towards])
    shape = (len(of), int(rows["copy"].max()) + 1, *of.images.shape[1:])
    pool = Pool(
        blank(shape, of.images), np.zeros(shape[:2], dtype=bool), np.full(shape[:2], np.nan)
    )
    passed, recipe = np.zeros(shape[:2], dtype=bool), the_run(output).recipe
    medium, wanted = medium_of(recipe), recipe.format_for(jpeg=False)
    rows = rows[rows["status"] != "failed"]
    if towards:
        classes = np.repeat(of.labels[:, None], shape[1], axis=1)
        classes[rows["source_key"].astype(int), rows["copy"]] = rows["to_label"]
        pool = replace(pool, classes=classes)
    places = {
        key: (int(source), copy, psnr, status)
        for key, source, copy, psnr, status in rows[
            ["output_key", "source_key", "copy", "score_psnr", "status"]
        ].to_numpy()
    }
    for tar in sorted(set(rows["output_shard"])):
        with storage.open_read(storage.join(output, tar)) as stream:
            for sample in read_samples(stream, {wanted}.__contains__):
                place, copy, psnr, status = places[str(sample.key)]
                image = medium.read_back(sample.members[wanted].data, Recipe().max_pixels)
                mode = "L" if shape[-1] == (frames_of(image) or 1) else "RGB"
                pool.copies[place, copy] = as_array(image, mode)
                pool.there[place, copy] = True
                pool.psnr[place, copy] = psnr
                passed[place, copy] = status == "ok"
    return pool, passed

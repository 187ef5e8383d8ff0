"""Images that another tool made of the labelled images, as an arm."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from diffaug import storage
from diffaug.errors import ConfigError, DefectError
from diffaug.evaluation.images.corruptions import Images
from diffaug.evaluation.images.pictures import Form, Pictures, as_array
from diffaug.evaluation.images.pool import Pool, psnr_of
from diffaug.output.evaluation import EvaluationOutput
from diffaug.pictures.codec import decode
from diffaug.recipe import Recipe
from diffaug.shards import read_samples
from diffaug.shards.reading import Reading

__all__ = ["Made", "load_elsewhere", "pool_of", "read_elsewhere", "save_elsewhere"]

Made = dict[str, list[Images]]
"""Images by the keys of their sources, each (H, W, C)."""


def save_elsewhere(pool: Pool, output: str, seed: int, name: str) -> None:
    """Keep the images of a seed in OUTPUT."""
    path = EvaluationOutput(output).elsewhere(seed, name)
    with storage.writing(path):
        np.savez(path, copies=pool.copies, there=pool.there, psnr=pool.psnr)


def load_elsewhere(output: str, seed: int, name: str) -> Pool:
    """The images of a seed, as they were kept."""
    with np.load(EvaluationOutput(output).elsewhere(seed, name)) as kept:
        return Pool(kept["copies"], kept["there"], kept["psnr"])


def read_elsewhere(
    name: str, shards: str, form: Form, keys: Collection[str], known: Sequence[str]
) -> Made:
    """The images of shards that are named after labelled images, in the form of those.

    Args:
        name: of the arm.
        shards: a file, glob or brace range; the key of each sample is that of its source, or
            begins with it and a hyphen; of several such sources, the longest key counts. Those of
            other images are passed over.
        form: what all are brought to.
        keys: of the labelled images.
        known: the keys of all images of the sources.

    Raises:
        ConfigError: several images of the sources have the same key, there are no such shards, or a
            picture cannot be read.
        OSError: a shard cannot be read.
    """
    every = set(known)
    if len(every) < len(known):
        raise ConfigError(
            f"augmented {name}: several images of the source have the same key, so that it is not "
            "clear whose images these are: pack the source anew, into shards of one name"
        )
    reading, found = Reading.of(Recipe()), dict[str, list[Images]]()
    for url in storage.expand([shards]):
        with storage.open_read(url) as stream:
            for sample in read_samples(stream, reading.reads):
                key = _source(sample.key or "", every)
                if key not in keys:
                    continue
                try:
                    image = decode(reading.image(sample).data, Recipe().max_pixels).shown
                except DefectError as defect:
                    shown = storage.public_url(url)
                    raise ConfigError(
                        f"augmented {name}: {sample.key} of {shown}: {defect.reason}"
                    ) from None
                found.setdefault(key, []).append(as_array(form.bring(image), form.mode))
    return found


def pool_of(made: Made, name: str, shards: str, of: Pictures, keys: Sequence[str]) -> Pool:
    """Those of them that were made of some labelled images.

    Args:
        made: see `read_elsewhere`.
        name: of the arm.
        shards: where they were read.
        of: the labelled images.
        keys: their keys.

    Raises:
        ConfigError: there is none.
    """
    found = {place: made[key] for place, key in enumerate(keys) if key in made}
    if not found:
        raise ConfigError(
            f"augmented {name}: no image of {storage.public_url(shards)} is named after a labelled "
            f"one, such as {keys[0]}: name each as its source, or with a hyphen and more after it"
        )
    shape = (len(of), max(map(len, found.values())))
    copies = np.zeros((*shape, *of.images.shape[1:]), dtype=np.uint8)
    there, psnr = np.zeros(shape, dtype=bool), np.full(shape, np.nan)
    for place, images in found.items():
        count = len(images)
        copies[place, :count], there[place, :count] = images, True
        psnr[place, :count] = psnr_of(copies[place, :count], of.images[place].astype(float))
    return Pool(copies, there, psnr)


def _source(key: str, every: Collection[str]) -> str:
    """The key of the source that a key names: it, or all of it before one of its hyphens."""
    while key not in every:
        key, hyphen, _ = key.rpartition("-")
        if not hyphen:
            return ""
    return key

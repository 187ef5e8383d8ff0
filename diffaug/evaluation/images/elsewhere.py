"""Images that another tool made of the labelled images, as an arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from diffaug import storage
from diffaug.errors import ConfigError, DefectError
from diffaug.evaluation.images.corruptions import Images
from diffaug.evaluation.images.pictures import Form, Pictures, as_array
from diffaug.evaluation.images.pool import Pool
from diffaug.pictures.codec import decode
from diffaug.recipe import Recipe
from diffaug.shards import read_samples
from diffaug.shards.reading import Reading

__all__ = ["read_elsewhere"]


def read_elsewhere(name: str, shards: str, of: Pictures, keys: Sequence[str]) -> Pool:
    """The images of shards that are named after labelled images.

    Args:
        name: of the arm.
        shards: a file, glob or brace range; the key of each sample is that of its source, or
            begins with it and a hyphen. Those of other images are passed over.
        of: the labelled images, whose form all are brought to.
        keys: their keys.

    Raises:
        ConfigError: there are no such shards, a picture cannot be read, or none is named after a
            labelled image.
        OSError: a shard cannot be read.
    """
    places = {key: place for place, key in enumerate(keys)}
    height, width, channels = of.images.shape[1:]
    form = Form(width, height, "L" if channels == 1 else "RGB")
    reading, found = Reading.of(Recipe()), dict[int, list[Images]]()
    for url in storage.expand([shards]):
        with storage.open_read(url) as stream:
            for sample in read_samples(stream, reading.reads):
                place = _place(sample.key or "", places)
                if place is None:
                    continue
                try:
                    image = decode(reading.image(sample).data, Recipe().max_pixels).shown
                except DefectError as defect:
                    shown = storage.public_url(url)
                    raise ConfigError(
                        f"augmented {name}: {sample.key} of {shown}: {defect.reason}"
                    ) from None
                found.setdefault(place, []).append(as_array(form.bring(image), form.mode))
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
        errors = np.square(copies[place, :count] - of.images[place].astype(float))
        psnr[place, :count] = 10 * np.log10(255**2 / np.maximum(errors.mean((1, 2, 3)), 1e-4))
    return Pool(copies, there, psnr)


def _place(key: str, places: Mapping[str, int]) -> int | None:
    """The place of the image that a key names: it, or all of it before one of its hyphens."""
    while key not in places:
        key, hyphen, _ = key.rpartition("-")
        if not hyphen:
            return None
    return places[key]

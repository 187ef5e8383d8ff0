"""Images that another tool made of the labelled images, as an arm."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from diffaug import storage
from diffaug.errors import ConfigError, DefectError
from diffaug.evaluation.images.pictures import Form, Pictures, as_array, blank
from diffaug.evaluation.images.pool import Pool, psnr_of
from diffaug.evaluation.settings import ALL
from diffaug.media import medium_of
from diffaug.output.evaluation import EvaluationOutput
from diffaug.pack.beside import names_folder, open_folder
from diffaug.recipe import Recipe
from diffaug.shards import Sample, read_samples
from diffaug.shards.reading import Reading

__all__ = [
    "Made",
    "load_elsewhere",
    "places_of",
    "pool_of",
    "read_elsewhere",
    "save_elsewhere",
]

Made = dict[str, list[Any]]
"""Images, each (H, W, C), or texts, by the keys of their sources."""

_BUDGET = "{labels}"
"""What stands for the budget in a place."""


def places_of(place: str, seed: int, labels: Sequence[int]) -> dict[int | None, str]:
    """Where the images of a seed are: by budget if the place names it, else under None.

    Args:
        place: in which {seed} stands for the seed, and {labels} for the budget.
        seed: the seed.
        labels: the budgets.
    """
    place = place.replace("{seed}", str(seed))
    if _BUDGET not in place:
        return {None: place}
    return {one: place.replace(_BUDGET, "all" if one == ALL else str(one)) for one in labels}


def save_elsewhere(pool: Pool, output: str, seed: int, name: str, labels: int | None) -> None:
    """Keep the images of a seed in OUTPUT; those of a budget alone, if there is one."""
    path = EvaluationOutput(output).elsewhere(seed, name, labels)
    with storage.writing(path):
        copies = pool.copies
        if copies.dtype == object:  # texts, which numpy would pad to the longest
            copies = np.frombuffer(json.dumps(copies.tolist()).encode(), dtype=np.uint8)
        np.savez(path, copies=copies, there=pool.there, psnr=pool.psnr)


def load_elsewhere(output: str, seed: int, name: str, labels: int) -> Pool:
    """The images of a seed and a budget, as they were kept."""
    paths = [EvaluationOutput(output).elsewhere(seed, name, one) for one in (labels, None)]
    with np.load(next(path for path in paths if path.is_file())) as kept:
        copies, there = kept["copies"], kept["there"]
        if copies.ndim == 1:
            texts = json.loads(copies.tobytes())
            copies = np.array(texts, dtype=object).reshape(there.shape)
        return Pool(copies, there, kept["psnr"])


def read_elsewhere(
    name: str,
    place: str,
    form: Form,
    keys: Collection[str],
    known: Sequence[str],
    paths: Mapping[str, str | None],
    medium: str | None = None,
) -> Made:
    """The images that are named after labelled images, in the form of those.

    Args:
        name: of the arm.
        place: shards (a file, glob or brace range) or a folder of pictures. The key of a sample, or
            the path of a picture without its extension, is that of its source, or begins with it
            and a hyphen; of several such sources, the longest counts. Where no source was a
            picture of a folder, the name of a picture's file will do. Those of other images are
            passed over.
        form: what all are brought to.
        keys: of the labelled images.
        known: the keys of all images of the sources.
        paths: the keys of those that were pictures of a folder, by their paths in it without
            extension; None where several have the same.
        medium: of the source; texts are read from shards alone.

    Raises:
        ConfigError: several images of the sources have the same key or path, there are no such
            shards, or a picture cannot be read.
        OSError: a shard cannot be read.
    """
    if len(set(known)) < len(known):
        raise ConfigError(
            f"augmented {name}: several samples of the source have the same key, so that it is not "
            "clear whose these are: pack the source anew, into shards of one name"
        )
    called = dict[str, str | None](zip(known, known, strict=True))
    called.update(paths)
    found: Made = {}
    in_folder, recipe = names_folder(place), Recipe(medium=medium)
    if in_folder and medium == "text":
        raise ConfigError(f"augmented {name}: texts are read from shards: pack {place} first")
    for image in _folder(place) if in_folder else _shards(place, recipe):
        key = _source(image.name, called)
        if key == "" and in_folder and not paths:
            key = _source(posixpath.basename(image.name), called)
        if key is None:
            raise ConfigError(
                f"augmented {name}: several pictures of the source have the name of {image.name}, "
                "but for its extension: rename them"
            )
        if key not in keys:
            continue
        try:
            picture = medium_of(recipe).read(image.load(), recipe.max_pixels, None).shown
        except DefectError as defect:
            raise ConfigError(f"augmented {name}: {image.place}: {defect.reason}") from None
        found.setdefault(key, []).append(as_array(form.bring(picture), form.mode))
    return found


class _Image(NamedTuple):
    """An encoded image, its name without extension, and where it is."""

    name: str
    place: str
    load: Callable[[], bytes]


def _shards(pattern: str, recipe: Recipe) -> Iterator[_Image]:
    reading = Reading.of(recipe)
    for url in storage.expand([pattern]):
        with storage.open_read(url) as stream:
            for sample in read_samples(stream, reading.reads):
                place = f"{sample.key} of {storage.public_url(url)}"
                yield _Image(sample.key or "", place, partial(_data, reading, sample))


def _data(reading: Reading, sample: Sample) -> bytes:
    return reading.image(sample).data


def _folder(url: str) -> Iterator[_Image]:
    for one in open_folder(url).pictures(None):
        place = f"{one.name} of {storage.public_url(url)}"
        yield _Image(posixpath.splitext(one.name)[0], place, one.load)


def pool_of(
    made: Made,
    name: str,
    place: str,
    of: Pictures,
    keys: Sequence[str],
    paths: Mapping[str, str | None],
) -> Pool:
    """Those of them that were made of some labelled images.

    Args:
        made: see `read_elsewhere`.
        name: of the arm.
        place: where they were read.
        of: the labelled images.
        keys: their keys.
        paths: see `read_elsewhere`.

    Raises:
        ConfigError: there is none.
    """
    found = {row: made[key] for row, key in enumerate(keys) if key in made}
    if not found:
        called = next((path for path, key in paths.items() if key == keys[0]), keys[0])
        raise ConfigError(
            f"augmented {name}: no sample of {storage.public_url(place)} is named after a labelled "
            f"one, such as {called}: name each as its source, or with a hyphen and more after it"
        )
    shape = (len(of), max(map(len, found.values())))
    copies = blank((*shape, *of.images.shape[1:]), of.images)
    there, psnr = np.zeros(shape, dtype=bool), np.full(shape, np.nan)
    for row, images in found.items():
        count = len(images)
        copies[row, :count], there[row, :count] = images, True
        if copies.dtype != object:
            psnr[row, :count] = psnr_of(copies[row, :count], of.images[row].astype(float))
    return Pool(copies, there, psnr)


def _source(name: str, called: Mapping[str, str | None]) -> str | None:
    """The key of what is called by a name, or by all of it before one of its hyphens; else ""."""
    while name not in called:
        name, hyphen, _ = name.rpartition("-")
        if not hyphen:
            return ""
    return called[name]

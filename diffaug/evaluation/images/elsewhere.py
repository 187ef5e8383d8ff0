"""Images that another tool made of the labelled images, as an arm."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from diffaug import storage
from diffaug.errors import ConfigError, DefectError
from diffaug.evaluation.images.corruptions import Images
from diffaug.evaluation.images.pictures import Form, Pictures, as_array
from diffaug.evaluation.images.pool import Pool, psnr_of
from diffaug.output.evaluation import EvaluationOutput
from diffaug.pack.beside import names_folder, open_folder
from diffaug.pictures.codec import decode
from diffaug.recipe import Recipe
from diffaug.shards import Sample, read_samples
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
    name: str,
    place: str,
    form: Form,
    keys: Collection[str],
    known: Sequence[str],
    paths: Mapping[str, str | None],
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

    Raises:
        ConfigError: several images of the sources have the same key or path, there are no such
            shards, or a picture cannot be read.
        OSError: a shard cannot be read.
    """
    if len(set(known)) < len(known):
        raise ConfigError(
            f"augmented {name}: several images of the source have the same key, so that it is not "
            "clear whose images these are: pack the source anew, into shards of one name"
        )
    called = dict[str, str | None](zip(known, known, strict=True))
    called.update(paths)
    found = dict[str, list[Images]]()
    in_folder = names_folder(place)
    for image in _folder(place) if in_folder else _shards(place):
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
            picture = decode(image.load(), Recipe().max_pixels).shown
        except DefectError as defect:
            raise ConfigError(f"augmented {name}: {image.place}: {defect.reason}") from None
        found.setdefault(key, []).append(as_array(form.bring(picture), form.mode))
    return found


class _Image(NamedTuple):
    """An encoded image, its name without extension, and where it is."""

    name: str
    place: str
    load: Callable[[], bytes]


def _shards(pattern: str) -> Iterator[_Image]:
    reading = Reading.of(Recipe())
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
            f"augmented {name}: no image of {storage.public_url(place)} is named after a labelled "
            f"one, such as {called}: name each as its source, or with a hyphen and more after it"
        )
    shape = (len(of), max(map(len, found.values())))
    copies = np.zeros((*shape, *of.images.shape[1:]), dtype=np.uint8)
    there, psnr = np.zeros(shape, dtype=bool), np.full(shape, np.nan)
    for row, images in found.items():
        count = len(images)
        copies[row, :count], there[row, :count] = images, True
        psnr[row, :count] = psnr_of(copies[row, :count], of.images[row].astype(float))
    return Pool(copies, there, psnr)


def _source(name: str, called: Mapping[str, str | None]) -> str | None:
    """The key of what is called by a name, or by all of it before one of its hyphens; else ""."""
    while name not in called:
        name, hyphen, _ = name.rpartition("-")
        if not hyphen:
            return ""
    return called[name]

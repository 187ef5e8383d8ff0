"""`diffaug pack`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from diffaug.cli.app import DIFFERS, OK, app, err, out
from diffaug.cli.progress import Counts, counted
from diffaug.errors import ConfigError
from diffaug.recipe import Recipe

if TYPE_CHECKING:
    from diffaug.pack import Totals

__all__ = ["pack"]


@app.command
def pack(
    source: str,
    output: str,
    *,
    name: str | None = None,
    labels: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    classes: str | None = None,
    shard_count: int = 10_000,
    shard_bytes: str | None = None,
    shuffle: int | None = None,
    max_pixels: int = Recipe.model_fields["max_pixels"].default,
    max_failed: float = 0.01,
) -> int:
    """Make webdataset shards, OUTPUT/NAME-000000.tar and so on, of images in another form.

    Images keep their bytes, and each is decoded once to see that it can be: what cannot be packed
    is named, counted and left out. OUTPUT/NAME.yaml describes the dataset. Running it again does
    nothing, or finishes what was interrupted; nothing is ever overwritten.

    Parameters
    ----------
    source
        a folder of class folders or of images; a .csv or .parquet table of image paths, or in
        Parquet of their bytes; or an idx file of images, plain or .gz; on any fsspec URL
    output
        folder or URL for the shards
    name
        what the shards' names begin with [default: SOURCE's name without extension]
    labels
        idx file of labels [default: the one of the usual name beside SOURCE, if any]
    image_column
        of a table [default: the first of image, path, file, filename, file_name]
    label_column
        of a table; '' for no labels [default: the first of label, class, cls, if any]
    classes
        names of the classes 0, 1, … (cat,dog) [default: names of folders, or labels of text,
        sorted; integers have none]
    shard_count
        images in a shard
    shard_bytes
        a shard is no larger than this (200MB), unless one image is
    shuffle
        seed of a random order, so that a shard holds a mixture of the classes; not where a table
        holds the images themselves [default: the order of SOURCE]
    max_pixels
        an image that declares more pixels is not decoded
    max_failed
        exit with 1 when more than this fraction of the images was left out
    """
    if not 0 <= max_failed <= 1:
        raise ConfigError(f"--max-failed is a fraction in [0, 1], got {max_failed:g}")
    Recipe.of({"max_pixels": max_pixels}, where="--max-pixels")
    class_names = None if classes is None else tuple(map(str.strip, classes.split(",")))

    from diffaug import pack as packing
    from diffaug import storage

    limits = packing.Limits(shard_count, None if shard_bytes is None else _size(shard_bytes))
    opened = packing.open_source(
        source,
        classes=class_names,
        labels=labels,
        image_column=image_column,
        label_column=label_column,
    )
    name = packing.safe_name(source) if name is None else name
    tally = packing.Totals()
    outcomes = packing.pack(
        opened,
        output,
        name,
        tally=tally,
        limits=limits,
        shuffle=shuffle,
        max_pixels=max_pixels,
    )
    for note in opened.notes:
        err.say(note)
    counts = Counts(tally, "packed", "left_out")
    for outcome in counted(outcomes, len(opened), "packing images", err, counts):
        if outcome.reason is not None:
            err.say(f"left out {outcome.name}: {outcome.reason}")
    where = storage.public_url(output).rstrip("/")
    return _conclude(tally, f"{where}/{tally.pattern} and {where}/{name}.yaml", max_failed)


def _conclude(tally: Totals, files: str, max_failed: float) -> int:
    count = len(tally.shards) + 1
    kept = (
        "" if tally.written == count else "; the others were there already, with the same content"
    )
    out.print(str(tally))
    out.print(f"{tally.written} of {count} files written{kept}: {files}", markup=False)
    if tally.failed_fraction > max_failed:
        err.say(
            f"diffaug: {tally.left_out} of {tally.found} left out, more than --max-failed "
            f"{max_failed:g}"
        )
        return DIFFERS
    return OK


def _size(text: str) -> int:
    """A number of bytes, such as 200000000, 200MB or 190MiB.

    Raises:
        ConfigError: it is none.
    """
    said = re.fullmatch(r"(\d+(?:\.\d+)?) *([kmgt]?)(i?)b?", text.strip().lower())
    if not said or (said[3] and not said[2]):
        raise ConfigError(f"--shard-bytes is a size such as 200000000 or 200MB, got {text!r}")
    return int(float(said[1]) * (1024 if said[3] else 1000) ** " kmgt".index(said[2] or " "))

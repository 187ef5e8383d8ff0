"""`diffaug pack`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from diffaug.cli.app import DIFFERS, OK, app, err, out
from diffaug.cli.progress import Counts, counted
from diffaug.cli.steps import advise, command
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
    text_column: str | None = None,
    label_column: str | None = None,
    classes: str | None = None,
    shard_count: int = 10_000,
    shard_bytes: str | None = None,
    shuffle: int | None = None,
    max_pixels: int = Recipe.model_fields["max_pixels"].default,
    max_failed: float = 0.01,
) -> int:
    """Pack images or texts into webdataset shards, OUTPUT/NAME-000000.tar and so on.

    They keep their bytes, and each is decoded once as a check: one that cannot be packed is
    named, counted and left out. OUTPUT/NAME.yaml describes the dataset. Running it again
    finishes what was interrupted, or does nothing; nothing is ever overwritten.

    Parameters
    ----------
    source
        a folder of class folders, of images or .txt files, or of images; a .csv or .parquet table
        of image paths or texts, or a Parquet table of image bytes, of one file or several (a
        folder, '*.parquet'); or an idx file of images, plain or .gz; on any fsspec URL
    output
        folder or URL for the shards
    name
        prefix of the shards' names [default: SOURCE's name without extension]
    labels
        idx file of labels [default: the one of the usual name next to SOURCE, if any]
    image_column
        the table's column of images [default: the first of image, path, file, filename, file_name]
    text_column
        the table's column of texts, which are packed instead of images
    label_column
        the table's column of labels; '' for none [default: the first of label, class, cls, if any]
    classes
        names of the classes 0, 1, … (cat,dog) [default: the folders' names, or the text labels,
        sorted, as numbers if all are whole numbers; integer labels have no names]
    shard_count
        images in a shard
    shard_bytes
        largest size of a shard (200MB), unless a single image is larger
    shuffle
        seed of a random order, so that each shard mixes the classes; not for a table that holds
        the images themselves [default: the order of SOURCE]
    max_pixels
        an image that declares more pixels is not decoded
    max_failed
        exit with 1 if more than this fraction of the images was left out
    """
    if not 0 <= max_failed <= 1:
        raise ConfigError(f"--max-failed must be a fraction in [0, 1], got {max_failed:g}")
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
        text_column=text_column,
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
        err.print(note)
    counts = Counts(tally, "packed", "left_out")
    for outcome in counted(outcomes, len(opened), "packing images", err, counts):
        if outcome.reason is not None:
            err.print(f"left out {outcome.name}: {outcome.reason}")
    where = storage.public_url(output).rstrip("/")
    return _conclude(tally, where, name, max_failed)


def _conclude(tally: Totals, where: str, name: str, max_failed: float) -> int:
    count, shards = len(tally.shards) + 1, f"{where}/{tally.pattern}"
    kept = "" if tally.written == count else "; the others already existed with the same content"
    out.print(str(tally))
    out.print(f"{tally.written} of {count} files written{kept}: {shards} and {where}/{name}.yaml")
    if tally.failed_fraction > max_failed:
        err.print(
            f"diffaug: {tally.left_out} of {tally.found} left out, more than --max-failed "
            f"{max_failed:g}"
        )
        return DIFFERS
    advise(f"next: {command(*_next(tally, shards))}")
    return OK


def _next(tally: Totals, shards: str) -> tuple[str, ...]:
    if tally.modes:
        return "try", shards
    return "augment", shards, "OUTPUT", "--model", "LANGUAGE_MODEL"


def _size(text: str) -> int:
    """Parse a size such as 200000000, 200MB or 190MiB into a number of bytes.

    Raises:
        ConfigError: the text is not a size.
    """
    parts = re.fullmatch(r"(\d+(?:\.\d+)?) *([kmgt]?)(i?)b?", text.strip().lower())
    if not parts or (parts[3] and not parts[2]):
        raise ConfigError(f"--shard-bytes must be a size such as 200000000 or 200MB, got {text!r}")
    return int(float(parts[1]) * (1024 if parts[3] else 1000) ** " kmgt".index(parts[2] or " "))

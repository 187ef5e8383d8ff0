"""Pictures to send, and what a job makes of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

import diffaug
from diffaug.output.run import Run
from diffaug.pictures.codec import pixel_sha256
from tests.support.hostile import write_files
from tests.support.jobs import members, output_bytes

__all__ = [
    "COLOUR",
    "GREY",
    "Made",
    "Picture",
    "as_samples",
    "digest",
    "digest_of",
    "job",
    "made",
    "pictures",
    "planned",
    "write_shard",
]

GREY, COLOUR = "fashion-mnist-32", "cifar10-32"

_FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
_SIDE = 32

Made = dict[tuple[str, int], bytes]
"""The files that a job wrote, by source key and copy."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture.

    Attributes:
        key: its webdataset key.
        data: its file, a PNG.
        label: its class.
    """

    key: str
    data: bytes
    label: int


def pictures(model: str, number: int) -> list[Picture]:
    """So many pictures of the size of a model, all different.

    Fashion-MNIST for the grey model; for others 32x32 tiles of photographs, of which some are
    alike, but for a corner. Where there are too few, they come again with another corner.
    """
    source = _clothes if model == GREY else _tiles
    found = (picture for corner in count() for picture in source(corner))
    return [
        Picture(f"{at:06}", _png(image), label)
        for at, (image, label) in enumerate(islice(found, number))
    ]


def write_shard(path: Path, found: list[Picture]) -> Path:
    """A tar of the pictures and their classes."""
    files = [
        entry
        for one in found
        for entry in ((f"{one.key}.png", one.data), (f"{one.key}.cls", str(one.label).encode()))
    ]
    write_files(path, files)
    return path


def planned(shard: Path, output: Path, recipe: dict[str, Any], batch_size: int) -> Run:
    """A job over a shard, frozen."""
    run = diffaug.plan_run(
        [str(shard)], str(output), diffaug.Recipe(**recipe), batch_size=batch_size
    )
    return diffaug.freeze(run, str(output))


def job(shard: Path, output: Path, recipe: dict[str, Any], batch_size: int) -> Made:
    """Run a job over a shard, here, and read what it wrote."""
    run = planned(shard, output, recipe, batch_size)
    list(diffaug.augment_shards(run.sources, str(output), run=run))
    return made(output)


def made(output: Path) -> Made:
    """What a job wrote."""
    rows: Any = pd.read_parquet(output / "manifest").itertuples()
    return {(row.source_key, row.copy): output_bytes(output, row) for row in rows}


def as_samples(found: list[Picture]) -> Iterator[dict[str, Any]]:
    """The pictures as a loader's samples."""
    for one in found:
        with Image.open(io.BytesIO(one.data)) as image:
            image.load()
            yield {"__key__": one.key, "png": image, "cls": one.label}


def digest(image: Image.Image) -> str:
    """Of a picture's pixels, in colour: WebP knows no grey."""
    return pixel_sha256(image.convert("RGB"))


def digest_of(data: bytes) -> str:
    """Of the pixels in a picture's file."""
    with Image.open(io.BytesIO(data)) as image:
        return digest(image)


def _clothes(corner: int) -> Iterator[tuple[Image.Image, int]]:
    for shard in sorted(_FIXTURES.glob("fashion-mnist-*.tar")):
        yield from _read(shard, corner)


def _tiles(corner: int) -> Iterator[tuple[Image.Image, int]]:
    number = count()
    for shard in sorted(_FIXTURES.glob("stamps-*.tar")):
        for image, label in _read(shard, corner):
            for top in range(0, image.height - _SIDE + 1, _SIDE):
                for left in range(0, image.width - _SIDE + 1, _SIDE):
                    tile = image.crop((left, top, left + _SIDE, top + _SIDE))
                    tile.putpixel((_SIDE - 1, 0), (*divmod(next(number), 256), 0))
                    yield _cornered(tile, corner), label % 10


def _read(shard: Path, corner: int) -> Iterator[tuple[Image.Image, int]]:
    found = members(shard)
    for name, data in found.items():
        stem, _, kind = name.rpartition(".")
        if kind in ("png", "jpg"):
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                yield _cornered(image, corner), int(found[f"{stem}.cls"])


def _cornered(image: Image.Image, corner: int) -> Image.Image:
    if corner:
        image.putpixel((0, 0), corner if image.mode == "L" else (corner, 0, 0))
    return image


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()

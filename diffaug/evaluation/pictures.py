"""Labelled pictures in memory, as a classifier takes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug import storage
from diffaug.codec import decode, encode, pixel_sha256
from diffaug.errors import ConfigError, DefectError
from diffaug.recipe import Recipe
from diffaug.shards import Sample, ShardWriter, integer, read_samples

__all__ = ["Pictures", "as_array", "read_pictures", "write_pictures"]


@dataclass(frozen=True, slots=True)
class Pictures:
    """N pictures of one size and their classes.

    Attributes:
        images: uint8 (N, H, W, C), C 1 or 3.
        labels: int64 (N,).
        pixels: the N digests of their pixels, as they were in the source.
        left_out: why samples of the source are not among them, a sentence each.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    pixels: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, places: NDArray[np.int64]) -> Pictures:
        """Those at the places."""
        pixels = tuple(self.pixels[place] for place in places)
        return Pictures(self.images[places], self.labels[places], pixels)


def read_pictures(urls: list[str], recipe: Recipe, size: int | None = None) -> Pictures:
    """Read all pictures that have an integer class.

    Args:
        urls: shards.
        recipe: which members hold picture and class.
        size: width and height they are resized to.

    Raises:
        ConfigError: there are none, or they differ in size and none was given.
        OSError: a shard cannot be read.
    """
    images, labels, left_out = list[Image.Image](), list[int](), list[str]()
    for url in urls:
        with storage.open_read(url) as stream:
            for sample in read_samples(stream, recipe.wants):
                try:
                    image, label = _picture(sample, recipe)
                except DefectError as defect:
                    name = f"{storage.public_url(url)} {sample.key or ''}"
                    left_out.append(f"{name}: {defect.reason}")
                    continue
                images.append(image)
                labels.append(label)
    if not images:
        why = f": the first one, {left_out[0]}" if left_out else ""
        raise ConfigError(f"no sample of {', '.join(urls)} has a picture and a class{why}")
    grey = all(image.mode == "L" for image in images)
    return Pictures(
        _stacked(images, "L" if grey else "RGB", size),
        np.array(labels, dtype=np.int64),
        tuple(map(pixel_sha256, images)),
        tuple(left_out),
    )


def write_pictures(pictures: Pictures, path: Path) -> None:
    """Write a shard whose keys are the pictures' places."""
    with path.open("wb") as stream:
        tar = ShardWriter(stream)
        for place, (image, label) in enumerate(zip(pictures.images, pictures.labels, strict=True)):
            tar.add(f"{place:06d}.png", encode(Image.fromarray(image.squeeze()), "png"))
            tar.add(f"{place:06d}.cls", str(label).encode())
        tar.close()


def as_array(image: Image.Image, like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture in the size and colours of an array (H, W, C)."""
    height, width, channels = like.shape
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(like.shape)


def _picture(sample: Sample, recipe: Recipe) -> tuple[Image.Image, int]:
    image = decode(sample.image(recipe.image_keys).data, recipe.max_pixels)
    member = sample.members.get(recipe.label_key)
    label = None if member is None else integer(member.data.decode("utf-8", "replace"))
    if label is None:
        raise DefectError("no_label", f"the sample has no integer class in .{recipe.label_key}")
    return image, label


def _stacked(images: list[Image.Image], mode: str, size: int | None) -> NDArray[np.uint8]:
    sizes = {image.size for image in images}
    if size is None and len(sizes) > 1:
        raise ConfigError(
            f"size: the images differ in size ({len(sizes)} sizes): say which width and height to "
            "resize them to, such as 64"
        )
    width, height = (size, size) if size else next(iter(sizes))
    made = np.empty((len(images), height, width, len(mode)), dtype=np.uint8)
    for place, image in enumerate(images):
        made[place] = as_array(image, made[place])
    return made

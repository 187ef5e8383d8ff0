"""Labelled pictures, clips or texts: read from shards one by one, or held in memory as arrays."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug import storage
from diffaug.clips.clip import Clip
from diffaug.errors import ConfigError, DefectError
from diffaug.media import medium_of
from diffaug.pictures.codec import encode
from diffaug.pictures.medium import Medium, Value
from diffaug.recipe import Recipe
from diffaug.shards import Sample, ShardWriter, read_samples
from diffaug.shards.census import Census
from diffaug.shards.reading import Reading
from diffaug.texts.text import Text

__all__ = [
    "TEXT_MODE",
    "Form",
    "LeftOut",
    "Picture",
    "Pictures",
    "Samples",
    "as_array",
    "blank",
    "each_picture",
    "frames_of",
    "look_of",
    "read_keys",
    "read_pictures",
    "write_shard",
]


Samples = NDArray[Any]
"""Pictures or clips, uint8 (N, H, W, C), the channels of a clip's frames behind one another; or
texts, N str objects."""

TEXT_MODE = "text"
"""The mode of texts, which have none."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, clip or text of a source.

    Attributes:
        image: as a model sees it, mode L or RGB, at its own size; or a text.
        label: its class.
        text: its class or caption in words, or None.
        pixels: the digest of that image's pixels, or of the text.
        key: its sample's key.
    """

    image: Value
    label: int
    text: bytes | None
    pixels: str
    key: str


@dataclass(frozen=True, slots=True)
class Form:
    """The size and mode that all pictures of an evaluation are brought to, or all frames of clips.

    Attributes:
        width: in pixels.
        height: in pixels.
        mode: L or RGB; text where these are texts, which are left as they are.
        frames: how many frames every clip has; None of pictures.
    """

    width: int
    height: int
    mode: str
    frames: int | None = None

    @classmethod
    def of(
        cls,
        size: int | None,
        sizes: Iterable[tuple[int, int]],
        modes: Iterable[str],
        lengths: Iterable[int | None] = (),
    ) -> Form:
        """The form that pictures of these sizes and modes are brought to.

        Args:
            size: width and height; None takes the size that all pictures share.
            sizes: width and height of every picture.
            modes: mode of every picture.
            lengths: how many frames every clip has.

        Raises:
            ConfigError: the pictures differ in size, and `size` is None; or clips in length.
        """
        found, known = set(sizes), set(modes)
        mode = "RGB" if "RGB" in known else known.pop()
        frames, *others = set(lengths) or {None}
        if others:
            least = min(one for one in (frames, *others) if one is not None)
            raise ConfigError(
                f"frames: the clips differ in length ({1 + len(others)} lengths): give how many "
                f"frames are taken of each, such as {least}"
            )
        if size is not None:
            return cls(size, size, mode, frames)
        if len(found) > 1:
            raise ConfigError(
                f"size: the images differ in size ({len(found)} sizes): give the width and height "
                "to resize them to, such as 64"
            )
        return cls(*found.pop(), mode, frames)

    def bring(self, image: Value) -> Value:
        """The picture, or the clip, in this form."""
        if isinstance(image, Text):
            return image
        if isinstance(image, Clip):
            return replace(image, frames=tuple(map(self.bring, image.frames)))
        image = image.convert(self.mode)
        size = (self.width, self.height)
        return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


@dataclass(frozen=True, slots=True)
class Pictures:
    """N pictures of one form and their classes.

    Attributes:
        images: the pictures.
        labels: int64 (N,).
        pixels: the N digests of their pixels.
    """

    images: Samples
    labels: NDArray[np.int64]
    pixels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Pictures:
        """The first `count` of them."""
        return Pictures(self.images[:count], self.labels[:count], self.pixels[:count])


@dataclass(slots=True)
class LeftOut:
    """Samples that cannot be used.

    Attributes:
        count: how many.
        first: the reason, one sentence for each of the first.
    """

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        """Count a sample, and keep its reason if it is among the first."""
        self.count += 1
        if len(self.first) < _NAMED:
            self.first.append(sentence)


_NAMED = 100

_KEY = "source"
"""The member that holds the key that a picture had in its source."""


def each_picture(
    urls: Iterable[str], recipe: Recipe, left_out: LeftOut | None = None
) -> Iterator[Picture]:
    """All pictures of shards that have an integer class, in order.

    Args:
        urls: the shards.
        recipe: its fields say which members are image and class, and how an image is read.
        left_out: counts the samples that cannot be used; None if they were counted before.

    Raises:
        OSError: a shard cannot be read.
    """
    reading = replace(Reading.of(recipe), mask_key=None, carry=(), needs_label=True)
    census, medium = Census(reading), medium_of(recipe)
    for url in urls:
        with storage.open_read(url) as stream:
            if left_out is None:
                samples = read_samples(stream, reading.reads)
            else:
                samples = census.of(url).samples(stream)
            for sample in samples:
                try:
                    yield _picture(sample, reading, recipe, medium)
                except DefectError as defect:
                    if left_out is not None:
                        name = f"{storage.public_url(url)} {sample.key or ''}".rstrip()
                        left_out.add(f"{name}: {defect.reason}")


def _picture(sample: Sample, reading: Reading, recipe: Recipe, medium: Medium[Value]) -> Picture:
    image = medium.read(reading.image(sample).data, recipe.max_pixels, recipe.background).shown
    label, text = reading.class_number(sample), None
    if reading.text_key is not None and (member := sample.members.get(reading.text_key)):
        text = member.data
    return Picture(image, label, text, medium.digest(image), sample.key or "")


def write_shard(pictures: Sequence[Picture], form: Form, path: Path) -> None:
    """Write a shard whose keys are the pictures' places, in a folder made if need be."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as stream:
        tar = ShardWriter(stream)
        for place, picture in enumerate(pictures):
            tar.add(*_file(f"{place:06d}", form.bring(picture.image), form.mode))
            tar.add(f"{place:06d}.cls", str(picture.label).encode())
            tar.add(f"{place:06d}.{_KEY}", picture.key.encode())
            if picture.text is not None:
                tar.add(f"{place:06d}.txt", picture.text)
        tar.close()


def _file(key: str, image: Value, mode: str) -> tuple[str, bytes]:
    """Name and bytes of a member: a PNG, or of a clip an array (T, H, W, C), or a text."""
    if isinstance(image, Text):
        return f"{key}.txt", image.text.encode()
    if not isinstance(image, Clip):
        return f"{key}.png", encode(image, "png")
    stored = io.BytesIO()
    np.save(stored, image.array(mode))
    return f"{key}.npy", stored.getvalue()


def read_pictures(shard: Path, mode: str) -> Pictures:
    """Read a shard that `write_shard` wrote; `mode` is that of its form."""
    found = list(each_picture([str(shard)], _recipe_of(shard)))
    arrays = [as_array(picture.image, mode) for picture in found]
    return Pictures(
        np.array(arrays, dtype=object if mode == TEXT_MODE else np.uint8),
        np.array([picture.label for picture in found], dtype=np.int64),
        tuple(picture.pixels for picture in found),
    )


def _recipe_of(shard: Path) -> Recipe:
    """How a shard that `write_shard` wrote is read: it holds arrays where it holds clips."""
    with storage.open_read(str(shard)) as stream:
        names = next(read_samples(stream, lambda _: False)).names
    if "png" in names:
        return Recipe()
    return Recipe(medium="clip" if "npy" in names else "text")


def read_keys(shard: Path) -> list[str]:
    """The keys that the pictures of a shard that `write_shard` wrote had in their sources."""
    with storage.open_read(str(shard)) as stream:
        samples = list(read_samples(stream, {_KEY}.__contains__))
    return [sample.members[_KEY].data.decode() for sample in samples if _KEY in sample.members]


def as_array(image: Value, mode: str) -> NDArray[np.uint8] | str:
    """A picture as uint8 (H, W, C), C 1 or 3; in mode RGB a grey one has three equal channels.

    Of a clip, the channels of its frames are behind one another. A text is its own.
    """
    if isinstance(image, Text):
        return image.text
    if isinstance(image, Clip):
        frames = [np.asarray(as_array(frame, mode)) for frame in image.frames]
        return np.concatenate(frames, axis=2)
    return np.asarray(image.convert(mode)).reshape(image.height, image.width, -1)


def look_of(image: Value) -> tuple[tuple[int, int], str]:
    """Size and mode of a picture or a clip; those that all texts have."""
    return ((0, 0), TEXT_MODE) if isinstance(image, Text) else (image.size, image.mode)


def frames_of(image: Value) -> int | None:
    """How many frames a clip has; None if it is none."""
    return len(image.frames) if isinstance(image, Clip) else None


def blank(shape: tuple[int, ...], like: Samples) -> Samples:
    """Black pictures or empty texts, of the type of others."""
    return np.full(shape, "" if like.dtype == object else 0, like.dtype)

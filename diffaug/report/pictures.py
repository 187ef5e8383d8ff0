"""Pictures, clips and texts of rows, read from their shards and embedded in a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from diffaug import storage
from diffaug.clips.clip import Clip
from diffaug.errors import ConfigError, DefectError
from diffaug.manifest.part import Row
from diffaug.media import medium_of
from diffaug.pictures.medium import Value
from diffaug.recipe import Recipe
from diffaug.report.moving import animation, frame_strip
from diffaug.report.texts import Written, written
from diffaug.shards import read_member
from diffaug.texts.text import Text

__all__ = ["SIDE", "Embedded", "data_uri", "embed", "output_picture", "source_picture"]

_MAX_PIXELS = 50_000_000
SIDE = 256
"""Longest side of a picture, in pixels, unless a page asks for more; larger ones are reduced."""

_PIXELS = 64
"""Pictures up to this size are stored without loss and enlarged without smoothing, so that each
pixel is seen."""


def source_picture(row: Row, recipe: Recipe) -> Value:
    """The source of a row, as its job's model saw it.

    Args:
        row: of a source that could be read.
        recipe: the job's.

    Raises:
        OSError: its shard cannot be read.
        DefectError: it is no longer an image, a clip or a text.
    """
    with storage.open_read(row["source_shard"]) as stream:
        data = read_member(stream, row["source_offset"])
    return medium_of(recipe).read(data, _MAX_PIXELS, recipe.background).shown


def output_picture(output: str, row: Row, recipe: Recipe) -> Value:
    """The image, clip or text made for a row that has one.

    Args:
        output: OUTPUT.
        row: of the image.
        recipe: the job's.

    Raises:
        OSError: its tar cannot be read.
        DefectError: it is no longer an image, a clip or a text.
    """
    with storage.open_read(storage.join(output, row["output_shard"])) as stream:
        data = read_member(stream, row["output_offset"])
    return medium_of(recipe).read_back(data, _MAX_PIXELS, recipe.background)


@dataclass(frozen=True, slots=True)
class Embedded:
    """A picture or a clip in a page.

    Attributes:
        uri: a data URI, of a clip that of one frame; empty if there is no picture.
        width: original width in pixels.
        height: original height in pixels.
        why: why there is no picture; empty if there is one.
        plays: of a clip, the data URI of an animation; else empty.
        strip: of a clip, the data URI of a few frames, for print; else empty.
    """

    uri: str = ""
    width: int = 0
    height: int = 0
    why: str = ""
    plays: str = ""
    strip: str = ""

    @property
    def large(self) -> bool:
        """Whether it is to be seen as a photograph rather than pixel by pixel."""
        return max(self.width, self.height) > _PIXELS

    @property
    def detail(self) -> str:
        """What a click shows of a source."""
        return self.plays or self.uri


def embed(
    picture: Callable[[], Value], side: int = SIDE, source: Embedded | Written | None = None
) -> Embedded | Written:
    """What is read by `source_picture` or `output_picture`, or why it cannot be.

    Args:
        picture: reads it.
        side: its longest side in the page, in pixels, at least `SIDE`.
        source: what it was made of: in a text, what differs from it is marked.
    """
    try:
        found = picture()
    except (OSError, DefectError, ConfigError) as error:
        return Embedded(why=f"cannot be read: {error}")
    if isinstance(found, Text):
        return written(found.text, source.whole if isinstance(source, Written) else None)
    if isinstance(found, Clip):
        return Embedded(
            _uri(found.frames[0], side),
            *found.size,
            plays=data_uri(animation(found, side), "webp"),
            strip=_uri(frame_strip(found, SIDE // 2), 10 * side),
        )
    return Embedded(_uri(found, side), *found.size)


def _uri(image: Image.Image, side: int) -> str:
    """The data URI of a picture, reduced to a side if it is large."""
    stored, kind = io.BytesIO(), "png"
    if max(image.size) > _PIXELS:
        image, kind = image.copy(), "webp"
        image.thumbnail((side, side))
        image.save(stored, kind, quality=85)
    else:
        image.save(stored, kind)
    return data_uri(stored.getvalue(), kind)


def data_uri(data: bytes, kind: str) -> str:
    """The bytes of a png or webp file as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

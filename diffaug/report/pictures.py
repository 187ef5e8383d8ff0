"""Pictures of rows, read from their shards and embedded in a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from diffaug import storage
from diffaug.errors import DefectError
from diffaug.manifest.part import Row
from diffaug.pictures.codec import decode
from diffaug.shards import read_member

__all__ = ["SIDE", "Embedded", "data_uri", "embed", "output_picture", "source_picture"]

_MAX_PIXELS = 50_000_000
SIDE = 256
"""Longest side of a picture, in pixels, unless a page asks for more; larger ones are reduced."""

_PIXELS = 64
"""Pictures up to this size are stored without loss and enlarged without smoothing, so that each
pixel is seen."""


def source_picture(row: Row, background: str | None) -> Image.Image:
    """The source image of a row, as its job's model saw it.

    Args:
        row: of a source that could be read.
        background: of the job's recipe.

    Raises:
        OSError: its shard cannot be read.
        DefectError: it is no longer an image.
    """
    with storage.open_read(row["source_shard"]) as stream:
        return decode(read_member(stream, row["source_offset"]), _MAX_PIXELS, background).shown


def output_picture(output: str, row: Row, background: str | None) -> Image.Image:
    """The image made for a row that has one.

    Args:
        output: OUTPUT.
        row: of the image.
        background: of the job's recipe.

    Raises:
        OSError: its tar cannot be read.
        DefectError: it is no longer an image.
    """
    with storage.open_read(storage.join(output, row["output_shard"])) as stream:
        return decode(read_member(stream, row["output_offset"]), _MAX_PIXELS, background).shown


@dataclass(frozen=True, slots=True)
class Embedded:
    """A picture in a page.

    Attributes:
        uri: a data URI; empty if there is no picture.
        width: original width in pixels.
        height: original height in pixels.
        why: why there is no picture; empty if there is one.
    """

    uri: str = ""
    width: int = 0
    height: int = 0
    why: str = ""

    @property
    def large(self) -> bool:
        """Whether it is to be seen as a photograph rather than pixel by pixel."""
        return max(self.width, self.height) > _PIXELS


def embed(picture: Callable[[], Image.Image], side: int = SIDE) -> Embedded:
    """A picture that is read by `source_picture` or `output_picture`, or why it cannot be.

    Args:
        picture: reads it.
        side: its longest side in the page, in pixels, at least `SIDE`.
    """
    try:
        image = picture()
    except (OSError, DefectError) as error:
        return Embedded(why=f"cannot be read: {error}")
    stored, (width, height) = io.BytesIO(), image.size
    if max(image.size) > _PIXELS:
        image.thumbnail((side, side))
        image.save(stored, "webp", quality=85)
        kind = "webp"
    else:
        image.save(stored, "png")
        kind = "png"
    return Embedded(data_uri(stored.getvalue(), kind), width, height)


def data_uri(data: bytes, kind: str) -> str:
    """The bytes of a png or webp file as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

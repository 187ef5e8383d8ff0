"""Clips in GIF, APNG and animated WebP files, read by Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction

from PIL import Image, UnidentifiedImageError

from diffaug.clips.clip import Clip, Selection, Shown, clip_of, refuse_long
from diffaug.errors import DefectError
from diffaug.pictures.codec import picture

__all__ = ["animation"]

_FORMATS = ("GIF", "PNG", "WEBP")

_USUAL = 100
"""How many milliseconds browsers show a frame that says 0."""


def animation(data: bytes, max_pixels: int, background: str | None, selection: Selection) -> Clip:
    """Decode an animated image; see `decode.decode_clip`."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise DefectError(
                    "too_many_pixels",
                    f"the clip declares frames of {image.width}x{image.height} pixels, more than "
                    f"max_pixels={max_pixels}",
                )
            if selection.all:
                refuse_long(getattr(image, "n_frames", 1), image.size)
            return clip_of(selection.of(_shown(image, background)))
    except (DefectError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise DefectError(
            "unreadable_clip",
            "the bytes are in no known format of clips (MP4, WebM, Matroska, GIF, APNG, WebP, npy, "
            "npz), or are broken at the start",
        ) from None
    except Exception as error:  # Pillow's plugins raise nearly anything on broken bytes
        raise DefectError(
            "unreadable_clip", f"the clip cannot be decoded: {type(error).__name__}: {error}"
        ) from error


def _shown(image: Image.Image, background: str | None) -> Iterator[Shown]:
    begin = Fraction(0)
    # a PNG can have a picture for readers that know no animations
    first = 1 if image.info.get("default_image") else 0
    for number in range(first, getattr(image, "n_frames", 1)):
        image.seek(number)
        image.load()
        lasts = Fraction(image.info.get("duration") or _USUAL) / 1000
        shown = picture(image.copy(), background).shown
        yield Shown(begin, begin + lasts, shown)
        begin += lasts

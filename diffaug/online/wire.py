"""A picture on its way to a server and back: files that lose nothing of it.

A server decodes a file as a job does, by `codec.decode`. What is sent decodes to the pixels, the
colours and the transparency that `codec.picture` finds in the picture at hand, so a server makes
of it what this process would.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps

from diffaug.pictures.codec import encode, picture, pixel_sha256
from diffaug.pictures.depth import GREYS

__all__ = ["Packed", "pack", "unpack"]

_TIFF: dict[str, Any] = {"format": "TIFF", "compression": "tiff_adobe_deflate"}


@dataclass(frozen=True, slots=True)
class Packed:
    """A picture or a clip as a file.

    Attributes:
        data: its bytes.
        media_type: of the file.
        pixels: the picture's identity (see `pixel_sha256`), or the digest of a clip's file.
    """

    data: bytes
    media_type: str
    pixels: str


def pack(image: Image.Image, background: str | None = None) -> Packed:
    """A picture as a file: a PNG or, if a colour profile changes how it is shown, a TIFF with it.

    Args:
        image: any Pillow image, with whatever metadata it has.
        background: the recipe's colour behind transparent pixels.

    Raises:
        DefectError: see `codec.picture`.
    """
    found = picture(image, background)
    pixels, sent = pixel_sha256(found.stored), found.stored
    if found.transparency is not None:
        sent = sent.convert("L" if image.mode in GREYS else "RGB")
        sent.putalpha(found.transparency.alpha)
    elif found.shown is found.stored:
        return Packed(encode(sent, "png"), "image/png", pixels)
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes):
        return Packed(encode(sent, "png"), "image/png", pixels)
    if image.mode == "CMYK":  # whose profile is of its inks
        sent = ImageOps.exif_transpose(image).copy()
        sent.info.clear()
    buffer = io.BytesIO()  # Pillow takes a profile of any size from a TIFF, of a PNG a small one
    sent.save(buffer, **_TIFF, icc_profile=profile)
    return Packed(buffer.getvalue(), "image/tiff", pixels)


def unpack(data: bytes) -> Image.Image:
    """The picture, L, LA, RGB or RGBA, in a PNG whose bytes were compared with their digest.

    Raises:
        OSError: it is no PNG.
    """
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        found = image.copy()
    found.info.clear()
    return found

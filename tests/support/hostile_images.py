"""Good images of every kind that Pillow reads, and some that have no 8-bit meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from tests.support.hostile import encoded, png
from tests.support.hostile_case import Group
from tests.support.hostile_pictures import (
    COLOUR,
    GREY,
    PICTURES,
    PIXELS,
    image_case,
    png_file,
    rows_of,
)

DEPTH = "unsupported_pixels"

IMAGES = Group("images", "Images of every kind")


def _image(*arguments: Any, **more: Any) -> None:
    IMAGES.add(image_case(*arguments, **more))


def _frames(format: str, first: Image.Image, **options: Any) -> bytes:
    others = [first.rotate(90), first.rotate(180)]
    return encoded(first, format, save_all=True, append_images=others, **options)


def _interlaced() -> bytes:
    """`grey`, Adam7: its pixels in seven passes, each coarser than the next."""
    begin = {(0, 0): (8, 8), (0, 4): (8, 8), (4, 0): (8, 4), (0, 2): (4, 4), (2, 0): (4, 2)}
    begin |= {(0, 1): (2, 2), (1, 0): (2, 1)}
    rows = b"".join(rows_of(PIXELS[y::dy, x::dx]) for (y, x), (dy, dx) in begin.items())
    return png_file(28, 28, rows, interlaced=1)


def _turned(orientation: int) -> bytes:
    """`oblong`, stored turned, with the word of EXIF that says how to turn it upright."""
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = PICTURES["oblong"]
    if orientation in back:
        stored = stored.transpose(back[orientation])
    return encoded(stored, "PNG", exif=exif)


DEEP = PIXELS.astype(np.uint16) * 257
DEEP_COLOUR = np.asarray(COLOUR).astype(np.uint16) * 257
CLEAR = Image.fromarray(255 - PIXELS)
LOSSY: dict[str, Any] = {"exact": False}

_image("palette", "a palette PNG", encoded(GREY.convert("P"), "PNG"))
_image(
    "palette_alpha",
    "a palette PNG whose colours are partly transparent",
    encoded(GREY.convert("P"), "PNG", transparency=bytes(range(256))),
)
_image("grey_alpha", "grey with alpha (LA)", encoded(Image.merge("LA", [GREY, CLEAR]), "PNG"))
_image(
    "colour_alpha",
    "colour with alpha (RGBA)",
    encoded(Image.merge("RGBA", [*COLOUR.split(), CLEAR]), "PNG"),
    like="colour",
)
_image("one_bit", "one bit a pixel", encoded(PICTURES["bits"].convert("1"), "PNG"), like="bits")
_image("grey_16", "16-bit grey PNG", png_file(28, 28, rows_of(DEEP), 16))
_image(
    "colour_16",
    "16-bit RGB PNG",
    png_file(28, 28, rows_of(DEEP_COLOUR), 16, 2),
    like="colour",
)
_image("tiff_16", "16-bit grey TIFF", encoded(Image.fromarray(DEEP), "TIFF"), ending="tif")
_image("interlaced", "an interlaced PNG", _interlaced())
_image("jpeg", "a colour JPEG", encoded(COLOUR, "JPEG"), ending="jpg", like="colour", **LOSSY)
_image(
    "cmyk_jpeg",
    "a CMYK JPEG",
    encoded(COLOUR.convert("CMYK"), "JPEG"),
    ending="jpg",
    like="colour",
    **LOSSY,
)
_image(
    "cmyk_tiff",
    "a CMYK TIFF",
    encoded(COLOUR.convert("CMYK"), "TIFF"),
    ending="tiff",
    like="colour",
)
_image("gif", "an animated GIF: its first frame", _frames("GIF", GREY), ending="gif")
_image("apng", "an animated PNG: its first frame", _frames("PNG", GREY))
_image(
    "animated_webp",
    "an animated WebP: its first frame",
    _frames("WEBP", COLOUR, lossless=True),
    ending="webp",
    like="colour",
)
_image("pages", "a TIFF of three pages: its first one", _frames("TIFF", GREY), ending="tiff")
for _word in range(2, 9):
    _image(f"exif_{_word}", f"EXIF orientation {_word}", _turned(_word), like="oblong")
_image("exif_9", "EXIF orientation 9, which does not exist", _turned(9), like="oblong")
_image(
    "broken_exif",
    "a JPEG whose EXIF is garbage",
    encoded(GREY, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff"),
    ending="jpg",
    **LOSSY,
)
_image("dot", "1x1", encoded(PICTURES["dot"], "PNG"), like="dot")
_image("line", "1x500", encoded(PICTURES["line"], "PNG"), like="line")
_image("jpeg_as_png", "a JPEG named .png", encoded(GREY, "JPEG"), **LOSSY)
_image("png_as_jpeg", "a PNG named .jpg", png(1), ending="jpg")
_image("float", "a TIFF of floats", encoded(GREY.convert("F"), "TIFF"), DEPTH, ending="tiff")
_image(
    "int_32", "a TIFF of 32-bit integers", encoded(GREY.convert("I"), "TIFF"), DEPTH, ending="tif"
)

"""Good images of every kind that Pillow reads, and some that have no 8-bit meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from tests.support.hostile import encoded, png
from tests.support.hostile_case import Group
from tests.support.hostile_pictures import (
    CLEAR,
    COLOUR,
    GREY,
    PICTURES,
    PIXELS,
    image_case,
    png_file,
    rows_of,
)
from tests.support.profiles import DISPLAY_P3, GREY_LINEAR, INK, SRGB
from tests.support.tiffs import SIGNED, WHITE_IS_ZERO, tiff

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
LOSSY: dict[str, Any] = {"exact": False}
NOISE: dict[str, Any] = {"exact": False}
"""Exact too, but with the noise of the pixels as stored, which a plain PNG does not have."""

_image("palette", "a palette PNG", encoded(GREY.convert("P"), "PNG"))
_image(
    "palette_alpha",
    "a palette PNG whose colours are partly transparent: over white",
    encoded(GREY.convert("P"), "PNG", transparency=bytes(range(256))),
    like="grey_on_white",
    **NOISE,
)
_image(
    "grey_alpha",
    "grey with alpha (LA): over black",
    encoded(Image.merge("LA", [GREY, CLEAR]), "PNG"),
    like="grey_on_black",
    **NOISE,
)
_image(
    "opaque",
    "colour with alpha that is 255 everywhere",
    encoded(COLOUR.convert("RGBA"), "PNG"),
    like="colour",
)
_image(
    "black_on_clear",
    "a black drawing on nothing (RGBA): over white",
    encoded(Image.merge("RGBA", [Image.new("L", (28, 28))] * 3 + [CLEAR]), "PNG"),
    **NOISE,
)
_image(
    "one_grey_is_clear",
    "a grey PNG with white meaning transparent (tRNS): over black",
    encoded(GREY, "PNG", transparency=255),
    like="no_white",
    **NOISE,
)
_image(
    "clear_gif",
    "a GIF with black meaning transparent: over white",
    encoded(GREY, "GIF", transparency=0),
    ending="gif",
    like="no_black",
    **NOISE,
)
_image(
    "colour_alpha",
    "colour with alpha (RGBA): over white",
    encoded(Image.merge("RGBA", [*COLOUR.split(), CLEAR]), "PNG"),
    like="colour_on_white",
    **NOISE,
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
_image(
    "tiff_12",
    "12-bit grey TIFF",
    tiff((PIXELS.astype(np.int64) * 4095 + 127) // 255, 12),
    ending="tif",
)
_image("tiff_4", "4-bit grey TIFF", tiff((PIXELS > 127) * 15, 4), ending="tif", like="bits")
_image("tiff_2", "2-bit grey TIFF", tiff((PIXELS > 127) * 3, 2), ending="tif", like="bits")
_image(
    "white_is_zero",
    "16-bit grey TIFF in which 0 is white",
    tiff(65535 - DEEP.astype(np.int64), 16, WHITE_IS_ZERO),
    ending="tif",
)
_image(
    "white_is_zero_8",
    "8-bit grey TIFF in which 0 is white",
    tiff(255 - PIXELS.astype(np.int64), 8, WHITE_IS_ZERO),
    ending="tif",
)
_image(
    "pgm_12",
    "a PGM whose white is 4095",
    b"P5 28 28 4095\n" + ((PIXELS.astype(np.int64) * 4095 + 127) // 255).astype(">u2").tobytes(),
    ending="pgm",
)
_image(
    "profile_srgb",
    "a PNG with the profile of sRGB",
    encoded(COLOUR, "PNG", icc_profile=SRGB),
    like="colour",
)
_image(
    "profile_p3",
    "a PNG with the profile of Display P3: converted to sRGB",
    encoded(COLOUR, "PNG", icc_profile=DISPLAY_P3),
    like="colour_in_p3",
    **NOISE,
)
_image(
    "profile_grey",
    "a grey PNG with a profile in which levels are proportional to light: converted to sRGB",
    encoded(GREY, "PNG", icc_profile=GREY_LINEAR),
    like="grey_in_light",
    **NOISE,
)
_image(
    "profile_broken",
    "a PNG whose colour profile is garbage: taken for sRGB",
    encoded(COLOUR, "PNG", icc_profile=b"garbage" * 99),
    like="colour",
)
_image(
    "profile_of_inks",
    "a PNG of RGB with the profile of a press: taken for sRGB",
    encoded(COLOUR, "PNG", icc_profile=INK),
    like="colour",
)
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
_image(
    "xmp_6",
    "orientation 6 in XMP alone",
    encoded(
        PICTURES["oblong"].transpose(Image.Transpose.ROTATE_90),
        "WEBP",
        lossless=True,
        xmp=b'<rdf:Description tiff:Orientation="6"/>',
    ),
    ending="webp",
    like="oblong",
)
_image(
    "tiff_6",
    "orientation 6 in a TIFF",
    encoded(PICTURES["oblong"].transpose(Image.Transpose.ROTATE_90), "TIFF", tiffinfo={0x0112: 6}),
    ending="tif",
    like="oblong",
)
_image(
    "tiff_8_wide",
    "orientation 8 in a TIFF that is wider than high",
    encoded(
        PICTURES["upright"].transpose(Image.Transpose.ROTATE_270), "TIFF", tiffinfo={0x0112: 8}
    ),
    ending="tif",
    like="upright",
)
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
_image(
    "signed_8",
    "a TIFF of signed 8-bit integers",
    tiff(PIXELS.astype(np.int64), 8, sample_format=SIGNED),
    DEPTH,
    ending="tif",
)
_image(
    "signed_16",
    "a TIFF of signed 16-bit integers",
    tiff(DEEP.astype(np.int64), 16, sample_format=SIGNED),
    DEPTH,
    ending="tif",
)
_image(
    "tiff_14",
    "14-bit grey TIFF, which Pillow does not read",
    tiff(PIXELS.astype(np.int64) * 64, 14),
    "unreadable_image",
    ending="tif",
)

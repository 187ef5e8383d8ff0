"""Image files that lie about their size, that are cut or corrupt, or that are no images."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from tests.support.hostile import encoded, png
from tests.support.hostile_case import Group
from tests.support.hostile_pictures import (
    COLOUR,
    GREY,
    PIXELS,
    chunk,
    image_case,
    patched,
    png_file,
    rows_of,
)

BROKEN, LARGE = "unreadable_image", "too_many_pixels"
RAN = "run-by-an-image"
"""The file, in the current folder, that the tests' own Ghostscript leaves when it is run."""

FILES = Group(
    "files", "Image files that lie, are broken, or are not images", fields={"max_pixels": 1_000_000}
)


def _image(*arguments: Any, **more: Any) -> None:
    FILES.add(image_case(*arguments, **more))


def _jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG whose frame header says another size than its data has."""
    data = encoded(GREY, "JPEG")
    return patched(data, data.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))


def _resized_tiff(width: int, height: int) -> bytes:
    """A TIFF whose header says another size than its data has."""
    data = encoded(GREY, "TIFF")
    for tag, value in {256: width, 257: height}.items():
        entry = struct.pack("<HHI", tag, 4, 1)
        data = patched(data, data.index(entry) + len(entry), struct.pack("<I", value))
    return data


def _with_large_second_frame() -> bytes:
    """An animation, of which the second frame says another size than it has."""
    data = encoded(GREY, "PNG", save_all=True, append_images=[GREY.rotate(90)])
    at = data.index(b"fcTL", data.index(b"fcTL") + 4) - 4
    size = struct.pack(">II", 65_535, 65_535)
    control = data[at + 8 : at + 12] + size + data[at + 20 : at + 34]
    return patched(data, at, chunk(b"fcTL", control))


def _stored_png() -> bytes:
    """A PNG whose pixels are stored uncompressed, so that a wrong byte is a wrong pixel."""
    rows = rows_of(PIXELS)
    packed = zlib.compress(rows, 0)
    return png(1)[:33] + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


# --- liars and bombs

_image(
    "declares_billions",
    "a PNG of 70 bytes that declares 60000x60000",
    png_file(60_000, 60_000, b""),
    LARGE,
)
_image(
    "just_too_large",
    "1001x1000 pixels where max_pixels is a million",
    png_file(1001, 1000, b""),
    LARGE,
)
_image(
    "deflate_bomb",
    "a PNG of 80 kB that holds 81 megapixels",
    lambda: png_file(9_000, 9_000, bytes(9_000 * 9_001)),
    LARGE,
)
_image(
    "jpeg_declares_billions",
    "a JPEG that declares 65000x65000",
    _jpeg_of_size(65_000, 65_000),
    LARGE,
    ending="jpg",
)
_image(
    "gif_frame_too_large",
    "a GIF of 28x28 whose frame declares 65535x65535",
    (lambda data: patched(data, data.index(b"\x2c\0\0\0\0") + 5, b"\xff\xff\xff\xff"))(
        encoded(GREY, "GIF")
    ),
    LARGE,
    ending="gif",
)
_image(
    "pgm_declares_billions",
    "a PGM that declares 99999x99999",
    b"P5 99999 99999 255\n",
    LARGE,
    ending="pgm",
)
_image(
    "bmp_declares_billions",
    "a BMP that declares 2^31-1 columns and -2^31 rows",
    patched(encoded(GREY, "BMP"), 18, struct.pack("<Ii", 2**31 - 1, -(2**31))),
    LARGE,
    ending="bmp",
)
_image(
    "tiff_declares_billions",
    "a TIFF that declares 65535x65535",
    _resized_tiff(65_535, 65_535),
    LARGE,
    ending="tif",
)
_image(
    "webp_declares_millions",
    "a WebP of 512 bytes that declares 16384x16384",
    patched(encoded(GREY, "WEBP", lossless=True), 21, b"\xff\xff\xff\x0f"),
    LARGE,
    ending="webp",
)
_image(
    "apng_frame_too_large",
    "an animated PNG whose second frame declares 65535x65535: its first frame",
    _with_large_second_frame(),
)
_image(
    "jpeg_2000_declares_billions",
    "a JPEG 2000 that declares 65535x65535",
    (lambda data: patched(data, data.index(b"ihdr") + 4, struct.pack(">II", 65_535, 65_535)))(
        encoded(GREY, "JPEG2000")
    ),
    LARGE,
    ending="jp2",
)
_image(
    "declares_more",
    "a PNG that declares twice the rows it has",
    png_file(28, 56, rows_of(PIXELS)),
    BROKEN,
)
_image(
    "jpeg_declares_more",
    "a JPEG that declares twice the rows it has",
    _jpeg_of_size(28, 56),
    BROKEN,
)
_image(
    "jpeg_declares_wider",
    "a JPEG that declares twice the columns it has",
    _jpeg_of_size(56, 28),
    BROKEN,
)
_image(
    "jpeg_half_and_end",
    "half a JPEG with an end marker appended",
    encoded(GREY, "JPEG")[:450] + b"\xff\xd9",
    BROKEN,
)
_image(
    "tiff_declares_more",
    "a TIFF that declares twice the rows it has",
    _resized_tiff(28, 56),
    BROKEN,
)
_image(
    "declares_less",
    "a PNG that declares 20 of the 28 rows it has: what it declares",
    png_file(28, 20, rows_of(PIXELS)),
    like="cut_off",
)
_image("declares_nothing", "a PNG that declares 0x0", png_file(0, 0, rows_of(PIXELS)), BROKEN)
_image(
    "text_bomb",
    "a PNG with a text of 64 MB compressed to 64 kB (zTXt)",
    lambda: png_file(
        28,
        28,
        rows_of(PIXELS),
        8,
        0,
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 26), 9)),
    ),
    BROKEN,
)
_image(
    "profile_bomb",
    "a PNG with a colour profile of 64 MB compressed to 64 kB (iCCP)",
    lambda: png_file(
        28, 28, rows_of(PIXELS), 8, 0, chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(1 << 26), 9))
    ),
    BROKEN,
)

# --- cut and corrupt

_image("no_image_bytes", "zero bytes", b"", "empty_image")
_image("one_byte", "one byte", b"\x89", BROKEN)
_image("signature", "a PNG's first eight bytes", png(1)[:8], BROKEN)
for _format, _ending in {
    "PNG": "png",
    "JPEG": "jpg",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tiff",
    "PPM": "ppm",
}.items():
    _data = encoded(COLOUR, _format)
    _image(
        f"half_a_{_format.lower()}",
        f"half a {_format}",
        _data[: len(_data) // 2],
        BROKEN,
        ending=_ending,
    )
_image(
    "wrong_checksum",
    "a PNG with one pixel that does not match its checksum",
    patched(_stored_png(), 200, b"\x55"),
    BROKEN,
)
_image(
    "wrong_header_checksum",
    "a PNG whose header has a wrong checksum",
    patched(png(1), 29, b"\0\0\0\0"),
    BROKEN,
)

# --- no images

_SCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\nshowpage\n%%EOF\n"
_image("text", "a text", b"not an image\n", BROKEN)
_image("html", "an HTML page", b"<!DOCTYPE html><html><body>404</body></html>", BROKEN)
_image(
    "svg",
    "an SVG with a script",
    b"<svg xmlns='http://www.w3.org/2000/svg'><script>x()</script></svg>",
    BROKEN,
)
_image("eps", "an EPS, for which Pillow would run Ghostscript", _SCRIPT, BROKEN)
_image("pdf", "a PDF", encoded(GREY, "PDF"), BROKEN)
_image(
    "psd",
    "a Photoshop file",
    b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 1, 28, 28, 8, 1) + bytes(12 + 2 + 784),
    BROKEN,
)
_image("tga", "a TGA", encoded(GREY, "TGA"), BROKEN)

"""Conversions between image files, 8-bit pictures and the model's arrays."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from diffaug.errors import DefectError
from diffaug.pictures.colour import Transparency, narrowed, shown
from diffaug.pictures.depth import GREYS, deep_to_8_bits, refuse_unscaled

__all__ = [
    "Decoded",
    "declared_pixels",
    "decode",
    "decode_mask",
    "encode",
    "picture",
    "pixel_sha256",
    "to_picture",
]

X = TypeVar("X")

_ENCODER: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "compress_level": 1},
    "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    "webp": {"format": "WEBP", "lossless": True, "exact": True, "method": 0},
}

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""The formats read. Of Pillow's others, one runs Ghostscript and some accept any bytes."""

_JPEGS = ("JPEG", "MPO")
"""What Pillow calls JPEGs: phones store several pictures in one, of which the first is read."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a file begins that declares itself a TIFF."""

_ROWS = 257
"""The tag of a TIFF's number of rows."""

_FEWER = "the image cannot be decoded: it holds fewer pixels than it declares"
_AT_ONCE = 1 << 16
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""Where each pass of an interlaced PNG begins, and how far apart its pixels are: x, y, dx, dy."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded(Generic[X]):
    """A sample as it was decoded. It carries no other metadata of its file.

    Attributes:
        stored: the values that the file stores, which identify it (see `pixel_sha256`).
        shown: what a model, a judge and a training see of it; the same object as `stored` unless a
            colour profile or transparency makes a difference.
        transparency: how it is transparent; None if it is opaque.
        jpeg: whether the file is a JPEG.
    """

    stored: X
    shown: X
    transparency: Transparency | None = None
    jpeg: bool = False

    def transparency_in(self, format: str) -> Transparency | None:
        """The transparency, if a file of this format can have it and is shown like the source.

        JPEG has none, and WebP no greys, which are shown over another colour by default.
        """
        if self.transparency is None or format == "jpg":
            return None
        return (
            None
            if format == "webp" and self.transparency.colours.mode == "L"
            else self.transparency
        )


def decode(
    data: bytes, max_pixels: int, background: str | None = None, *, whole: bool = True
) -> Decoded[Image.Image]:
    """Decode an image file into an 8-bit picture (see `picture`): the one reading of all commands.

    The size is checked against `max_pixels` before any pixel is decoded. An animation gives its
    first frame.

    Args:
        data: the file.
        max_pixels: the most pixels that it may declare.
        background: the colour behind transparent pixels; None as in `picture`.
        whole: whether to check what Pillow does not, checksums and missing rows. It is half the
            cost of a PNG, which training loops save.

    Raises:
        DefectError: Pillow cannot read the whole image, or it is too large.
    """
    if not data:
        raise DefectError("empty_image", "the image member has zero bytes")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        if image.width * image.height > max_pixels:
            raise DefectError(
                "too_many_pixels",
                f"the image declares {image.width}x{image.height} pixels, more than "
                f"max_pixels={max_pixels}",
            )
        if whole:
            _check(image, data)
        if image.format == "PNG":
            _scale_transparent(image, depth=data[24])
        return replace(picture(image, background), jpeg=image.format in _JPEGS)
    except (DefectError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        reason, _, _ = str(error).partition(", could be")
        raise DefectError(
            "too_many_pixels", f"the image declares more pixels than Pillow decodes: {reason}"
        ) from error
    except UnidentifiedImageError:
        if data.startswith(_TIFF):
            raise DefectError(
                "unreadable_image",
                "the TIFF is of a depth or kind that Pillow does not read, or broken at the start",
            ) from None
        known = ", ".join(_FORMATS)
        raise DefectError(
            "unreadable_image",
            f"the bytes are not in a known image format ({known}), or are broken at the start",
        ) from None
    except Warning:  # the user's own filter made it an error: not a defect of the image
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything on broken bytes
        raise DefectError(
            "unreadable_image", f"the image cannot be decoded: {type(error).__name__}: {error}"
        ) from error


def declared_pixels(data: bytes) -> int:
    """How many pixels an image file declares; 0 if it is not one. None of them is decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return image.width * image.height
    except Exception:  # see `decode`, which reports it
        return 0


def _check(image: ImageFile.ImageFile, data: bytes) -> None:
    if image.format == "PNG":
        _check_png(data)
    elif image.format == "JPEG":
        _check_jpeg(image, data)
    elif image.format == "TIFF":
        _check_tiff(image)


def _check_png(data: bytes) -> None:
    """Check what Pillow skips: the pixels' checksums, and that no row is missing."""
    left, at, view = _png_size(data), 8, memoryview(data)
    inflate = zlib.decompressobj()
    while at + 12 <= len(data):
        kind, end = data[at + 4 : at + 8], at + 8 + int.from_bytes(data[at : at + 4], "big")
        stored = int.from_bytes(data[end : end + 4], "big")
        if kind == b"IDAT" and end + 4 <= len(data):
            if zlib.crc32(view[at + 4 : end]) != stored:
                raise DefectError(
                    "unreadable_image", "the image cannot be decoded: a checksum is wrong"
                )
            for begin in range(at + 8, end, _AT_ONCE):
                packed: bytes | memoryview = view[begin : min(begin + _AT_ONCE, end)]
                while left > 0 and packed:
                    left -= len(inflate.decompress(packed, _AT_ONCE))
                    packed = inflate.unconsumed_tail
        at = end + 4
    if left > 0:
        raise DefectError("unreadable_image", _FEWER)


def _png_size(data: bytes) -> int:
    """How many bytes a PNG's pixels take, including the byte that begins each row."""
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    total = 0
    for x, y, step_x, step_y in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
        total += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return total


def _check_jpeg(image: Image.Image, data: bytes) -> None:
    """Check that no row is missing: libjpeg silently fills missing rows with one colour.

    If the last corner is of one colour, extra data before the end must not change it.
    """
    corner = (max(0, image.width - 8), max(0, image.height - 8), *image.size)
    last, end = image.crop(corner), data.rfind(b"\xff\xd9")
    if len(set(last.tobytes())) > len(last.getbands()) or end + 2 < len(data.rstrip(b"\0")):
        return
    longer = Image.open(
        io.BytesIO(data[:end] + bytes(range(1, 251)) + data[end:]), formats=["JPEG"]
    )
    if longer.crop(corner).tobytes() != last.tobytes():
        raise DefectError("unreadable_image", _FEWER)


def _check_tiff(image: ImageFile.ImageFile) -> None:
    """Check that the strips reach as far down as the header declares."""
    # the image's own height is that of the upright picture
    rows = getattr(image, "tag_v2", {}).get(_ROWS, image.height)
    if all(tile.extents is None or tile.extents[3] < rows for tile in image.tile):
        raise DefectError("unreadable_image", _FEWER)


def _scale_transparent(image: Image.Image, depth: int) -> None:
    """Give the one grey or colour of a PNG that means transparent the depth of its pixels.

    Pillow scales the pixels to 8 bits and leaves that colour as stored.
    """
    key = image.info.get("transparency")
    if isinstance(key, int) and image.mode == "L":
        image.info["transparency"] = key * 255 // ((1 << depth) - 1)
    elif isinstance(key, tuple) and depth == 16:
        image.info["transparency"] = tuple(level >> 8 for level in key)


def decode_mask(data: bytes, max_pixels: int) -> Image.Image:
    """Decode a mask as `decode` does an image, without its profile and its transparency.

    Raises:
        DefectError: as `decode`; the reason mentions the mask.
    """
    try:
        return decode(data, max_pixels).stored
    except DefectError as defect:
        raise DefectError(defect.code, f"the mask: {defect.reason}") from None


def picture(image: Image.Image, background: str | None = None) -> Decoded[Image.Image]:
    """Convert any Pillow image to the one form diffaug works on: mode L or RGB, 8 bits, upright.

    As stored, EXIF rotation is applied, deeper greys are scaled to 8 bits, palettes are resolved,
    and alpha is dropped as `convert("RGB")` does. Colour whose three channels are equal everywhere
    becomes grey, so a grey file is the same picture whether a loader opened it as L or as RGB. What
    is shown is that in sRGB and over the background (see `colour.shown`).

    Args:
        image: a Pillow image, with whatever metadata it has.
        background: the colour behind transparent pixels; None is white, or black for modes of grey.

    Raises:
        DefectError: the pixels are of a kind that has no 8-bit meaning (signed, 32-bit or float).
    """
    refuse_unscaled(image)
    upright = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        stored = deep_to_8_bits(image, upright)
    elif image.mode in GREYS:
        stored = (upright.convert("LA") if image.mode == "La" else upright).convert("L")
    else:
        # from a palette straight to RGB, Pillow warns about its alpha
        stored = upright.convert("RGBA") if image.mode in ("P", "PA") else upright
        stored = narrowed(stored if stored.mode == "RGB" else stored.convert("RGB"))
    found = Decoded(stored, *shown(upright, stored, background))
    found.stored.info.clear()
    found.shown.info.clear()
    return found


def pixel_sha256(image: Image.Image) -> str:
    """A picture's identity: sha256, in hex, of "mode widthxheight\\n" and its raw bytes."""
    header = f"{image.mode} {image.width}x{image.height}\n".encode()
    return hashlib.sha256(header + image.tobytes()).hexdigest()


def encode(image: Image.Image, format: str) -> bytes:
    """Encode a picture as png, jpg (quality 95, 4:4:4) or webp (lossless, also where hidden)."""
    buffer = io.BytesIO()
    image.save(buffer, **_ENCODER[format])
    return buffer.getvalue()


def to_picture(x_0: NDArray[np.float32]) -> Image.Image:
    """A picture, L or RGB, of a model's float32 (C, H, W) with C 1 or 3, nominally in [-1, 1]."""
    pixels = np.rint((x_0 + np.float32(1)) * np.float32(127.5)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))

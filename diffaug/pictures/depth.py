"""Greys of any depth as 8 bits, by what their file declares: depth, sign, and which end is white.

Pillow scales greys of at most 8 bits, and greys of every depth in other formats than TIFF, to the
full range of their mode. Of a TIFF of more bits it hands over the values as stored. A picture whose
values have no fixed black and white is refused, since any scale for it would be a guess.
"""

from __future__ import annotations

import logging
from functools import lru_cache

import numpy as np
from PIL import Image

from diffaug.errors import DefectError

__all__ = ["GREYS", "deep_to_8_bits", "refuse_unscaled"]

_log = logging.getLogger(__name__)

GREYS = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I")
"""Pillow's modes of greys, except floats."""

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2
_TWELVE_BITS = 4095


def refuse_unscaled(image: Image.Image) -> None:
    """Refuse a picture whose values have no fixed black and white.

    Args:
        image: as Pillow opened it.

    Raises:
        DefectError: the pixels are signed, floats, or integers of 32 bits.
    """
    if image.mode == "F":
        kind = "floats"
    elif image.mode == "I" and image.format != "PPM" and _tag(image, _BITS, 32)[0] == 32:
        kind = "32-bit integers"
    elif _SIGNED in _tag(image, _SAMPLE_FORMAT, 1):
        kind = "signed integers"
    else:
        return
    raise DefectError("unsupported_pixels", f"the pixels are {kind}, which have no fixed range")


def deep_to_8_bits(image: Image.Image, upright: Image.Image) -> Image.Image:
    """Greys of more than 8 bits as mode L, each value to the nearest of its 256 levels.

    Files that declare 16 bits and use 12 are taken at their word; the log reports it once.

    Args:
        image: as Pillow opened it, of mode I or I;16.
        upright: the same pixels, turned upright.
    """
    values, white = np.asarray(upright), 65535
    if image.format == "TIFF":
        white = (1 << _tag(image, _BITS, 16)[0]) - 1
        if _WHITE_IS_ZERO in _tag(image, _PHOTOMETRIC, _WHITE_IS_ZERO):
            values = white - values  # Pillow does so for 8 bits and fewer only
    if 0 < values.max() <= _TWELVE_BITS < white:
        _report_dark()
    return Image.fromarray((values / (white / 255) + 0.5).astype(np.uint8))


@lru_cache(maxsize=1)
def _report_dark() -> None:
    """Log, once, that a picture is darker than its maker may have meant."""
    _log.warning(
        "a picture of 16 bits has no value above %d, so it comes out nearly black: if its values "
        "are of 12 bits or fewer, scale them to 16 in the source",
        _TWELVE_BITS,
    )


def _tag(image: Image.Image, tag: int, default: int) -> tuple[int, ...]:
    """The values of a TIFF's tag; the default where it has none, and of other files."""
    found = getattr(image, "tag_v2", {}).get(tag, default)
    return found if isinstance(found, tuple) else (found,)

"""Grids of pictures, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from diffaug.pictures.codec import to_picture

__all__ = ["grid", "strip"]

_GAP, _CAPTION, _SIDE = 2, 16, 64
_INK, _PAPER = "#1b1b1f", "#ffffff"


def strip(x: NDArray[np.float32], frames: int | None) -> NDArray[np.float32]:
    """The frames of a clip side by side: (frames * C, H, W) as (C, H, frames * W).

    Where frames is None it is a picture, and stays as it is.
    """
    if frames is None:
        return x
    apart = x.reshape(frames, -1, *x.shape[1:])
    return np.ascontiguousarray(np.concatenate([*apart], axis=2))


def grid(
    images: Sequence[NDArray[np.float32]], columns: int, captions: Sequence[str] = ()
) -> Image.Image:
    """Lay images out in rows, small ones enlarged by a whole factor.

    Args:
        images: at least one, float32 (C, H, W), nominally in [-1, 1], all of one shape.
        columns: how many images side by side at most.
        captions: text above each column; none by default.
    """
    pictures, columns = [to_picture(image) for image in images], min(columns, len(images))
    scale = max(1, _SIDE // max(pictures[0].size))
    width, height = (side * scale for side in pictures[0].size)
    top = _CAPTION if captions else 0
    down = -(-len(pictures) // columns)
    size = (columns * (width + _GAP) + _GAP, top + down * (height + _GAP) + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, caption in enumerate(captions):
        draw.text((column * (width + _GAP) + _GAP, 1), caption, fill=_INK, font=font)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        at = (column * (width + _GAP) + _GAP, top + row * (height + _GAP) + _GAP)
        sheet.paste(picture.resize((width, height), Image.Resampling.NEAREST), at)
    return sheet

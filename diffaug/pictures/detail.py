"""Keeping the detail of pictures that are larger than the model that edits them.

A model of 32x32 sees a photograph of 400x533 as 32x32 pixels, and what it makes of them is a blur
when it is enlarged. So only what it *changed* is carried to the photograph:

    result = source + lift(edit - reduce(source))

With plain enlargement for `lift`, this exchanges the lowest band of a Laplacian pyramid (Burt &
Adelson 1983, https://doi.org/10.1109/TCOM.1983.1095851) for the model's. What is done instead, so
that the change ends where the object does, is in `lift.py`.

Pixels do not move. Of a picture at least four times as large as the model, no shape changes either:
at high strengths, edges of the source show through. Nearer to its size, the model draws shapes too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug.pictures.colour import Transparency
from diffaug.pictures.fit import Fit, Geometry, Loss, refuse_infinite
from diffaug.pictures.lift import Plane, Planes, keeps_shapes, lifted

__all__ = ["LIFT", "KeepingDetail"]

LIFT = "guided-3"
"""The version of the way in which detail is kept, part of the identity of what it makes."""

_FADE = 4
"""Within the picture, the change fades out over so many pixels of the model at the edge of what it
saw."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""The weights of Rec. 601, as Pillow's `convert("L")` has them."""


class KeepingDetail:
    """A fit whose results are the picture itself with the model's change.

    A result has the size and the mode of the picture, and is as transparent. A model of greys
    changes the lightness of a colour picture and leaves its colours; of what a colour model makes
    of a grey picture, the lightness counts. Outside the part that the model sees, the picture stays
    as it is.

    Args:
        fit: how the picture is fitted to the model; its results have the picture's geometry.
        image: the picture as the model sees it, L or RGB.
        transparency: how results are transparent; None: they are opaque.
    """

    detail = LIFT

    def __init__(
        self, fit: Fit, image: Image.Image, transparency: Transparency | None = None
    ) -> None:
        self._fit = fit
        self._whole = replace(fit, part=(0, 0, *fit.size))
        self._image = image
        self._transparency = transparency
        self._before = fit.to_model(image)

    def to_model(self, image: Image.Image) -> NDArray[np.float32]:
        """See `Fit`."""
        return self._before if image is self._image else self._fit.to_model(image)

    def mask_to_model(self, mask: Image.Image) -> NDArray[np.float32]:
        """See `Fit`."""
        return self._fit.mask_to_model(mask)

    @property
    def geometry(self) -> Geometry:
        """`in_place` where the model is so small that it draws no shapes, else `redrawn`."""
        left, top, right, bottom = self._fit.part
        own = not self._fit.pad and keeps_shapes((right - left, bottom - top), self._fit.model_size)
        return "in_place" if own else "redrawn"

    def losses(self, image: Image.Image) -> tuple[Loss, ...]:
        """None, since detail is kept."""
        return ()

    def seen(self, image: Image.Image) -> Image.Image:
        """The picture itself."""
        return image

    def shown(self, result: Image.Image) -> Image.Image:
        """What is seen of a result, in the mode of the picture."""
        if self._transparency is None:
            return result
        return self._transparency.seen(result).convert(self._image.mode)

    def keep(self, result: Image.Image, source: Image.Image, mask: Image.Image) -> Image.Image:
        """The result with the picture's own pixels, as transparent as they are, outside the mask.

        See `Fit`.
        """
        return self._whole.keep(result, self._own, mask)

    @property
    def _own(self) -> Image.Image:
        """The picture itself, as transparent as results are."""
        kept = self._transparency
        return self._image if kept is None else kept.of(kept.colours)

    def from_model(self, x_0: NDArray[np.float32], mask: Image.Image | None = None) -> Image.Image:
        """The picture with what the model changed.

        Args:
            x_0: the model's result, float32 (C, H, W), nominally in [-1, 1].
            mask: where the picture may change. Elsewhere the model changed nothing, and that counts
                for nothing beside it.

        Raises:
            DefectError: the model produced values that are not finite.
        """
        refuse_infinite(x_0)
        change = self._fit.inside((x_0.clip(-1, 1) - self._before) * np.float32(127.5))
        if not change.any():
            return self._own
        part = self._image.crop(self._fit.part)
        change = change if len(change) == len(part.getbands()) else _grey(change)
        weight = None if mask is None else self._fit.inside(self.mask_to_model(mask))[0]
        own = self._image if self._transparency is None else self._transparency.colours
        levels = np.stack([np.asarray(band) for band in own.crop(self._fit.part).split()])
        across, down = self._fades()
        for rows, planes in lifted(change, part, weight):  # where there is one, it is for all
            changed = levels[:, rows] + planes * across * down[rows]
            np.rint(changed, out=changed)
            levels[:, rows] = changed.clip(0, 255, out=changed)
        result = own.copy()
        bands = [Image.fromarray(band) for band in levels]
        result.paste(Image.merge(own.mode, bands), self._fit.part[:2])
        return result if self._transparency is None else self._transparency.of(result)

    def _fades(self) -> tuple[Plane, Plane]:
        """How much of the change the columns (1, W) and the rows (H, 1) of the part are given."""
        fit, found = self._fit, []
        for axis in (0, 1):
            begin, end = fit.part[axis], fit.part[axis + 2]
            reach = _FADE * (end - begin) / fit.model_size[axis]
            at = np.arange(begin, end, dtype=np.float32) + np.float32(0.5)
            inside = np.full_like(at, np.inf) if begin == 0 else at - begin
            if end < fit.size[axis]:
                inside = np.minimum(inside, end - at)
            ramp = (inside / np.float32(reach)).clip(0, 1)
            found.append(ramp * ramp * (3 - 2 * ramp))
        return found[0][None], found[1][:, None]


def _grey(change: Planes) -> Planes:
    """A change of lightness, float32 (1, H, W): what a grey picture, or all channels, are given."""
    return change if len(change) == 1 else np.tensordot(_LUMA, change, axes=1)[None]

"""Keeping the detail of pictures that are larger than the model that edits them.

A model of 32x32 sees a photograph of 400x533 as 32x32 pixels, and what it makes of them is a blur
when it is enlarged. So only what it *changed* is carried to the photograph:

    result = source + lift(edit - reduce(source))

With plain enlargement for `lift`, this exchanges the lowest band of a Laplacian pyramid [1] for the
model's. The change of one large pixel then spills over the edges of objects. Here `lift` is a
guided filter [2], worked out on a small grid [3]: within a window, the change is a linear function
of the picture's own lightness, so that it ends where the object does.

Pixels do not move, and no shape changes: at high strengths, edges of the source show through.

[1] Burt & Adelson 1983, https://doi.org/10.1109/TCOM.1983.1095851
[2] He, Sun & Tang 2013, https://doi.org/10.1109/TPAMI.2012.213
[3] He & Sun 2015, https://arxiv.org/abs/1505.00996
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import uniform_filter

from diffaug.pictures.fit import Fit, Geometry, refuse_infinite

__all__ = ["LIFT", "KeepingDetail"]

LIFT = "guided-1"
"""The version of the lift, which is part of the identity of what it makes."""

_GRID = 4
"""Samples of the small grid for each pixel of the model, along an axis."""

_WINDOW = 2
"""Radius of the filter's windows, in pixels of the model, where these cover at least two pixels of
the picture. Nearer to the model's size it shrinks to nothing, as does the detail that it missed."""

_EPSILON = 0.004
"""Below this variance of lightness, of 1 from black to white, a window counts as flat."""

_SMOOTH = 4
"""The guide is blurred by this fraction of a pixel of the model, which hides grain."""

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""The weights of Rec. 601, as Pillow's `convert("L")` has them."""

_LINEAR = Image.Resampling.BILINEAR
"""Enough for what was averaged over windows, as in [3]."""

Plane = NDArray[np.float32]


class KeepingDetail:
    """A fit whose results are the picture itself with the model's change.

    A result has the size and the mode of the picture. A model of greys changes the lightness of a
    colour picture and leaves its colours; of what a colour model makes of a grey picture, the
    lightness counts. Outside the part that the model sees, the picture stays as it is.

    Args:
        fit: how the picture is fitted to the model; its results have the picture's geometry.
        image: the picture, L or RGB.
    """

    detail = LIFT

    def __init__(self, fit: Fit, image: Image.Image) -> None:
        self._fit = fit
        self._whole = replace(fit, part=(0, 0, *fit.size))
        self._image = image
        self._before = fit.to_model(image)

    def to_model(self, image: Image.Image) -> NDArray[np.float32]:
        """See `Fit`."""
        return self._before if image is self._image else self._fit.to_model(image)

    def mask_to_model(self, mask: Image.Image) -> NDArray[np.float32]:
        """See `Fit`."""
        return self._fit.mask_to_model(mask)

    @property
    def geometry(self) -> Geometry:
        """`in_place`; `redrawn` where the model sees every pixel and only the channels differ."""
        return "in_place" if self._fit.reduces else "redrawn"

    def seen(self, image: Image.Image) -> Image.Image:
        """The picture itself."""
        return image

    def keep(self, result: Image.Image, source: Image.Image, mask: Image.Image) -> Image.Image:
        """See `Fit`."""
        return self._whole.keep(result, source, mask)

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
            return self._image
        part = self._image.crop(self._fit.part)
        change = change if len(change) == len(part.getbands()) else _grey(change)
        weight = None if mask is None else self._fit.inside(self.mask_to_model(mask))[0]
        changed = _lifted(part, change, weight)
        result = self._image.copy()
        result.paste(changed, self._fit.part[:2])
        return result


def _grey(change: NDArray[np.float32]) -> NDArray[np.float32]:
    """A change of lightness, float32 (1, H, W): what a grey picture, or all channels, are given."""
    return change if len(change) == 1 else np.tensordot(_LUMA, change, axes=1)[None]


def _lifted(part: Image.Image, change: NDArray[np.float32], weight: Plane | None) -> Image.Image:
    """The part of a picture with a change that was worked out at another size.

    Args:
        part: L or RGB.
        change: float32 (C, H, W) in levels of 255, with the part's channels or with one for all.
        weight: float32 (H, W), 0 where the change counts for nothing; None: it counts everywhere.
    """
    lift, bands = _Lift(part, change.shape[1:], weight), part.split()
    if len(change) == 1:
        plane = lift(change[0])
        added = [_added(band, plane) for band in bands]
    else:
        added = [_added(band, lift(plane)) for band, plane in zip(bands, change, strict=True)]
    return added[0] if len(added) == 1 else Image.merge("RGB", added)


def _added(band: Image.Image, plane: Plane) -> Image.Image:
    """The levels of a channel with a change, rounded once."""
    levels = np.asarray(band, dtype=np.float32) + plane
    np.rint(levels, out=levels)
    np.clip(levels, 0, 255, out=levels)
    return Image.fromarray(levels.astype(np.uint8))


class _Lift:
    """Enlarges a model's change to a part of a picture, guided by the part's lightness.

    Args:
        part: of the picture.
        shape: (height, width) of the change.
        weight: float32 of that shape, 0 where the change counts for nothing; None: everywhere 1.
    """

    def __init__(self, part: Image.Image, shape: tuple[int, ...], weight: Plane | None) -> None:
        self._size = part.size
        self._shape = shape
        height, width = shape
        self._grid = (min(part.width, _GRID * width), min(part.height, _GRID * height))
        scale = max(part.width / width, part.height / height)
        grey = part.convert("L").filter(ImageFilter.GaussianBlur(scale / _SMOOTH))
        self._guide = np.asarray(grey, dtype=np.float32) / np.float32(255)
        self._small = _resized(self._guide, self._grid)
        reach = _WINDOW * min(1.0, max(0.0, math.log2(scale)))
        self._window = [
            1 + 2 * round(reach * cells / pixels)
            for cells, pixels in zip(self._grid[::-1], shape, strict=True)
        ]
        self._weight: Plane | np.float32 = np.float32(1)
        self._total: Plane | np.float32 = np.float32(1)
        if weight is not None:
            self._weight = _resized(weight, self._grid, Image.Resampling.NEAREST)
            self._total = self._windows(self._weight).clip(1e-6)
        self._mean = self._box(self._small)
        self._variance = self._box(self._small * self._small) - self._mean * self._mean

    def __call__(self, plane: Plane) -> Plane:
        """One channel of the change, float32 (H, W), at the part's size."""
        if self._shape == self._size[::-1]:
            return plane
        p = _resized(plane, self._grid)
        mean = self._box(p)
        covariance = self._box(self._small * p) - self._mean * mean
        slope: Plane = (covariance / (self._variance + _EPSILON)).astype(np.float32, copy=False)
        level = self._box(mean - slope * self._mean)
        found = _resized(self._box(slope), self._size, _LINEAR)
        found *= self._guide
        found += _resized(level, self._size, _LINEAR)
        return found

    def _box(self, plane: Plane) -> Plane:
        """The weighted mean of each window; 0 where nothing counts."""
        return self._windows(self._weight * plane) / self._total

    def _windows(self, plane: Plane) -> Plane:
        """The mean of each window."""
        found: Plane = uniform_filter(plane, self._window, mode="nearest")
        return found


def _resized(
    plane: Plane, size: tuple[int, int], filter: Image.Resampling = Image.Resampling.BICUBIC
) -> Plane:
    """A plane at another (width, height), in float."""
    return np.array(Image.fromarray(plane).resize(size, filter), dtype=np.float32)

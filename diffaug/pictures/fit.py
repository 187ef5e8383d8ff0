"""Fitting a picture and its mask to a model's size, and the model's result back to the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug.errors import DefectError
from diffaug.pictures.codec import picture, to_picture

__all__ = ["GEOMETRIES", "Fit", "Geometry", "Loss", "refuse_infinite"]

Geometry = Literal["in_place", "redrawn", "moved"]
GEOMETRIES: tuple[Geometry, ...] = get_args(Geometry)
"""Where a result has what its picture has at a place: see `Fit.geometry`."""

Loss = Literal["colour", "sharpness"]
"""What a result can lose of its picture: see `Fit.losses`."""

_MAY_CHANGE = 128

_MOST = 2.0
"""A result may be enlarged so many times along an axis before it counts as blurred."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How one picture is fitted to a model's size, and the result back to the picture.

    Either the picture is padded in black, or `part` of it is resized to the model's size with a
    bicubic filter. The result has the geometry of `part`, or stays as the model made it, padding
    included.

    Attributes:
        size: (width, height) of the picture.
        model_size: (width, height) of the model.
        mode: the model's mode, L or RGB.
        pad: whether the picture is framed in black rather than resized.
        part: what the model sees of the picture, in whole pixels: left, top, right, bottom.
        result: `source` if the result has the size of `part`, `model` if it has the model's.
    """

    detail: ClassVar[None] = None

    size: tuple[int, int]
    model_size: tuple[int, int]
    mode: str
    pad: bool
    part: tuple[int, int, int, int]
    result: str

    @classmethod
    def of(
        cls, image: Image.Image, shape: tuple[int, int, int], fit: str, result: str = "source"
    ) -> Fit:
        """Choose the fit for a picture and a model of `shape` (C, H, W).

        Args:
            image: the picture; only its size counts.
            shape: of the model's input.
            fit: the recipe's. `auto` pads a picture at most a quarter smaller than the model and
                resizes any other; `pad` and `resize` always do. `fit` resizes the largest centred
                part with the model's aspect ratio, as `PIL.ImageOps.fit` does but in whole pixels
                of the picture, so that the result can be compared with them. `exact` accepts the
                model's size only.
            result: `source` or `model`: whose size the result has.

        Raises:
            DefectError: `fit` is `pad` and the picture is larger than the model, or `fit` is
                `exact` and the sizes differ.
        """
        channels, height, width = shape
        smaller = image.width <= width and image.height <= height
        near = image.width >= math.ceil(0.75 * width) and image.height >= math.ceil(0.75 * height)
        if fit == "pad" and not smaller:
            raise DefectError(
                "too_large_to_pad",
                f"the image is {image.width}x{image.height} and cannot be padded to "
                f"{width}x{height}: use fit=resize",
            )
        if fit == "exact" and image.size != (width, height):
            raise DefectError(
                "not_exact_size",
                f"the image is {image.width}x{image.height}, but fit=exact accepts only the "
                f"model's {width}x{height}: resize the source, or use fit=auto, pad, resize or fit",
            )
        return cls(
            size=image.size,
            model_size=(width, height),
            mode="L" if channels == 1 else "RGB",
            pad=fit == "pad" or (fit == "auto" and smaller and near),
            part=_centred(image.size, (width, height)) if fit == "fit" else (0, 0, *image.size),
            result=result,
        )

    def to_model(self, image: Image.Image) -> NDArray[np.float32]:
        """The picture as the model's input: float32 (C, H, W) in [-1, 1]."""
        image = self._meet(image.convert(self.mode))
        pixels = np.asarray(image, dtype=np.float32).reshape(*image.size[::-1], -1)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)) / np.float32(127.5) - np.float32(1)

    def from_model(self, x_0: NDArray[np.float32], mask: object = None) -> Image.Image:
        """Convert the model's float32 (C, H, W) to the result, a picture in the model's mode.

        The mask makes no difference here: see `keep`.

        Raises:
            DefectError: the model produced values that are not finite.
        """
        refuse_infinite(x_0)
        if self.result == "model":
            return to_picture(x_0)
        image = to_picture(self.inside(x_0))
        left, top, right, bottom = self.part
        size = (right - left, bottom - top)
        return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)

    def inside(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """What of the model's (C, H, W) belongs to the picture: without the padding."""
        if not self.pad:
            return values
        (left, top), (width, height) = self._corner, self.size
        return values[:, top : top + height, left : left + width]

    @property
    def geometry(self) -> Geometry:
        """Where the result has what the picture has at a place.

        `redrawn`: at the same place; but the model drew it, and may have drawn other shapes.
        `moved`: elsewhere, since the result is a part of the picture, or of another size.
        `in_place`: at the same place, in the same shapes (see `KeepingDetail`).
        """
        if self.result == "model":
            return "redrawn" if self.size == self.model_size else "moved"
        return "redrawn" if self.part == (0, 0, *self.size) else "moved"

    def loses_detail(self, image: Image.Image) -> bool:
        """Whether a result that should be the picture's has fewer pixels or channels, or a part."""
        left, top, right, bottom = self.part
        width, height = self.model_size
        reduced = not self.pad and (right - left > width or bottom - top > height)
        cut = self.part != (0, 0, *self.size)
        return self.result == "source" and (reduced or cut or image.mode != self.mode)

    def losses(self, image: Image.Image) -> tuple[Loss, ...]:
        """What results lose of the picture: its colour to a model of greys; its sharpness, if they
        are enlarged more than twice.
        """
        found: list[Loss] = []
        if self.mode == "L" and image.mode != "L":
            found.append("colour")
        left, top, right, bottom = self.part
        width, height = self.model_size
        grown = 1.0 if self.pad else max((right - left) / width, (bottom - top) / height)
        if self.result == "source" and grown > _MOST:
            found.append("sharpness")
        return tuple(found)

    def seen(self, image: Image.Image) -> Image.Image:
        """The picture in the result's geometry and its own colours, to compare with the result.

        Where the result has the picture's geometry, this is the picture itself, the same object.
        """
        if self.result == "model":
            return self._meet(image)
        return image if self.part == (0, 0, *image.size) else image.crop(self.part)

    def shown(self, result: Image.Image) -> Image.Image:
        """What is seen of a result: all of it."""
        return result

    def mask_to_model(self, mask: Image.Image) -> NDArray[np.float32]:
        """Where the model may change the picture: float32 (1, H, W), 1 if so and else 0.

        A pixel of the model may change if any pixel of the picture that it touches may, however
        little. So even the thinnest line is repainted, and `keep` restores what must not change.
        Padding may change.

        Args:
            mask: of the picture's size; its grey is at least 128 where the picture may change.

        Raises:
            DefectError: the mask is not of the picture's size, has pixels of no 8-bit meaning, or
                is too dark to mark anything.
        """
        part = self._changeable(mask)
        width, height = self.model_size
        if self.pad:
            (left, top), (down, across) = self._corner, part.shape
            whole = np.ones((height, width), dtype=np.bool_)
            whole[top : top + down, left : left + across] = part
        else:
            whole = _touched(_touched(part, height).T, width).T
        return np.ascontiguousarray(whole[None], dtype=np.float32)

    def keep(self, result: Image.Image, source: Image.Image, mask: Image.Image) -> Image.Image:
        """The result with the source's own pixels wherever the mask keeps them.

        Those pixels are the ones of `seen`, in the result's mode. Where the result has the
        model's size, they are kept wherever `mask_to_model` is 0.

        Args:
            result: returned by `from_model`.
            source: the picture.
            mask: as for `mask_to_model`.

        Raises:
            DefectError: as `mask_to_model`.
        """
        if self.result == "model":
            kept = self.mask_to_model(mask)[0] == 0
        else:
            kept = ~self._changeable(mask)
        own = self.seen(source).convert(result.mode)
        # the second picture's metadata are carried on: of the source's file none may be
        return Image.composite(own, result, Image.fromarray(kept))

    def _meet(self, image: Image.Image) -> Image.Image:
        """A picture at the model's size, in its own mode."""
        if image.size == self.model_size:
            return image
        if self.pad:
            canvas = Image.new(image.mode, self.model_size)
            canvas.paste(image, self._corner)
            return canvas
        return image.resize(self.model_size, Image.Resampling.BICUBIC, box=self.part)

    def _changeable(self, mask: Image.Image) -> NDArray[np.bool_]:
        """Where `part` of the picture may change: bool, the (height, width) of that part."""
        mask = picture(mask).stored  # convert("L") would clip every 16-bit value above 255 to 255
        if mask.size != self.size:
            raise DefectError(
                "mask_size",
                f"the mask is {mask.width}x{mask.height} but its image is "
                f"{self.size[0]}x{self.size[1]}: supply a mask of the image's size",
            )
        grey = np.asarray(mask.convert("L"))
        if 0 < (brightest := int(grey.max())) < _MAY_CHANGE:
            raise DefectError(
                "dark_mask",
                f"the mask is nowhere brighter than {brightest}: mark what may change in white, "
                "255",
            )
        left, top, right, bottom = self.part
        return np.asarray(grey[top:bottom, left:right] >= _MAY_CHANGE)

    @property
    def _corner(self) -> tuple[int, int]:
        return (
            (self.model_size[0] - self.size[0]) // 2,
            (self.model_size[1] - self.size[1]) // 2,
        )


def _centred(size: tuple[int, int], model_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest centred part of a picture with the model's aspect ratio, in whole pixels."""
    (width, height), (across, down) = size, model_size
    part_width = min(width, max(1, round(height * across / down)))
    part_height = min(height, max(1, round(width * down / across)))
    left, top = (width - part_width) // 2, (height - part_height) // 2
    return left, top, left + part_width, top + part_height


def _touched(mask: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Cut the first axis into `count` equal lengths; whether each touches anything that is set."""
    ends = np.arange(count + 1) * len(mask)
    first, last = ends[:-1] // count, -(-ends[1:] // count)
    before = np.zeros((len(mask) + 1, *mask.shape[1:]), dtype=np.int32)
    np.cumsum(mask, axis=0, out=before[1:])
    return before[last] > before[first]


def refuse_infinite(x_0: NDArray[np.float32]) -> None:
    """Check that a model's result is finite.

    Raises:
        DefectError: it is not.
    """
    if not np.isfinite(x_0).all():
        raise DefectError("non_finite", "the model's result for this image is not finite")

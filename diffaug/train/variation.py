"""Flips and crops: how an image differs each time that a training sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image, ImageOps

from diffaug.train.recipe import PictureRecipe

__all__ = ["Variation"]


@dataclass(frozen=True, slots=True)
class Variation:
    """The flip and the crop of one image, in shares of its size.

    Attributes:
        mirrored: whether left and right are exchanged.
        width: share of the width that is kept, in (0, 1].
        height: share of the height that is kept, in (0, 1].
        left: share of what is cut off the width that is cut off its left, in [0, 1].
        top: share of what is cut off the height that is cut off its top, in [0, 1].
    """

    mirrored: bool
    width: float
    height: float
    left: float
    top: float

    @classmethod
    def of(cls, recipe: PictureRecipe, place: Sequence[int]) -> Self | None:
        """The variation at a place in a training; None if the recipe asks for none.

        Args:
            recipe: its flip and crop.
            place: what the variation is a function of, such as seed, epoch and index.
        """
        if not recipe.flip and not recipe.crop:
            return None
        coin, width, height, left, top = np.random.default_rng(place).random(5)
        return cls(
            mirrored=recipe.flip and bool(coin < 0.5),
            width=1 - recipe.crop * width,
            height=1 - recipe.crop * height,
            left=left,
            top=top,
        )

    def applied(self, image: Image.Image) -> Image.Image:
        """The image so varied, in whole pixels and at least one."""
        width = max(1, round(image.width * self.width))
        height = max(1, round(image.height * self.height))
        left = round((image.width - width) * self.left)
        top = round((image.height - height) * self.top)
        if (width, height) != image.size:
            image = image.crop((left, top, left + width, top + height))
        return ImageOps.mirror(image) if self.mirrored else image

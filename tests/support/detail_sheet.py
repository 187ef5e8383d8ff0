"""Photographs, what a small model makes of them, and the photographs with its change.

python -m tests.support.detail_sheet      draws docs/detail.jpg again
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps
from skimage import data

import diffaug
from tests.conftest import ROOT

__all__ = ["photographs"]

SHIPPED = ("astronaut", "chelsea", "coffee", "rocket")
SIZE, GAP = (240, 180), 6


def photographs() -> list[Image.Image]:
    """Photographs that come with scikit-image, of 427 to 640 pixels a side, in colour."""
    return [Image.fromarray(np.asarray(getattr(data, name)())) for name in SHIPPED]


def main() -> None:
    images = photographs()
    rows = [images]
    for detail in ("none", "keep"):
        recipe = diffaug.Recipe(model="cifar10-32", strength=0.4, detail=detail)
        rows.append(diffaug.augment(images, recipe, batch_size=8))
    (width, height), across, down = SIZE, len(images), len(rows)
    sheet = Image.new("RGB", ((width + GAP) * across - GAP, (height + GAP) * down - GAP), "white")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            place = (x * (width + GAP), y * (height + GAP))
            sheet.paste(ImageOps.fit(image, SIZE), place)
    sheet.save(ROOT / "docs/detail.jpg", quality=90)


if __name__ == "__main__":
    main()

"""What flips and crops leave of an image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from diffaug.train.variation import Variation
from tests.support.training import tiny

RAMP = Image.fromarray(
    np.stack(np.meshgrid(np.arange(200), np.arange(100), [0]), -1)[:, :, 0].astype(np.uint8)
)
"""200x100, each pixel its own place: (x, y, 0)."""


def test_without_flip_and_crop_there_is_none() -> None:
    assert Variation.of(tiny(), (0, 0, 0)) is None


def test_a_crop_is_a_rectangle_of_the_image_of_at_least_that_size() -> None:
    corners, sizes = [], []
    for index in range(500):
        variation = Variation.of(tiny(crop=0.25), (0, 0, index))
        assert variation is not None
        pixels = np.asarray(variation.applied(RAMP)).astype(int)
        height, width, _ = pixels.shape
        x, y, _ = pixels[0, 0]
        assert (pixels == np.asarray(RAMP)[y : y + height, x : x + width]).all()
        corners.append((x, y))
        sizes.append((width, height))
    widths, heights = np.array(sizes).T
    assert 150 <= widths.min() < 153
    assert 197 < widths.max() <= 200
    assert 75 <= heights.min() < 78
    assert 97 < heights.max() <= 100
    assert widths.mean() == pytest.approx(175, abs=3)
    lefts, tops = np.array(corners).T
    assert lefts.mean() == pytest.approx(12.5, abs=2)  # half of what is cut off
    assert (lefts.min(), tops.min()) == (0, 0)


def test_a_flip_alone_keeps_every_pixel() -> None:
    seen = set()
    for index in range(20):
        variation = Variation.of(tiny(flip=True), (0, 0, index))
        assert variation is not None
        found = np.asarray(variation.applied(RAMP))
        mirrored = bool(found[0, 0, 0] == 199)
        seen.add(mirrored)
        expected = np.asarray(RAMP)
        assert (found == (expected[:, ::-1] if mirrored else expected)).all()
    assert seen == {True, False}


def test_something_is_left_of_the_smallest_image() -> None:
    variation = Variation(mirrored=True, width=0.01, height=0.01, left=1, top=1)
    assert variation.applied(Image.new("L", (1, 1), 7)).getpixel((0, 0)) == 7

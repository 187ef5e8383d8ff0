"""Scores, against closed forms and the definitions written out in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from diffaug.judges import psnr, scores, ssim


def pair(*shape: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture and itself with some noise."""
    random = np.random.default_rng(sum(shape))
    one = random.integers(0, 256, shape)
    other = (one + random.integers(-40, 41, shape)).clip(0, 255)
    return one.astype(np.uint8), other.astype(np.uint8)


def one_ssim(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> float | None:
    (value,) = ssim(x[None], y[None])
    return value


def one_psnr(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> float:
    (value,) = psnr(x[None], y[None])
    return value


def ssim_by_definition(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> float:
    """Wang et al. 2004 over flat 7x7 windows with unbiased moments, for one channel."""
    windows = [sliding_window_view(a.astype(float), (7, 7)).reshape(-1, 49) for a in (x, y)]
    (mean_x, mean_y), (var_x, var_y) = (
        [a.mean(axis=1) for a in windows],
        [a.var(axis=1, ddof=1) for a in windows],
    )
    centred = [a - a.mean(axis=1, keepdims=True) for a in windows]
    covariance = (centred[0] * centred[1]).sum(axis=1) / 48
    c_1, c_2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_x * mean_y + c_1) / (mean_x**2 + mean_y**2 + c_1)
    structure = (2 * covariance + c_2) / (var_x + var_y + c_2)
    return float((luminance * structure).mean())


@pytest.mark.parametrize("step", [1, 10, 255])
def test_psnr_of_a_constant_difference(step: int) -> None:
    black = np.zeros((9, 9), dtype=np.uint8)
    assert one_psnr(black, black + np.uint8(step)) == pytest.approx(20 * math.log10(255 / step))


def test_psnr_does_not_care_which_is_brighter() -> None:
    one, other = pair(8, 8, 3)
    assert one_psnr(one, other) == one_psnr(other, one)


def test_psnr_of_equals_is_infinite() -> None:
    one, _ = pair(4, 4)
    assert one_psnr(one, one.copy()) == math.inf


@pytest.mark.parametrize("shape", [(28, 28), (7, 7), (7, 30)])
def test_ssim_is_its_definition(shape: tuple[int, int]) -> None:
    one, other = pair(*shape)
    assert one_ssim(one, other) == pytest.approx(ssim_by_definition(one, other), abs=1e-9)


def test_ssim_of_colours_is_the_mean_of_its_channels() -> None:
    one, other = pair(20, 16, 3)
    channels = [ssim_by_definition(one[..., c], other[..., c]) for c in range(3)]
    assert one_ssim(one, other) == pytest.approx(sum(channels) / 3, abs=1e-9)


def test_ssim_of_equals_is_one() -> None:
    one, _ = pair(28, 28)
    assert one_ssim(one, one.copy()) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(6, 28), (28, 6), (6, 6, 3), (1, 1)])
def test_no_ssim_below_seven_pixels(shape: tuple[int, ...]) -> None:
    assert one_ssim(*pair(*shape)) is None


def test_scores_compare_in_the_outputs_colours() -> None:
    grey, result = pair(12, 12)
    wide = Image.fromarray(grey).convert("RGB")
    (found,) = scores([(wide, Image.fromarray(result))])
    assert found["score_psnr"] == pytest.approx(
        10 * math.log10(255**2 / np.mean((grey.astype(int) - result) ** 2))
    )
    assert found["score_ssim"] == pytest.approx(ssim_by_definition(grey, result))


def test_scores_of_a_tiny_picture() -> None:
    tiny = Image.new("L", (3, 3), 9)
    assert scores([(tiny, tiny)]) == [{"score_ssim": None, "score_psnr": math.inf}]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_no_score_depends_on_its_neighbours(data: st.DataObject) -> None:
    """To the last bit, in any company: other sizes, other colours, flat and noisy ones."""
    shapes = st.sampled_from([(28, 28), (7, 9), (30, 8, 3), (28, 28, 3), (3, 3), (600, 500)])
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    pairs = []
    for shape in data.draw(st.lists(shapes, max_size=7)):
        pixels = random.integers(0, 256, (2, *shape)) // data.draw(st.sampled_from([1, 64, 256]))
        one, other = pixels.astype(np.uint8)
        pairs.append((Image.fromarray(one), Image.fromarray(other)))
    assert scores(pairs) == [found for pair in pairs for found in scores([pair])]


def test_scores_of_nothing() -> None:
    assert scores([]) == []

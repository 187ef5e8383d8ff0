"""Scores, against closed forms, the definitions written out in numpy, and scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffaug.judges import psnr, scores, ssim


def pair(*shape: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture and itself with some noise."""
    random = np.random.default_rng(sum(shape))
    one = random.integers(0, 256, shape)
    other = (one + random.integers(-40, 41, shape)).clip(0, 255)
    return one.astype(np.uint8), other.astype(np.uint8)


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
    assert psnr(black, black + np.uint8(step)) == pytest.approx(20 * math.log10(255 / step))


def test_psnr_does_not_care_which_is_brighter() -> None:
    one, other = pair(8, 8, 3)
    assert psnr(one, other) == psnr(other, one)


def test_psnr_of_equals_is_infinite() -> None:
    one, _ = pair(4, 4)
    assert psnr(one, one.copy()) == math.inf


@pytest.mark.parametrize("shape", [(28, 28), (7, 7), (7, 30)])
def test_ssim_is_its_definition(shape: tuple[int, int]) -> None:
    one, other = pair(*shape)
    assert ssim(one, other) == pytest.approx(ssim_by_definition(one, other), abs=1e-9)


def test_ssim_of_colours_is_the_mean_of_its_channels() -> None:
    one, other = pair(20, 16, 3)
    channels = [ssim_by_definition(one[..., c], other[..., c]) for c in range(3)]
    assert ssim(one, other) == pytest.approx(sum(channels) / 3, abs=1e-9)


def test_ssim_of_equals_is_one() -> None:
    one, _ = pair(28, 28)
    assert ssim(one, one.copy()) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(6, 28), (28, 6), (6, 6, 3), (1, 1)])
def test_no_ssim_below_seven_pixels(shape: tuple[int, ...]) -> None:
    assert ssim(*pair(*shape)) is None


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
def test_scores_are_those_of_scikit_image(drawn: st.DataObject) -> None:
    """Of sizes below and above what is worked on at once; flat, noisy, equal and opposite ones."""
    shapes = st.sampled_from([(28, 28), (7, 9), (30, 8, 3), (28, 28, 3), (7, 4000, 3), (600, 500)])
    random = np.random.default_rng(drawn.draw(st.integers(0, 99)))
    shape, noise = drawn.draw(shapes), drawn.draw(st.sampled_from([0, 1, 40, 255]))
    one = (random.integers(0, 256, shape) // drawn.draw(st.sampled_from([1, 64, 256]))) % 256
    other = (one + random.integers(-noise, noise + 1, shape)).clip(0, 255).astype(np.uint8)
    one = one.astype(np.uint8)
    if drawn.draw(st.booleans()):
        one = 255 - one
    (found,) = scores([(Image.fromarray(one), Image.fromarray(other))])
    axis = 2 if len(shape) == 3 else None
    theirs = structural_similarity(one, other, channel_axis=axis)
    assert found["score_ssim"] == pytest.approx(theirs, abs=1e-12)
    if (one != other).any():
        assert found["score_psnr"] == pytest.approx(peak_signal_noise_ratio(one, other), abs=1e-9)


def test_ssim_of_a_photograph_seen_in_any_layout_of_memory() -> None:
    photograph = data.chelsea()[:120, :90]
    blurred = np.asarray(Image.fromarray(photograph).filter(ImageFilter.GaussianBlur(2)))
    theirs = structural_similarity(photograph, blurred, channel_axis=2)
    assert ssim(photograph, blurred) == pytest.approx(theirs, abs=1e-12)
    planes = photograph.transpose(2, 0, 1).copy().transpose(1, 2, 0)
    assert ssim(planes, blurred) == ssim(photograph, blurred)


def test_scores_of_nothing() -> None:
    assert scores([]) == []

"""Scores of clips, against those of scikit-image and against what is known of noise."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffaug.clips.clip import Clip
from diffaug.clips.measures import clip_scores, flicker
from tests.support.clips import Frames, moving


def clip(frames: Frames) -> Clip:
    times = tuple(Fraction(n, 10) for n in range(len(frames)))
    return Clip(tuple(map(Image.fromarray, frames)), times, Fraction(len(frames), 10))


def noisy(frames: Frames, per_frame: bool) -> Frames:
    shape = frames.shape if per_frame else frames.shape[1:]
    noise = np.random.default_rng(0).normal(0, 6, shape)
    return np.rint(frames + noise).clip(0, 255).astype(np.uint8)


def test_structure_and_noise_as_scikit_image_has_them() -> None:
    before, after = moving(), noisy(moving(), per_frame=True)
    (found,) = clip_scores([(clip(before), clip(after))])
    pairs = list(zip(before, after, strict=True))
    similar = [structural_similarity(one, other, channel_axis=-1) for one, other in pairs]
    assert found["score_ssim"] == pytest.approx(np.mean(similar), rel=1e-9)
    assert found["score_psnr"] == pytest.approx(peak_signal_noise_ratio(before, after), rel=1e-9)


def test_flicker_is_that_of_the_differences() -> None:
    before, own, shared = moving(), noisy(moving(), True), noisy(moving(), False)
    energy = [np.square(np.diff(one.astype(float), axis=0)).sum() for one in (before, own)]
    assert flicker([*before], [*own]) == pytest.approx(energy[1] / energy[0], rel=1e-12)
    assert flicker([*before], [*before]) == 1
    alone, together = flicker([*before], [*own]), flicker([*before], [*shared])
    assert alone is not None
    assert together is not None
    assert abs(together - 1) < 0.1 * (alone - 1)


def test_a_still_clip_has_no_flicker_to_compare_with() -> None:
    still = np.repeat(moving()[:1], 4, axis=0)
    assert flicker([*still], [*noisy(still, per_frame=True)]) is None
    (found,) = clip_scores([(clip(still[:1]), clip(still[:1]))])
    assert found == {"score_ssim": 1, "score_psnr": np.inf, "score_flicker": None}

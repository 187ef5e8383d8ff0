"""What an augmented image is worth: scores between it and its source."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

__all__ = ["psnr", "scores", "ssim"]

_SSIM_WINDOW = 7


def scores(source: Image.Image, output: Image.Image) -> dict[str, float | None]:
    """Every `score_<name>` of one image. The source is compared in the output's mode."""
    reference, result = np.asarray(source.convert(output.mode)), np.asarray(output)
    return {"score_ssim": ssim(reference, result), "score_psnr": psnr(reference, result)}


def ssim(reference: np.ndarray, result: np.ndarray) -> float | None:
    """Structural similarity (Wang et al. 2004) by scikit-image; None below 7 pixels a side.

    Args:
        reference: uint8 (H, W) or (H, W, 3).
        result: the same shape.
    """
    from skimage.metrics import structural_similarity

    if min(reference.shape[:2]) < _SSIM_WINDOW:
        return None
    channel_axis = 2 if reference.ndim == 3 else None
    return float(structural_similarity(reference, result, channel_axis=channel_axis))


def psnr(reference: np.ndarray, result: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB for 8-bit images; infinite when they are equal."""
    error = float(np.mean((reference.astype(np.float64) - result) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)

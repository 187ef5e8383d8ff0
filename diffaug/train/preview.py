"""Previews of a training: samples from noise, and reconstructions of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from diffaug import storage
from diffaug.models.module import DiffusionModel
from diffaug.pictures.codec import encode
from diffaug.pictures.grid import grid

__all__ = ["reconstruction_grid", "sample_grid"]

_STRENGTHS = (0.2, 0.4, 0.6, 0.8)
_STEPS = 20
_SAMPLES, _SAMPLE_COLUMNS = 40, 10
_BATCH_SIZE = 8
"""Small, so that no batch is much larger than the number of images to draw."""


def sample_grid(model: DiffusionModel, path: Path) -> None:
    """Draw images generated from pure noise, each class in turn if the model has classes."""
    classes = model.denoiser.classes
    condition = [index % classes for index in range(_SAMPLES)] if classes else None
    images = model.sample(_SAMPLES, steps=_STEPS, condition=condition, batch_size=_BATCH_SIZE)
    _write(grid([*images.cpu().numpy()], _SAMPLE_COLUMNS), path)


def reconstruction_grid(model: DiffusionModel, x_0: NDArray[np.float32], path: Path) -> None:
    """Draw images next to their reconstructions from several strengths.

    Args:
        model: the model.
        x_0: images (B, C, H, W) in [-1, 1].
        path: the PNG to write.
    """
    clean = torch.from_numpy(x_0)
    columns = [clean]
    for strength in _STRENGTHS:
        columns.append(model.edit(clean, strength, steps=_STEPS, batch_size=_BATCH_SIZE))
    rows = torch.stack(columns, dim=1).flatten(0, 1).numpy()
    captions = ["image", *(f"{strength:g}" for strength in _STRENGTHS)]
    _write(grid([*rows], len(columns), captions), path)


def _write(picture: Image.Image, path: Path) -> None:
    storage.replace(encode(picture, "png"), str(path))

"""Previews of a training: samples from noise, edits of images, and reconstructions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diffaug import storage
from diffaug.models.module import DiffusionModel
from diffaug.pictures.codec import encode
from diffaug.pictures.grid import grid, strip
from diffaug.train.latents import Latents

__all__ = ["columns", "edit_grid", "edits_of", "sample_grid"]

_STRENGTHS = (0.2, 0.4, 0.6, 0.8)
_STEPS = 20
_SAMPLES, _SAMPLE_COLUMNS = 40, 10
_BATCH_SIZE = 8
"""Small, so that no batch is much larger than the number of images to draw."""


def sample_grid(model: DiffusionModel, path: Path, latents: Latents | None = None) -> None:
    """Draw images generated from pure noise, each class in turn if the model has classes."""
    classes = model.denoiser.classes
    condition = [index % classes for index in range(_SAMPLES)] if classes else None
    made = model.sample(_SAMPLES, steps=_STEPS, condition=condition, batch_size=_BATCH_SIZE)
    images = latents.decoded(made) if latents else made
    columns = 1 if model.frames else _SAMPLE_COLUMNS
    _write(grid([strip(one, model.frames) for one in images.cpu().numpy()], columns), path)


def edits_of(model: DiffusionModel) -> Callable[..., Tensor]:
    """How a model edits that can be called at any time."""
    return partial(model.edit, steps=_STEPS)


def edit_grid(
    edit: Callable[..., Tensor],
    x_0: NDArray[np.float32],
    path: Path,
    latents: Latents | None = None,
    strengths: Sequence[float] = _STRENGTHS,
    frames: int | None = None,
) -> None:
    """Draw images next to their reconstructions from several strengths.

    Over latents, strength 0 shows what the autoencoder alone makes of them.

    Args:
        edit: `DiffusionModel.edit` of the model, with what else it is to be given.
        x_0: images (B, C, H, W) in [-1, 1].
        path: the PNG to write.
        latents: if it works on latents.
        strengths: how far they are noised.
        frames: how many frames each has, if they are clips, whose channels are behind one another.
    """
    shown = {"image": torch.from_numpy(x_0)}
    clean = torch.from_numpy(latents.encoded(x_0)) if latents else shown["image"]
    if latents:
        shown["0"] = latents.decoded(clean)
    for strength in strengths:
        edited = edit(clean, strength, batch_size=_BATCH_SIZE)
        shown[f"{strength:g}"] = latents.decoded(edited) if latents else edited
    columns([*shown.values()], [*shown], path, frames)


def columns(
    shown: Sequence[Tensor], captions: Sequence[str], path: Path, frames: int | None = None
) -> None:
    """Draw batches of images (B, C, H, W) in [-1, 1] as columns under their captions.

    Clips of so many frames are drawn as strips, in one column, each above what was made of it.
    """
    rows = torch.stack([images.cpu() for images in shown], dim=1).flatten(0, 1).numpy()
    if frames is not None:
        _write(grid([strip(one, frames) for one in rows], 1), path)
        return
    _write(grid([*rows], len(shown), list(captions)), path)


def _write(picture: Image.Image, path: Path) -> None:
    storage.replace(encode(picture, "png"), str(path))

"""The autoencoder before a denoiser in training: pictures to latents, each picture once.

The latents are the most likely ones, scaled to a variance of 1 over the training's own pictures, as
in Rombach et al. 2022 (section G), https://arxiv.org/abs/2112.10752.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffaug.diffusion.batched import Batched
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models import find_checkpoint
from diffaug.models.addons import find_autoencoder
from diffaug.models.families.latent_unet2d import read_autoencoder
from diffaug.models.families.parts import coder
from diffaug.models.families.taef2 import FILES
from diffaug.storage import local_path
from diffaug.train.recipe import TrainRecipe

__all__ = ["Latents", "open_autoencoder", "scale", "scale_as", "with_channels"]

_BATCH_SIZE = 8
"""Of a call of the autoencoder, so that a picture's latents never depend on its neighbours."""
_KEPT = 1 << 30
"""Bytes of latents to keep."""


class Latents:
    """An autoencoder at work.

    The latents of a picture that comes again, whether mirrored or not, are looked up: without
    random crops each picture is encoded once, or twice with flips, and not once an epoch. A
    gigabyte of them is kept; the rest is encoded each time, to the same bits.

    Args:
        vae: an autoencoder of diffusers, or TAEF2, on the CPU; what a checkpoint stores.
        shape: (C, H, W) of a picture.
        execution: device and dtype.

    Attributes:
        vae: as given.
        shape: (C, H, W) of a picture's latents.

    Raises:
        ConfigError: its kind is not supported, or it does not divide the size.
    """

    def __init__(self, vae: Any, shape: tuple[int, int, int], execution: Execution) -> None:
        self.vae = vae
        device = torch.device(execution.device)
        network = copy.deepcopy(vae).requires_grad_(False)
        dtype = getattr(torch, execution.dtype)
        network = nn.Module.to(network, device, dtype)  # diffusers' own warns of nothing here
        found = coder("autoencoder", network, channels=(1, 3))
        if shape[1] % found.factor:
            raise ConfigError(
                f"size: {shape[1]} is not a multiple of {found.factor}, by which the autoencoder "
                "divides the side: give a size that is one"
            )
        side = shape[1] // found.factor
        self.shape = (int(vae.config.latent_channels), side, side)
        self._device = device
        self._encode = Batched(found.encode, _BATCH_SIZE, device)
        self._decode = Batched(found.decode, _BATCH_SIZE, device)
        self._known: dict[bytes, NDArray[np.float32]] = {}

    def encoded(self, x_0: NDArray[np.float32]) -> NDArray[np.float32]:
        """The latents (B, c, h, w) of pictures (B, C, H, W) in [-1, 1]."""
        keys = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in x_0]
        found = {key: self._known[key] for key in keys if key in self._known}
        new = {key: image for key, image in zip(keys, x_0, strict=True) if key not in found}
        if new:
            pictures = torch.from_numpy(np.stack([*new.values()])).to(self._device)
            with torch.inference_mode():
                latents = self._encode(pictures).float().cpu().numpy()
            for key, one in zip(new, latents, strict=True):
                found[key] = one
                if (len(self._known) + 1) * one.nbytes <= _KEPT:
                    self._known[key] = one
        return np.stack([found[key] for key in keys])

    def decoded(self, latents: Tensor) -> Tensor:
        """The pictures (B, C, H, W), float32, nominally in [-1, 1], of latents (B, c, h, w)."""
        with torch.inference_mode():
            return self._decode(latents.to(self._device)).float()


def open_autoencoder(recipe: TrainRecipe, checkpoint: Path | None) -> Any:
    """The autoencoder of a training, in float32.

    Args:
        recipe: names it.
        checkpoint: the folder of a training to resume, which holds a copy; None for a new one.

    Raises:
        ConfigError: there is no such autoencoder, or it is broken.
    """
    assert recipe.autoencoder is not None
    if checkpoint is not None:
        return read_autoencoder(f"checkpoint {checkpoint}", checkpoint / "vqvae")
    folder = local_path(recipe.autoencoder)
    if not any((folder / name).is_file() for name in FILES):
        folder = find_autoencoder(recipe.autoencoder)
    return read_autoencoder(f"autoencoder {recipe.autoencoder}", folder)


def with_channels(recipe: TrainRecipe, vae: Any) -> TrainRecipe:
    """The recipe with the channels of an autoencoder's pictures.

    Raises:
        ConfigError: it has others.
    """
    channels = int(vae.config.in_channels)
    if recipe.channels not in (None, channels):
        raise ConfigError(
            f"channels: {recipe.channels}, but the autoencoder {recipe.autoencoder} encodes "
            f"pictures of {channels}: omit channels, or train an autoencoder with as many"
        )
    return recipe.model_copy(update={"channels": channels})


def scale(
    vae: Any,
    shape: tuple[int, int, int],
    pictures: Iterable[NDArray[np.float32]],
    execution: Execution,
) -> None:
    """Set an autoencoder's `scaling_factor` so that its latents have a variance of 1.

    Args:
        vae: the autoencoder.
        shape: (C, H, W) of a picture.
        pictures: batches (B, C, H, W) in [-1, 1].
        execution: device and dtype.

    Raises:
        ConfigError: its kind is not supported, or its latents are constant or not finite.
    """
    coder("autoencoder", vae, channels=(1, 3))
    vae.register_to_config(scaling_factor=1.0)
    if getattr(vae.config, "shift_factor", None) is not None:
        vae.register_to_config(shift_factor=None)  # which diffusers' LDMPipeline does not know
    latents = Latents(vae, shape, execution)
    found = np.concatenate([latents.encoded(batch) for batch in pictures])
    deviation = float(found.std(dtype=np.float64))
    if not math.isfinite(deviation) or deviation < 1e-6:
        raise ConfigError(
            f"autoencoder: its latents have a standard deviation of {deviation:g}: it was not "
            "trained, or its weights are broken"
        )
    vae.register_to_config(scaling_factor=1 / deviation)


def scale_as(vae: Any, reference: str) -> None:
    """Set an autoencoder's `scaling_factor` to that of a model which was trained on its latents.

    Raises:
        ConfigError: there is no such model, or it was trained on those of another autoencoder, or
            on pictures.
    """
    checkpoint = find_checkpoint(reference)
    if checkpoint.pipeline != "LDMPipeline":
        raise ConfigError(
            f"init: {reference} is a {checkpoint.pipeline}, and with an autoencoder the denoiser "
            "is trained on latents: give a model that was trained on them, or leave out one of the "
            "two"
        )
    other = read_autoencoder(f"init: {reference}", checkpoint.part("vqvae"))
    ours, theirs = vae.state_dict(), other.state_dict()
    if ours.keys() != theirs.keys() or not all(
        torch.equal(weight.float(), theirs[key].float()) for key, weight in ours.items()
    ):
        raise ConfigError(
            f"init: {reference} was trained on the latents of another autoencoder: give "
            f"{reference} as autoencoder too"
        )
    vae.register_to_config(scaling_factor=other.config.scaling_factor)

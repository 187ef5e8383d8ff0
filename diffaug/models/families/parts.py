"""What adapters share: autoencoders, schedules of betas, activations that save memory, and checks.

The checks refuse parts that load and then fail, or are ignored, in the middle of a job.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn

from diffaug.diffusion.denoiser import Prediction
from diffaug.diffusion.latents import Autoencoder
from diffaug.diffusion.schedule import Schedule
from diffaug.errors import ConfigError
from diffaug.models.checkpoint import Checkpoint
from diffaug.models.families.taef2 import TAEF2
from diffaug.models.pretrained import Condition

__all__ = [
    "activate_in_place",
    "autoencoder",
    "check_encoders",
    "check_width",
    "coder",
    "first_prompts",
    "latent_diffusion",
    "latent_size",
]

_PREDICTIONS = ("epsilon", "v_prediction", "sample")


def autoencoder(checkpoint: Checkpoint, vae: Any, channels: Collection[int] = (3,)) -> Autoencoder:
    """The autoencoder of a checkpoint, or the one that replaces it (see `coder`).

    Args:
        checkpoint: named in errors.
        vae: the model's own, or the one that replaces it.
        channels: those that the family's pictures can have.

    Raises:
        ConfigError: it is of another kind, or of other pictures.
    """
    return coder(f"model {checkpoint.reference}: its autoencoder", vae, channels)


def coder(name: str, vae: Any, channels: Collection[int] = (3,)) -> Autoencoder:
    """diffusers' `AutoencoderKL` or `AutoencoderTiny`, or `TAEF2`, its latents scaled and shifted.

    An image is encoded to its most likely latents; diffusers' pipelines sample them instead.

    Args:
        name: of the autoencoder in errors.
        vae: the network.
        channels: those that pictures can have.

    Raises:
        ConfigError: it is of another kind, or of other pictures.
    """
    _check_autoencoder(name, vae, channels)
    vae = vae.to(memory_format=torch.channels_last)
    blocks = getattr(vae.config, "block_out_channels", ()) or vae.config.encoder_block_out_channels
    scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None) or 0.0

    def encode(pictures: Tensor) -> Tensor:
        found = vae.encode(pictures.to(vae.dtype, memory_format=torch.channels_last))
        latents = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents
        scaled: Tensor = (latents.float() - shift) * scale
        return scaled

    def decode(latents: Tensor) -> Tensor:
        unscaled = latents / scale + shift
        pictures: Tensor = vae.decode(
            unscaled.to(vae.dtype, memory_format=torch.channels_last), return_dict=False
        )[0]
        return pictures.float()

    return Autoencoder(encode=encode, decode=decode, factor=2 ** (len(blocks) - 1))


def _check_autoencoder(name: str, vae: Any, channels: Collection[int]) -> None:
    kind = type(vae)
    if not issubclass(kind, (AutoencoderKL, AutoencoderTiny, TAEF2)):
        raise ConfigError(
            f"{name} is of the kind {kind.__name__}; supported are AutoencoderKL and "
            "AutoencoderTiny"
        )
    config = vae.config
    if config.in_channels not in channels or config.out_channels != config.in_channels:
        known = " or ".join({1: "grey (1)", 3: "RGB (3)"}[one] for one in channels)
        raise ConfigError(
            f"{name} encodes pictures of {config.in_channels} channels and decodes pictures of "
            f"{config.out_channels}; both must be {known}"
        )
    if getattr(config, "latents_mean", None) or getattr(config, "latents_std", None):
        raise ConfigError(
            f"{name} scales every channel of its latents differently (latents_mean, latents_std): "
            "such a variant is not supported"
        )


def check_encoders(checkpoint: Checkpoint, pipe: Any, needed: Iterable[str]) -> None:
    """Refuse text encoders and tokenizers missing that diffusers loads without, and then fails.

    Args:
        checkpoint: named in errors.
        pipe: a diffusers pipeline.
        needed: the names of the parts.

    Raises:
        ConfigError: one is missing.
    """
    if lacking := [name for name in needed if getattr(pipe, name) is None]:
        raise ConfigError(
            f"model {checkpoint.reference}: it lacks its {', '.join(lacking)}, without which no "
            "prompt can be encoded"
        )


def latent_size(checkpoint: Checkpoint, unet: Any) -> tuple[int, int]:
    """(height, width) of the latents that a UNet was made for.

    Raises:
        ConfigError: its configuration does not say.
    """
    size = unet.config.sample_size
    if size is None:
        raise ConfigError(
            f"model {checkpoint.reference}: its sample_size is not set: write the size of its "
            "latents into unet/config.json"
        )
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def first_prompts(pipe: Any) -> Callable[[str | None], Condition]:
    """How the pipelines of Stable Diffusion 1 and 2 encode; no prompt means the empty one."""

    def encode(prompt: str | None) -> Condition:
        tokens, _ = pipe.encode_prompt(prompt or "", pipe.device, 1, False)
        return (tokens[0],)

    return encode


def check_width(
    checkpoint: Checkpoint, field: str, width: int | Iterable[int], given: int, by: str
) -> None:
    """Refuse a network whose text encoders give embeddings of another width than it takes.

    Args:
        checkpoint: named in errors.
        field: of the network's configuration.
        width: its value, or its value for each block.
        given: how wide the embeddings are.
        by: the parts that give them.

    Raises:
        ConfigError: the widths differ.
    """
    if given not in ([width] if isinstance(width, int) else [*width]):
        raise ConfigError(
            f"model {checkpoint.reference}: its network takes prompts that are {width} wide "
            f"({field}), and its {by} makes them {given} wide: they are parts of different models"
        )


def activate_in_place(network: nn.Module) -> None:
    """Let SiLU overwrite feature maps, each freshly made by a group norm: the same bits.

    Other inputs, such as the time embedding, which every block reads, are left alone.
    """
    for module in network.modules():
        for name in ("nonlinearity", "conv_act"):
            if isinstance(getattr(module, name, None), nn.SiLU):
                setattr(module, name, _FeatureSiLU())


class _FeatureSiLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(x, inplace=x.ndim == 4)


def latent_diffusion(checkpoint: Checkpoint, scheduler: Any) -> tuple[Schedule, Prediction]:
    """The schedule of a diffusers scheduler that is a plain diffusion of betas, and its prediction.

    Raises:
        ConfigError: it is not one, or its configuration asks for what diffaug does not support.
    """
    name, kind = f"model {checkpoint.reference}", type(scheduler).__name__
    config = dict(scheduler.config)
    schedule, prediction = Schedule.from_config(config), config.get("prediction_type", "epsilon")
    table = getattr(scheduler, "alphas_cumprod", torch.empty(0)).double().numpy()
    same = table.shape == schedule.alpha_t.shape and np.allclose(
        table, schedule.alpha_t**2, rtol=0, atol=1e-6
    )
    if not same or "sigma_data" in config:
        raise ConfigError(
            f"{name}: its scheduler, {kind}, is not a plain diffusion of betas: such a variant is "
            "not supported"
        )
    if prediction not in _PREDICTIONS:
        raise ConfigError(
            f"{name}: prediction type {prediction!r} is not supported; supported are "
            f"{', '.join(_PREDICTIONS)}"
        )
    if schedule.alpha_t[-1] == 0 and prediction == "epsilon":
        raise ConfigError(
            f"{name}: its schedule ends without signal, where an epsilon prediction holds "
            "nothing of the image; such a schedule requires v_prediction"
        )
    if config.get("thresholding"):
        raise ConfigError(
            f"{name}: its scheduler, {kind}, bounds latents by dynamic thresholding, which is for "
            "pixels; set thresholding to false in scheduler/scheduler_config.json"
        )
    return schedule, prediction

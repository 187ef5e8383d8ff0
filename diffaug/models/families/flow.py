"""What the adapters of flow-matching transformers share: denoiser, schedule, and what is refused.

https://arxiv.org/abs/2210.02747, https://arxiv.org/abs/2403.03206
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from diffaug.diffusion.denoiser import Clip, Denoiser
from diffaug.diffusion.schedule import Schedule
from diffaug.errors import ConfigError
from diffaug.models.checkpoint import Checkpoint

__all__ = ["check_channels", "flow_denoiser", "flow_schedule", "network_times"]

_SPACINGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "shift_terminal")
"""Options that place sigmas by their number in a run."""


def flow_denoiser(
    network: nn.Module, schedule: Schedule, shape: tuple[int, ...], device: torch.device
) -> Denoiser:
    """A network that predicts the flow, without classes or bounds, on its device."""
    return Denoiser(
        network=network.eval().to(device),
        schedule=schedule.to(device),
        prediction="flow",
        clip=Clip(),
        shape=shape,
        classes=0,
        null_class=None,
        device=device,
    )


def flow_schedule(checkpoint: Checkpoint, config: Mapping[str, Any], tokens: int) -> Schedule:
    """The schedule of a `FlowMatchEulerDiscreteScheduler`: T evenly spaced sigmas, then shifted.

    `sigma = s u / (1 + (s - 1) u)` with `u = 1/T … 1` (Esser et al. 2024, eq. 23). The shift s is
    the configuration's or, where it is dynamic, follows from an image's number of tokens. Its
    `stochastic_sampling` is ignored: the recipe's sampler decides how a step is taken.

    Args:
        checkpoint: named in errors.
        config: the scheduler's configuration.
        tokens: patches of an image at the model's size.

    Raises:
        ConfigError: it is another scheduler, or spaces its sigmas differently.
    """
    name = f"model {checkpoint.reference}"
    kind = config.get("_class_name")
    if kind != "FlowMatchEulerDiscreteScheduler":
        raise ConfigError(
            f"{name}: its scheduler, {kind}, is not supported; models of this family "
            "require FlowMatchEulerDiscreteScheduler"
        )
    if config["invert_sigmas"]:
        raise ConfigError(
            f"{name}: its scheduler has invert_sigmas, by which its network's times run backwards: "
            "such a variant is not supported"
        )
    for option in _SPACINGS:
        if config[option]:
            raise ConfigError(
                f"{name}: its scheduler has {option}, which makes noise levels depend on the "
                "number of steps, while in diffaug a strength always means the same level; turn it "
                "off in scheduler/scheduler_config.json to space them evenly, then shift them"
            )
    shift = _dynamic_shift(config, tokens) if config["use_dynamic_shifting"] else config["shift"]
    count = config["num_train_timesteps"]
    even = torch.arange(1, count + 1, dtype=torch.float64) / count
    return Schedule.flow(shift * even / (1 + (shift - 1) * even))


def _dynamic_shift(config: Mapping[str, Any], tokens: int) -> float:
    """As in diffusers' pipelines: on a line between the shifts of a small and a large image."""
    small, large = config["base_image_seq_len"], config["max_image_seq_len"]
    slope = (config["max_shift"] - config["base_shift"]) / (large - small)
    mu: float = config["base_shift"] + slope * (tokens - small)
    return mu if config["time_shift_type"] == "linear" else math.exp(mu)


def network_times(schedule: Schedule) -> torch.Tensor:
    """Each time as diffusers' pipelines give it to a network: sigma times T; (T,), float32."""
    return torch.from_numpy(schedule.sigma_t * schedule.num_train_timesteps).float()


def check_channels(checkpoint: Checkpoint, pipe: Any, channels: int) -> None:
    """Refuse a transformer whose latents, of `channels`, are not the autoencoder's.

    Raises:
        ConfigError: it requires more than an image, returns something else, or the autoencoder is
            of another family.
    """
    config, given = pipe.transformer.config, pipe.vae.config.latent_channels
    if channels != given:
        raise ConfigError(
            f"model {checkpoint.reference}: its transformer takes latents of {channels} channels, "
            f"and its autoencoder makes {given}: use the plain text-to-image model, not one that "
            "requires more than an image, and an autoencoder of the same family"
        )
    if config.out_channels not in (None, config.in_channels):
        raise ConfigError(
            f"model {checkpoint.reference}: its transformer returns {config.out_channels} channels "
            f"for {config.in_channels}, but a flow has as many as its latents: use the plain "
            "text-to-image model"
        )

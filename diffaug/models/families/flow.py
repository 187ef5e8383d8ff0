"""What the adapters of flow-matching transformers share: their schedule, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from diffaug.diffusion.schedule import Schedule
from diffaug.errors import ConfigError
from diffaug.models.checkpoint import Checkpoint

__all__ = ["check_channels", "flow_schedule", "network_times"]

_SPACINGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "shift_terminal")
"""Options that place sigmas by how many of them a run has."""


def flow_schedule(checkpoint: Checkpoint, config: Mapping[str, Any], tokens: int) -> Schedule:
    """The schedule of a `FlowMatchEulerDiscreteScheduler`: T evenly spaced sigmas, then shifted.

    `sigma = s u / (1 + (s - 1) u)` with `u = 1/T … 1` (Esser et al. 2024, "Scaling rectified flow
    transformers for high-resolution image synthesis", eq. 23). The shift s is the configuration's,
    or, where that is dynamic, follows from how many tokens an image has. How each step is taken,
    which `stochastic_sampling` is about, is the recipe's sampler's to say.

    Args:
        checkpoint: named in what is refused.
        config: the scheduler's configuration.
        tokens: patches of an image at the model's size.

    Raises:
        ConfigError: the scheduler is another one, or makes its sigmas in a way of its own.
    """
    name = f"model {checkpoint.reference}"
    kind = config.get("_class_name")
    if kind != "FlowMatchEulerDiscreteScheduler":
        raise ConfigError(
            f"{name}: its scheduler, {kind}, is not supported; models of this family want "
            "FlowMatchEulerDiscreteScheduler"
        )
    if config["invert_sigmas"]:
        raise ConfigError(
            f"{name}: its scheduler has invert_sigmas, by which its network's times run backwards: "
            "such a variant is not supported"
        )
    for option in _SPACINGS:
        if config[option]:
            raise ConfigError(
                f"{name}: its scheduler has {option}, by which noise levels depend on the number "
                "of steps, where here a strength always means the same one; turn it off in "
                "scheduler/scheduler_config.json to have them evenly spaced, then shifted"
            )
    shift = _dynamic_shift(config, tokens) if config["use_dynamic_shifting"] else config["shift"]
    count = config["num_train_timesteps"]
    even = torch.arange(1, count + 1, dtype=torch.float64) / count
    return Schedule.flow(shift * even / (1 + (shift - 1) * even))


def _dynamic_shift(config: Mapping[str, Any], tokens: int) -> float:
    """As diffusers' pipelines have it: on a line between those of a small and of a large image."""
    small, large = config["base_image_seq_len"], config["max_image_seq_len"]
    slope = (config["max_shift"] - config["base_shift"]) / (large - small)
    mu: float = config["base_shift"] + slope * (tokens - small)
    return mu if config["time_shift_type"] == "linear" else math.exp(mu)


def network_times(schedule: Schedule) -> torch.Tensor:
    """Each time as diffusers' pipelines name it: sigma as a share of T; (T,), float32."""
    return torch.from_numpy(schedule.sigma_t * schedule.num_train_timesteps).float()


def check_channels(checkpoint: Checkpoint, pipe: Any, channels: int) -> None:
    """Refuse a transformer whose latents, of `channels`, are not the autoencoder's.

    Raises:
        ConfigError: it wants more than an image, or the autoencoder is of another family.
    """
    given = pipe.vae.config.latent_channels
    if channels != given:
        raise ConfigError(
            f"model {checkpoint.reference}: its transformer takes latents of {channels} channels, "
            f"and its autoencoder makes {given}: take the plain text-to-image model, not one that "
            "wants more than an image, and an autoencoder of the same family"
        )

"""Noise schedules by name, as a scheduler's configuration states them: diffusers' bits, without it.

`linear` is of Ho et al. 2020, `scaled_linear` of Rombach et al. 2022, `squaredcos_cap_v2`, the
cosine, of Nichol & Dhariwal 2021.

https://arxiv.org/abs/2006.11239, https://arxiv.org/abs/2112.10752,
https://arxiv.org/abs/2102.09672
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

__all__ = ["alphas_cumprod"]

_MOST = 0.999
"""The largest beta of the cosine, whose last would be 1."""


def alphas_cumprod(config: Mapping[str, Any]) -> Tensor:
    """What is left of a sample's variance at each time: (T,), float32, falling.

    Args:
        config: fields of diffusers' `DDPMScheduler` that determine betas.

    Raises:
        ValueError, TypeError, NotImplementedError: diffusers cannot make a schedule of it.
    """
    betas = _named(config)
    if betas is None:
        from diffusers import DDPMScheduler

        scheduler: Any = DDPMScheduler(**config)
        found: Tensor = scheduler.alphas_cumprod
        return found
    return torch.cumprod(1 - betas, dim=0)


def _named(config: Mapping[str, Any]) -> Tensor | None:
    """Betas of the three schedules that nearly all models have; None for another."""
    if config.get("trained_betas") is not None or config.get("rescale_betas_zero_snr"):
        return None
    name, count = config.get("beta_schedule", "linear"), config.get("num_train_timesteps", 1000)
    first, last = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    if not isinstance(count, int) or not all(isinstance(one, float) for one in (first, last)):
        return None
    if name == "linear":
        return torch.linspace(first, last, count, dtype=torch.float32)
    if name == "scaled_linear":
        return torch.linspace(first**0.5, last**0.5, count, dtype=torch.float32) ** 2
    if name == "squaredcos_cap_v2":
        left = [math.cos((n / count + 0.008) / 1.008 * math.pi / 2) ** 2 for n in range(count + 1)]
        betas = [min(1 - after / before, _MOST) for before, after in pairwise(left)]
        return torch.tensor(betas, dtype=torch.float32)
    return None

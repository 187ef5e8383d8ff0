"""A toy model: exact at any batch shape, so that any mixing of samples shows to the last bit."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from diffaug.diffusion.denoiser import Clip, Denoiser, Network
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.samplers import trajectory
from diffaug.diffusion.schedule import Schedule

__all__ = ["SCHEDULE", "SHAPE", "SIGNAL", "edit", "toy", "toy_network"]

SIGNAL = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
SHAPE = (2, 3, 3)


def toy_network(x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
    """Sums over nothing, so that it is exact at any batch shape."""
    return x_t * 0.5 + (t * 0.001 + condition * 0.125).view(-1, 1, 1, 1)


def toy(network: Network = toy_network) -> Denoiser:
    return Denoiser(
        network=network,
        schedule=SCHEDULE,
        prediction="epsilon",
        clip=Clip(bound=1.0),
        shape=SHAPE,
        classes=4,
        null_class=None,
        device=torch.device("cpu"),
    )


SCHEDULE = Schedule.variance_preserving(torch.from_numpy(SIGNAL))


def edit(
    seed: int,
    timesteps: Iterable[int] = (500, 250),
    condition: int | None = None,
    sampler: str = "ddim",
    from_noise: bool = False,
    scale: float = 1,
    masked: bool = False,
) -> Edit:
    random = np.random.default_rng(seed)
    way = trajectory(sampler, SCHEDULE, tuple(timesteps))
    x_0 = random.uniform(-1, 1, SHAPE).astype(np.float32)
    return Edit(
        x_0=None if from_noise else x_0,
        noise=random.standard_normal((1 + way.draws, *SHAPE)).astype(np.float32),
        trajectory=way,
        condition=(torch.tensor(condition or 0),),
        away=() if scale == 1 else (torch.tensor(3),),
        scales=None if scale == 1 else np.full(way.calls, scale, np.float32),
        mask=np.arange(9).reshape(1, 3, 3) % 2 == 0 if masked else None,
    )

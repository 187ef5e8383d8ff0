"""Generating images from pure noise, through the lanes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffaug.diffusion.edit import Edit
from diffaug.diffusion.noise import SampleRandom
from diffaug.diffusion.samplers import timesteps, trajectory
from diffaug.execution import DEFAULT_BATCH_SIZE
from diffaug.models import Pretrained

__all__ = ["generate"]


def generate(
    model: Pretrained,
    conditions: Iterable[tuple[Tensor, ...]],
    *,
    steps: int = 20,
    sampler: str = "dpmsolver++",
    eta: float = 0.0,
    guidance: float = 1.0,
    seed: int = 0,
    batch_size: int = DEFAULT_BATCH_SIZE,
) -> Iterator[NDArray[np.float32]]:
    """Yield one image for each of `conditions`: float32 (C, H, W), nominally in [-1, 1].

    At a given batch size, image i is a function of (seed, i, its condition), however many images
    there are.

    Args:
        model: the model to generate with.
        conditions: the condition of each image; see `Pretrained.condition`.
        steps: network calls from noise to image.
        sampler: `ddim`, `ddpm`, `dpmsolver++`, `lcm` or `one-step`.
        eta: of `ddim`: how much fresh noise each step adds, 0 to 1.
        guidance: classifier-free guidance scale, for models that also know "no class"; 1 turns
            guidance off.
        seed: of all randomness.
        batch_size: lanes in the one fixed batch shape.
    """
    denoiser = model.denoiser
    total = denoiser.schedule.num_train_timesteps
    times = timesteps(1.0, steps, sampler, total, model.grid)
    way = trajectory(sampler, denoiser.schedule, times, eta)
    away: tuple[Tensor, ...] = ()
    scales: NDArray[np.float32] | None = None
    if guidance != 1:
        away = model.condition(None, None)
        scales = np.full(way.calls, guidance, np.float32)

    def edits() -> Iterator[tuple[None, Edit]]:
        for index, condition in enumerate(conditions):
            noise = SampleRandom(seed, "generated", index).noise(denoiser.shape, way.draws)
            edit = Edit(
                x_0=None, noise=noise, trajectory=way, condition=condition, away=away, scales=scales
            )
            yield None, edit

    for _, image in model.steps(batch_size).run(edits()):
        assert image is not None
        yield image

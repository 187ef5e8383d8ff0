"""diffusers' own pipelines at our times, in steps of DDIM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

__all__ = ["edited", "first_order"]


def first_order(pipeline: Any) -> Any:
    """The pipeline with a scheduler that takes a list of times, whose step is DDIM's."""
    config = {**pipeline.scheduler.config}
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(config, solver_order=1)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def edited(
    pipeline: Any, x_0: Tensor, edits: Any, guidance: float, prompts: Sequence[str], **told: Any
) -> Tensor:
    """What an image-to-image pipeline makes of pictures (n, 3, H, W) in [-1, 1] at our times."""
    images: Tensor = pipeline(
        prompt=list(prompts),
        image=x_0 / 2 + 0.5,
        strength=1.0,
        timesteps=list(edits[0].trajectory.timesteps),
        guidance_scale=guidance,
        output_type="pt",
        **told,
    ).images
    return images

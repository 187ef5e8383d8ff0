"""Consistency models in pixel space, unconditional or class-conditional (Song et al. 2023).

They estimate the image in one call; the sampler `lcm` makes several.

https://arxiv.org/abs/2303.01469
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import CMStochasticIterativeScheduler
from torch import Tensor, nn

from diffaug.diffusion.denoiser import Boundary, Clip, Denoiser
from diffaug.diffusion.schedule import Schedule, along
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models.checkpoint import Checkpoint
from diffaug.models.families.pipeline import pipeline
from diffaug.models.families.unet2d import UNet2D, check_inputs
from diffaug.models.pretrained import Pretrained

__all__ = ["load"]


class _Scaled(nn.Module):
    """A UNet2D as a `denoiser.Network` of t = 0 … T - 1, its inputs scaled as it was trained.

    Args:
        unet: diffusers' `UNet2DModel`.
        scale: (T,), float32: what x_t is multiplied by at each time.
        time: (T,), float32: the UNet's own name for each time.
    """

    scale: Tensor
    time: Tensor

    def __init__(self, unet: Any, scale: Tensor, time: Tensor) -> None:
        super().__init__()
        self.unet = UNet2D(unet)
        self.register_buffer("scale", scale)
        self.register_buffer("time", time)

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The prediction (B, C, H, W) for `x_t` at times `t` (B,) and classes `condition` (B,)."""
        scaled = x_t * along(self.scale[t], x_t)  # still in x_t's dtype: sigma may be 80
        sample: Tensor = self.unet(scaled, self.time[t], condition)
        return sample


def load(checkpoint: Checkpoint, execution: Execution) -> Pretrained:
    """Load a checkpoint to run it.

    Raises:
        ConfigError: a part is missing or broken, or it is not a model of this family.
    """
    pipe = pipeline(checkpoint, execution)
    unet, scheduler = pipe.unet, pipe.scheduler
    _refuse(checkpoint, unet.config, scheduler)
    device = torch.device(execution.device)
    sigma = scheduler.sigmas.double().flip(0)  # of Karras et al. 2022, eq. 5, and falling there
    skip, out = scheduler.get_scalings_for_boundary_condition(sigma)
    time = torch.from_numpy(scheduler.sigma_to_t(sigma.numpy()))
    scale = (sigma**2 + scheduler.config.sigma_data**2).rsqrt()
    network = _Scaled(unet, scale.float(), time.float()).eval().to(device)
    size = unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    shape = (unet.config.in_channels, height, width)
    return Pretrained(
        denoiser=Denoiser(
            network=network,
            schedule=Schedule.exploding(sigma).to(device),
            prediction="sample",
            clip=Clip(bound=1.0 if scheduler.config.clip_denoised else None),
            shape=shape,
            classes=unet.config.num_class_embeds or 0,
            null_class=None,
            device=device,
            boundary=Boundary(skip=skip.float().to(device), out=out.float().to(device)),
        ),
        shape=shape,
    )


def _refuse(checkpoint: Checkpoint, unet: Any, scheduler: Any) -> None:
    """Refuse what would load and then be wrong."""
    name, more = f"model {checkpoint.reference}", scheduler.config.get("s_noise", 1.0)
    if not isinstance(scheduler, CMStochasticIterativeScheduler):
        raise ConfigError(
            f"{name}: its scheduler, {type(scheduler).__name__}, is not one of consistency "
            "models, which require CMStochasticIterativeScheduler"
        )
    if more != 1:
        raise ConfigError(
            f"{name}: its scheduler adds {more:g} times as much noise as its times state; set "
            "s_noise to 1 in scheduler/scheduler_config.json"
        )
    if unet.sample_size is None:
        raise ConfigError(
            f"{name}: its sample_size is not set: write the image size into unet/config.json"
        )
    check_inputs(checkpoint, unet)
    if unet.out_channels != unet.in_channels:
        raise ConfigError(
            f"{name}: its UNet gives {unet.out_channels} channels for {unet.in_channels}; a "
            "consistency model returns the image itself"
        )
    if unet.time_embedding_type != "positional":
        raise ConfigError(
            f"{name}: its UNet has time_embedding_type {unet.time_embedding_type!r}; the times of "
            "consistency models require 'positional'"
        )

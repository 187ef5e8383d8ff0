"""Class-conditional latent transformers: DiT (Peebles & Xie 2023, "Scalable diffusion models with
transformers"), its guidance between a class and the null class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import LCMScheduler
from numpy.typing import NDArray
from torch import Tensor, nn

from diffaug.denoiser import Clip, Denoiser
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models.checkpoint import Checkpoint
from diffaug.models.parts import autoencoder, pipeline
from diffaug.models.pretrained import Pretrained
from diffaug.schedule import Schedule

__all__ = ["load"]

_PREDICTIONS = ("epsilon", "v_prediction", "sample")


class _Transformer(nn.Module):
    """diffusers' `DiTTransformer2DModel` as a `denoiser.Network`."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The prediction (B, C, H, W) for latents at times `t` (B,), classes `condition` (B,)."""
        sample: Tensor = self.transformer(
            x_t.to(self.transformer.dtype), timestep=t, class_labels=condition, return_dict=False
        )[0]
        return sample[:, : x_t.shape[1]]  # a learned variance rides behind the prediction


def load(checkpoint: Checkpoint, execution: Execution) -> Pretrained:
    """Load a checkpoint to run it.

    Raises:
        ConfigError: a part is missing or broken, or it is no model of this family after all.
    """
    pipe = pipeline(checkpoint, execution)
    config = dict(pipe.scheduler.config)
    schedule, prediction = Schedule.from_config(config), config.get("prediction_type", "epsilon")
    _refuse_parts(checkpoint, pipe)
    _refuse_schedule(checkpoint, pipe.scheduler, schedule, prediction)
    device = torch.device(execution.device)
    size, classes = pipe.transformer.config.sample_size, pipe.transformer.config.num_embeds_ada_norm
    factor = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    return Pretrained(
        denoiser=Denoiser(
            network=_Transformer(pipe.transformer).eval(),
            schedule=schedule.to(device),
            prediction=prediction,
            clip=Clip(bound=config["clip_sample_range"] if config.get("clip_sample") else None),
            shape=(pipe.transformer.config.in_channels, size, size),
            classes=classes,
            null_class=classes,  # diffusers puts one embedding behind those of the classes
            device=device,
        ),
        shape=(pipe.vae.config.in_channels, size * factor, size * factor),
        autoencoder=autoencoder(pipe.vae, factor),
    )


def _refuse_parts(checkpoint: Checkpoint, pipe: Any) -> None:
    """Refuse what would load and then be wrong."""
    name = f"model {checkpoint.reference}"
    channels, latent = pipe.transformer.config.in_channels, pipe.vae.config.latent_channels
    if channels != latent:
        raise ConfigError(
            f"{name}: its transformer takes {channels} channels and latents have {latent}: its "
            "autoencoder is another model's"
        )
    if pipe.transformer.out_channels not in (channels, 2 * channels):
        raise ConfigError(
            f"{name}: its transformer gives {pipe.transformer.out_channels} channels for "
            f"{channels}; as many, or with a variance twice as many, wanted"
        )
    if pipe.vae.config.in_channels not in (1, 3):
        raise ConfigError(
            f"{name}: pictures of {pipe.vae.config.in_channels} channels; grey (1) or RGB (3) "
            "wanted"
        )


def _refuse_schedule(
    checkpoint: Checkpoint, scheduler: Any, schedule: Schedule, prediction: str
) -> None:
    """The same of the scheduler, which must be of the betas that `schedule` is made of."""
    name, kind = f"model {checkpoint.reference}", type(scheduler).__name__
    table = getattr(scheduler, "alphas_cumprod", torch.empty(0)).double().numpy()
    if isinstance(scheduler, LCMScheduler) or not _close(table, schedule.alpha_t**2):
        raise ConfigError(
            f"{name}: its scheduler, {kind}, is no plain diffusion of betas: such a variant of DiT "
            "is not supported"
        )
    if prediction not in _PREDICTIONS:
        raise ConfigError(
            f"{name}: prediction type {prediction!r} is not supported; supported are "
            f"{', '.join(_PREDICTIONS)}"
        )
    if schedule.alpha_t[-1] == 0 and prediction == "epsilon":
        raise ConfigError(
            f"{name}: its schedule ends without signal, where an epsilon prediction says nothing "
            "of the image; such a schedule wants v_prediction"
        )
    if scheduler.config.get("thresholding"):
        raise ConfigError(
            f"{name}: its scheduler, {kind}, bounds latents by dynamic thresholding, which is for "
            "pixels; set thresholding to false in scheduler/scheduler_config.json"
        )


def _close(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=0, atol=1e-6)

"""DiT: class-conditional latent transformers (Peebles & Xie 2023).

Guidance leads towards a class and away from the null class.

https://arxiv.org/abs/2212.09748
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DiTTransformer2DModel, LCMScheduler
from torch import Tensor, nn

from diffaug.diffusion.denoiser import Clip, Denoiser
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models.checkpoint import Checkpoint
from diffaug.models.families.parts import autoencoder, latent_diffusion
from diffaug.models.families.pipeline import pipeline
from diffaug.models.pretrained import Pretrained

__all__ = ["load"]


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
        return sample[:, : x_t.shape[1]]  # a learned variance follows the prediction


def load(checkpoint: Checkpoint, execution: Execution) -> Pretrained:
    """Load a checkpoint to run it.

    Raises:
        ConfigError: a part is missing or broken, or it is not a model of this family.
    """
    pipe = pipeline(checkpoint, execution)
    config = dict(pipe.scheduler.config)
    _refuse(checkpoint, pipe)
    schedule, prediction = latent_diffusion(checkpoint, pipe.scheduler)
    device = torch.device(execution.device)
    size, classes = pipe.transformer.config.sample_size, pipe.transformer.config.num_embeds_ada_norm
    coder = autoencoder(checkpoint, pipe.vae, channels=(1, 3))
    return Pretrained(
        denoiser=Denoiser(
            network=_Transformer(pipe.transformer).eval(),
            schedule=schedule.to(device),
            prediction=prediction,
            clip=Clip(bound=config["clip_sample_range"] if config.get("clip_sample") else None),
            shape=(pipe.transformer.config.in_channels, size, size),
            classes=classes,
            null_class=classes,  # diffusers puts its embedding after those of the classes
            device=device,
        ),
        shape=(pipe.vae.config.in_channels, size * coder.factor, size * coder.factor),
        autoencoder=coder,
    )


def _refuse(checkpoint: Checkpoint, pipe: Any) -> None:
    """Refuse what would load and then be wrong."""
    name = f"model {checkpoint.reference}"
    if isinstance(pipe.scheduler, LCMScheduler):
        raise ConfigError(
            f"{name}: its scheduler, LCMScheduler, is not a plain diffusion of betas: such a "
            "variant is not supported"
        )
    kind = type(pipe.transformer)
    if not issubclass(kind, DiTTransformer2DModel):
        raise ConfigError(
            f"{name}: its transformer is of the kind {kind.__name__}; must be "
            "DiTTransformer2DModel, which takes classes"
        )
    channels, latent = pipe.transformer.config.in_channels, pipe.vae.config.latent_channels
    if channels != latent:
        raise ConfigError(
            f"{name}: its transformer takes {channels} channels and latents have {latent}: its "
            "autoencoder is another model's"
        )
    if pipe.transformer.out_channels not in (channels, 2 * channels):
        raise ConfigError(
            f"{name}: its transformer gives {pipe.transformer.out_channels} channels for "
            f"{channels}; must be as many, or with a variance twice as many"
        )

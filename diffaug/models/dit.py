"""Class-conditional latent transformers: DiT (Peebles & Xie 2023, "Scalable diffusion models with
transformers"), its guidance between a class and the null class.
"""

from __future__ import annotations

from typing import Any

import torch
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
    _refuse(checkpoint, pipe, config)
    schedule, prediction = Schedule.from_config(config), config.get("prediction_type", "epsilon")
    if schedule.alpha_t[-1] == 0 and prediction == "epsilon":
        raise ConfigError(
            f"model {checkpoint.reference}: its schedule ends without signal, where an epsilon "
            "prediction says nothing of the image; such a schedule wants v_prediction"
        )
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


def _refuse(checkpoint: Checkpoint, pipe: Any, config: dict[str, Any]) -> None:
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
    scheduler = config.get("_class_name")
    if "beta_start" not in config or "timestep_scaling" in config:
        raise ConfigError(
            f"{name}: its scheduler, {scheduler}, is no plain diffusion of betas: such a variant "
            "of DiT is not supported"
        )
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in _PREDICTIONS:
        raise ConfigError(
            f"{name}: prediction type {prediction!r} is not supported; supported are "
            f"{', '.join(_PREDICTIONS)}"
        )
    if config.get("thresholding"):
        raise ConfigError(
            f"{name}: its scheduler, {scheduler}, bounds latents by dynamic thresholding, which is "
            "for pixels; set thresholding to false in scheduler/scheduler_config.json"
        )

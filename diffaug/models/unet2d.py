"""Pixel-space UNet2D checkpoints: DDPM and DDIM pipelines, unconditional or class-conditional."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from diffaug.denoiser import Clip, Denoiser
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models.checkpoint import Checkpoint
from diffaug.schedule import Schedule

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["load"]

_PREDICTIONS = ("epsilon", "v_prediction", "sample")


def load(checkpoint: Checkpoint, execution: Execution) -> Denoiser:
    """Load `unet/` and `scheduler/` of a checkpoint onto a device, in its dtype, channels last.

    Raises:
        ConfigError: a part is missing or broken, or does not make a pixel-space image model.
    """
    import torch
    from diffusers import DDPMScheduler, UNet2DModel

    device, dtype = torch.device(execution.device), getattr(torch, execution.dtype)
    try:
        unet = UNet2DModel.from_pretrained(
            checkpoint.folder / "unet",
            torch_dtype=dtype,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            local_files_only=True,
        )
        config = json.loads((checkpoint.folder / "scheduler/scheduler_config.json").read_text())
        scheduler = DDPMScheduler.from_config(
            {key: value for key, value in config.items() if key in _SCHEDULE_FIELDS}
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"model {checkpoint.reference} cannot be loaded: {error}") from error
    unet.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)

    channels, size = unet.config.in_channels, unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    if channels not in (1, 3):
        raise ConfigError(
            f"model {checkpoint.reference}: {channels} channels; grey (1) or RGB (3) wanted"
        )
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in _PREDICTIONS:
        raise ConfigError(
            f"model {checkpoint.reference}: prediction type {prediction!r} is not supported; "
            f"supported are {', '.join(_PREDICTIONS)}"
        )
    embeddings = unet.config.num_class_embeds or 0
    null_class = checkpoint.card.null_class if checkpoint.card and embeddings else None

    def network(x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        x_t = x_t.to(dtype, memory_format=torch.channels_last)
        labels = condition if embeddings else None
        sample: Tensor = unet(x_t, t, class_labels=labels).sample
        return sample[:, :channels]  # a learned variance rides behind the prediction

    return Denoiser(
        network=network,
        schedule=Schedule(scheduler.alphas_cumprod.double()).to(device),
        prediction=prediction,
        clip=_clip(config),
        shape=(channels, height, width),
        classes=embeddings - (null_class is not None),
        null_class=null_class,
        device=device,
    )


_SCHEDULE_FIELDS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)


def _clip(config: dict[str, Any]) -> Clip:
    """The bound a DDPM or DDIM scheduler's configuration asks for, with diffusers' defaults."""
    if config.get("thresholding", False):
        return Clip(
            bound=config.get("sample_max_value", 1.0),
            quantile=config.get("dynamic_thresholding_ratio", 0.995),
        )
    return Clip(
        bound=config.get("clip_sample_range", 1.0) if config.get("clip_sample", True) else None
    )

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
    unet_config = _read_config(checkpoint, "unet/config.json")
    config = _read_config(checkpoint, "scheduler/scheduler_config.json")
    try:
        unet, loading = UNet2DModel.from_pretrained(
            checkpoint.folder / "unet",
            torch_dtype=dtype,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            local_files_only=True,
            output_loading_info=True,
        )
        scheduler = DDPMScheduler.from_config(
            {key: value for key, value in config.items() if key in _SCHEDULE_FIELDS}
        )
        alphas_cumprod = scheduler.alphas_cumprod.double()
        shape = _shape(unet_config)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise ConfigError(f"model {checkpoint.reference} cannot be loaded: {first_line}") from error
    _refuse(checkpoint, loading, config, shape, bool(alphas_cumprod[-1] == 0))
    unet.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    _activate_in_place(unet)
    channels = shape[0]
    embeddings = unet.config.num_class_embeds or 0
    null_class = checkpoint.card.null_class if checkpoint.card and embeddings else None
    if null_class is not None and null_class != embeddings - 1:
        raise ConfigError(
            f"model {checkpoint.reference}: its card's null_class is {null_class}, but the last of "
            f"its {embeddings} classes, {embeddings - 1}, must be the one that means none"
        )

    def network(x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        x_t = x_t.to(dtype, memory_format=torch.channels_last)
        labels = condition if embeddings else None
        sample: Tensor = unet(x_t, t, class_labels=labels).sample
        return sample[:, :channels]  # a learned variance rides behind the prediction

    return Denoiser(
        network=network,
        schedule=Schedule(alphas_cumprod).to(device),
        prediction=config.get("prediction_type", "epsilon"),
        clip=_clip(config),
        shape=shape,
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


def _activate_in_place(unet: Any) -> None:
    """Let SiLU write over the feature maps it gets, each fresh from a group norm: the same bits.

    It keeps off what is no feature map, such as the time embedding, which every block reads.
    """
    import torch

    class FeatureSiLU(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nn.functional.silu(x, inplace=x.ndim == 4)

    for module in unet.modules():
        for name in ("nonlinearity", "conv_act"):
            if isinstance(getattr(module, name, None), torch.nn.SiLU):
                setattr(module, name, FeatureSiLU())


def _read_config(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    try:
        config = json.loads((checkpoint.folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"model {checkpoint.reference}: cannot read {name}: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"model {checkpoint.reference}: {name} is not a mapping of fields")
    return config


def _shape(config: dict[str, Any]) -> tuple[int, int, int]:
    """(C, H, W) of a sample, as a UNet's configuration says."""
    size = config["sample_size"]
    if size is None:
        raise ValueError("its sample_size is not set: write the image size into unet/config.json")
    height, width = (size, size) if isinstance(size, int) else size
    return config["in_channels"], height, width


def _refuse(
    checkpoint: Checkpoint,
    loading: dict[str, Any],
    config: dict[str, Any],
    shape: tuple[int, int, int],
    ends_in_pure_noise: bool,
) -> None:
    """Refuse what would load and then be wrong."""
    reference = checkpoint.reference
    for kind in ("missing_keys", "unexpected_keys"):
        if loading[kind]:
            raise ConfigError(
                f"model {reference}: the weights do not fit unet/config.json: "
                f"{len(loading[kind])} {kind.replace('_', ' ')}, such as {sorted(loading[kind])[0]}"
            )
    if shape[0] not in (1, 3):
        raise ConfigError(f"model {reference}: {shape[0]} channels; grey (1) or RGB (3) wanted")
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in _PREDICTIONS:
        raise ConfigError(
            f"model {reference}: prediction type {prediction!r} is not supported; supported are "
            f"{', '.join(_PREDICTIONS)}"
        )
    if ends_in_pure_noise and prediction == "epsilon":
        raise ConfigError(
            f"model {reference}: its schedule ends without signal, where an epsilon prediction "
            "says nothing of the image; such a schedule wants v_prediction"
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

"""Pixel-space UNet2D checkpoints: DDPM and DDIM pipelines, unconditional or class-conditional."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from diffaug.diffusion.denoiser import Clip, Denoiser, Prediction
from diffaug.diffusion.schedule import Schedule
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models.checkpoint import Checkpoint
from diffaug.models.families.lean import lean_unet2d
from diffaug.models.pretrained import Pretrained

__all__ = ["UNet2D", "channels_of", "check_inputs", "create", "load", "load_denoiser", "read"]

_PREDICTIONS = ("epsilon", "v_prediction", "sample")
_UNLOADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError)
"""What diffusers raises for files that are not in order."""


class UNet2D(nn.Module):
    """diffusers' `UNet2DModel` as a `denoiser.Network`, in its own dtype, channels last."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet.to(memory_format=torch.channels_last)

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The prediction (B, C, H, W) for `x_t` at times `t` (B,) and classes `condition` (B,)."""
        x_t = x_t.to(self.unet.dtype, memory_format=torch.channels_last)
        labels = condition if self.unet.class_embedding is not None else None
        sample: Tensor = self.unet(x_t, t, class_labels=labels).sample
        return sample[:, : x_t.shape[1]]  # a learned variance follows the prediction


def create(
    config: dict[str, Any],
    schedule: Schedule,
    prediction: Prediction,
    classes: int,
    bound: float | None = 1.0,
) -> Denoiser:
    """A new, untrained network; its weights come from torch's global generator.

    Args:
        config: fields of `UNet2DModel`; the class embedding is added to them.
        schedule: the schedule to train it on.
        prediction: what it will predict.
        classes: the number of classes; 0 makes it unconditional. One more is added after them,
            which means "no class".
        bound: of its estimates of x_0; None leaves them alone, as latents require.

    Raises:
        ValueError, TypeError: diffusers cannot build such a network.
    """
    from diffusers import UNet2DModel

    embeddings = classes + 1 if classes else None
    unet = UNet2DModel(**{**config, "num_class_embeds": embeddings})
    return Denoiser(
        network=UNet2D(unet).eval(),
        schedule=schedule,
        prediction=prediction,
        clip=Clip(bound=bound),
        shape=_shape(config["in_channels"], config.get("sample_size")),
        classes=classes,
        null_class=classes or None,
        device=torch.device("cpu"),
    )


def read(
    checkpoint: Checkpoint, device: str, dtype: str, channels: Collection[int] = (1, 3)
) -> Denoiser:
    """Load `unet/` and `scheduler/` of a checkpoint onto a device, in a dtype.

    Args:
        checkpoint: the folder.
        device: where the network will run.
        dtype: of its weights.
        channels: those that it may take; by default those of pictures.

    Raises:
        ConfigError: a part is missing or broken, or it takes other channels.
    """
    from diffusers import UNet2DModel

    _read_config(checkpoint, "unet", "config.json")  # says in words where it cannot be read
    try:
        unet, loading = UNet2DModel.from_pretrained(
            checkpoint.part("unet"),
            torch_dtype=getattr(torch, dtype),
            use_safetensors=True,
            low_cpu_mem_usage=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except _UNLOADABLE as error:
        raise _cannot_load(checkpoint, error) from error
    for kind in ("missing_keys", "unexpected_keys"):
        if loading[kind]:
            raise ConfigError(
                f"model {checkpoint.reference}: the weights do not fit unet/config.json: "
                f"{len(loading[kind])} {kind.replace('_', ' ')}, such as {sorted(loading[kind])[0]}"
            )
    return _denoiser(checkpoint, UNet2D(unet), unet.config, device, channels)


def load(checkpoint: Checkpoint, execution: Execution) -> Pretrained:
    """Load a checkpoint to run it: as by `read` but for rounding, faster.

    Raises:
        ConfigError: as for `read`.
    """
    frames = checkpoint.frames
    return Pretrained.of_pictures(load_denoiser(checkpoint, execution, channels_of(frames)), frames)


def channels_of(frames: int | None) -> tuple[int, int]:
    """The channels of a grey sample and of one in colour: a picture, or a clip of such frames."""
    return frames or 1, 3 * (frames or 1)


def load_denoiser(
    checkpoint: Checkpoint, execution: Execution, channels: Collection[int] = (1, 3)
) -> Denoiser:
    """As `read` but for rounding, and for inference only: faster.

    Raises:
        ConfigError: as for `read`.
    """
    config = _read_config(checkpoint, "unet", "config.json")
    dtype = getattr(torch, execution.dtype)
    if network := lean_unet2d(checkpoint.part("unet"), config, dtype):
        full = SimpleNamespace(**{"sample_size": None, "num_train_timesteps": None, **config})
        return _denoiser(checkpoint, network, full, execution.device, channels)
    from diffaug.models.families.parts import activate_in_place

    denoiser = read(checkpoint, execution.device, execution.dtype, channels)
    assert isinstance(denoiser.network, UNet2D)
    activate_in_place(denoiser.network.requires_grad_(False))
    return denoiser


def _denoiser(
    checkpoint: Checkpoint, network: nn.Module, unet: Any, device: str, channels: Collection[int]
) -> Denoiser:
    """The network with the schedule and the card of its checkpoint.

    Args:
        checkpoint: the folder.
        network: a `denoiser.Network`.
        unet: its configuration, with every field.
        device: where it will run.
        channels: those that it may take.

    Raises:
        ConfigError: a part is missing or broken, or does not fit another.
    """
    config = _read_config(checkpoint, "scheduler", "scheduler_config.json")
    try:
        schedule = Schedule.from_config(config)
        shape = _shape(unet.in_channels, unet.sample_size)
    except _UNLOADABLE as error:
        raise _cannot_load(checkpoint, error) from error
    _refuse(checkpoint, config, unet, schedule, channels)
    embeddings = unet.num_class_embeds or 0
    null_class = checkpoint.card.null_class if checkpoint.card and embeddings else None
    if null_class is not None and null_class != embeddings - 1:
        raise ConfigError(
            f"model {checkpoint.reference}: its card's null_class is {null_class}, but the last of "
            f"its {embeddings} classes, {embeddings - 1}, must be the one that means none"
        )
    place = torch.device(device)
    return Denoiser(
        network=network.eval().to(place),
        schedule=schedule.to(place),
        prediction=config.get("prediction_type", "epsilon"),
        clip=_clip(config),
        shape=shape,
        classes=embeddings - (null_class is not None),
        null_class=null_class,
        device=place,
    )


def _cannot_load(checkpoint: Checkpoint, error: Exception) -> ConfigError:
    first_line = str(error).strip().partition("\n")[0]
    return ConfigError(f"model {checkpoint.reference} cannot be loaded: {first_line}")


def check_inputs(checkpoint: Checkpoint, config: Any, channels: Collection[int] = (1, 3)) -> None:
    """Refuse a UNet2D that must be given more than pictures, times and class numbers.

    Args:
        checkpoint: named in errors.
        config: the UNet's configuration, with every field.
        channels: those that it may take; by default those of pictures.

    Raises:
        ConfigError: it must; the text names the field.
    """
    name = f"model {checkpoint.reference}"
    if config.in_channels not in channels:
        known = (
            f"grey ({min(channels)}) or RGB ({max(channels)})"
            if len(channels) > 1
            else f"{min(channels)}, as its latents have"
        )
        raise ConfigError(f"{name}: {config.in_channels} channels; must be {known}")
    if config.class_embed_type is not None:
        raise ConfigError(
            f"{name}: its classes are embedded as {config.class_embed_type!r} (class_embed_type in "
            "unet/config.json), which is not supported; must be a table of classes, with "
            "class_embed_type null and num_class_embeds their number"
        )
    if config.num_class_embeds is not None and config.num_class_embeds < 1:
        raise ConfigError(
            f"{name}: its num_class_embeds is {config.num_class_embeds}; must be the number of "
            "classes, or null for none, in unet/config.json"
        )


def _read_config(checkpoint: Checkpoint, part: str, file: str) -> dict[str, Any]:
    path = checkpoint.part(part) / file
    name = path.relative_to(checkpoint.folder).as_posix()
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"model {checkpoint.reference}: cannot read {name}: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"model {checkpoint.reference}: {name} is not a mapping of fields")
    return config


def _shape(channels: int, size: int | Sequence[int] | None) -> tuple[int, int, int]:
    """(C, H, W) of a sample, by a UNet's configuration."""
    if size is None:
        raise ValueError("its sample_size is not set: write the image size into unet/config.json")
    height, width = (size, size) if isinstance(size, int) else size
    return channels, height, width


def _refuse(
    checkpoint: Checkpoint,
    config: dict[str, Any],
    unet: Any,
    schedule: Schedule,
    channels: Collection[int],
) -> None:
    """Refuse what would load and then be wrong."""
    reference = checkpoint.reference
    check_inputs(checkpoint, unet, channels)
    if unet.out_channels not in (unet.in_channels, 2 * unet.in_channels):
        raise ConfigError(
            f"model {reference}: its UNet gives {unet.out_channels} channels for "
            f"{unet.in_channels}; must be as many, or with a variance twice as many"
        )
    times, known = schedule.num_train_timesteps, unet.num_train_timesteps
    if unet.time_embedding_type == "learned" and known < times:
        raise ConfigError(
            f"model {reference}: its UNet knows {known} times (num_train_timesteps in "
            f"unet/config.json), and its scheduler has {times}: they are parts of different models"
        )
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in _PREDICTIONS:
        raise ConfigError(
            f"model {reference}: prediction type {prediction!r} is not supported; supported are "
            f"{', '.join(_PREDICTIONS)}"
        )
    if schedule.alpha_t[-1] == 0 and prediction == "epsilon":
        raise ConfigError(
            f"model {reference}: its schedule ends without signal, where an epsilon prediction "
            "holds nothing of the image; such a schedule requires v_prediction"
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

"""UNet2D on latents: LDM pipelines, unconditional or class-conditional (Rombach et al. 2022).

What `diffaug train --autoencoder` writes. The autoencoder is diffusers' `AutoencoderKL` or
`AutoencoderTiny`, or TAEF2; `vqvae` is diffusers' name for its place in the pipeline.

https://arxiv.org/abs/2112.10752
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from diffaug.diffusion.denoiser import Denoiser
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models.checkpoint import Checkpoint
from diffaug.models.families import unet2d
from diffaug.models.families.parts import activate_in_place, coder
from diffaug.models.families.taef2 import TAEF2
from diffaug.models.pretrained import Pretrained

__all__ = ["load", "read", "read_autoencoder"]

_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderTiny, TAEF2)}


def load(checkpoint: Checkpoint, execution: Execution) -> Pretrained:
    """Load a checkpoint to run it.

    Raises:
        ConfigError: a part is missing or broken, or it is not a model of this family.
    """
    name = f"model {checkpoint.reference}"
    if checkpoint.autoencoder is not None:
        raise ConfigError(f"autoencoder: {name} knows only the latents of its own; leave it out")
    vae = read_autoencoder(name, checkpoint.part("vqvae"), execution.dtype)
    denoiser = unet2d.load_denoiser(checkpoint, execution, _channels(checkpoint))
    activate_in_place(vae.requires_grad_(False).to(denoiser.device))
    found = coder(f"{name}: its autoencoder", vae, channels=(1, 3))
    _, height, width = denoiser.shape
    return Pretrained(
        denoiser=denoiser,
        shape=(vae.config.in_channels, height * found.factor, width * found.factor),
        autoencoder=found,
    )


def read(checkpoint: Checkpoint, device: str, dtype: str) -> Denoiser:
    """Load the denoiser of a checkpoint, over latents, into a new network, which can be trained.

    Raises:
        ConfigError: a part is missing or broken, or its latents are not its autoencoder's.
    """
    return unet2d.read(checkpoint, device, dtype, _channels(checkpoint))


def _channels(checkpoint: Checkpoint) -> tuple[int]:
    """How many channels the latents of a checkpoint's autoencoder have."""
    config = json.loads((checkpoint.part("vqvae") / "config.json").read_text(encoding="utf-8"))
    return (config.get("latent_channels", 4),)


def read_autoencoder(name: str, folder: Path, dtype: str = "float32") -> Any:
    """Load an autoencoder from a folder of its own, for inference, on the CPU.

    Args:
        name: of the autoencoder, or of its model, in errors.
        folder: what `save_pretrained` writes; only safetensors are read of it.
        dtype: of its weights.

    Raises:
        ConfigError: it is broken, or of an unknown kind.
    """
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{name}: {folder} has no readable config.json") from error
    if kind not in _KINDS:
        raise ConfigError(
            f"{name}: its autoencoder is of the kind {kind}; supported are AutoencoderKL and "
            "AutoencoderTiny"
        )
    try:
        network, loading = _KINDS[kind].from_pretrained(
            folder,
            torch_dtype=getattr(torch, dtype),
            use_safetensors=True,
            low_cpu_mem_usage=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise ConfigError(f"{name}: {folder} cannot be loaded: {first_line}") from error
    if missing := sorted(loading["missing_keys"]):
        raise ConfigError(
            f"{name}: the weights in {folder} do not fit its config.json: {len(missing)} missing "
            f"keys, such as {missing[0]}"
        )
    return network.eval()

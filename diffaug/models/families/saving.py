"""Writing a UNet2D as the diffusers pipeline that it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from diffusers import DDPMPipeline, DDPMScheduler, LDMPipeline

from diffaug.diffusion.denoiser import Denoiser
from diffaug.models.families.unet2d import UNet2D
from diffaug.storage import writing

__all__ = ["save", "tidy"]


def save(denoiser: Denoiser, folder: Path, autoencoder: Any = None) -> None:
    """Write a denoiser as a `DDPMPipeline`, in its network's dtype; over latents, an `LDMPipeline`.

    Args:
        denoiser: the network and its schedule.
        folder: created if necessary.
        autoencoder: of the latents, if it works on latents: a diffusers network.

    Raises:
        OSError: the folder cannot be written.
        TypeError: its network is not a UNet2D, or its schedule came from no configuration.
    """
    if not isinstance(denoiser.network, UNet2D) or not denoiser.schedule.config:
        raise TypeError("only a UNet2D on a schedule made from a configuration can be saved")
    clip = denoiser.clip
    scheduler = DDPMScheduler(
        **denoiser.schedule.config,
        prediction_type=denoiser.prediction,
        clip_sample=clip.bound is not None and clip.quantile is None,
        clip_sample_range=1.0 if clip.bound is None else clip.bound,
        thresholding=clip.quantile is not None,
        dynamic_thresholding_ratio=0.995 if clip.quantile is None else clip.quantile,
        sample_max_value=1.0 if clip.bound is None else clip.bound,
    )
    unet = denoiser.network.unet
    pipeline: Any
    if autoencoder is None:
        pipeline = DDPMPipeline(unet=unet, scheduler=scheduler)
    else:
        pipeline = LDMPipeline(vqvae=autoencoder, unet=unet, scheduler=scheduler)
    with writing(folder):
        pipeline.save_pretrained(folder)
        tidy(folder / "unet")
        if autoencoder is not None:
            tidy(folder / "vqvae")


def tidy(part: Path) -> None:
    """Remove the path that weights were loaded from, and give weights the mode of other files."""
    path = part / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for weights in part.glob("*.safetensors"):
        shutil.copymode(path, weights)

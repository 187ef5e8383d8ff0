"""Latent text-to-video UNets: AnimateDiff, which is Stable Diffusion with layers over time.

A sample is a clip whose frames are encoded one by one and denoised together (Guo et al. 2023). Its
shape is (frames * channels, height, width), as of a clip of pixels; the network sees it as
(channels, frames, height, width).

https://arxiv.org/abs/2307.04725
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models import UNetMotionModel
from torch import Tensor, nn

from diffaug.diffusion.denoiser import Clip, Denoiser
from diffaug.diffusion.latents import Autoencoder
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models.checkpoint import Checkpoint
from diffaug.models.families.parts import (
    autoencoder,
    check_encoders,
    check_width,
    first_prompts,
    latent_diffusion,
    latent_size,
)
from diffaug.models.families.pipeline import pipeline
from diffaug.models.pretrained import Pretrained, Prompts

__all__ = ["load"]


class _Motion(nn.Module):
    """diffusers' `UNetMotionModel` as a `denoiser.Network`.

    The condition is a prompt's token embeddings (B, tokens, width), the same for all frames.
    """

    def __init__(self, unet: Any, frames: int) -> None:
        super().__init__()
        self.unet, self._frames = unet, frames

    def forward(self, x_t: Tensor, t: Tensor, prompt: Tensor) -> Tensor:
        """The prediction (B, T * C, H, W) for latents `x_t` at times `t` (B,)."""
        count, _, height, width = x_t.shape
        clips = x_t.to(self.unet.dtype).reshape(count, self._frames, -1, height, width)
        prompts = prompt.repeat_interleave(self._frames, dim=0)
        found: Tensor = self.unet(
            clips.transpose(1, 2), t, encoder_hidden_states=prompts, return_dict=False
        )[0]
        return found.transpose(1, 2).flatten(1, 2)


def load(checkpoint: Checkpoint, execution: Execution) -> Pretrained:
    """Load a checkpoint to run it.

    Raises:
        ConfigError: a part is missing or broken, or it is not a model of this family.
    """
    pipe = pipeline(checkpoint, execution)
    frames = checkpoint.frames
    assert frames is not None
    _refuse(checkpoint, pipe, frames)
    schedule, prediction = latent_diffusion(checkpoint, pipe.scheduler)
    device, coder = torch.device(execution.device), autoencoder(checkpoint, pipe.vae)
    channels, (height, width) = pipe.vae.config.latent_channels, latent_size(checkpoint, pipe.unet)
    return Pretrained(
        denoiser=Denoiser(
            network=_Motion(pipe.unet, frames).eval(),
            schedule=schedule.to(device),
            prediction=prediction,
            clip=Clip(),
            shape=(frames * channels, height, width),
            classes=0,
            null_class=None,
            device=device,
        ),
        shape=(3, height * coder.factor, width * coder.factor),
        autoencoder=_frame_by_frame(coder, frames),
        prompts=Prompts(first_prompts(pipe), device),
        frames=frames,
    )


def _refuse(checkpoint: Checkpoint, pipe: Any, frames: int) -> None:
    """Refuse what loads and then fails, or asks for more than a clip, a time and a prompt."""
    name, unet = f"model {checkpoint.reference}", pipe.unet.config
    if not isinstance(pipe.unet, UNetMotionModel):
        kind = type(pipe.unet).__name__
        raise ConfigError(f"{name}: its UNet is of the kind {kind}; must be UNetMotionModel")
    latent = pipe.vae.config.latent_channels
    if (unet.in_channels, unet.out_channels) != (latent, latent):
        raise ConfigError(
            f"{name}: its UNet takes {unet.in_channels} channels, returns {unet.out_channels}, and "
            f"latents have {latent}: such a variant is not supported"
        )
    if frames > unet.motion_max_seq_length:
        raise ConfigError(
            f"{name}: it would be given {frames} frames, and its UNet takes at most "
            f"{unet.motion_max_seq_length}: say so in its card (frames)"
        )
    for field in ("encoder_hid_dim_type", "addition_embed_type", "time_cond_proj_dim"):
        if unet[field] is not None:
            raise ConfigError(
                f"{name}: its UNet has {field} {unet[field]!r} in unet/config.json, so that it "
                "requires other inputs: such a variant is not supported"
            )
    check_encoders(checkpoint, pipe, ("text_encoder", "tokenizer"))
    width = pipe.text_encoder.config.hidden_size
    check_width(checkpoint, "cross_attention_dim", unet.cross_attention_dim, width, "text_encoder")


def _frame_by_frame(coder: Autoencoder, frames: int) -> Autoencoder:
    """An autoencoder of clips (B, T * C, H, W): that of pictures, a frame a call to save memory."""

    def each(call: Any, clips: Tensor) -> Tensor:
        count, _, height, width = clips.shape
        pictures = clips.reshape(count * frames, -1, height, width)
        found = torch.cat([call(picture[None]) for picture in pictures])
        return found.reshape(count, -1, *found.shape[2:])

    return Autoencoder(
        encode=lambda clips: each(coder.encode, clips),
        decode=lambda latents: each(coder.decode, latents),
        factor=coder.factor,
    )

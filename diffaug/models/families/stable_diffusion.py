"""Latent text-to-image UNets: Stable Diffusion 1, 2 and XL, and models distilled from them.

diffusers' own pipeline loads the parts and encodes prompts; the lanes run the loop (Rombach et al.
2022; Podell et al. 2023; Luo et al. 2023).

https://arxiv.org/abs/2112.10752, https://arxiv.org/abs/2307.01952,
https://arxiv.org/abs/2310.04378
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from diffaug.diffusion.denoiser import Boundary, Clip, Denoiser
from diffaug.diffusion.schedule import Schedule
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
from diffaug.models.pretrained import Condition, Pretrained, Prompts

__all__ = ["load"]


class _UNet(nn.Module):
    """diffusers' `UNet2DConditionModel` as a `denoiser.Network`, channels last.

    Conditions are a prompt's token embeddings (B, tokens, width); for XL also its pooled embedding
    (B, width) and the picture's sizes (B, 5 or 6); and for a model distilled to take one, a
    guidance embedding (B, width).
    """

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet.to(memory_format=torch.channels_last)
        self._sized = unet.config.addition_embed_type == "text_time"

    def forward(self, x_t: Tensor, t: Tensor, prompt: Tensor, *more: Tensor) -> Tensor:
        """The prediction (B, C, H, W) for latents `x_t` at times `t` (B,)."""
        x_t = x_t.to(self.unet.dtype, memory_format=torch.channels_last)
        added = None
        if self._sized:
            pooled, sizes, *rest = more
            added, more = {"text_embeds": pooled, "time_ids": sizes}, tuple(rest)
        guidance = more[0].to(self.unet.dtype) if more else None
        sample: Tensor = self.unet(
            x_t,
            t,
            encoder_hidden_states=prompt,
            timestep_cond=guidance,
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return sample


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
    channels, coder = pipe.vae.config.latent_channels, autoencoder(checkpoint, pipe.vae)
    height, width = latent_size(checkpoint, pipe.unet)
    shape = (3, height * coder.factor, width * coder.factor)
    guided_within = pipe.unet.config.time_cond_proj_dim
    return Pretrained(
        denoiser=Denoiser(
            network=_UNet(pipe.unet).eval(),
            schedule=schedule.to(device),
            prediction=prediction,
            clip=Clip(),
            shape=(channels, height, width),
            classes=0,
            null_class=None,
            device=device,
            boundary=_boundary(config, schedule, device),
        ),
        shape=shape,
        autoencoder=coder,
        prompts=Prompts(_xl(pipe, shape) if _is_xl(pipe) else first_prompts(pipe), device),
        embed_guidance=_embed(pipe, guided_within) if guided_within else None,
    )


def _refuse(checkpoint: Checkpoint, pipe: Any) -> None:
    """Refuse a UNet that must be given more than an image, a time and a prompt."""
    name = f"model {checkpoint.reference}"
    kind = type(pipe.unet)
    if not issubclass(kind, UNet2DConditionModel):
        raise ConfigError(
            f"{name}: its UNet is of the kind {kind.__name__}; must be "
            "UNet2DConditionModel, which takes prompts"
        )
    unet, latent = pipe.unet.config, pipe.vae.config.latent_channels
    if unet.in_channels != latent:
        raise ConfigError(
            f"{name}: its UNet takes {unet.in_channels} channels and latents have {latent}: it "
            "requires more than an image (inpainting, depth, upscaling); use the plain "
            "text-to-image model"
        )
    if unet.out_channels != latent:
        raise ConfigError(
            f"{name}: its UNet returns {unet.out_channels} channels and latents have {latent}: "
            "such a variant is not supported"
        )
    for field, known in _TAKEN[_is_xl(pipe)].items():
        if unet[field] not in known:
            raise ConfigError(
                f"{name}: its UNet has {field} {unet[field]!r} in unet/config.json, so that it "
                f"requires other inputs; supported is {' or '.join(map(repr, known))}: use the "
                "plain text-to-image model"
            )
    _check_prompts(checkpoint, pipe)


_TAKEN: dict[bool, dict[str, tuple[object, ...]]] = {
    is_xl: {
        "class_embed_type": (None,),
        "num_class_embeds": (None,),
        "encoder_hid_dim_type": (None, "text_proj"),
        "addition_embed_type": ("text_time",) if is_xl else (None, "text"),
        "dual_cross_attention": (False,),
    }
    for is_xl in (False, True)
}
"""The values, of fields that say what a UNet is given, that the adapter serves; by `_is_xl`."""


def _check_prompts(checkpoint: Checkpoint, pipe: Any) -> None:
    """Refuse a UNet and text encoders of different models; XL may lack the first encoder."""
    unet, encoders = pipe.unet.config, ["text_encoder"]
    if _is_xl(pipe):
        first = pipe.text_encoder is not None or pipe.tokenizer is not None
        encoders = [*encoders[:first], "text_encoder_2"]
        _check_added(checkpoint, pipe)
    tokenizers = [name.replace("text_encoder", "tokenizer") for name in encoders]
    check_encoders(checkpoint, pipe, encoders + tokenizers)
    projected = unet.encoder_hid_dim_type == "text_proj"
    field = "encoder_hid_dim" if projected else "cross_attention_dim"
    width = sum(getattr(pipe, name).config.hidden_size for name in encoders)
    check_width(checkpoint, field, unet[field], width, " and ".join(encoders))


def _check_added(checkpoint: Checkpoint, pipe: Any) -> None:
    """Refuse an XL that takes other sizes, or another pooled prompt, than its pipeline gives."""
    unet = pipe.unet.config
    sizes = unet.addition_time_embed_dim * len(_sizes(pipe, (3, 0, 0)))
    check_width(
        checkpoint,
        "projection_class_embeddings_input_dim, less the sizes of the picture",
        unet.projection_class_embeddings_input_dim - sizes,
        pipe.text_encoder_2.config.projection_dim,
        "text_encoder_2",
    )


def _boundary(config: dict[str, Any], schedule: Schedule, device: torch.device) -> Boundary | None:
    """The boundary of latent consistency models, as in diffusers' `LCMScheduler`."""
    if config.get("_class_name") != "LCMScheduler":
        return None
    sigma_data = 0.5
    t = torch.arange(schedule.num_train_timesteps) * config.get("timestep_scaling", 10.0)
    skip = sigma_data**2 / (t**2 + sigma_data**2)
    return Boundary(skip=skip.to(device), out=(t / (t**2 + sigma_data**2) ** 0.5).to(device))


def _is_xl(pipe: Any) -> bool:
    return getattr(pipe, "text_encoder_2", None) is not None


def _xl(pipe: Any, shape: tuple[int, int, int]) -> Any:
    """Prompts of XL: two encoders, and the size of the picture, which is not cropped."""
    sizes = _sizes(pipe, shape)
    none_is_zero = pipe.config.get("force_zeros_for_empty_prompt", True)

    def encode(prompt: str | None) -> Condition:
        tokens, _, pooled, _ = pipe.encode_prompt(
            prompt or "", device=pipe.device, do_classifier_free_guidance=False
        )
        if prompt is None and none_is_zero:
            tokens, pooled = torch.zeros_like(tokens), torch.zeros_like(pooled)
        given = torch.tensor(sizes, dtype=tokens.dtype, device=tokens.device)
        return tokens[0], pooled[0], given

    return encode


def _sizes(pipe: Any, shape: tuple[int, int, int]) -> list[float]:
    """What XL is given about a picture: its size, where it was cropped, and its size again."""
    _, height, width = shape
    if pipe.config.get("requires_aesthetics_score", False):
        return [height, width, 0, 0, 6.0]  # the refiner's, as in diffusers
    return [height, width, 0, 0, height, width]


def _embed(pipe: Any, width: int) -> Any:
    def embed(guidance: float) -> Tensor:
        weight = torch.tensor([guidance - 1])
        embedding: Tensor = pipe.get_guidance_scale_embedding(weight, embedding_dim=width)[0]
        return embedding.to(pipe.device)

    return embed

"""FLUX.1 (Black Forest Labs 2024), a flow-matching transformer over latents packed two by two.

"dev" was distilled from its own guidance and takes a scale as an input. "schnell" was not; where a
recipe asks for guidance, it is called a second time, which diffusers calls `true_cfg_scale`.
diffusers' own pipeline loads the parts and encodes prompts; the lanes run the loop.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models.checkpoint import Checkpoint
from diffaug.models.families.flow import (
    check_channels,
    flow_denoiser,
    flow_schedule,
    network_times,
)
from diffaug.models.families.parts import autoencoder, check_encoders, check_width
from diffaug.models.families.pipeline import pipeline
from diffaug.models.pretrained import Condition, Pretrained, Prompts

__all__ = ["load"]

_T5_TOKENS = {True: 512, False: 256}
"""How many tokens the T5 encoder reads of a prompt, by whether guidance is embedded: the numbers
that dev and schnell were trained with."""


class _Transformer(nn.Module):
    """diffusers' `FluxTransformer2DModel` as a `denoiser.Network` over latents as they are.

    Conditions are a prompt's token embeddings (B, tokens, width), its pooled embedding (B, width)
    and, for a model distilled to take one, the guidance scale (B,).
    """

    times: Tensor
    places: Tensor

    def __init__(self, transformer: Any, times: Tensor, size: tuple[int, int]) -> None:
        super().__init__()
        self.transformer = transformer
        self.register_buffer("times", times, persistent=False)
        rows, columns = (torch.arange(length // 2, dtype=torch.float32) for length in size)
        places = torch.cartesian_prod(torch.zeros(1), rows, columns)
        self.register_buffer("places", places, persistent=False)

    def forward(
        self, x_t: Tensor, t: Tensor, prompt: Tensor, pooled: Tensor, guidance: Tensor | None = None
    ) -> Tensor:
        """The flow (B, C, H, W) for latents `x_t` at times `t` (B,)."""
        packed = _packed(x_t).to(self.transformer.dtype)
        flow: Tensor = self.transformer(
            hidden_states=packed,
            # rounded and divided in diffusers' order
            timestep=self.times[t].to(packed.dtype) / 1000,
            guidance=guidance,
            encoder_hidden_states=prompt,
            pooled_projections=pooled,
            txt_ids=self.places.new_zeros(prompt.shape[1], 3),
            img_ids=self.places,
            return_dict=False,
        )[0]
        return _unpacked(flow, x_t.shape[2])


def _packed(latents: Tensor) -> Tensor:
    """Latents (B, C, H, W) as tokens of two by two latents (B, H/2 * W/2, 4 C)."""
    count, channels, height, width = latents.shape
    blocks = latents.view(count, channels, height // 2, 2, width // 2, 2)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(count, -1, 4 * channels)


def _unpacked(tokens: Tensor, height: int) -> Tensor:
    """Tokens as latents of that height: the inverse of `_packed`."""
    count, _, width = tokens.shape
    blocks = tokens.view(count, height // 2, -1, width // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return blocks.reshape(count, width // 4, height, -1)


def load(checkpoint: Checkpoint, execution: Execution) -> Pretrained:
    """Load a checkpoint to run it at the size that its autoencoder was made for.

    The transformer names no size. The published autoencoders have a `sample_size` of 1024; without
    one, the default of diffusers' pipeline is used, which is also 1024.

    Raises:
        ConfigError: a part is missing or broken, or it is not a model of this family.
    """
    pipe = pipeline(checkpoint, execution)
    config = pipe.transformer.config
    channels = config.in_channels // 4
    check_channels(checkpoint, pipe, channels)
    _check_prompts(checkpoint, pipe)
    height, width = _size(checkpoint, pipe)
    coder, device = autoencoder(checkpoint, pipe.vae), torch.device(execution.device)
    size = height // coder.factor, width // coder.factor
    schedule = flow_schedule(checkpoint, pipe.scheduler.config, size[0] // 2 * (size[1] // 2))
    network = _Transformer(pipe.transformer, network_times(schedule), size)
    return Pretrained(
        denoiser=flow_denoiser(network, schedule, (channels, *size), device),
        shape=(3, height, width),
        autoencoder=coder,
        prompts=Prompts(_encoder(pipe, _T5_TOKENS[config.guidance_embeds]), device),
        embed_guidance=_embed if config.guidance_embeds else None,
    )


def _size(checkpoint: Checkpoint, pipe: Any) -> tuple[int, int]:
    """(H, W) of a picture, by the checkpoint's own autoencoder, not by one that replaces it."""
    own = json.loads((checkpoint.part("vae") / "config.json").read_text(encoding="utf-8"))
    size = own.get("sample_size") or pipe.default_sample_size * pipe.vae_scale_factor
    height, width = (size, size) if isinstance(size, int) else size
    if height % (2 * pipe.vae_scale_factor) or width % (2 * pipe.vae_scale_factor):
        raise ConfigError(
            f"model {checkpoint.reference}: pictures of {height}x{width}, the sample_size of its "
            f"autoencoder, cannot be divided into patches of {2 * pipe.vae_scale_factor} pixels"
        )
    return height, width


def _check_prompts(checkpoint: Checkpoint, pipe: Any) -> None:
    """Refuse a transformer that is given what it cannot take."""
    needed = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    check_encoders(checkpoint, pipe, needed)
    config, clip, t5 = pipe.transformer.config, pipe.text_encoder, pipe.text_encoder_2
    if config.patch_size != 1:
        raise ConfigError(
            f"model {checkpoint.reference}: its transformer has patch_size {config.patch_size}; "
            "latents are packed two by two before it, so that it must be 1"
        )
    pooled, width = config.pooled_projection_dim, config.joint_attention_dim
    hidden = clip.config.hidden_size
    check_width(checkpoint, "pooled_projection_dim", pooled, hidden, "text_encoder")
    check_width(checkpoint, "joint_attention_dim", width, t5.config.d_model, "text_encoder_2")


def _encoder(pipe: Any, tokens: int) -> Any:
    """Prompts: all tokens of the T5, and CLIP's pooled embedding; no prompt means the empty one."""

    def encode(prompt: str | None) -> Condition:
        embedded, pooled, _ = pipe.encode_prompt(
            prompt or "", device=pipe.device, max_sequence_length=tokens
        )
        return embedded[0], pooled[0]

    return encode


def _embed(guidance: float) -> Tensor:
    return torch.tensor(guidance, dtype=torch.float32)

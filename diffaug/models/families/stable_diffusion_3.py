"""Stable Diffusion 3 and 3.5, flow-matching transformers over latents (Esser et al. 2024).

diffusers' own pipeline loads the parts and encodes prompts; the lanes run the loop.

https://arxiv.org/abs/2403.03206
"""

from __future__ import annotations

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

_T5_TOKENS = 256
"""How many tokens the T5 encoder reads of a prompt, as in diffusers' pipeline."""


class _Transformer(nn.Module):
    """diffusers' `SD3Transformer2DModel` as a `denoiser.Network`.

    Conditions are a prompt's token embeddings (B, tokens, width) and its pooled embedding (B,
    width).
    """

    times: Tensor

    def __init__(self, transformer: Any, times: Tensor) -> None:
        super().__init__()
        self.transformer = transformer
        self.register_buffer("times", times, persistent=False)

    def forward(self, x_t: Tensor, t: Tensor, prompt: Tensor, pooled: Tensor) -> Tensor:
        """The flow (B, C, H, W) for latents `x_t` at times `t` (B,)."""
        flow: Tensor = self.transformer(
            hidden_states=x_t.to(self.transformer.dtype),
            timestep=self.times[t],
            encoder_hidden_states=prompt,
            pooled_projections=pooled,
            return_dict=False,
        )[0]
        return flow


def load(checkpoint: Checkpoint, execution: Execution) -> Pretrained:
    """Load a checkpoint to run it at its transformer's `sample_size`.

    Raises:
        ConfigError: a part is missing or broken, or it is not a model of this family.
    """
    pipe = pipeline(checkpoint, execution)
    config = pipe.transformer.config
    check_channels(checkpoint, pipe, config.in_channels)
    _check_size(checkpoint, config)
    _check_prompts(checkpoint, pipe)
    device = torch.device(execution.device)
    size, coder = config.sample_size, autoencoder(checkpoint, pipe.vae)
    tokens = (size // config.patch_size) ** 2
    schedule = flow_schedule(checkpoint, pipe.scheduler.config, tokens)
    # diffusers reads the dtype off the first tensor, a table that is always float32, and may leave
    # the network in float32
    transformer = pipe.transformer.to(getattr(torch, execution.dtype))
    network = _Transformer(transformer, network_times(schedule))
    return Pretrained(
        denoiser=flow_denoiser(network, schedule, (config.in_channels, size, size), device),
        shape=(3, size * coder.factor, size * coder.factor),
        autoencoder=coder,
        prompts=Prompts(_encoder(pipe), device),
    )


def _check_size(checkpoint: Checkpoint, config: Any) -> None:
    """Refuse a size for which the transformer has no positions."""
    size, positions = config.sample_size, config.pos_embed_max_size
    if not isinstance(size, int) or size // config.patch_size > (positions or size):
        raise ConfigError(
            f"model {checkpoint.reference}: its sample_size is {size}, and its transformer has "
            f"positions for {positions} patches of {config.patch_size} (pos_embed_max_size): mend "
            "transformer/config.json"
        )


def _check_prompts(checkpoint: Checkpoint, pipe: Any) -> None:
    """Refuse a transformer that is given what it cannot take; the T5 may be missing."""
    needed = ["text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"]
    check_encoders(checkpoint, pipe, needed + ["tokenizer_3"] * (pipe.text_encoder_3 is not None))
    config, t5 = pipe.transformer.config, pipe.text_encoder_3
    pooled = sum(clip.config.projection_dim for clip in (pipe.text_encoder, pipe.text_encoder_2))
    both = "text_encoder and text_encoder_2"
    check_width(checkpoint, "pooled_projection_dim", config.pooled_projection_dim, pooled, both)
    if t5 is not None:
        width = t5.config.d_model
        check_width(
            checkpoint, "joint_attention_dim", config.joint_attention_dim, width, "text_encoder_3"
        )


def _encoder(pipe: Any) -> Any:
    """Prompts: three encoders, zeros for a T5 left out; no prompt means the empty one."""

    def encode(prompt: str | None) -> Condition:
        tokens, _, pooled, _ = pipe.encode_prompt(
            prompt or "",
            None,
            None,
            device=pipe.device,
            do_classifier_free_guidance=False,
            max_sequence_length=_T5_TOKENS,
        )
        return tokens[0], pooled[0]

    return encode

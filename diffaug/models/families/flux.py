"""FLUX.1 (Black Forest Labs 2024), a flow-matching transformer over latents packed two by two.

"dev" was distilled from its own guidance and is given a scale as an input; "schnell" is not, and is
guided, where a recipe asks for it, by a second call, which diffusers calls `true_cfg_scale`.
diffusers' own pipeline loads the parts and encodes prompts; the loop is the lanes'.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from diffaug.diffusion.denoiser import Clip, Denoiser
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models.checkpoint import Checkpoint
from diffaug.models.families.flow import check_channels, flow_schedule, network_times
from diffaug.models.families.parts import autoencoder
from diffaug.models.families.pipeline import pipeline
from diffaug.models.pretrained import Condition, Pretrained, Prompts

__all__ = ["load"]

_T5_TOKENS = {True: 512, False: 256}
"""How many tokens the T5 encoder reads of a prompt, by whether guidance is embedded: so many dev
and schnell were trained with."""


class _Transformer(nn.Module):
    """diffusers' `FluxTransformer2DModel` as a `denoiser.Network` over latents as they are.

    Conditions are a prompt's token embeddings (B, tokens, width), its pooled one (B, width) and,
    where it was distilled to take one, the guidance scale (B,).
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
            # in the order that diffusers rounds it in
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
    """Latents (B, C, H, W) as tokens of two by two of them (B, H/2 * W/2, 4 C)."""
    count, channels, height, width = latents.shape
    blocks = latents.view(count, channels, height // 2, 2, width // 2, 2)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(count, -1, 4 * channels)


def _unpacked(tokens: Tensor, height: int) -> Tensor:
    """Tokens as latents of that height again."""
    count, _, width = tokens.shape
    blocks = tokens.view(count, height // 2, -1, width // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return blocks.reshape(count, width // 4, height, -1)


def load(checkpoint: Checkpoint, execution: Execution) -> Pretrained:
    """Load a checkpoint to run it at the size that its autoencoder was made for.

    Its transformer names no size. The `sample_size` of its own autoencoder is 1024 in what was
    published, which is also the default of diffusers' pipeline, and that is taken without one.

    Raises:
        ConfigError: a part is missing or broken, or it is no model of this family after all.
    """
    pipe = pipeline(checkpoint, execution)
    config = pipe.transformer.config
    channels = config.in_channels // 4
    check_channels(checkpoint, pipe, channels)
    _check_encoders(checkpoint, pipe)
    height, width = _size(checkpoint, pipe)
    coder, device = autoencoder(pipe.vae), torch.device(execution.device)
    size = height // coder.factor, width // coder.factor
    schedule = flow_schedule(checkpoint, pipe.scheduler.config, size[0] // 2 * (size[1] // 2))
    network = _Transformer(pipe.transformer, network_times(schedule), size)
    return Pretrained(
        denoiser=Denoiser(
            network=network.eval().to(device),
            schedule=schedule.to(device),
            prediction="flow",
            clip=Clip(),
            shape=(channels, *size),
            classes=0,
            null_class=None,
            device=device,
        ),
        shape=(3, height, width),
        autoencoder=coder,
        prompts=Prompts(_encoder(pipe, _T5_TOKENS[config.guidance_embeds]), device),
        embed_guidance=_embed if config.guidance_embeds else None,
    )


def _size(checkpoint: Checkpoint, pipe: Any) -> tuple[int, int]:
    """(H, W) of a picture; the checkpoint's own autoencoder says it, not one in its place."""
    own = json.loads((checkpoint.part("vae") / "config.json").read_text(encoding="utf-8"))
    size = own.get("sample_size") or pipe.default_sample_size * pipe.vae_scale_factor
    height, width = (size, size) if isinstance(size, int) else size
    if height % (2 * pipe.vae_scale_factor) or width % (2 * pipe.vae_scale_factor):
        raise ConfigError(
            f"model {checkpoint.reference}: pictures of {height}x{width}, the sample_size of its "
            f"autoencoder, do not fall into patches of {2 * pipe.vae_scale_factor} pixels"
        )
    return height, width


def _check_encoders(checkpoint: Checkpoint, pipe: Any) -> None:
    """Refuse what diffusers loads and then fails on."""
    needed = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    if lacking := [name for name in needed if getattr(pipe, name) is None]:
        raise ConfigError(
            f"model {checkpoint.reference}: it lacks its {', '.join(lacking)}, without which no "
            "prompt can be encoded"
        )


def _encoder(pipe: Any, tokens: int) -> Any:
    """Prompts: all tokens of the T5, and CLIP's pooled embedding; no prompt is the empty one."""

    def encode(prompt: str | None) -> Condition:
        embedded, pooled, _ = pipe.encode_prompt(
            prompt or "", device=pipe.device, max_sequence_length=tokens
        )
        return embedded[0], pooled[0]

    return encode


def _embed(guidance: float) -> Tensor:
    return torch.tensor(guidance, dtype=torch.float32)

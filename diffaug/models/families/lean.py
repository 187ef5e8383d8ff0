"""The UNet2D of shipped models, and of most that `diffaug train` makes, without diffusers.

The network of Ho et al. 2020 as diffusers' `UNet2DModel` builds it of plain blocks: the same
parameters under the same names, and the same bits. It adds in place, divides nothing by 1, embeds
the time once for all blocks, and spares a process the import of diffusers. It is for inference
only. Other configurations are left to diffusers.

https://arxiv.org/abs/2006.11239
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

__all__ = ["LeanUNet2D", "lean_unet2d"]

WEIGHTS = "diffusion_pytorch_model.safetensors"

_PLAIN: Mapping[str, Any] = {
    "_class_name": "UNet2DModel",
    "act_fn": "silu",
    "center_input_sample": False,
    "class_embed_type": None,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "dropout": 0.0,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2D",
    "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional",
    "upsample_type": "conv",
}
"""What fields must be; with other values the network is another."""

_FREE = {
    *("in_channels", "out_channels", "block_out_channels", "layers_per_block"),
    *("down_block_types", "up_block_types", "add_attention", "attention_head_dim"),
    *("norm_num_groups", "attn_norm_num_groups", "norm_eps", "num_class_embeds"),
    *("time_embedding_dim", "flip_sin_to_cos", "freq_shift"),
}
"""Fields that may be anything that fits."""

_NOTHING = {"_diffusers_version", "_name_or_path", "sample_size", "num_train_timesteps"}
"""Fields that such a network does not depend on."""

_DOWN = {"DownBlock2D": False, "AttnDownBlock2D": True}
_UP = {"UpBlock2D": False, "AttnUpBlock2D": True}

_LONGEST = 64
"""Rows from which on diffusers enlarges feature maps in the channels-first layout.

Last bits depend on layouts. So sums are made in place only of two maps of one layout, which then is
that of the sum.
"""


def lean_unet2d(folder: Path, config: Mapping[str, Any], dtype: torch.dtype) -> LeanUNet2D | None:
    """Load a UNet2D for inference; None if it is not of the kind above, or not in order.

    What is wrong with its files is for diffusers' loader to say, which is asked next.

    Args:
        folder: of its configuration and its weights.
        config: the configuration.
        dtype: of the weights in memory.
    """
    known = _PLAIN.keys() | _FREE
    if not known <= config.keys() <= known | _NOTHING:
        return None
    if any(config[field] != value for field, value in _PLAIN.items()):
        return None
    try:
        weights = load_file(folder / WEIGHTS)
        with torch.device("meta"):
            network = LeanUNet2D(**{field: config[field] for field in _FREE})
        # copies, as diffusers makes them: in the mapped file they would lie at any address
        weights = {name: weight.to(dtype, copy=True) for name, weight in weights.items()}
        network.load_state_dict(weights, assign=True)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError):
        return None
    return network.requires_grad_(False).eval().to(memory_format=torch.channels_last)


class LeanUNet2D(nn.Module):
    """A UNet2D as a `denoiser.Network`, in its own dtype, channels last, for inference.

    Args:
        in_channels: of its input.
        out_channels: of its output, twice as many if a variance follows the prediction.
        block_out_channels: of its levels, downwards; the first is that of its ends, too.
        layers_per_block: residual layers of a level on the way down, and one more on the way up.
        down_block_types: diffusers' names of the levels.
        up_block_types: the same, upwards.
        add_attention: whether there is attention in the middle.
        attention_head_dim: channels of an attention head; None for all of a level.
        norm_num_groups: groups of channels that are normalized together.
        attn_norm_num_groups: the same, of the attention in the middle; None for as many.
        norm_eps: added to variances.
        num_class_embeds: rows of the table of classes; None for no classes.
        time_embedding_dim: width of the embedded time; None for four times the first level's.
        flip_sin_to_cos: whether cosines come first in it.
        freq_shift: how many frequencies its slowest falls short of 1/10,000.

    Raises:
        ValueError, KeyError: parts do not fit each other, or a block is of another kind.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        block_out_channels: Sequence[int],
        layers_per_block: int,
        down_block_types: Sequence[str],
        up_block_types: Sequence[str],
        add_attention: bool,
        attention_head_dim: int | None,
        norm_num_groups: int,
        attn_norm_num_groups: int | None,
        norm_eps: float,
        num_class_embeds: int | None,
        time_embedding_dim: int | None,
        flip_sin_to_cos: bool,
        freq_shift: int,
    ) -> None:
        super().__init__()
        first, last = block_out_channels[0], block_out_channels[-1]
        time = time_embedding_dim or 4 * first
        plan = _Plan(time, norm_num_groups, norm_eps, attention_head_dim)
        self.conv_in = nn.Conv2d(in_channels, first, 3, padding=1)
        self.time = _Time(first, flip_sin_to_cos, freq_shift)
        self.time_embedding = nn.ModuleDict(
            {"linear_1": nn.Linear(first, time), "linear_2": nn.Linear(time, time)}
        )
        self.class_embedding = None
        if num_class_embeds:  # to draw weights on the meta device imports torch._dynamo
            rows = torch.empty(num_class_embeds, time)
            self.class_embedding = nn.Embedding.from_pretrained(rows)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        before = first
        for width, kind in zip(block_out_channels, down_block_types, strict=True):
            inputs = [before] + [width] * (layers_per_block - 1)
            self.down_blocks.append(_Level(plan, inputs, width, attends=_DOWN[kind]))
            before = width
        self.mid_block = _Middle(plan, last, attn_norm_num_groups if add_attention else 0)
        upwards = [*reversed(block_out_channels), first]
        for (width, after), kind in zip(pairwise(upwards), up_block_types, strict=True):
            passed = [width] * layers_per_block + [after]
            inputs = [before] + [width] * layers_per_block
            widths = [own + beside for own, beside in zip(inputs, passed, strict=True)]
            self.up_blocks.append(_Level(plan, widths, width, attends=_UP[kind]))
            before = width
        for above, below in zip(self.down_blocks[:-1], self.up_blocks[:-1], strict=True):
            above.add_resampling("downsamplers", 2)
            below.add_resampling("upsamplers", 1)
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, first, norm_eps)
        self.conv_out = nn.Conv2d(first, out_channels, 3, padding=1)

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The prediction (B, C, H, W) for `x_t` at times `t` (B,) and classes `condition` (B,)."""
        dtype = self.conv_in.weight.dtype
        embedded = self.time_embedding["linear_1"](self.time(t).to(dtype))
        embedded = self.time_embedding["linear_2"](F.silu(embedded, inplace=True))
        if self.class_embedding is not None:
            embedded += self.class_embedding(condition)
        time = F.silu(embedded, inplace=True)
        x = self.conv_in(x_t.to(dtype, memory_format=torch.channels_last))
        passed = [x]
        for level in self.down_blocks:
            x = level.go_down(x, time, passed)
        x = self.mid_block(x, time)
        for level in self.up_blocks:
            x = level.go_up(x, time, passed)
        x = F.silu(self.conv_norm_out(x), inplace=True)
        predicted: Tensor = self.conv_out(x)
        return predicted[:, : x_t.shape[1]]  # a learned variance follows the prediction


@dataclass(frozen=True)
class _Plan:
    """What all layers share: width of the time, groups of channels, eps, width of a head."""

    time: int
    groups: int
    eps: float
    head: int | None


class _Time(nn.Module):
    """Sines and cosines of a time at `width` / 2 frequencies: (B,) to (B, width), float32."""

    def __init__(self, width: int, flip: bool, shift: int) -> None:
        super().__init__()
        if width % 2:
            raise ValueError("an odd number of channels")
        self.half, self.flip, self.shift = width // 2, flip, shift

    def forward(self, t: Tensor) -> Tensor:
        ranks = torch.arange(self.half, dtype=torch.float32, device=t.device)
        angles = t[:, None].float() * torch.exp(
            -math.log(10_000) * ranks / (self.half - self.shift)
        )
        waves = [torch.sin(angles), torch.cos(angles)]
        return torch.cat(waves[::-1] if self.flip else waves, dim=-1)


class _Resnet(nn.Module):
    """Two normalized convolutions around the time, added to their input."""

    def __init__(self, plan: _Plan, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(plan.groups, inputs, plan.eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(plan.time, outputs)
        self.norm2 = nn.GroupNorm(plan.groups, outputs, plan.eps)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        found = self.conv1(F.silu(self.norm1(x), inplace=True))
        found += self.time_emb_proj(time)[:, :, None, None]
        found = self.conv2(F.silu(self.norm2(found), inplace=True))
        x = x if self.conv_shortcut is None else self.conv_shortcut(x)
        return found.add_(x) if found.stride() == x.stride() else x + found


class _Attention(nn.Module):
    """Self-attention over all places, added to its input."""

    def __init__(self, plan: _Plan, channels: int, groups: int | None = None) -> None:
        super().__init__()
        self.head = plan.head or channels
        if channels % self.head:
            raise ValueError("heads that do not divide the channels")
        self.group_norm = nn.GroupNorm(groups or plan.groups, channels, plan.eps)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        normed = self.group_norm(x.view(batch, channels, height * width)).transpose(1, 2)
        query, key, value = (
            project(normed).view(batch, -1, channels // self.head, self.head).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        found = self.to_out[0](mixed.transpose(1, 2).reshape(batch, -1, channels))
        found = found.transpose(1, 2).reshape(batch, channels, height, width)
        return found.add_(x) if found.stride() == x.stride() else found + x


class _Convolved(nn.Module):
    """A convolution under the name that diffusers' resampling layers give it."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, padding=1)


class _Level(nn.Module):
    """The layers of one size of feature maps, and the way to the next size, if there is one.

    Args:
        plan: of all layers.
        inputs: the channels of each layer's input.
        width: those of each layer's output.
        attends: whether attention follows each layer.
    """

    def __init__(self, plan: _Plan, inputs: Sequence[int], width: int, *, attends: bool) -> None:
        super().__init__()
        self.width = width
        self.resnets = nn.ModuleList(_Resnet(plan, each, width) for each in inputs)
        self.attentions = nn.ModuleList(_Attention(plan, width) for _ in inputs if attends)
        self.downsamplers, self.upsamplers = nn.ModuleList(), nn.ModuleList()

    def add_resampling(self, name: str, stride: int) -> None:
        """Make it halve or double the size behind its layers."""
        getattr(self, name).append(_Convolved(self.width, stride))

    def go_down(self, x: Tensor, time: Tensor, passed: list[Tensor]) -> Tensor:
        """Leave what each layer made in `passed`."""
        for resnet, attention in zip_longest(self.resnets, self.attentions):
            x = resnet(x, time)
            if attention is not None:
                x = attention(x)
            passed.append(x)
        for half in self.downsamplers:
            x = half.conv(x)
            passed.append(x)
        return x

    def go_up(self, x: Tensor, time: Tensor, passed: list[Tensor]) -> Tensor:
        """Take it from there."""
        for resnet, attention in zip_longest(self.resnets, self.attentions):
            x = resnet(torch.cat([x, passed.pop()], dim=1), time)
            if attention is not None:
                x = attention(x)
        for double in self.upsamplers:
            if len(x) >= _LONGEST:
                x = x.contiguous()
            x = double.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x


class _Middle(nn.Module):
    """Two residual layers and, unless its `groups` are 0, attention between them."""

    def __init__(self, plan: _Plan, width: int, groups: int | None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_Resnet(plan, width, width) for _ in range(2))
        attends = groups != 0
        self.attentions = nn.ModuleList([_Attention(plan, width, groups)] if attends else [])

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        x = self.resnets[0](x, time)
        for attention in self.attentions:
            x = attention(x)
        found: Tensor = self.resnets[1](x, time)
        return found

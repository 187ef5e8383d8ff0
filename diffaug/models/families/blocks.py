"""The layers of a UNet2D, under diffusers' names, for inference only.

They compute what diffusers' do, but for rounding. Last bits depend on the layout of feature maps.
So a sum is made in place only of two maps of one layout, which then is that of the sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

__all__ = ["Down", "Embedding", "Enlarging", "Middle", "Norm", "Plan", "Up", "Waves"]

_SMALL, _VECTOR = 1024, 16
"""PyTorch's group norm in bfloat16 is up to five times as slow as in float32 for feature maps of
fewer pixels, where the channels of a group do not fill whole vectors."""

_WORTH_FOLDING = 256
"""Pixels of a feature map from which on a folded enlarging is faster in bfloat16, too."""


@dataclass(frozen=True)
class Plan:
    """What all layers share: width of the time, groups of channels, eps, width of a head."""

    time: int
    groups: int
    eps: float
    head: int | None


class Waves(nn.Module):
    """Sines and cosines of a time at `width` / 2 frequencies: (B,) to (B, width), float32."""

    def __init__(self, width: int, flip: bool, shift: int) -> None:
        super().__init__()
        if width % 2:
            raise ValueError("an odd number of channels")
        self.count, self.flip, self.shift = width // 2, flip, shift

    def forward(self, t: Tensor) -> Tensor:
        """Of times (B,)."""
        ranks = torch.arange(self.count, dtype=torch.float32, device=t.device)
        angles = t[:, None].float() * torch.exp(
            -math.log(10_000) * ranks / (self.count - self.shift)
        )
        waves = [torch.sin(angles), torch.cos(angles)]
        return torch.cat(waves[::-1] if self.flip else waves, dim=-1)


class Embedding(nn.Module):
    """Two linear layers, from the waves of a time to what all blocks are given of it."""

    def __init__(self, width: int, time: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(width, time), nn.Linear(time, time)

    def forward(self, waves: Tensor) -> Tensor:
        """From (B, width) to (B, time)."""
        found: Tensor = self.linear_2(F.silu(self.linear_1(waves), inplace=True))
        return found


class Norm(nn.GroupNorm):
    """A group norm of feature maps (B, C, H, W), in float32 where a CPU is faster so."""

    def forward(self, x: Tensor) -> Tensor:
        """Of the same dtype."""
        fills = self.num_channels // self.num_groups % _VECTOR == 0
        is_slow = x.dtype == torch.bfloat16 and x.shape[2] * x.shape[3] < _SMALL and not fills
        if not is_slow or x.device.type != "cpu":
            return super().forward(x)
        weight, bias = self.weight.float(), self.bias.float()
        return F.group_norm(x.float(), self.num_groups, weight, bias, self.eps).to(x.dtype)


class Resnet(nn.Module):
    """Two normalized convolutions around the time, added to their input."""

    def __init__(self, plan: Plan, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = Norm(plan.groups, inputs, plan.eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(plan.time, outputs)
        self.norm2 = Norm(plan.groups, outputs, plan.eps)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        found: Tensor = self.conv1(F.silu(self.norm1(x), inplace=True))
        found += self.time_emb_proj(time)[:, :, None, None]
        found = self.conv2(F.silu(self.norm2(found), inplace=True))
        x = x if self.conv_shortcut is None else self.conv_shortcut(x)
        return found.add_(x) if found.stride() == x.stride() else x + found


class Attention(nn.Module):
    """Self-attention over all places, added to its input."""

    def __init__(self, plan: Plan, channels: int, groups: int | None = None) -> None:
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
        found: Tensor = self.to_out[0](mixed.transpose(1, 2).reshape(batch, -1, channels))
        found = found.transpose(1, 2).reshape(batch, channels, height, width)
        return found.add_(x) if found.stride() == x.stride() else found + x


class Reducing(nn.Module):
    """A convolution that halves the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x)
        return found


class Enlarging(nn.Module):
    """Doubling by repetition, then a convolution: together, one of four by four, transposed.

    It has 16 products for each pixel that comes in, where the two have 36. On a CPU alone, and in
    bfloat16 for large feature maps alone: the other way is faster there, or has not been measured.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self._folded: Tensor | None
        self.register_buffer("_folded", None, persistent=False)

    def fold(self, weight: Tensor) -> None:
        """Prepare the convolution for this weight (C, C, 3, 3), which may be of more precision."""
        wide, channels = weight.double(), len(weight)
        folded = wide.new_zeros((weight.shape[1], channels, 4, 4))
        for row, column, below, right in product(range(3), range(3), range(2), range(2)):
            # the pixel repeated at `below` reaches the row that it lies `1 - row` before
            folded[:, :, below - row + 2, right - column + 2] += wide[:, :, row, column].T
        own = self.conv.weight
        self._folded = folded.to(own.device, own.dtype, memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """From (B, C, H, W) to (B, C, 2H, 2W)."""
        is_faster = x.dtype != torch.bfloat16 or x.shape[2] * x.shape[3] >= _WORTH_FOLDING
        if self._folded is not None and is_faster and x.device.type == "cpu":
            return F.conv_transpose2d(x, self._folded, self.conv.bias, stride=2, padding=1)
        found: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return found


class Level(nn.Module):
    """The layers of one size of feature maps.

    Args:
        plan: of all layers.
        inputs: the channels of each layer's input.
        width: those of each layer's output.
        attends: whether attention follows each layer.
    """

    def __init__(self, plan: Plan, inputs: Sequence[int], width: int, attends: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(plan, each, width) for each in inputs)
        self.attentions = nn.ModuleList(
            Attention(plan, width) if attends else nn.Identity() for _ in inputs
        )


class Down(Level):
    """A level on the way down, which halves the size unless the way `ends` there."""

    def __init__(
        self, plan: Plan, inputs: Sequence[int], width: int, attends: bool, ends: bool
    ) -> None:
        super().__init__(plan, inputs, width, attends)
        self.downsamplers = nn.ModuleList([] if ends else [Reducing(width)])

    def forward(self, x: Tensor, time: Tensor, passed: list[Tensor]) -> Tensor:
        """Leaves what each layer made in `passed`."""
        for resnet, attention in zip(self.resnets, self.attentions, strict=True):
            x = attention(resnet(x, time))
            passed.append(x)
        for half in self.downsamplers:
            x = half(x)
            passed.append(x)
        return x


class Up(Level):
    """A level on the way up, which doubles the size unless the way `ends` there."""

    def __init__(
        self, plan: Plan, inputs: Sequence[int], width: int, attends: bool, ends: bool
    ) -> None:
        super().__init__(plan, inputs, width, attends)
        self.upsamplers = nn.ModuleList([] if ends else [Enlarging(width)])

    def forward(self, x: Tensor, time: Tensor, passed: list[Tensor]) -> Tensor:
        """Takes from `passed` what the way down left there."""
        for resnet, attention in zip(self.resnets, self.attentions, strict=True):
            x = attention(resnet(torch.cat([x, passed.pop()], dim=1), time))
        for enlarge in self.upsamplers:
            x = enlarge(x)
        return x


class Middle(nn.Module):
    """Two residual layers and, unless its `groups` are 0, attention between them."""

    def __init__(self, plan: Plan, width: int, groups: int | None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(plan, width, width) for _ in range(2))
        attention = Attention(plan, width, groups) if groups != 0 else nn.Identity()
        self.attentions = nn.ModuleList([attention])

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Of the smallest feature maps (B, C, H, W)."""
        x = self.attentions[0](self.resnets[0](x, time))
        found: Tensor = self.resnets[1](x, time)
        return found

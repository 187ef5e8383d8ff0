"""The layers of a UNet2D, under diffusers' names and with its bits, for inference only.

Last bits depend on the layout of feature maps. So a sum is made in place only of two maps of one
layout, which then is that of the sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

__all__ = ["Down", "Embedding", "Middle", "Plan", "Up", "Waves"]

_LONGEST = 64
"""Rows from which on diffusers enlarges feature maps in the channels-first layout."""


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


class Resnet(nn.Module):
    """Two normalized convolutions around the time, added to their input."""

    def __init__(self, plan: Plan, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(plan.groups, inputs, plan.eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(plan.time, outputs)
        self.norm2 = nn.GroupNorm(plan.groups, outputs, plan.eps)
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


class Resampling(nn.Module):
    """A convolution that halves the size, or follows its doubling."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x)
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
        self.downsamplers = nn.ModuleList([] if ends else [Resampling(width, 2)])

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
        self.upsamplers = nn.ModuleList([] if ends else [Resampling(width, 1)])

    def forward(self, x: Tensor, time: Tensor, passed: list[Tensor]) -> Tensor:
        """Takes from `passed` what the way down left there."""
        for resnet, attention in zip(self.resnets, self.attentions, strict=True):
            x = attention(resnet(torch.cat([x, passed.pop()], dim=1), time))
        for convolution in self.upsamplers:
            if len(x) >= _LONGEST:
                x = x.contiguous()
            x = convolution(F.interpolate(x, scale_factor=2.0, mode="nearest"))
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

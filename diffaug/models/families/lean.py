"""The UNet2D of shipped models, and of most that `diffaug train` makes, without diffusers.

The network of Ho et al. 2020 as diffusers' `UNet2DModel` builds it of plain blocks: the same
parameters under the same names, and the same results but for rounding. It adds in place, divides
nothing by 1, embeds the time once for all blocks, enlarges and convolves in one step, normalizes
small feature maps in float32, and spares a process the import of diffusers. It is for inference
only. Other configurations are left to diffusers.

https://arxiv.org/abs/2006.11239
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from diffaug.models.families.blocks import (
    Down,
    Embedding,
    Enlarging,
    Middle,
    Norm,
    Plan,
    Up,
    Waves,
)

__all__ = ["LeanUNet2D", "lean_unet2d"]

_WEIGHTS = "diffusion_pytorch_model.safetensors"

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

_NOTHING = {"_diffusers_version", "_name_or_path", "sample_size", "num_train_timesteps"}
"""Fields that such a network does not depend on."""

_DOWN = {"DownBlock2D": False, "AttnDownBlock2D": True}
_UP = {"UpBlock2D": False, "AttnUpBlock2D": True}


def lean_unet2d(folder: Path, config: Mapping[str, Any], dtype: torch.dtype) -> LeanUNet2D | None:
    """Load a UNet2D for inference; None if it is not of the kind above, or not in order.

    What is wrong with its files is for diffusers' loader to say, which is asked next.

    Args:
        folder: of its configuration and its weights.
        config: the configuration.
        dtype: of the weights in memory.
    """
    free = signature(LeanUNet2D).parameters  # they may be anything that fits
    known = _PLAIN.keys() | free.keys()
    if not known <= config.keys() <= known | _NOTHING:
        return None
    if any(config[field] != value for field, value in _PLAIN.items()):
        return None
    try:
        weights = load_file(folder / _WEIGHTS)
        with torch.device("meta"):
            network = LeanUNet2D(**{field: config[field] for field in free})
        # copies, as diffusers makes them: in the mapped file they would lie at any address
        own = {name: weight.to(dtype, copy=True) for name, weight in weights.items()}
        network.load_state_dict(own, assign=True)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError):
        return None
    network.requires_grad_(False).eval()
    for name, part in network.named_modules():
        if isinstance(part, Enlarging):
            part.fold(weights[f"{name}.conv.weight"])
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


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
        plan = Plan(time, norm_num_groups, norm_eps, attention_head_dim)
        self.conv_in = nn.Conv2d(in_channels, first, 3, padding=1)
        self.waves = Waves(first, flip_sin_to_cos, freq_shift)
        self.time_embedding = Embedding(first, time)
        self.class_embedding = None
        if num_class_embeds:  # to draw weights on the meta device imports torch._dynamo
            rows = torch.empty(num_class_embeds, time)
            self.class_embedding = nn.Embedding.from_pretrained(rows)  # type: ignore[no-untyped-call]
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        before, final = first, len(block_out_channels) - 1
        kinds = zip(block_out_channels, down_block_types, strict=True)
        for number, (width, kind) in enumerate(kinds):
            inputs = [before] + [width] * (layers_per_block - 1)
            self.down_blocks.append(Down(plan, inputs, width, _DOWN[kind], number == final))
            before = width
        self.mid_block = Middle(plan, last, attn_norm_num_groups if add_attention else 0)
        upwards = pairwise([*reversed(block_out_channels), first])
        for number, ((width, after), kind) in enumerate(zip(upwards, up_block_types, strict=True)):
            own = [before] + [width] * layers_per_block
            passed = [width] * layers_per_block + [after]
            inputs = [sum(both) for both in zip(own, passed, strict=True)]
            self.up_blocks.append(Up(plan, inputs, width, _UP[kind], number == final))
            before = width
        self.conv_norm_out = Norm(norm_num_groups, first, norm_eps)
        self.conv_out = nn.Conv2d(first, out_channels, 3, padding=1)

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The prediction (B, C, H, W) for `x_t` at times `t` (B,) and classes `condition` (B,)."""
        dtype = self.conv_in.weight.dtype
        embedded: Tensor = self.time_embedding(self.waves(t).to(dtype))
        if self.class_embedding is not None:
            embedded += self.class_embedding(condition)
        time = F.silu(embedded, inplace=True)
        x = self.conv_in(x_t.to(dtype, memory_format=torch.channels_last))
        passed = [x]
        for level in self.down_blocks:
            x = level(x, time, passed)
        x = self.mid_block(x, time)
        for level in self.up_blocks:
            x = level(x, time, passed)
        x = F.silu(self.conv_norm_out(x), inplace=True)
        predicted: Tensor = self.conv_out(x)
        return predicted[:, : x_t.shape[1]]  # a learned variance follows the prediction

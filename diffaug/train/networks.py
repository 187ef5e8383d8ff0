"""The presets of networks to train, and a recipe's changes to them."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["AUTOENCODERS", "NETWORKS", "check_network"]

NETWORKS: dict[str, dict[str, Any]] = {
    "tiny": {
        "block_out_channels": [16, 32, 32],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D"] * 3,
        "up_block_types": ["UpBlock2D"] * 3,
        "norm_num_groups": 8,
        "attention_head_dim": 32,
    },
    "small": {
        "block_out_channels": [32, 64, 112],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D"] * 3,
        "up_block_types": ["UpBlock2D"] * 3,
        "norm_num_groups": 8,
        "attention_head_dim": 56,
    },
    "base": {
        "block_out_channels": [128, 256, 256, 256],
        "layers_per_block": 2,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
        "norm_num_groups": 32,
        "attention_head_dim": 64,
        "dropout": 0.1,
    },
}
"""Fields of diffusers' `UNet2DModel` by preset: about 0.3, 2 and 36 million parameters."""

AUTOENCODERS: dict[str, dict[str, Any]] = {
    "tiny": {
        "block_out_channels": [16, 16, 32],
        "latent_channels": 4,
        "mid_block_add_attention": False,
        "norm_num_groups": 1,
    },
    "small": {
        "block_out_channels": [32, 64, 64],
        "latent_channels": 6,
        "mid_block_add_attention": False,
        "norm_num_groups": 2,
    },
    "base": {
        "block_out_channels": [64, 128, 256, 256],
        "layers_per_block": 2,
        "latent_channels": 8,
        "norm_num_groups": 4,
    },
}
"""Fields of diffusers' `AutoencoderKL` by preset: about 0.2, 0.9 and 21 million parameters.

They reduce a side fourfold, fourfold and eightfold. A group of their group norms has at least 16
channels: with fewer, torch's backward pass through one takes several times as long on a CPU.
"""

_OWN_FIELDS = {
    "sample_size": "size",
    "in_channels": "channels",
    "out_channels": "channels",
    "num_class_embeds": "classes",
    "class_embed_type": "classes",
}
"""Fields of diffusers' networks that the recipe's own fields determine."""


def check_network(value: Any) -> Any:
    """A recipe's `network`: a preset's name, or a mapping of it and the fields that differ from it.

    Raises:
        ValueError: it is neither; the text says what is wrong.
    """
    if isinstance(value, str):
        value = {"preset": value}
    if not isinstance(value, dict) or str(value.get("preset", "small")) not in NETWORKS:
        raise ValueError(
            f"network must be {', '.join(NETWORKS)}, or a mapping of a preset and the fields of "
            f"diffusers' UNet2DModel that differ from it, got {value!r}"
        )
    for name in value:
        if name in _OWN_FIELDS:
            raise ValueError(f"network: omit {name}, and give {_OWN_FIELDS[name]} instead")
    return {"preset": "small"} | {name: _parsed(field) for name, field in value.items()}


def _parsed(value: Any) -> Any:
    """The value of a string from a YAML file (see `Fields.from_yaml`)."""
    if isinstance(value, (list, tuple)):
        return [_parsed(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        found = yaml.safe_load(value)
        return float(found) if isinstance(found, str) else found  # YAML reads 1e-5 as text
    except (yaml.YAMLError, ValueError):
        return value

"""A model that does next to nothing, for tests and measurements of all else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["next_to_nothing"]


def next_to_nothing(folder: Path, size: int, channels: int) -> Path:
    """A checkpoint for images of `size` pixels a side, whose network has a few hundred weights."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    network = UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(4,),
        layers_per_block=1,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=1,
        add_attention=False,
    )
    pipeline: Any = DDPMPipeline(network, DDPMScheduler())
    pipeline.save_pretrained(folder)
    return folder

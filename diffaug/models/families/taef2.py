"""TAEF2, the tiny autoencoder of FLUX.2's latents (Ollin Boer Bohan, MIT licence).

Its published weights are two pickled state dictionaries, `taef2_encoder.pth` and
`taef2_decoder.pth`, of plain convolutions: an eighth of the side, 32 channels. This is the network
that they are for, under diffusers' names for an autoencoder's calls and settings.

https://github.com/madebyollin/taesd
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from diffaug.errors import ConfigError

__all__ = ["FILES", "LICENCE", "TAEF2"]

FILES = ("taef2_encoder.pth", "taef2_decoder.pth")
"""The published files, in the order of the network's halves."""

LICENCE = Path(__file__).with_name("taef2.LICENCE")
"""The text that must go with every copy of the weights."""

_WIDTH, _LATENT_CHANNELS, _POOLED, _GROUPS, _BOUND = 64, 32, 256, 4, 3.0


class TAEF2(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The encoder and the decoder; pictures (B, 3, H, W) in [-1, 1], sides multiples of 8.

    Args:
        scaling_factor: what a denoiser's latents are multiplied by, as in diffusers.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        latent_channels: int = _LATENT_CHANNELS,
        block_out_channels: tuple[int, ...] = (_WIDTH,) * 4,
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        stages = len(block_out_channels) - 1
        down: list[nn.Module] = [_conv(in_channels, _WIDTH), _Block(False)]
        for stage in range(stages):
            last = stage == stages - 1
            down += [_conv(_WIDTH, _WIDTH, stride=2, bias=False), *_blocks(last)]
        self.encoder = nn.Sequential(*down, _conv(_WIDTH, latent_channels))
        up: list[nn.Module] = [_Bounded(), _conv(latent_channels, _WIDTH), nn.ReLU()]
        for stage in range(stages):
            wider = nn.Upsample(scale_factor=2)
            up += [*_blocks(stage == 0), wider, _conv(_WIDTH, _WIDTH, bias=False)]
        self.decoder = nn.Sequential(*up, _Block(False), _conv(_WIDTH, out_channels))

    def encode(self, pictures: Tensor) -> Any:
        """Their latents (B, 32, H / 8, W / 8), unscaled, as the attribute `latents`."""
        return SimpleNamespace(latents=self.encoder(pictures / 2 + 0.5))

    def decode(self, latents: Tensor, return_dict: bool = True) -> Any:
        """The pictures of unscaled latents, as the attribute `sample`, or as a tuple of one."""
        pictures = self.decoder(latents) * 2 - 1
        return SimpleNamespace(sample=pictures) if return_dict else (pictures,)

    @classmethod
    def published(cls, folder: Path) -> TAEF2:
        """The network with the weights of a folder that holds the published files.

        They are pickles: torch reads nothing but tensors from them.

        Raises:
            ConfigError: a file is missing or broken, or holds other weights.
        """
        network: Any = cls()
        for half, name in zip((network.encoder, network.decoder), FILES, strict=True):
            path = folder / name
            try:
                half.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
            except Exception as error:  # torch raises almost anything on corrupt bytes
                first_line = str(error).strip().partition("\n")[0]
                raise ConfigError(
                    f"autoencoder {folder}: {name} does not hold the weights of TAEF2 "
                    f"({first_line}): download it again"
                ) from error
        found: TAEF2 = network.eval()
        return found


class _Block(nn.Module):
    """Three convolutions and a skip; a pooled one also sees the means and spreads of its picture.

    A group norm divides by them, and so lets them reach every place.
    """

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        steps = [_conv(_WIDTH, _WIDTH) for _ in range(3)]
        self.conv = nn.Sequential(steps[0], nn.ReLU(), steps[1], nn.ReLU(), steps[2])
        self.pool = None
        if pooled:
            self.pool = nn.Sequential(
                nn.Conv2d(_WIDTH, _POOLED, 1, bias=False),
                nn.GroupNorm(_GROUPS, _POOLED),
                nn.ReLU(),
                nn.Conv2d(_POOLED, _WIDTH, 1, bias=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return nn.functional.relu(self.conv(x) + x)


class _Bounded(nn.Module):
    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(latents / _BOUND) * _BOUND


def _conv(inputs: int, outputs: int, **options: Any) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


def _blocks(pooled: bool) -> list[nn.Module]:
    return [_Block(pooled) for _ in range(3)]

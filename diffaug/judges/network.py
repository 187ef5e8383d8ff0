"""A network over pictures, always called at one batch shape for pictures of one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diffaug.diffusion.batched import Batched

__all__ = ["PictureNetwork", "to_tensor"]


def to_tensor(picture: Image.Image) -> Tensor:
    """Convert an L or RGB picture to float32 (1 or 3, H, W) in [0, 1]."""
    pixels = torch.from_numpy(np.array(picture, dtype=np.uint8))
    planes = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()
    return planes.float() / 255


class PictureNetwork:
    """A network that takes any number of pictures; each gets the result it would get alone.

    Args:
        prepare: converts a picture to the network's input, a tensor (C, H, W).
        network: maps a tensor (B, C, H, W) to a tensor (B, K), each row by itself.
        batch_size: B of every call.
        device: where the network runs.
    """

    def __init__(
        self,
        prepare: Callable[[Image.Image], Tensor],
        network: Callable[[Tensor], Tensor],
        batch_size: int,
        device: torch.device,
    ) -> None:
        self._prepare = prepare
        self._device = device
        self._batched = Batched(network, batch_size, device)

    @property
    def rows(self) -> int:
        """How many pictures keep the device busy."""
        return self._batched.rows

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Image.Image]) -> list[NDArray[np.float64]]:
        """The network's output for each picture, (K,)."""
        found: list[NDArray[np.float64]] = [np.empty(0)] * len(pictures)
        for begin in range(0, len(pictures), self.rows):
            places = range(begin, min(begin + self.rows, len(pictures)))
            prepared = {place: self._prepare(pictures[place]) for place in places}
            shapes = dict.fromkeys(tensor.shape for tensor in prepared.values())
            for shape in shapes:
                alike = [place for place in places if prepared[place].shape == shape]
                batch = torch.stack([prepared[place] for place in alike]).to(self._device)
                outputs = self._batched(batch).double().cpu().numpy()
                for place, output in zip(alike, outputs, strict=True):
                    found[place] = output
        return found

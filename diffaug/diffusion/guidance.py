"""Classifier-free guidance, paid for only where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffaug.diffusion.denoiser import Network
from diffaug.diffusion.schedule import along
from diffaug.diffusion.transfer import upload

__all__ = ["Guided"]


class Guided:
    """A network led away from a second condition, row by row (Ho & Salimans 2022).

    Where a row's scale is not 1, the network is called for the second condition too, and the
    prediction is `away + scale * (towards - away)`. Rows of scale 1 cost one call.

    Args:
        network: takes any number of rows (see `calls.Batched`).
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    def __call__(
        self,
        x_t: Tensor,
        t: Tensor,
        towards: Sequence[Tensor],
        away: Sequence[Tensor],
        scale: NDArray[np.float32],
    ) -> Tensor:
        """The prediction (n, *), float32.

        Args:
            x_t: (n, *).
            t: times (n,).
            towards: what conditions each row, each (n, ...).
            away: the same for what it is led away from; rows of scale 1 are not looked at.
            scale: (n,), on the CPU.
        """
        guided = np.flatnonzero(scale != 1)
        if not len(guided):
            return self._network(x_t, t, *towards).float()
        rows = upload(guided, x_t.device)
        pairs = [(x_t, x_t), (t, t), *zip(towards, away, strict=True)]
        output = self._network(*(torch.cat([one, other[rows]]) for one, other in pairs)).float()
        output, negative = output[: len(x_t)], output[len(x_t) :]
        factor = along(upload(scale[guided], x_t.device), x_t)
        output[rows] = (output[rows] - negative).mul_(factor).add_(negative)
        return output

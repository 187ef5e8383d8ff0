"""Guidance: a network's prediction with each sample's own condition and guidance scale.

Classifier-free guidance (Ho & Salimans 2022) calls the network twice, for what a sample is led
towards and for what it is led away from, and extrapolates:

    prediction = away + scale * (towards - away).

It is paid for only where it is asked for: a sample whose scale is 1 at a call costs one row of it.

https://arxiv.org/abs/2207.12598
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffaug.diffusion.batched import Batched
from diffaug.diffusion.denoiser import Network
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.schedule import along
from diffaug.diffusion.transfer import upload

__all__ = ["Conditioned", "Guided"]


class Guided:
    """A network led away from a second condition, row by row.

    Args:
        network: takes any number of rows (see `Batched`).
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


class Conditioned:
    """A network at one batch shape, called for lanes that each have a condition of their own.

    Args:
        network: what to call.
        batch_size: how many samples a call has.
        device: where it runs.

    Attributes:
        lanes: how many lanes keep the device busy.
    """

    def __init__(self, network: Network, batch_size: int, device: torch.device) -> None:
        batched = Batched(network, batch_size, device)
        self._guided = Guided(batched)
        self._device = device
        self.lanes = batched.rows
        self._scales = np.ones((self.lanes, 0), dtype=np.float32)
        self._condition: list[Tensor] = []
        self._away: list[Tensor] = []

    def enter(self, lanes: Sequence[int], edits: Sequence[Edit]) -> None:
        """Take in the condition and the guidance of edits, each in its lane."""
        more = max(edit.trajectory.calls for edit in edits) - self._scales.shape[1]
        if more > 0:
            self._scales = np.pad(self._scales, ((0, 0), (0, more)), constant_values=1)
        for lane, edit in zip(lanes, edits, strict=True):
            self._scales[lane, : edit.trajectory.calls] = 1 if edit.scales is None else edit.scales
            for buffers, values in ((self._condition, edit.condition), (self._away, edit.away)):
                if values and not buffers:
                    buffers += [self._a_lane_each(value) for value in values]
                for buffer, given in zip(buffers, values, strict=False):
                    buffer[lane] = given

    def _a_lane_each(self, value: Tensor) -> Tensor:
        return value.new_zeros((self.lanes, *value.shape), device=self._device)

    def rows(self, call: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many rows a call takes for each lane (lanes,), at these of their calls."""
        scales = self._scales[np.arange(self.lanes), call]
        rows: NDArray[np.int64] = np.where(scales == 1, 1, 2)
        return rows

    def __call__(
        self, x_t: Tensor, t: Tensor, held: NDArray[np.bool_], call: NDArray[np.int64]
    ) -> Tensor:
        """The prediction (lanes, *), float32; zeros for lanes that take no part.

        Args:
            x_t: (lanes, *).
            t: times (lanes,).
            held: (lanes,): which lanes take part, at least one.
            call: (lanes,): at which of its calls each is.
        """
        inputs = [x_t, t, *self._condition, *self._away]
        scales, rows = self._scales[np.arange(self.lanes), call], None
        if not held.all():
            rows = upload(np.flatnonzero(held), self._device)
            inputs, scales = [one[rows] for one in inputs], scales[held]
        towards = inputs[2 : 2 + len(self._condition)]
        away = inputs[2 + len(self._condition) :]
        output = self._guided(inputs[0], inputs[1], towards, away, scales)
        if rows is None:
            return output
        return output.new_zeros((self.lanes, *output.shape[1:])).index_copy_(0, rows, output)

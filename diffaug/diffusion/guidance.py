"""Guidance: a network's prediction with each sample's own condition and guidance scale.

Classifier-free guidance (Ho & Salimans 2022) calls the network twice, for what a sample is led
towards and for what it is led away from, and extrapolates:

    prediction = away + scale * (towards - away).

It is paid for only where it is asked for: a sample whose scale is 1 at a call costs one row of it.
So does one that reuses the difference between the two of the last call that made both (Castillo et
al. 2023 find many of these calls redundant, and leave out the later ones):

    prediction = towards + (scale - 1) * difference.

https://arxiv.org/abs/2207.12598, https://arxiv.org/abs/2312.12487
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

__all__ = ["Conditioned", "Guided", "reused_calls"]


def reused_calls(scales: Sequence[float], every: int) -> NDArray[np.bool_] | None:
    """Which of the calls take an earlier difference (see `Edit.reused`).

    Args:
        scales: the guidance scale of each call.
        every: of so many guided calls, the first is made with both conditions.
    """
    if every == 1:
        return None
    guided = np.array(scales) != 1
    reused: NDArray[np.bool_] = guided & ((np.cumsum(guided) - 1) % every != 0)
    return reused


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
        reused: NDArray[np.bool_],
        difference: Tensor | None = None,
    ) -> Tensor:
        """The prediction (n, *), float32.

        Args:
            x_t: (n, *).
            t: times (n,).
            towards: what conditions each row, each (n, ...).
            away: the same for what it is led away from; rows of scale 1 are not looked at.
            scale: (n,), on the CPU.
            reused: (n,), on the CPU: which rows take their difference as it is kept.
            difference: (n, *), the last of each row; a row that makes both calls leaves its own
                here. None where no row reuses one.
        """
        guided = scale != 1
        again, fresh = guided & reused, np.flatnonzero(guided & ~reused)
        if not len(fresh):
            output = self._network(x_t, t, *towards).float()
        else:
            rows = upload(fresh, x_t.device)
            pairs = [(x_t, x_t), (t, t), *zip(towards, away, strict=True)]
            output = self._network(*(torch.cat([one, other[rows]]) for one, other in pairs)).float()
            output, negative = output[: len(x_t)], output[len(x_t) :]
            factor = along(upload(scale[fresh], x_t.device), x_t)
            apart = output[rows] - negative
            if difference is not None:
                difference[rows] = apart
            output[rows] = apart.mul_(factor).add_(negative)
        if difference is not None and again.any():
            rows = upload(np.flatnonzero(again), x_t.device)
            factor = along(upload(scale[again] - 1, x_t.device), x_t)
            output[rows] += difference[rows].mul_(factor)
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
        self._reused = np.zeros((self.lanes, 0), dtype=np.bool_)
        self._difference: Tensor | None = None  # there once an edit reuses it
        self._condition: list[Tensor] = []
        self._away: list[Tensor] = []

    def enter(self, lanes: Sequence[int], edits: Sequence[Edit]) -> None:
        """Take in the condition and the guidance of edits, each in its lane."""
        more = max(edit.trajectory.calls for edit in edits) - self._scales.shape[1]
        if more > 0:
            self._scales = np.pad(self._scales, ((0, 0), (0, more)), constant_values=1)
            self._reused = np.pad(self._reused, ((0, 0), (0, more)))
        for lane, edit in zip(lanes, edits, strict=True):
            calls = edit.trajectory.calls
            self._scales[lane, :calls] = 1 if edit.scales is None else edit.scales
            self._reused[lane, :calls] = False if edit.reused is None else edit.reused
            for buffers, values in ((self._condition, edit.condition), (self._away, edit.away)):
                if values and not buffers:
                    buffers += [self._a_lane_each(value) for value in values]
                for buffer, given in zip(buffers, values, strict=False):
                    buffer[lane] = given

    def _a_lane_each(self, value: Tensor) -> Tensor:
        return value.new_zeros((self.lanes, *value.shape), device=self._device)

    def rows(self, call: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many rows a call takes for each lane (lanes,), at these of their calls."""
        every = np.arange(self.lanes)
        fresh = (self._scales[every, call] != 1) & ~self._reused[every, call]
        rows: NDArray[np.int64] = np.where(fresh, 2, 1)
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
        every = np.arange(self.lanes)
        scales, reused = self._scales[every, call], self._reused[every, call]
        if self._difference is None and self._reused.any():
            self._difference = torch.zeros_like(x_t, dtype=torch.float32)
        difference, rows = self._difference, None
        inputs = [x_t, t, *self._condition, *self._away]
        if not held.all():
            rows = upload(np.flatnonzero(held), self._device)
            inputs, scales, reused = [one[rows] for one in inputs], scales[held], reused[held]
            difference = None if difference is None else difference[rows]
        towards = inputs[2 : 2 + len(self._condition)]
        away = inputs[2 + len(self._condition) :]
        output = self._guided(inputs[0], inputs[1], towards, away, scales, reused, difference)
        if rows is None:
            return output
        if self._difference is not None and difference is not None:
            self._difference[rows] = difference
        return output.new_zeros((self.lanes, *output.shape[1:])).index_copy_(0, rows, output)

"""Processes: how samples are taken into noise and brought back, a lane each.

A process holds one tensor entry a lane and knows nothing of who is in which lane (see `Lanes`).
`Gaussian`, for pictures, is SDEdit (Meng et al. 2022): a sample is noised part-way along the
forward process,

    x_t = alpha_t x_0 + sigma_t z,

and its sampler's steps lead it back. Where a mask keeps a sample as it is, each step puts it back
onto its own forward path, at the step's end, as RePaint does with the part of a picture that is
known (Lugmayr et al. 2022, eq. 8a). The process of texts is in `masked.py`.

https://arxiv.org/abs/2108.01073, https://arxiv.org/abs/2201.09865
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffaug.diffusion.batched import in_one_thread
from diffaug.diffusion.denoiser import Denoiser
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.guidance import Conditioned
from diffaug.diffusion.schedule import along
from diffaug.diffusion.transfer import Download, upload

__all__ = ["Gaussian", "Process"]

E = TypeVar("E", contravariant=True)


class Process(Protocol[E]):
    """What happens to the samples in the lanes: one network call and one step of all at a time.

    What a lane's sample becomes depends on its edit alone, not on its lane or its neighbours.

    Attributes:
        lanes: how many lanes there are.
    """

    lanes: int

    def enter(self, lanes: Sequence[int], edits: Sequence[E]) -> None:
        """Take new samples into noise, each in its lane; at least one."""

    def rows(self, call: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many rows of the network the next call of each lane takes: (lanes,)."""
        ...

    def step(self, stepping: NDArray[np.bool_], call: NDArray[np.int64]) -> None:
        """Call the network once, and take the step that follows; other lanes stay as they are.

        Args:
            stepping: (lanes,): which lanes take part, at least one; each holds a sample.
            call: (lanes,): which of its sample's calls this is, from 0; 0 in a free lane.
        """

    def result(self, lanes: Sequence[int]) -> Download:
        """The samples of these lanes (n, ...), on their way to the CPU."""
        ...


class Gaussian(Process[Edit]):
    """Gaussian noise, and a sampler's steps back.

    Args:
        denoiser: what to run.
        batch_size: how many samples a call has; part of what makes a result what it is, bit for
            bit.
    """

    def __init__(self, denoiser: Denoiser, batch_size: int) -> None:
        self._denoiser = denoiser
        self._predict = Conditioned(denoiser.network, batch_size, denoiser.device)
        self.lanes = self._predict.lanes
        self._every = np.arange(self.lanes)
        self._times = np.zeros((self.lanes, 0), dtype=np.int64)
        self._weights = np.zeros((self.lanes, 0, 4), dtype=np.float32)
        self._ends = np.zeros((self.lanes, 0, 2), dtype=np.float32)
        self._x = torch.zeros((self.lanes, *denoiser.shape), device=denoiser.device)
        self._term = torch.empty_like(self._x)
        # what only some edits need is there once one does: the estimates before, the noise still
        # to be added, and of masks where they are and what they keep
        self._before: Tensor | None = None
        self._fresh: Tensor | None = None
        self._mask: Tensor | None = None
        self._kept: list[Tensor] = []

    @torch.inference_mode()
    def enter(self, lanes: Sequence[int], edits: Sequence[Edit]) -> None:
        """Noise new samples along the forward process, each in its lane."""
        in_one_thread(partial(self._noise, lanes, edits), self._x.device)
        self._predict.enter(lanes, edits)

    def _noise(self, lanes: Sequence[int], edits: Sequence[Edit]) -> None:
        self._make_room(edits)
        for lane, edit in zip(lanes, edits, strict=True):
            way, calls = edit.trajectory, edit.trajectory.calls
            self._times[lane, :calls] = way.timesteps
            self._weights[lane, :calls] = way.weights
            self._ends[lane, :calls] = way.ends
        device = self._x.device
        at = upload(np.array(lanes), device)
        noise = upload(np.stack([edit.noise[0] for edit in edits]), device)
        clean = [np.zeros_like(edit.noise[0]) if edit.x_0 is None else edit.x_0 for edit in edits]
        x_0 = upload(np.stack(clean), device)
        t_start = upload(self._times[np.array(lanes), 0], device)
        x_t = self._denoiser.schedule.add_noise(x_0, t_start, noise)
        if pure := [index for index, edit in enumerate(edits) if edit.x_0 is None]:
            x_t[pure] = noise[pure] * self._denoiser.schedule.noisiest
        self._x[at] = x_t
        if self._before is not None:
            self._before[at] = 0  # what is there counts 0 times, which makes no NaN 0
        if self._mask is not None:
            masks = [edit.mask for edit in edits]
            everywhere = np.ones((1, *x_0.shape[2:]), dtype=np.bool_)
            known = [everywhere if mask is None else mask for mask in masks]
            self._mask[at] = upload(np.stack(known), device)
            for kept, one in zip(self._kept, (x_0, noise), strict=True):
                kept[at] = one
        if self._fresh is not None:
            for lane, edit in zip(lanes, edits, strict=True):
                self._fresh[lane, : edit.trajectory.draws] = upload(edit.noise[1:], device)

    def _make_room(self, edits: Sequence[Edit]) -> None:
        """Widen what is kept for each lane to what these edits need."""
        ways = [edit.trajectory for edit in edits]
        more = max(way.calls for way in ways) - self._times.shape[1]
        if more > 0:
            self._times = np.pad(self._times, ((0, 0), (0, more)))
            self._weights = np.pad(self._weights, ((0, 0), (0, more), (0, 0)))
            self._ends = np.pad(self._ends, ((0, 0), (0, more), (0, 0)))
        if self._before is None and any(way.looks_back for way in ways):
            self._before = torch.zeros_like(self._x)
        if self._mask is None and any(edit.mask is not None for edit in edits):
            shape = (self.lanes, 1, *self._x.shape[2:])
            self._mask = torch.ones(shape, dtype=torch.bool, device=self._x.device)
            self._kept = [torch.zeros_like(self._x), torch.zeros_like(self._x)]
        draws = max(way.draws for way in ways)
        known = 0 if self._fresh is None else self._fresh.shape[1]
        if draws > known:
            wider = self._x.new_zeros((self.lanes, draws, *self._x.shape[1:]))
            if self._fresh is not None:
                wider[:, :known] = self._fresh
            self._fresh = wider

    def rows(self, call: NDArray[np.int64]) -> NDArray[np.int64]:
        """Two for a guided call, one for another."""
        return self._predict.rows(call)

    @torch.inference_mode()
    def step(self, stepping: NDArray[np.bool_], call: NDArray[np.int64]) -> None:
        """One step of these lanes. All are worked out, and the others put back as they were."""
        device = self._x.device
        t = upload(np.where(stepping, self._times[self._every, call], 0), device)
        weights = self._weights[self._every, call]
        columns = upload(np.ascontiguousarray(weights.T), device)
        factors = [along(column, self._x) for column in columns]
        output = self._predict(self._x, t, stepping, call)
        staying = upload(np.flatnonzero(~stepping), device)
        in_one_thread(partial(self._advance, t, output, factors, call, staying), device)

    def _advance(
        self,
        t: Tensor,
        output: Tensor,
        factors: Sequence[Tensor],
        call: NDArray[np.int64],
        staying: Tensor,
    ) -> None:
        """The step that follows a network's output: sums and products of each value alone."""
        device = self._x.device
        a, b, c, d = factors
        x = self._x[staying]
        x_0 = self._denoiser.estimate(self._x, t, output)
        # a product and a sum, each rounded by itself: fused, they could depend on the lane
        self._x.mul_(a).add_(torch.mul(x_0, b, out=self._term))
        if self._before is not None:
            self._x.add_(torch.mul(self._before, c, out=self._term))
            x_0[staying] = self._before[staying]
            self._before = x_0
        if self._fresh is not None:
            draws = self._fresh.shape[1]
            rows = upload(self._every * draws + np.minimum(call, draws - 1), device)
            torch.index_select(self._fresh.flatten(0, 1), 0, rows, out=self._term)
            self._x.add_(self._term.mul_(d))
        if self._mask is not None:
            ends = upload(np.ascontiguousarray(self._ends[self._every, call].T), device)
            alpha, sigma = (along(end, self._x) for end in ends)
            clean, noise = self._kept
            self._x = torch.where(self._mask, self._x, clean * alpha + noise * sigma)
        self._x[staying] = x

    @torch.inference_mode()
    def result(self, lanes: Sequence[int]) -> Download:
        """The samples of these lanes (n, ...), float32, on their way to the CPU."""
        return Download(self._x[list(lanes)])

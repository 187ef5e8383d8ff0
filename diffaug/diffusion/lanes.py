"""Lanes: every one holds its own image at its own time, and all share the network's calls.

A finished lane is refilled at once. The network is called at one batch shape, whatever rows the
lanes ask it for, so its arithmetic never changes: a sample's result does not depend on its lane or
its neighbours. There are as many lanes as keep the device busy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from diffaug.diffusion.batched import Batched
from diffaug.diffusion.denoiser import Denoiser
from diffaug.diffusion.guidance import Guided
from diffaug.diffusion.samplers import Trajectory
from diffaug.diffusion.schedule import along
from diffaug.diffusion.transfer import Download, upload

__all__ = ["Edit", "Lanes"]

T = TypeVar("T")

LOOK_AHEAD = 2
"""How many images a lane are read before they have one. They go in as they come; only when
the stream has ended do those of most calls go first, so that all lanes end at about one time."""

RUN_AHEAD = 8
"""How many finished images a lane may wait for an unfinished one that came before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One image on its way through the lanes.

    Attributes:
        x_0: the clean image (C, H, W), float32 in [-1, 1]; None starts from the noise itself.
        noise: standard normal values (1 + draws, C, H, W), float32: what the image is noised with,
            then what its trajectory's steps add.
        trajectory: when the network is called, and what each step makes of its estimate.
        condition: what the network is given beside image and time, without the batch's axis.
        away: the same, for what guidance leads away from.
        scales: (calls,), float32: the guidance scale of each call; None is 1 at every one.
        mask: (1, H, W), where the image may change; elsewhere it stays as it is. None: everywhere.
    """

    x_0: NDArray[np.float32] | None
    noise: NDArray[np.float32]
    trajectory: Trajectory
    condition: tuple[torch.Tensor, ...] = ()
    away: tuple[torch.Tensor, ...] = ()
    scales: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None


_STAY = np.array([1, 0, 0, 0], dtype=np.float32)
"""The weights of a step that leaves an image where it is."""


@dataclass(slots=True, eq=False)
class _Place(Generic[T]):
    """An edit's place in the order of results; without an edit it is done from the start."""

    tag: T
    edit: Edit | None
    batch: Download | None = None
    index: int = 0

    @property
    def calls(self) -> int:
        return 0 if self.edit is None else self.edit.trajectory.calls

    def landed(self) -> bool:
        return self.edit is None or (self.batch is not None and self.batch.landed)

    def result(self) -> NDArray[np.float32] | None:
        return None if self.batch is None else self.batch.numpy()[self.index]


class Lanes(Generic[T]):
    """The engine: a denoiser run at one batch shape over a stream of edits.

    Args:
        denoiser: what to run.
        batch_size: how many images a call has; part of what makes a result what it is, bit for bit.
    """

    def __init__(self, denoiser: Denoiser, batch_size: int) -> None:
        self._denoiser = denoiser
        batched = Batched(denoiser.network, batch_size, denoiser.device)
        self._predict = Guided(batched)
        lanes = batched.rows
        self._lanes = np.arange(lanes)
        self._places: list[_Place[T] | None] = [None] * lanes
        self._call = np.zeros(lanes, dtype=np.int64)
        self._calls = np.zeros(lanes, dtype=np.int64)
        self._times = np.zeros((lanes, 0), dtype=np.int64)
        self._weights = np.zeros((lanes, 0, 4), dtype=np.float32)
        self._ends = np.zeros((lanes, 0, 2), dtype=np.float32)
        self._scales = np.ones((lanes, 0), dtype=np.float32)
        self._x = torch.zeros((lanes, *denoiser.shape), device=denoiser.device)
        self._term = torch.empty_like(self._x)
        # what not every edit needs is there once one does: the estimates before, the noise still to
        # be added, what conditions, and of masks where they are and what they keep
        self._before: torch.Tensor | None = None
        self._fresh: torch.Tensor | None = None
        self._condition: list[torch.Tensor] = []
        self._away: list[torch.Tensor] = []
        self._mask: torch.Tensor | None = None
        self._kept: list[torch.Tensor] = []

    @property
    def count(self) -> int:
        """How many lanes there are."""
        return len(self._lanes)

    def run(
        self, edits: Iterable[tuple[T, Edit | None]]
    ) -> Iterator[tuple[T, NDArray[np.float32] | None]]:
        """Yield (tag, edited image) in the order of `edits`, each as soon as it can be.

        A tag without an edit passes through in its place, with no image: that is how failures
        and ends of shards keep their order. An image is float32 (C, H, W), nominally in [-1, 1].
        `edits` is read LOOK_AHEAD images a lane before lanes become free, and at most RUN_AHEAD a
        lane are under way, be it that they wait for a slower one before them: so a stream of any
        length takes constant memory.
        """
        for finished in self.run_steps(edits):
            yield from finished

    def run_steps(
        self, edits: Iterable[tuple[T, Edit | None]]
    ) -> Iterator[list[tuple[T, NDArray[np.float32] | None]]]:
        """As `run`, but yield a list of what each network call has finished, where it has any."""
        self._places = [None] * len(self._lanes)
        order: deque[_Place[T]] = deque()
        waiting: list[_Place[T]] = []
        look, most = LOOK_AHEAD * len(self._lanes), RUN_AHEAD * len(self._lanes)
        source, ended = iter(edits), False
        while True:
            entering: list[int] = []
            for lane in [lane for lane, place in enumerate(self._places) if place is None]:
                while not ended and len(order) < most and len(waiting) < look:
                    item = next(source, None)
                    if item is None:
                        ended = True
                        break
                    order.append(_Place(*item))
                    if order[-1].edit is not None:
                        waiting.append(order[-1])
                    if finished := _landed(order):
                        yield finished
                if waiting:
                    place = max(waiting, key=lambda one: one.calls) if ended else waiting[0]
                    waiting.remove(place)
                    self._places[lane] = place
                    entering.append(lane)
            if entering:
                self._enter(entering)
            running = any(self._places)
            if running:
                self._step()
            elif not order:
                return
            if finished := _landed(order, wait=not running or len(order) == most):
                yield finished

    @torch.inference_mode()
    def _enter(self, lanes: list[int]) -> None:
        """Noise new images along the forward process, each in its lane."""
        edits = [place.edit for lane in lanes if (place := self._places[lane]) and place.edit]
        self._make_room(edits)
        for lane, edit in zip(lanes, edits, strict=True):
            way, calls = edit.trajectory, edit.trajectory.calls
            self._calls[lane] = calls
            self._times[lane, :calls] = way.timesteps
            self._weights[lane, :calls] = way.weights
            self._ends[lane, :calls] = way.ends
            self._scales[lane, :calls] = 1 if edit.scales is None else edit.scales
        self._call[lanes] = 0
        device = self._x.device
        at = upload(np.array(lanes), device)
        noise = upload(np.stack([edit.noise[0] for edit in edits]), device)
        clean = [np.zeros_like(edit.noise[0]) if edit.x_0 is None else edit.x_0 for edit in edits]
        x_0 = upload(np.stack(clean), device)
        x_t = self._denoiser.schedule.add_noise(x_0, upload(self._times[lanes, 0], device), noise)
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
        for lane, edit in zip(lanes, edits, strict=True):
            for buffers, values in ((self._condition, edit.condition), (self._away, edit.away)):
                for buffer, given in zip(buffers, values, strict=False):
                    buffer[lane] = given
            if self._fresh is not None:
                self._fresh[lane, : edit.trajectory.draws] = upload(edit.noise[1:], device)

    def _make_room(self, edits: list[Edit]) -> None:
        """Widen what is kept for each lane to what these edits need."""
        ways = [edit.trajectory for edit in edits]
        more = max(way.calls for way in ways) - self._times.shape[1]
        if more > 0:
            self._times = np.pad(self._times, ((0, 0), (0, more)))
            self._weights = np.pad(self._weights, ((0, 0), (0, more), (0, 0)))
            self._ends = np.pad(self._ends, ((0, 0), (0, more), (0, 0)))
            self._scales = np.pad(self._scales, ((0, 0), (0, more)), constant_values=1)
        if self._before is None and any(way.looks_back for way in ways):
            self._before = torch.zeros_like(self._x)
        if self._mask is None and any(edit.mask is not None for edit in edits):
            shape = (len(self._lanes), 1, *self._x.shape[2:])
            self._mask = torch.ones(shape, dtype=torch.bool, device=self._x.device)
            self._kept = [torch.zeros_like(self._x), torch.zeros_like(self._x)]
        for edit in edits:
            for buffers, values in ((self._condition, edit.condition), (self._away, edit.away)):
                if values and not buffers:
                    buffers += [self._a_lane_each(value) for value in values]
        draws = max(way.draws for way in ways)
        known = 0 if self._fresh is None else self._fresh.shape[1]
        if draws > known:
            wider = self._x.new_zeros((len(self._lanes), draws, *self._x.shape[1:]))
            if self._fresh is not None:
                wider[:, :known] = self._fresh
            self._fresh = wider

    def _a_lane_each(self, value: torch.Tensor) -> torch.Tensor:
        return value.new_zeros((len(self._lanes), *value.shape), device=self._x.device)

    @torch.inference_mode()
    def _step(self) -> None:
        """One step of every lane. Empty lanes ride along at t = 0 and stay as they are."""
        device, held = self._x.device, np.array([place is not None for place in self._places])
        call = np.where(held, self._call, 0)
        t = upload(np.where(held, self._times[self._lanes, call], 0), device)
        weights = np.where(held[:, None], self._weights[self._lanes, call], _STAY)
        rows = upload(np.ascontiguousarray(weights.T), device)
        a, b, c, d = (along(row, self._x) for row in rows)
        x_0 = self._denoiser.estimate(self._x, t, self._output(t, held, call))
        # a product and a sum, each rounded by itself: fused, they could depend on the lane
        self._x.mul_(a).add_(torch.mul(x_0, b, out=self._term))
        if self._before is not None:
            self._x.add_(torch.mul(self._before, c, out=self._term))
            self._before = x_0
        if self._fresh is not None:
            draws = self._fresh.shape[1]
            rows = upload(self._lanes * draws + np.minimum(call, draws - 1), device)
            torch.index_select(self._fresh.flatten(0, 1), 0, rows, out=self._term)
            self._x.add_(self._term.mul_(d))
        if self._mask is not None:
            ends = np.ascontiguousarray(self._ends[self._lanes, call].T)
            alpha, sigma = (along(row, self._x) for row in upload(ends, device))
            clean, noise = self._kept
            self._x = torch.where(self._mask, self._x, clean * alpha + noise * sigma)
        self._call += held
        ended = np.flatnonzero(held & (self._call == self._calls)).tolist()
        if ended:
            batch = Download(self._x[ended])
            for index, lane in enumerate(ended):
                place = self._places[lane]
                assert place is not None
                place.batch, place.index = batch, index
                self._places[lane] = None

    def _output(
        self, t: torch.Tensor, held: NDArray[np.bool_], call: NDArray[np.int64]
    ) -> torch.Tensor:
        """What the network says of each lane that holds an image; of an empty one, zeros."""
        inputs, scales = (
            [self._x, t, *self._condition, *self._away],
            self._scales[self._lanes, call],
        )
        rows = None
        if not held.all():
            rows = upload(np.flatnonzero(held), self._x.device)
            inputs, scales = [one[rows] for one in inputs], scales[held]
        towards = inputs[2 : 2 + len(self._condition)]
        away = inputs[2 + len(self._condition) :]
        output = self._predict(inputs[0], inputs[1], towards, away, scales)
        if rows is None:
            return output
        return torch.zeros_like(self._x).index_copy_(0, rows, output)


def _landed(
    order: deque[_Place[T]], wait: bool = False
) -> list[tuple[T, NDArray[np.float32] | None]]:
    """Take finished places from the front; where `wait` is set, those still on their way too."""
    found = []
    while order and (order[0].landed() or (wait and order[0].batch is not None)):
        place = order.popleft()
        found.append((place.tag, place.result()))
    return found

"""Lanes: one fixed batch shape, in which every slot holds its own image at its own time.

A finished lane is refilled at once and the tail is padded, so the batch shape never changes, and
with it never the arithmetic: a sample's result does not depend on its slot or its neighbours. There
are as many batches of lanes as calls run side by side, each in one thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from diffaug.calls import at_once, side_by_side
from diffaug.denoiser import Denoiser
from diffaug.solvers import Trajectory
from diffaug.transfer import Download, upload

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
        condition: the class given to the network; None where it takes none.
    """

    x_0: NDArray[np.float32] | None
    noise: NDArray[np.float32]
    trajectory: Trajectory
    condition: int | None = None


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
        batch_size: how many lanes a call has; part of what makes a result what it is, bit for bit.
    """

    def __init__(self, denoiser: Denoiser, batch_size: int) -> None:
        self._denoiser = denoiser
        self._batch_size = batch_size
        lanes = batch_size * at_once(denoiser.device)
        self._lanes = np.arange(lanes)
        self._places: list[_Place[T] | None] = [None] * lanes
        self._call = np.zeros(lanes, dtype=np.int64)
        self._calls = np.zeros(lanes, dtype=np.int64)
        self._times = np.zeros((lanes, 1), dtype=np.int64)
        self._weights = np.zeros((lanes, 1, 4), dtype=np.float32)
        self._condition = torch.zeros(lanes, dtype=torch.long, device=denoiser.device)
        self._x = torch.zeros((lanes, *denoiser.shape), device=denoiser.device)
        self._term = torch.empty_like(self._x)
        # the estimates before, and the noise still to be added: once a trajectory wants them
        self._before: torch.Tensor | None = None
        self._fresh: torch.Tensor | None = None

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
            calls = edit.trajectory.calls
            self._calls[lane] = calls
            self._times[lane, :calls] = edit.trajectory.timesteps
            self._weights[lane, :calls] = edit.trajectory.weights
        self._call[lanes] = 0
        device, unconditional = self._x.device, self._denoiser.null_class or 0
        classes = [unconditional if edit.condition is None else edit.condition for edit in edits]
        at = upload(np.array(lanes), device)
        self._condition[at] = upload(np.array(classes), device)
        noise = upload(np.stack([edit.noise[0] for edit in edits]), device)
        clean = [np.zeros_like(edit.noise[0]) if edit.x_0 is None else edit.x_0 for edit in edits]
        x_t = self._denoiser.schedule.add_noise(
            upload(np.stack(clean), device), upload(self._times[lanes, 0], device), noise
        )
        if pure := [index for index, edit in enumerate(edits) if edit.x_0 is None]:
            x_t[pure] = noise[pure]
        self._x[at] = x_t
        if self._before is not None:
            self._before[at] = 0  # what is there counts 0 times, which makes no NaN 0
        if self._fresh is not None:
            for lane, edit in zip(lanes, edits, strict=True):
                self._fresh[lane, : edit.trajectory.draws] = upload(edit.noise[1:], device)

    def _make_room(self, edits: list[Edit]) -> None:
        """Widen what is kept for each lane to what these edits need."""
        ways = [edit.trajectory for edit in edits]
        more = max(way.calls for way in ways) - self._times.shape[1]
        if more > 0:
            self._times = np.pad(self._times, ((0, 0), (0, more)))
            self._weights = np.pad(self._weights, ((0, 0), (0, more), (0, 0)))
        if self._before is None and any(way.looks_back for way in ways):
            self._before = torch.zeros_like(self._x)
        draws = max(way.draws for way in ways)
        known = 0 if self._fresh is None else self._fresh.shape[1]
        if draws > known:
            wider = self._x.new_zeros((len(self._lanes), draws, *self._x.shape[1:]))
            if self._fresh is not None:
                wider[:, :known] = self._fresh
            self._fresh = wider

    @torch.inference_mode()
    def _step(self) -> None:
        """One step of every lane. Empty lanes ride along at t = 0 and stay as they are."""
        device, held = self._x.device, np.array([place is not None for place in self._places])
        call = np.where(held, self._call, 0)
        t = upload(np.where(held, self._times[self._lanes, call], 0), device)
        weights = np.where(held[:, None], self._weights[self._lanes, call], _STAY)
        a, b, c, d = upload(np.ascontiguousarray(weights.T), device).view(4, -1, 1, 1, 1)
        x_0 = self._estimate(t, held)
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
        self._call += held
        ended = np.flatnonzero(held & (self._call == self._calls)).tolist()
        if ended:
            batch = Download(self._x[ended])
            for index, lane in enumerate(ended):
                place = self._places[lane]
                assert place is not None
                place.batch, place.index = batch, index
                self._places[lane] = None

    def _estimate(self, t: torch.Tensor, held: NDArray[np.bool_]) -> torch.Tensor:
        """What the network makes of every batch that holds an image; of others, what is there."""
        size = self._batch_size
        found, *given = (list(torch.split(one, size)) for one in (self._x, t, self._condition))
        batches = zip(found, *given, strict=True)
        calls = {
            index: partial(self._denoiser, *batch)
            for index, batch in enumerate(batches)
            if held[index * size : (index + 1) * size].any()
        }
        estimates = side_by_side(calls.values(), self._x.device)
        for index, estimate in zip(calls, estimates, strict=True):
            found[index] = estimate
        return torch.cat(found)


def _landed(
    order: deque[_Place[T]], wait: bool = False
) -> list[tuple[T, NDArray[np.float32] | None]]:
    """Take finished places from the front; where `wait` is set, those still on their way too."""
    found = []
    while order and (order[0].landed() or (wait and order[0].batch is not None)):
        place = order.popleft()
        found.append((place.tag, place.result()))
    return found

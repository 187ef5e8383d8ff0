"""Lanes: one fixed batch shape, in which every slot holds its own image at its own time.

A finished lane is refilled at once and the tail is padded, so the batch shape never changes, and
with it never the arithmetic: a sample's result does not depend on its slot or its neighbours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from diffaug.denoiser import Denoiser
from diffaug.schedule import CLEAN
from diffaug.solvers import ddim_step

__all__ = ["Edit", "Lanes"]

T = TypeVar("T")

RUN_AHEAD = 8
"""How many batches of finished images may wait for an unfinished one that came before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One image on its way through the lanes.

    Attributes:
        x_0: the clean image (C, H, W), float32 in [-1, 1].
        noise: standard normal values of the same shape.
        timesteps: when the network is called, falling, at least one.
        condition: the class given to the network; None where it takes none.
    """

    x_0: NDArray[np.float32]
    noise: NDArray[np.float32]
    timesteps: tuple[int, ...]
    condition: int | None = None


@dataclass(slots=True)
class _Place(Generic[T]):
    """An edit's place in the order of results."""

    tag: T
    done: bool
    result: NDArray[np.float32] | None = None


class Lanes(Generic[T]):
    """The engine: a denoiser run at one batch shape over a stream of edits.

    Args:
        denoiser: what to run.
        batch_size: how many lanes; part of what makes a result what it is, bit for bit.
    """

    def __init__(self, denoiser: Denoiser, batch_size: int) -> None:
        self._denoiser = denoiser
        self._x = torch.zeros((batch_size, *denoiser.shape), device=denoiser.device)
        self._condition = torch.zeros(batch_size, dtype=torch.long, device=denoiser.device)
        self._times = np.full((batch_size, 1), CLEAN, dtype=np.int64)
        self._call = np.zeros(batch_size, dtype=np.int64)
        self._lanes = np.arange(batch_size)
        self._places: list[_Place[T] | None] = [None] * batch_size

    def run(
        self, edits: Iterable[tuple[T, Edit | None]]
    ) -> Iterator[tuple[T, NDArray[np.float32] | None]]:
        """Yield (tag, edited image) in the order of `edits`, each as soon as it can be.

        A tag without an edit passes through in its place, with no image: that is how failures
        and ends of shards keep their order. An image is float32 (C, H, W), nominally in [-1, 1].
        `edits` is read only as lanes become free, and at most RUN_AHEAD batches wait for a slower
        one before them, so a stream of any length takes constant memory.
        """
        self._places = [None] * len(self._lanes)
        order: deque[_Place[T]] = deque()
        source = iter(edits)
        while True:
            for lane in [lane for lane, place in enumerate(self._places) if place is None]:
                while self._places[lane] is None and len(order) < RUN_AHEAD * len(self._lanes):
                    item = next(source, None)
                    if item is None:
                        break
                    order.append(self._admit(*item, lane))
                    yield from _ready(order)
            if not order:
                return
            self._step()
            yield from _ready(order)

    def _admit(self, tag: T, edit: Edit | None, lane: int) -> _Place[T]:
        place = _Place(tag, done=edit is None)
        if edit is not None:
            self._enter(lane, edit)
            self._places[lane] = place
        return place

    @torch.inference_mode()
    def _enter(self, lane: int, edit: Edit) -> None:
        calls = len(edit.timesteps)
        if calls >= self._times.shape[1]:
            wider = np.full((len(self._lanes), calls + 1), CLEAN, dtype=np.int64)
            wider[:, : self._times.shape[1]] = self._times
            self._times = wider
        self._times[lane, :calls] = edit.timesteps
        self._times[lane, calls:] = CLEAN
        self._call[lane] = 0
        unconditional = self._denoiser.null_class or 0
        self._condition[lane] = unconditional if edit.condition is None else edit.condition
        t = torch.tensor(edit.timesteps[:1], device=self._x.device)
        x_0 = torch.from_numpy(edit.x_0).to(self._x.device).unsqueeze(0)
        noise = torch.from_numpy(edit.noise).to(self._x.device).unsqueeze(0)
        self._x[lane] = self._denoiser.schedule.add_noise(x_0, noise, t)[0]

    @torch.inference_mode()
    def _step(self) -> None:
        """One network call for every lane. Empty lanes ride along at t = 0 and are ignored."""
        held = np.array([place is not None for place in self._places])
        times = torch.from_numpy(
            np.stack(
                [
                    np.where(held, self._times[self._lanes, self._call], 0),
                    np.where(held, self._times[self._lanes, self._call + 1 * held], 0),
                ]
            )
        ).to(self._x.device)
        t, s = times[0], times[1]
        x_0 = self._denoiser(self._x, t, self._condition)
        self._x = ddim_step(self._denoiser.schedule, self._x, x_0, t, s)
        self._call += held
        ended = held & (self._times[self._lanes, self._call] == CLEAN)
        for lane in np.flatnonzero(ended):
            place = self._places[lane]
            assert place is not None
            place.result, place.done = self._x[lane].cpu().numpy().copy(), True
            self._places[lane] = None


def _ready(order: deque[_Place[T]]) -> Iterator[tuple[T, NDArray[np.float32] | None]]:
    while order and order[0].done:
        place = order.popleft()
        yield place.tag, place.result

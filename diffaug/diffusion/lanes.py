"""Lanes: which sample is where, and at which of its calls.

Every lane holds its own sample at its own time, and all lanes share the network's calls. A lane is
free again as soon as its sample is done, so samples that need different numbers of calls keep the
batch full. The network is always called at one batch shape, so its arithmetic never changes: a
sample's result does not depend on its lane or its neighbours.

What happens to the samples is the business of a `Process`; who enters when, and in which order
results leave, that of a policy, such as `ordered`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from diffaug.diffusion.process import Process
from diffaug.diffusion.transfer import Arrival

__all__ = ["Entry", "Lanes"]

T = TypeVar("T")


class Entry(Protocol):
    """What a lane is given: of whatever kind its process takes, such as an `Edit`."""

    @property
    def calls(self) -> int:
        """How often the network is called for it."""
        ...


class Lanes(Generic[T]):
    """A table of the lanes of a process.

    Args:
        process: what happens to the samples.
    """

    def __init__(self, process: Process[Any]) -> None:
        self._process = process
        self._tags: dict[int, T] = {}
        self._call = np.zeros(process.lanes, dtype=np.int64)
        self._calls = np.zeros(process.lanes, dtype=np.int64)  # 0 in a free lane
        self._waited = np.zeros(process.lanes, dtype=np.bool_)  # at the last step

    @property
    def count(self) -> int:
        """How many lanes there are."""
        return len(self._calls)

    @property
    def free(self) -> int:
        """How many lanes hold no sample."""
        return int((self._calls == 0).sum())

    def enter(self, edits: Sequence[tuple[T, Entry]]) -> None:
        """Start edits, each in a free lane. A tag is whatever its result is to come back with.

        Raises:
            ValueError: there are more of them than free lanes.
        """
        if not edits:
            return
        if len(edits) > self.free:
            raise ValueError(f"{len(edits)} edits for {self.free} free lanes")
        lanes = np.flatnonzero(self._calls == 0)[: len(edits)].tolist()
        self._process.enter(lanes, [edit for _, edit in edits])
        for lane, (tag, edit) in zip(lanes, edits, strict=True):
            self._tags[lane] = tag
            self._calls[lane] = edit.calls

    def step(self) -> list[tuple[T, Arrival]]:
        """Step lanes that hold a sample, and take out the samples that are finished.

        All of them, or as many as fill whole rounds of network calls (see `_stepping`).

        Returns:
            (tag, result) of each, which is on its way to the CPU. Their lanes are free again.

        Raises:
            OutOfMemoryError: the call does not fit; no sample has moved.
        """
        held = self._calls > 0
        if not held.any():
            return []
        stepping = self._stepping(held)
        self._waited = held & ~stepping
        self._process.step(stepping, self._call)
        self._call = self._call + stepping
        ended: list[int] = np.flatnonzero(stepping & (self._call == self._calls)).tolist()
        if not ended:
            return []
        download = self._process.result(ended)
        self._call[ended] = self._calls[ended] = 0
        return [(self._tags.pop(lane), Arrival(download, row)) for row, lane in enumerate(ended)]

    def _stepping(self, held: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the lanes that hold a sample take the next step.

        A round of calls has as many rows as there are lanes, and guided samples need two each. Rows
        beyond whole rounds would cost a round of their own, most of it padding; so their samples
        wait: those with fewest calls left, and none twice in a row.
        """
        rows = np.where(held, self._process.rows(self._call), 0)
        room = int(rows.sum()) // self.count * self.count
        if not 0 < room < rows.sum():
            return held
        stepping = np.zeros_like(held)
        for lane in np.lexsort((self._call - self._calls, ~self._waited)).tolist():
            if 0 < rows[lane] <= room:
                stepping[lane] = True
                room -= int(rows[lane])
        return stepping

    def clear(self) -> None:
        """Free every lane; what was under way is dropped."""
        self._call[:] = self._calls[:] = 0
        self._tags.clear()

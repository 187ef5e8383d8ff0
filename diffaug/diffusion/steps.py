"""Steps: what runs a stream of edits, whatever lanes, policy and stages stand behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from diffaug.diffusion.edit import Edit

__all__ = ["Finished", "Steps"]

T = TypeVar("T")

Finished = list[tuple[T, NDArray[np.float32] | None]]
"""(tag, sample) of what was finished together; no sample where there was no edit."""


class Steps(Protocol[T]):
    """Runs edits, and yields their results in the order of the edits."""

    @property
    def count(self) -> int:
        """How many samples are worked on at the same time."""
        ...

    def run_steps(self, edits: Iterable[tuple[T, Edit | None]]) -> Iterator[Finished[T]]:
        """As `run`, but yield a list of what was finished together, where there is any."""
        ...

    def run(
        self, edits: Iterable[tuple[T, Edit | None]]
    ) -> Iterator[tuple[T, NDArray[np.float32] | None]]:
        """Yield (tag, edited sample) in the order of `edits`, each as soon as it can be.

        A tag without an edit passes through in its place, with no sample: that is how failures
        and ends of shards keep their order. A sample is float32 (*), nominally in [-1, 1]. A
        stream of any length takes constant memory.

        Raises:
            OutOfMemoryError: a network's call does not fit into memory.
        """
        for finished in self.run_steps(edits):
            yield from finished

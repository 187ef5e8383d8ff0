"""Steps: what runs a stream of edits, whatever lanes, policy and stages stand behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

__all__ = ["Finished", "Steps"]

T = TypeVar("T")
E = TypeVar("E", contravariant=True)

Finished = list[tuple[T, NDArray[Any] | None]]
"""(tag, sample) of what was finished together; no sample where there was no edit."""


class Steps(Protocol[T, E]):
    """Runs edits, of whatever kind E it takes, and yields their results in their order."""

    @property
    def count(self) -> int:
        """How many samples are worked on at the same time."""
        ...

    def run_steps(self, edits: Iterable[tuple[T, E | None]]) -> Iterator[Finished[T]]:
        """As `run`, but yield a list of what was finished together, where there is any."""
        ...

    def run(self, edits: Iterable[tuple[T, E | None]]) -> Iterator[tuple[T, NDArray[Any] | None]]:
        """Yield (tag, edited sample) in the order of `edits`, each as soon as it can be.

        A tag without an edit passes through in its place, with no sample: that is how failures
        and ends of shards keep their order. A sample is float32 (*), nominally in [-1, 1], or the
        tokens of a text. A stream of any length takes constant memory.

        Raises:
            OutOfMemoryError: a network's call does not fit into memory.
        """
        for finished in self.run_steps(edits):
            yield from finished

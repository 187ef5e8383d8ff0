"""Edits of several parts, each of which rides in a lane of its own.

So are the frames of a clip edited by a model of pictures, and the windows of a long text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from diffaug.diffusion.steps import Finished, Steps

__all__ = ["InParts"]

T = TypeVar("T")
W = TypeVar("W")
P = TypeVar("P")


@dataclass(slots=True, eq=False)
class _Part(Generic[T, W]):
    """A part's place: its whole, and whether it is the last of it."""

    tag: T
    whole: W | None
    is_last: bool


class InParts(Steps[T, W], Generic[T, W, P]):
    """Steps that run each part of an edit, and join their results.

    Args:
        steps: what runs the parts.
        parts: those of an edit, in order; at least one.
        join: the result of an edit, given those of its parts.
    """

    def __init__(
        self,
        steps: Steps[Any, P],
        parts: Callable[[W], Iterable[P]],
        join: Callable[[W, Sequence[NDArray[Any]]], NDArray[Any]],
    ) -> None:
        self._steps = steps
        self._parts = parts
        self._join = join

    @property
    def count(self) -> int:
        """How many parts are worked on at the same time."""
        return self._steps.count

    def run_steps(self, edits: Iterable[tuple[T, W | None]]) -> Iterator[Finished[T]]:
        """See `Steps`. An edit is finished when its last part is."""
        made: list[NDArray[Any]] = []
        for finished in self._steps.run_steps(self._each(edits)):
            whole: Finished[T] = []
            for part, result in finished:
                if result is not None:
                    made.append(result)
                if part.is_last:
                    joined = None if part.whole is None else self._join(part.whole, made)
                    whole.append((part.tag, joined))
                    made = []
            if whole:
                yield whole

    def _each(self, edits: Iterable[tuple[T, W | None]]) -> Iterator[tuple[_Part[T, W], P | None]]:
        for tag, edit in edits:
            if edit is None:
                yield _Part(tag, None, is_last=True), None
                continue
            parts = iter(self._parts(edit))
            part = next(parts)
            for following in parts:
                yield _Part(tag, None, is_last=False), part
                part = following
            yield _Part(tag, edit, is_last=True), part

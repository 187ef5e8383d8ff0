"""The interface of a judge: the candidates it receives and the scores it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from diffaug.pictures.medium import Value

__all__ = ["Candidate", "Judge", "Scores"]

Scores = dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """An image, clip or text to judge, with what is known about it.

    Attributes:
        source: what it was made from, as far as the model saw it.
        output: the result.
        label: the sample's class; None if it has none.
        label_text: the class or caption in words; None if it has none.
        origin: the source's sample, one object that all its copies share.
    """

    source: Value
    output: Value
    label: int | None = None
    label_text: str | None = None
    origin: object = None


class Judge(Protocol):
    """Scores results; a score never depends on the results of other sources."""

    rows: int
    """How many results fill one call."""

    def __call__(self, candidates: Sequence[Candidate]) -> list[Scores]:
        """The scores of each candidate; a source's copies come in order, one after another."""

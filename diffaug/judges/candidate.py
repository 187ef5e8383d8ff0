"""What a judge is given, and what a judge is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

__all__ = ["Candidate", "Judge", "Scores"]

Scores = dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """An image to be judged, and what is known of it.

    Attributes:
        source: the picture it was made of, as far as the model saw it.
        output: the picture that came out.
        label: the sample's class; None where it has none.
        label_text: its class or caption in words; None where it has none.
        origin: the source's sample: one object, which its copies share.
    """

    source: Image.Image
    output: Image.Image
    label: int | None = None
    label_text: str | None = None
    origin: object = None


class Judge(Protocol):
    """Gives scores to images, none of which depends on the images of other sources."""

    rows: int
    """How many images keep it busy at a time."""

    def __call__(self, candidates: Sequence[Candidate]) -> list[Scores]:
        """The scores of each; the copies of a source come in order, one after the other."""

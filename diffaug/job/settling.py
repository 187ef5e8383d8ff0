"""How copies are settled: their scores, and whether filters keep them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from diffaug.job.copy import Copy, Item
from diffaug.judges import Panel
from diffaug.manifest.part import Row
from diffaug.recipe.filters import Filters

__all__ = ["score", "verdicts"]


def score(panel: Panel, items: Iterable[Item]) -> None:
    """Add the judges' scores to the rows of the copies that have an image."""
    copies = [item for item in items if isinstance(item, Copy) and item.image is not None]
    scores = panel([copy.candidate() for copy in copies])
    for copy, worth in zip(copies, scores, strict=True):
        copy.row |= worth


def verdicts(filters: Filters, group: Sequence[Item]) -> list[Row]:
    """The columns that filters add to each item; none to one that is kept or has no image.

    Args:
        filters: the recipe's.
        group: with their scores; the copies of a source together where they compete.
    """
    copies = [item for item in group if isinstance(item, Copy) and item.image is not None]
    found = iter(filters.verdicts([copy.row for copy in copies]))
    has_image = (isinstance(item, Copy) and item.image is not None for item in group)
    return [dict(next(found)) if has else {} for has in has_image]

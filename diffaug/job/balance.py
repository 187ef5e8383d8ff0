"""Copies by class: images of rare classes have more, so that each class comes out about as often.

The classes are counted once, when a job is planned, and the counts are frozen in run.json: shards
that are added later go by them, and a job that is continued makes what it would have made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from diffaug import storage
from diffaug.output.run import Run
from diffaug.recipe import Recipe
from diffaug.shards import read_samples
from diffaug.shards.reading import Label, Reading

__all__ = [
    "Shown",
    "average_copies",
    "copies_by_class",
    "copies_in",
    "count_classes",
    "described",
    "spanned",
]

Shown = Callable[[Iterable[str], int], Iterable[str]]
"""Yields the URLs of shards that are counted, of so many, and shows how far that is."""


def count_classes(
    urls: Sequence[str], reading: Reading, shown: Shown | None = None
) -> dict[int, int]:
    """How many samples each class has; every shard is read once, from its start to its end.

    Samples without an integer class are not counted.

    Args:
        urls: of the shards.
        reading: which member is the class.
        shown: shows how far it is.

    Raises:
        OSError: storage failed.
    """
    counts = Counter[int]()
    for url in urls if shown is None else shown(urls, len(urls)):
        with storage.open_whole(url) as source:
            for sample in read_samples(source.stream, {reading.label_key}.__contains__):
                number = reading.label(sample).number
                if number is not None and reading.is_sample(sample.names):
                    counts[number] += 1
    return dict(sorted(counts.items()))


def copies_by_class(recipe: Recipe, counts: Mapping[int, int]) -> dict[int, int]:
    """How many copies an image of each class has.

    Where the recipe balances classes, an image of the most frequent one has `copies`, and one of a
    class that is k times as rare k times as many, rounded, a half up, but never more than
    `max_copies`.

    Args:
        recipe: says how many copies.
        counts: of the images of each class.
    """
    if recipe.balance == "none":
        return dict.fromkeys(counts, recipe.copies)
    most = max(counts.values(), default=0)
    return {
        number: min(recipe.max_copies, (2 * recipe.copies * most + count) // (2 * count))
        for number, count in counts.items()
    }


def copies_in(run: Run) -> Callable[[Label], int]:
    """How many copies an image of a job has, by its class."""
    by_class, others = copies_by_class(run.recipe, run.class_counts or {}), run.recipe.copies
    return lambda label: others if label.number is None else by_class.get(label.number, others)


def average_copies(recipe: Recipe, counts: Mapping[int, int]) -> float:
    """How many copies an image has on average, of those that were counted."""
    made, images = _made(recipe, counts), sum(counts.values())
    return sum(made) / images if images else recipe.copies


def described(recipe: Recipe, counts: Mapping[int, int]) -> str:
    """What balanced classes come to, in a sentence."""
    copies, made = copies_by_class(recipe, counts), _made(recipe, counts)
    if not made:
        return "no image has a class: each has as many copies as the recipe says"
    return (
        f"images of a class: {spanned(counts.values())}; copies of an image: "
        f"{spanned(copies.values())}, of a class: {spanned(made)}, of all {len(counts)} classes: "
        f"{sum(made):,}"
    )


def _made(recipe: Recipe, counts: Mapping[int, int]) -> list[int]:
    """How many copies the images of each class have together."""
    copies = copies_by_class(recipe, counts)
    return [count * copies[number] for number, count in counts.items()]


def spanned(numbers: Iterable[int]) -> str:
    """Numbers from the lowest to the highest, for people."""
    low, high = min(numbers := list(numbers)), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"

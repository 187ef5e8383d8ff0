"""What the stages of a loader share: a recipe, where it is carried out, and the epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from diffaug.epoch import Epoch
from diffaug.execution import Execution
from diffaug.online.cache import Cache
from diffaug.online.engine import Engine, Given
from diffaug.online.samples import Sample, given, image_key, only_samples
from diffaug.output.layout import copy_key
from diffaug.recipe import Recipe
from diffaug.shards.census import Census
from diffaug.shards.reading import Reading

__all__ = ["Here", "Runs", "Stage", "StreamStage", "Where"]

T = TypeVar("T")


class Runs(Protocol):
    """Carries a recipe out."""

    def run(self, images: Iterable[Given[T]], copies: range) -> Iterator[tuple[T, int, Any]]:
        """Yield (tag, copy, result) for each copy of each image, in order, in the image's form."""

    def one(self, image: Given[T], copy: int) -> Any:
        """One copy of one image."""


class Where(Protocol):
    """Where recipes are carried out; it pickles, and holds no model and no connection."""

    def engine(self, recipe: Recipe) -> Runs:
        """What carries a recipe out there, in this process."""


@dataclass(frozen=True, slots=True)
class Here:
    """In this process.

    Attributes:
        execution: batch shape, dtype and device.
        cache: where results are kept; None to keep none.
    """

    execution: Execution
    cache: Cache | None = None

    def engine(self, recipe: Recipe) -> Engine:
        """See `Where`."""
        return Engine(recipe, self.execution, self.cache)


class Stage:
    """A recipe in a loader. It pickles without the model.

    Args:
        recipe: what to do to each image, or a dict of its fields.
        where: where to do it.

    Attributes:
        recipe: what to do to each image.
    """

    def __init__(self, recipe: Recipe, where: Where) -> None:
        self.recipe = recipe
        self._where = where
        self._epoch = Epoch()

    def set_epoch(self, epoch: int) -> None:
        """Use the randomness of an epoch, counted from 0, from the next pass on.

        It reaches the workers of a `DataLoader` too, including persistent ones. Call it between two
        passes: during a pass, which samples it affects depends on the workers' progress.

        Raises:
            ValueError: the epoch is negative.
        """
        self._epoch.set(epoch)

    def _engine(self) -> Runs:
        return self._where.engine(self.recipe)


class StreamStage(Stage):
    """A recipe over a stream of samples.

    Args:
        recipe: what to do to each image.
        where: where to do it.
        keep: whether to yield each sample itself too, before its copies.
    """

    def __init__(self, recipe: Recipe, where: Where, keep: bool) -> None:
        super().__init__(recipe, where)
        self.keep = keep
        self._census = Census(Reading.of(recipe))

    def __call__(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """Yield each sample's copies; epoch e yields numbers e * copies to (e + 1) * copies - 1.

        Raises:
            ConfigError: the recipe cannot be run here.
            DefectError: a sample has no image, or it or its condition is unusable.
            TypeError: it is not a stream of samples.
        """
        if not isinstance(samples, Iterable) or isinstance(samples, (dict, str, bytes)):
            raise TypeError(
                f"{type(self).__name__} takes a stream of samples (dicts), got "
                f"{type(samples).__name__}: use Augment for one sample, diffaug.augment for images"
            )
        recipe = self.recipe
        first = self._epoch.get() * recipe.copies
        images = (given(sample, recipe) for sample in only_samples(samples, self._census))
        copies = range(first, first + recipe.copies)
        for sample, copy, result in self._engine().run(images, copies):
            if self.keep and copy == first:
                yield sample
            key = copy_key(sample.get("__key__", ""), copy)
            yield {**sample, "__key__": key, image_key(sample, recipe): result}

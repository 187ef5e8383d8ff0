"""What the stages of a loader share: a recipe, where it is carried out, and the epoch."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
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

    def state_dict(self) -> dict[str, Any]:
        """What it takes to go on from here in another process, of plain numbers and names."""
        return {"epoch": self._epoch.get()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._epoch.set(state["epoch"])

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
        self._yielded = self._passed = 0

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and how many samples the last stream has yielded, in this process."""
        return {**super().state_dict(), "yielded": self._passed or self._yielded}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next stream go on from a state: what follows is what would have followed.

        That stream is to begin as the one did that the state was taken of: with `keep` and the
        recipe's copies, it is known how many of its samples had been done, and these are read and
        not augmented again.
        """
        super().load_state_dict(state)
        self._passed = state["yielded"]

    def __call__(self, samples: Iterable[Sample]) -> Generator[Sample, None, None]:
        """Yield each sample's copies; epoch e yields numbers e * copies to (e + 1) * copies - 1.

        Raises:
            ConfigError: the recipe cannot be run here, or by these servers.
            ConnectionError: no server answered for as long as the patience lasts.
            DefectError: a sample has no image, or it or its condition is unusable.
            TypeError: it is not a stream of samples.
        """
        if not isinstance(samples, Iterable) or isinstance(samples, (dict, str, bytes)):
            raise TypeError(
                f"{type(self).__name__} takes a stream of samples (dicts), got "
                f"{type(samples).__name__}: use Augment for one sample, diffaug.augment for images"
            )
        self._yielded, self._passed = self._passed, 0
        return self._rest(samples, self._yielded)

    def _rest(self, samples: Iterable[Sample], before: int) -> Generator[Sample, None, None]:
        """All but the first so many of what a stream of samples becomes."""
        done, within = divmod(before, self.recipe.copies + self.keep)
        left = islice(only_samples(samples, self._census), done, None)
        for sample in islice(self._augmented(left), within, None):
            self._yielded += 1
            yield sample

    def _augmented(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        recipe = self.recipe
        first = self._epoch.get() * recipe.copies
        images = (given(sample, recipe) for sample in samples)
        copies = range(first, first + recipe.copies)
        for sample, copy, result in self._engine().run(images, copies):
            if self.keep and copy == first:
                yield sample
            key = copy_key(sample.get("__key__", ""), copy)
            yield {**sample, "__key__": key, image_key(sample, recipe): result}

"""What the stages of a loader share: a recipe, where it is carried out, and the epoch."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

from diffaug.epoch import Epoch
from diffaug.errors import ConfigError
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
    """Carries a recipe out.

    Attributes:
        recipe: what it does, with the medium decided.
    """

    @property
    def recipe(self) -> Recipe:
        """See above."""

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
        """What it takes to continue from here in another process, of plain numbers and names."""
        return {"epoch": self._epoch.get()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the state's epoch, unless `set_epoch` was called.

        Raises:
            ConfigError: it is not a state of such a stage.
        """
        if not self.state_dict().keys() <= state.keys():
            raise ConfigError(f"load_state_dict: this is not a state of {type(self).__name__}")
        self._epoch.set_if_none_is(state["epoch"])

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
        self._census: Census | None = None
        self._run: dict[str, int] | None = None
        self._loaded: dict[str, int] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and how many samples the stream that began last has yielded."""
        epoch = self._epoch.get()
        for known in (self._loaded, self._run):
            if known is not None and known["epoch"] == epoch:
                return dict(known)
        return {"epoch": epoch, "yielded": 0}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next stream continue from a state: what follows is what would have followed.

        It must be given the samples from the first one on: those whose copies had all come out are
        read, and not augmented again. The epoch comes with the state, unless `set_epoch` was
        called: in another epoch than the state's, the stream is a whole one.

        Raises:
            ConfigError: it is not a state of such a stage.
        """
        super().load_state_dict(state)
        self._loaded = {"epoch": state["epoch"], "yielded": state["yielded"]}

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
        self._run = None
        return self._rest(samples)

    def _rest(self, samples: Iterable[Sample]) -> Generator[Sample, None, None]:
        """What a stream of samples becomes, or the rest of it after the loaded state."""
        epoch, loaded, self._loaded = self._epoch.get(), self._loaded, None
        before = loaded["yielded"] if loaded is not None and loaded["epoch"] == epoch else 0
        run = self._run = {"epoch": epoch, "yielded": before}
        done, within = divmod(before, self.recipe.copies + self.keep)
        engine = self._engine()
        self._census = self._census or Census(Reading.of(engine.recipe))
        left = islice(only_samples(samples, self._census), done, None)
        with closing(self._augmented(left, engine, epoch)) as made:
            for sample in islice(made, within, None):
                run["yielded"] += 1
                yield sample

    def _augmented(
        self, samples: Iterable[Sample], engine: Runs, epoch: int
    ) -> Generator[Sample, None, None]:
        recipe = engine.recipe
        first = epoch * recipe.copies
        images = (given(sample, recipe) for sample in samples)
        copies = range(first, first + recipe.copies)
        for sample, copy, result in engine.run(images, copies):
            if self.keep and copy == first:
                yield sample
            key = copy_key(sample.get("__key__", ""), copy)
            yield {**sample, "__key__": key, image_key(sample, recipe): result}

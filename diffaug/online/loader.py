"""Augmenting in a data loader: `Augment`, a sample at a time, and `Augmenter`, a stream of them.

Both draw their randomness from each image and the epoch, so workers and order change nothing.
Both pickle without the model, which each process loads when it first needs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from string import Formatter
from typing import Any

from diffaug.epoch import Epoch
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.online.cache import Cache
from diffaug.online.engine import Engine, Given
from diffaug.online.samples import given, image_key
from diffaug.output.layout import copy_key
from diffaug.recipe import Recipe

__all__ = ["Augment", "Augmenter"]


class _InLoader:
    """What the two share: recipe, execution, cache and epoch, without a model."""

    def __init__(
        self,
        recipe: Recipe,
        execution: Execution,
        cache: str | os.PathLike[str] | None,
    ) -> None:
        self.recipe = recipe
        self._execution = execution
        self._cache = None if cache is None else Cache(cache)
        self._epoch = Epoch()

    def set_epoch(self, epoch: int) -> None:
        """Take the randomness of an epoch, counted from 0, from the next pass on.

        It reaches the workers of a `DataLoader` too, persistent ones included. Call it between
        two passes: during one, it depends on the workers' progress which samples it meets.

        Raises:
            ValueError: it is negative.
        """
        self._epoch.set(epoch)

    def _engine(self) -> Engine:
        return Engine(self.recipe, self._execution, self._cache)


class Augment(_InLoader):
    """Augments one image at a time, at batch shape 1: simple, and slower than `Augmenter`.

    Use it as a transform, in torchvision's `Compose` or webdataset's `map`: a PIL image or a
    tensor (see `augment`) gives one of its kind; a sample, a dict, gives a new one with its image
    replaced and all else as it was, `__key__` too.

    One image gives one image: the epoch takes the copy's place, so `copies` of the recipe counts
    for nothing, and lists of strengths or prompts are cycled over epochs. Epoch 0 gives what a
    job of `batch_size` 1 writes as copy 0. Whether an image is augmented is drawn from the image
    and the epoch, as its noise is.

    Args:
        recipe: what to do to each image. Its keys say which members of a sample are read.
        p: the share of images that are augmented, in [0, 1]; the others come out as they are.
        cache: a folder in which results are kept, to be read instead of made again; see `Cache`.
        dtype: float32 or bfloat16; by default what this machine is fast at.
        device: cpu, cuda or cuda:N; by default cuda where there is one.

    Raises:
        ConfigError: `dtype` or `device` cannot be had here.
        ValueError: `p` is not in [0, 1].
    """

    def __init__(
        self,
        recipe: Recipe,
        p: float = 1.0,
        *,
        cache: str | os.PathLike[str] | None = None,
        dtype: str | None = None,
        device: str | None = None,
    ) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p must be in [0, 1], the share of images to augment, got {p:g}")
        super().__init__(recipe, Execution.choose(1, dtype, device), cache)
        self.p = p
        self._loaded: Engine | None = None

    def __call__(self, sample: Any) -> Any:
        """The image, or the sample with its image, augmented; or what was given.

        Raises:
            ConfigError: the recipe cannot be carried out here, or needs more than a bare image.
            DefectError: there is no image, or it or what conditions it is not usable.
            TypeError: it is neither an image nor a sample.
            ValueError: a tensor of another shape or range.
        """
        if self._loaded is None:
            self._loaded = self._engine()
        epoch = self._epoch.get()
        one = given(sample, self.recipe) if isinstance(sample, dict) else self._bare(sample)
        if not self._loaded.chance(one, epoch, self.p):
            return sample
        ((_, _, result),) = self._loaded.run([one], range(epoch, epoch + 1))
        if isinstance(sample, dict):
            return {**sample, image_key(sample, self.recipe): result}
        return result

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loaded": None}

    def _bare(self, image: Any) -> Given[Any]:
        """An image by itself, under a recipe that needs nothing else."""
        recipe = self.recipe
        parsed = (part for prompt in recipe.prompt for part in Formatter().parse(prompt))
        wants = {
            "condition": recipe.condition == "label",
            "prompt": any(name is not None for _, name, _, _ in parsed),
            "mask_key": recipe.mask_key is not None,
        }
        for name in (name for name, wanted in wants.items() if wanted):
            raise ConfigError(
                f"{name}: the recipe reads it from a sample, and an image has no members: give "
                "Augment or Augmenter samples (dicts), or diffaug.augment the labels"
            )
        return Given(image, "the image", image)


class Augmenter(_InLoader):
    """Augments a stream of samples, batched through the lanes.

    Use it with `webdataset`'s `compose` after `decode("pil")` or `decode("torchrgb")`, or on any
    iterable of dicts. For each sample it yields its copies as samples of the same form, in
    order, `__key__` ending in `-a<copy>`. It reads two batches ahead.

    Args:
        recipe: what to do to each image. Its keys say which members of a sample are read.
        keep: whether each sample itself is yielded too, before its copies.
        cache: a folder in which results are kept, to be read instead of made again; see `Cache`.
        batch_size: lanes of the fixed batch shape, 32 by default.
        dtype: float32 or bfloat16; by default what this machine is fast at.
        device: cpu, cuda or cuda:N; by default cuda where there is one.

    Raises:
        ConfigError: `batch_size`, `dtype` or `device` cannot be had here.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        keep: bool = False,
        cache: str | os.PathLike[str] | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(recipe, Execution.choose(batch_size, dtype, device), cache)
        self.keep = keep

    def __call__(self, samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield each sample's copies; epoch e has those from e * copies on.

        Raises:
            ConfigError: the recipe cannot be carried out here.
            DefectError: a sample has no image, or it or what conditions it is not usable.
        """
        recipe = self.recipe
        first = self._epoch.get() * recipe.copies
        images = (given(sample, recipe) for sample in samples)
        copies = range(first, first + recipe.copies)
        for sample, copy, result in self._engine().run(images, copies):
            if self.keep and copy == first:
                yield sample
            key = copy_key(sample.get("__key__", ""), copy)
            yield {**sample, "__key__": key, image_key(sample, recipe): result}

"""Augmenting in a data loader: `Augment` takes one sample at a time, `Augmenter` a stream of them.

Both draw their randomness from each image and the epoch, so workers and order change nothing.
Both pickle without the model; each process loads it when it first needs it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.online.cache import Cache
from diffaug.online.client import Remote
from diffaug.online.engine import Given, is_drawn
from diffaug.online.samples import given, image_key
from diffaug.online.stage import Here, Runs, Stage, StreamStage, Where
from diffaug.recipe import Recipe
from diffaug.recipe.prompts import named_by

__all__ = ["Augment", "Augmenter"]


class Augment(Stage):
    """Augments one image at a time, at batch shape 1: simple, but slower than `Augmenter`.

    Use it as a transform, in torchvision's `Compose` or webdataset's `map`. A PIL image or a tensor
    (see `augment`) becomes one of the same kind; with medium=clip a clip does, and with a language
    model a text (see `Augmenter`). A sample, a dict, becomes a new one with its image replaced and
    everything else unchanged, including `__key__`.

    One image gives one image: the epoch acts as the copy's number, so the recipe's `copies` has no
    effect, and lists of strengths or prompts are cycled over epochs. Epoch 0 gives what a job of
    `batch_size` 1 writes as copy 0. Whether an image is augmented is drawn from the image and the
    epoch, as its noise is.

    Args:
        recipe: what to do to each image, or a dict of its fields. Its keys name the members of a
            sample that are read.
        p: the probability that an image is augmented, in [0, 1]; the others pass unchanged.
        url: the address of a `diffaug serve` that makes the images, or several, in its batch size,
            dtype and device; see `RemoteAugmenter`. By default they are made in this process.
        token: one of the server's tokens.
        cache: a folder that keeps results, so that they are read, not made again; see `Cache`.
        dtype: float32 or bfloat16; by default the faster one on this machine.
        device: cpu, cuda or cuda:N; by default cuda if available.

    Raises:
        ConfigError: `dtype` or `device` is not available here, or is given besides `url`.
        ValueError: `p` is not in [0, 1].
    """

    def __init__(
        self,
        recipe: Recipe | Mapping[str, Any],
        p: float = 1.0,
        *,
        url: str | Sequence[str] | None = None,
        token: str | None = None,
        cache: str | os.PathLike[str] | None = None,
        dtype: str | None = None,
        device: str | None = None,
    ) -> None:
        if not _is_probability(p):
            raise ValueError(f"p must be a probability in [0, 1], got {p!r}")
        recipe = Recipe.taken(recipe)
        if url is None:
            if token is not None:
                raise ConfigError("token: it is for a server: give its url too")
            where: Where = Here(Execution.choose(1, dtype, device), _cache(cache))
        else:
            own = {"cache": cache, "dtype": dtype, "device": device}
            for name in (name for name, value in own.items() if value is not None):
                raise ConfigError(f"{name}: a server has its own: leave it out, or url")
            where = Remote.of(url, recipe, token)
        super().__init__(recipe, where)
        self.p = p
        self._loaded: Runs | None = None

    def __call__(self, sample: Any) -> Any:
        """The image, or the sample with its image, augmented; if not drawn, what was given.

        Raises:
            ConfigError: the recipe cannot be run here or is not served at `url`, or it requires
                more than a bare image.
            ConnectionError: no server at `url` answered for ten minutes.
            DefectError: there is no image, or it or its condition is unusable.
            TypeError: it is neither an image nor a sample.
            ValueError: a tensor has another shape or range.
        """
        if self._loaded is None:
            self._loaded = self._engine()
        epoch, recipe = self._epoch.get(), self._loaded.recipe
        one = given(sample, recipe) if isinstance(sample, dict) else _bare(sample, recipe)
        if not is_drawn(one, recipe, epoch, self.p):
            return sample
        result = self._loaded.one(one, epoch)
        if isinstance(sample, dict):
            return {**sample, image_key(sample, recipe): result}
        return result

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loaded": None}


def _bare(image: Any, recipe: Recipe) -> Given[Any]:
    """A bare image, for a recipe that requires nothing else of a sample."""
    what = recipe.medium or "image"
    required = {
        "condition": recipe.condition == "label",
        "prompt": bool(named_by(recipe.prompt)),
        "mask_key": recipe.mask_key is not None,
    }
    for name in (name for name, is_required in required.items() if is_required):
        raise ConfigError(
            f"{name}: the recipe reads it from a sample, and a bare {what} has no members: pass "
            "samples (dicts) to Augment or Augmenter, or labels to diffaug.augment"
        )
    return Given(image, f"the {what}", image)


def _is_probability(p: object) -> bool:
    return isinstance(p, Real) and 0 <= float(p) <= 1


class Augmenter(StreamStage):
    """Augments a stream of samples, batched through the lanes.

    Use it with `webdataset`'s `compose` after `decode("pil")` or `decode("torchrgb")`, or on any
    iterable of dicts. For each sample it yields the copies as samples of the same form, in order,
    with a `__key__` that ends in `-a<copy>`. With medium=clip a sample holds a clip: the bytes of a
    file, a tensor (T, C, H, W), an array (T, H, W, C) or a list of pictures. With a language model
    it holds a text, in `txt` unless the recipe's text_key names another member: a `str`, or the
    bytes of a file in UTF-8. With text_key=json:FIELD it holds a JSON object, as a dict or bytes,
    of which the field is replaced and the rest kept, where a job writes the text alone, as `txt`.
    It reads two batches ahead. Like a job, it passes over what is no sample, such as a README.txt
    in a tar, and logs that.

    Args:
        recipe: what to do to each image, or a dict of its fields. Its keys name the members of a
            sample that are read.
        keep: whether to yield each sample itself too, before its copies.
        cache: a folder that keeps results, so that they are read, not made again; see `Cache`.
        batch_size: lanes in the fixed batch shape, 32 by default.
        dtype: float32 or bfloat16; by default the faster one on this machine.
        device: cpu, cuda or cuda:N; by default cuda if available.

    Raises:
        ConfigError: `batch_size`, `dtype` or `device` is not available here.
    """

    def __init__(
        self,
        recipe: Recipe | Mapping[str, Any],
        *,
        keep: bool = False,
        cache: str | os.PathLike[str] | None = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        device: str | None = None,
    ) -> None:
        recipe = Recipe.taken(recipe)
        super().__init__(
            recipe, Here(Execution.choose(batch_size, dtype, device), _cache(cache)), keep
        )


def _cache(folder: str | os.PathLike[str] | None) -> Cache | None:
    return None if folder is None else Cache(folder)

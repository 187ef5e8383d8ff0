"""`augment`: one image, clip or text, or a batch, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.online.engine import Engine, Given
from diffaug.recipe import Recipe
from diffaug.shards.reading import Label, label_of

__all__ = ["augment"]


def augment(
    images: Any,
    recipe: Recipe | Mapping[str, Any],
    *,
    labels: int | str | Sequence[int | str] | Tensor | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
) -> Any:
    """Noise and reconstruct images or clips (SDEdit, Meng et al. 2022), as a job would.

    Of texts, some words are hidden and predicted back.

    Args:
        images: a PIL image, a tensor (C, H, W), or a batch: a list of either, or a tensor
            (B, C, H, W). C is 1 or 3. Tensors are uint8 in [0, 255], or floating point in
            [0, 1], which are rounded to 8 bits. With medium=clip, a clip as `Augmenter` takes it
            (bytes, a tensor (T, C, H, W), an array (T, H, W, C), or a list of pictures), or a
            batch: a list of such clips, a tensor (B, T, C, H, W) or an array (B, T, H, W, C). With
            a language model, a text or a list of texts: `str`, or bytes in UTF-8.
        recipe: what to do to each image, or a dict of its fields.
        labels: the classes, one for a single image, else one per image: integers, or words, which
            become a prompt's {label_text}. Required if the recipe's condition or prompt uses them.
        batch_size: lanes in the fixed batch shape, 32 by default. Pixels can depend on it.
        dtype: float32 or bfloat16; by default the faster one on this machine.
        device: cpu, cuda or cuda:N; by default cuda if available.

    Returns:
        The images, clips or texts, augmented, in the form they were given: PIL for PIL, tensors of
        the same dtype for tensors, a batch tensor for a batch tensor. With `copies` above 1, each
        becomes a list of its copies.

    Raises:
        ConfigError: the recipe cannot be run here.
        OutOfMemoryError: a network call does not fit into memory; the message states what fits.
        DefectError: an image or label is unusable; the message names it.
        TypeError: what was given is not images, or the labels are not classes.
        ValueError: a tensor has another shape or range.
    """
    recipe = Recipe.taken(recipe)
    if recipe.mask_key is not None:
        raise ConfigError("mask_key: bare images have no members: use Augmenter, or leave it out")
    engine = Engine(recipe, Execution.choose(batch_size, dtype, device))
    what = engine.recipe.medium or "image"
    batch, single = engine.form.listed(images)
    given = _given(what, batch, _labels(labels, what, len(batch)))
    results: list[list[Any]] = [[] for _ in batch]
    for position, _, result in engine.run(given, range(recipe.copies)):
        results[position].append(result)
    if recipe.copies > 1:
        return results[0] if single else results
    flat = [copies[0] for copies in results]
    if single:
        return flat[0]
    if isinstance(images, (Tensor, np.ndarray)):
        return _stacked(flat) if flat else images
    return flat


def _stacked(results: list[Any]) -> Any:
    return np.stack(results) if isinstance(results[0], np.ndarray) else torch.stack(results)


def _labels(labels: Any, what: str, count: int) -> list[Label]:
    if labels is None:
        return [Label()] * count
    if isinstance(labels, Tensor):
        labels = labels.tolist()
    if isinstance(labels, (Mapping, Set)) or not isinstance(labels, (Integral, Iterable)):
        raise TypeError(f"labels must be a class or a list of them, got {type(labels).__name__}")
    given = [labels] if isinstance(labels, (Integral, str)) else list(labels)
    if len(given) != count:
        raise ValueError(f"{count} {what}s need {count} labels, got {len(given)}")
    try:
        return list(map(label_of, given))
    except TypeError:
        raise TypeError(f"labels must be whole numbers or words, got {given!r}") from None


def _given(what: str, batch: list[Any], labels: list[Label]) -> Iterator[Given[int]]:
    for position, (one, label) in enumerate(zip(batch, labels, strict=True)):
        yield Given(position, f"{what} {position}", one, label)

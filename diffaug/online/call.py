"""`augment`: images in hand, one or a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.online.engine import Engine, Given
from diffaug.recipe import Recipe
from diffaug.shards.reading import Label, label_of

__all__ = ["augment"]


def augment(
    images: Any,
    recipe: Recipe,
    *,
    labels: int | str | Sequence[int | str] | Tensor | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
) -> Any:
    """Noise and reconstruct images (SDEdit, Meng et al. 2022), as a job with this recipe would.

    Args:
        images: a PIL image, a tensor (C, H, W), or a batch: a list of either, or a tensor
            (B, C, H, W). C is 1 or 3. Tensors are uint8 in [0, 255] or floating in [0, 1],
            which is rounded to 8 bits.
        recipe: what to do to each.
        labels: their classes, one for one image or one for each: integers, or words, which are
            a prompt's {label_text}. Needed where the recipe's condition or prompt names them.
        batch_size: lanes of the fixed batch shape, 32 by default. It is part of what a result is.
        dtype: float32 or bfloat16; by default what this machine is fast at.
        device: cpu, cuda or cuda:N; by default cuda where there is one.

    Returns:
        What came in, augmented: PIL for PIL, tensors of the same dtype for tensors, a batch
        tensor for a batch tensor. With `copies` above 1, a list of copies in each image's place.

    Raises:
        ConfigError: the recipe cannot be carried out here.
        OutOfMemoryError: a network's call does not fit into memory; the text says what does.
        DefectError: an image or label is not usable; the text says which.
        TypeError: not images.
        ValueError: tensors of another shape or range.
    """
    if recipe.mask_key is not None:
        raise ConfigError("mask_key: images have no members: use Augmenter, or leave it out")
    engine = Engine(recipe, Execution.choose(batch_size, dtype, device))
    batch, single = _as_list(images)
    known = _labels(labels, len(batch))
    results: list[list[Any]] = [[] for _ in batch]
    for position, _, result in engine.run(_given(batch, known), range(recipe.copies)):
        results[position].append(result)
    if recipe.copies > 1:
        return results[0] if single else results
    flat = [copies[0] for copies in results]
    if single:
        return flat[0]
    return torch.stack(flat) if isinstance(images, Tensor) and flat else (flat or images)


def _as_list(images: Any) -> tuple[list[Any], bool]:
    """The images as a list, and whether there was just one."""
    if isinstance(images, Tensor) and images.ndim == 4:
        return list(images), False
    if isinstance(images, (Tensor, Image.Image)):
        return [images], True
    if isinstance(images, Sequence) and not isinstance(images, (str, bytes)):
        return list(images), False
    raise TypeError(f"images must be PIL images or tensors, got {type(images).__name__}")


def _labels(labels: Any, count: int) -> list[Label]:
    if labels is None:
        return [Label()] * count
    if isinstance(labels, Tensor):
        labels = labels.tolist()
    given = [labels] if isinstance(labels, (Integral, str)) else list(labels)
    if len(given) != count:
        raise ValueError(f"{count} images need {count} labels, got {len(given)}")
    return list(map(label_of, given))


def _given(batch: list[Any], labels: list[Label]) -> Iterator[Given[int]]:
    for position, (image, label) in enumerate(zip(batch, labels, strict=True)):
        yield Given(position, f"image {position}", image, label)

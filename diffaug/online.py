"""Augmenting outside a job: `augment` for images in hand, `Augmenter` in a data loader.

Both give, for the same picture, recipe and batch size, what a job writes, pixel for pixel. A
result is widened to RGB where the input was RGB and the model is grey; colour is never taken away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffaug.codec import picture
from diffaug.edit import Editor, Finish, SampleFields
from diffaug.errors import ConfigError, DefectError
from diffaug.execution import Execution
from diffaug.lanes import Edit
from diffaug.models import Checkpoint, checkpoint_of
from diffaug.recipe import Recipe
from diffaug.shards import integer

__all__ = ["Augmenter", "augment"]

ImageLike = TypeVar("ImageLike", Image.Image, Tensor)


def augment(
    images: Any,
    recipe: Recipe,
    *,
    labels: int | str | Sequence[int | str] | Tensor | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
) -> Any:
    """Noise and reconstruct images.

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
        DefectError: an image or label is not usable; the text says which.
        TypeError: not images.
        ValueError: tensors of another shape or range.
    """
    if recipe.mask_key is not None:
        raise ConfigError("mask_key: images have no members: use Augmenter, or leave it out")
    editor = _editor(recipe, Execution.choose(batch_size, dtype, device))
    batch, single = _as_list(images)
    fields = _fields(labels, len(batch))
    results: list[list[Any]] = [[] for _ in batch]
    for position, _, result in _run(editor, _inputs(batch, fields), range(recipe.copies)):
        results[position].append(result)
    if recipe.copies > 1:
        return results[0] if single else results
    flat = [copies[0] for copies in results]
    if single:
        return flat[0]
    return torch.stack(flat) if isinstance(images, Tensor) and flat else (flat or images)


class Augmenter:
    """Augments a stream of webdataset samples, batched through the lanes.

    Use it with `webdataset`'s `compose` after `decode("pil")` or `decode("torchrgb")`, or on any
    iterable of dicts. For each sample it yields its copies as samples of the same form, in
    order, `__key__` ending in `-a<copy>`. It reads two batches ahead.

    Args:
        recipe: what to do to each image. Its image keys say which member that is.
        keep: whether each sample itself is yielded too, before its copies.
        batch_size: lanes of the fixed batch shape, 32 by default.
        dtype: float32 or bfloat16; by default what this machine is fast at.
        device: cpu, cuda or cuda:N; by default cuda where there is one.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        keep: bool = False,
        batch_size: int | None = None,
        dtype: str | None = None,
        device: str | None = None,
    ) -> None:
        self.recipe = recipe
        self.keep = keep
        self._execution = Execution.choose(batch_size, dtype, device)
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take new randomness for an epoch, counted from 0: its copies follow the last one's."""
        self._epoch = epoch

    def __call__(self, samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield each sample's copies.

        Raises:
            DefectError: a sample has no image, or no usable label under `condition: label`.
        """
        editor = _editor(self.recipe, self._execution)
        first = self._epoch * self.recipe.copies
        copies = range(first, first + self.recipe.copies)
        for sample, copy, result in _run(editor, map(self._input, samples), copies):
            if self.keep and copy == first:
                yield sample
            key = f"{sample.get('__key__', '')}-a{copy}"
            yield {**sample, "__key__": key, self._image_key(sample): result}

    def _input(self, sample: dict[str, Any]) -> tuple[dict[str, Any], Any, SampleFields, Any]:
        text, label = sample.get("txt"), sample.get(self.recipe.label_key)
        fields: SampleFields = {"key": sample.get("__key__")}
        if text is not None:
            fields["label_text"] = _text(text)
        if label is not None:
            fields |= _field(label)
        mask = sample.get(self.recipe.mask_key or "")
        return sample, sample[self._image_key(sample)], fields, mask

    def _image_key(self, sample: dict[str, Any]) -> str:
        for key in self.recipe.image_keys:
            if key in sample:
                return key
        raise DefectError(
            "no_image",
            f"{_name(sample)} has none of the image members "
            f"{', '.join(self.recipe.image_keys)}: set the recipe's image_key",
        )


T = TypeVar("T")


def _run(
    editor: Editor, inputs: Iterable[tuple[T, Any, SampleFields, Any]], copies: range
) -> Iterator[tuple[T, int, Any]]:
    """Yield (tag, copy, result) for each copy of each (tag, image, fields, mask), in order."""

    def planned() -> Iterator[tuple[tuple[T, Any, Image.Image, int, Finish], Edit | None]]:
        for tag, image, fields, mask in inputs:
            with _naming(tag):
                source = picture(_to_pil(image))
                changes = None if mask is None else picture(_to_pil(mask, "masks"))
                drafts = editor.drafts(source, fields, copies, changes)
            for draft in drafts:
                yield (tag, image, source, draft.copy, draft.finish), draft.edit

    for (tag, image, source, copy, finish), x_0 in editor.lanes().run(planned()):
        assert x_0 is not None
        with _naming(tag):
            result = finish.picture(x_0, source)
        yield tag, copy, _like(result, image)


def _name(tag: Any) -> str:
    """What an error calls an input: a sample by its key, an image by its place."""
    return f"sample {tag.get('__key__')!r}" if isinstance(tag, dict) else f"image {tag}"


@contextmanager
def _naming(tag: Any) -> Iterator[None]:
    """Say in a defect which input has it."""
    try:
        yield
    except DefectError as defect:
        raise DefectError(defect.code, f"{_name(tag)}: {defect.reason}") from None


@lru_cache(maxsize=2)
def _editor_for(recipe_json: str, checkpoint: Checkpoint, execution: Execution) -> Editor:
    return Editor(Recipe.model_validate_json(recipe_json), checkpoint, execution)


def _editor(recipe: Recipe, execution: Execution) -> Editor:
    return _editor_for(recipe.model_dump_json(), checkpoint_of(recipe), execution)


def _as_list(images: Any) -> tuple[list[Any], bool]:
    """The images as a list, and whether there was just one."""
    if isinstance(images, Tensor) and images.ndim == 4:
        return list(images), False
    if isinstance(images, (Tensor, Image.Image)):
        return [images], True
    if isinstance(images, Sequence) and not isinstance(images, (str, bytes)):
        return list(images), False
    raise TypeError(f"images must be PIL images or tensors, got {type(images).__name__}")


def _fields(labels: Any, count: int) -> list[SampleFields]:
    if labels is None:
        return [{}] * count
    if isinstance(labels, Tensor):
        labels = labels.tolist()
    given = [labels] if isinstance(labels, (int, str)) else list(labels)
    if len(given) != count:
        raise ValueError(f"{count} images need {count} labels, got {len(given)}")
    return [{} if label is None else _field(label) for label in given]


def _field(label: Any) -> SampleFields:
    """A label as a job reads it from a shard: an integer is the class, anything else its text."""
    if not isinstance(label, (bytes, str)):
        return {"label": int(label)}
    text = _text(label)
    value = integer(text)
    return {"label_text": text} if value is None else {"label": value}


def _text(value: Any) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip()


def _inputs(
    batch: list[Any], fields: list[SampleFields]
) -> Iterator[tuple[int, Any, SampleFields, None]]:
    for position, (image, known) in enumerate(zip(batch, fields, strict=True)):
        yield position, image, known, None


def _to_pil(image: Any, what: str = "images") -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, np.ndarray):
        raise TypeError(f'{what} must be PIL images or tensors: decode with "pil" or "torchrgb"')
    if not isinstance(image, Tensor):
        raise TypeError(f"{what} must be PIL images or tensors, got {type(image).__name__}")
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"an image tensor must be (1 or 3, H, W), got {tuple(image.shape)}")
    if image.is_floating_point():
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"a float image must be in [0, 1], got [{low:g}, {high:g}]")
        image = (image.float() * 255).round()
    elif image.dtype != torch.uint8:
        raise ValueError(f"an image tensor must be uint8 or floating, got {image.dtype}")
    pixels = image.to("cpu", torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _like(result: Image.Image, given: ImageLike) -> ImageLike:
    """The result in the kind of what was given; grey is widened where RGB was given."""
    if isinstance(given, Image.Image):
        grey = given.mode in ("1", "L", "LA", "I;16")
        return result if grey else result.convert("RGB")
    pixels = np.asarray(result if given.shape[0] == 1 else result.convert("RGB"))
    tensor = torch.from_numpy(np.array(pixels.reshape(*pixels.shape[:2], -1))).permute(2, 0, 1)
    tensor = tensor.to(given.device)
    if given.is_floating_point():
        return (tensor.float() / 255).to(given.dtype)
    return tensor.contiguous()

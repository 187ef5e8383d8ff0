"""What of a loader's sample, a dict, is the image, its mask, and what can condition the model."""

from __future__ import annotations

from operator import index
from typing import Any

from diffaug.editor import SampleFields
from diffaug.errors import DefectError
from diffaug.online.engine import Given
from diffaug.recipe import Recipe
from diffaug.shards import integer

__all__ = ["Sample", "given", "image_key", "label_fields"]

Sample = dict[str, Any]
"""As webdataset has them: members by their extension, and `__key__`."""


def given(sample: Sample, recipe: Recipe) -> Given[Sample]:
    """The image of a sample, with what a job would read beside it.

    Raises:
        DefectError: there is no image member.
    """
    text, label = sample.get("txt"), sample.get(recipe.label_key)
    fields: SampleFields = {"key": sample.get("__key__")}
    if text is not None:
        fields["label_text"] = _text(text)
    if label is not None:
        fields |= label_fields(label)
    image, mask = sample[image_key(sample, recipe)], sample.get(recipe.mask_key or "")
    return Given(sample, _name(sample), image, fields, mask)


def image_key(sample: Sample, recipe: Recipe) -> str:
    """The member that holds the image.

    Raises:
        DefectError: there is none.
    """
    for key in recipe.image_keys:
        if key in sample:
            return key
    raise DefectError(
        "no_image",
        f"{_name(sample)} has none of the image members "
        f"{', '.join(recipe.image_keys)}: set the recipe's image_key",
    )


def label_fields(label: Any) -> SampleFields:
    """A label as a job reads it from a shard: an integer is the class, anything else its text."""
    if not isinstance(label, (bytes, str)):
        return {"label": index(label)}
    text = _text(label)
    value = integer(text)
    return {"label_text": text} if value is None else {"label": value}


def _name(sample: Sample) -> str:
    return f"sample {sample.get('__key__')!r}"


def _text(value: Any) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip()

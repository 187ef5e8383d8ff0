"""Which members of a loader's sample, a dict, are the image, its mask, and its condition.

The image may be a clip or a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from diffaug.errors import DefectError
from diffaug.online.engine import Given
from diffaug.recipe import Recipe
from diffaug.shards.census import Census
from diffaug.shards.reading import Reading, label_of

__all__ = ["Sample", "given", "image_key", "only_samples"]

Sample = dict[str, Any]
"""As webdataset yields it: members by extension, and `__key__`."""


def only_samples(stream: Iterable[Sample], census: Census) -> Iterator[Sample]:
    """Those that a job would take for samples; what else there is, the log says at the end.

    Raises:
        TypeError: something in the stream is no dict.
    """
    found = census.of("the stream")
    for sample in stream:
        if not isinstance(sample, dict):
            raise TypeError(
                f"a sample must be a dict of members, as webdataset yields it, got "
                f"{type(sample).__name__}: call Augmenter before to_tuple, on the stream of "
                "samples, or use diffaug.augment for bare images"
            )
        if found.takes(str(sample.get("__key__")), _members(sample)):
            yield sample
    found.end()


def given(sample: Sample, recipe: Recipe) -> Given[Sample]:
    """The image of a sample, and whatever else a job would read from it.

    Raises:
        DefectError: there is no image member.
        TypeError: its class is of another type.
    """
    text_key = Reading.of(recipe).text_key or ""
    try:
        label = label_of(sample.get(recipe.label_key), sample.get(text_key))
    except TypeError:
        kind = type(sample[recipe.label_key]).__name__
        raise TypeError(
            f"{_name(sample)}: its class, {recipe.label_key}, must be a whole number or text, got "
            f"{kind}"
        ) from None
    return Given(
        tag=sample,
        name=_name(sample),
        image=sample[image_key(sample, recipe)],
        label=label,
        key=sample.get("__key__"),
        mask=sample.get(recipe.mask_key or ""),
    )


def image_key(sample: Sample, recipe: Recipe) -> str:
    """The member that holds the image.

    Raises:
        DefectError: there is no such member.
    """
    try:
        return Reading.of(recipe).image_key(_members(sample))
    except DefectError as defect:
        raise DefectError(defect.code, f"{_name(sample)}: {defect.reason}") from None


def _members(sample: Sample) -> list[str]:
    return [name for name in sample if not name.startswith("__")]


def _name(sample: Sample) -> str:
    return f"sample {sample.get('__key__')!r}"

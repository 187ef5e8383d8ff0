"""Further images with classes of their own, such as samples or pseudo-labelled ones, as an arm."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.evaluation.images.pictures import (
    Form,
    LeftOut,
    Samples,
    each_picture,
    frames_of,
    write_shard,
)
from diffaug.evaluation.images.pool import Draw, Places
from diffaug.evaluation.plan import EvaluationPlan
from diffaug.recipe import Recipe

__all__ = ["Further", "take_further"]


@dataclass(frozen=True, slots=True)
class Further:
    """Images that have nothing to do with the labelled ones.

    Attributes:
        images: N of them.
        classes: int64 (N,), from 0.
    """

    images: Samples
    classes: NDArray[np.int64]

    def draw(self, places: Places, random: np.random.Generator) -> Draw:
        """As many of them as there are places, each as likely."""
        drawn = random.integers(len(self.images), size=len(places))
        return Draw(places, self.images[drawn], self.classes[drawn])


def take_further(
    name: str,
    place: str,
    form: Form,
    path: Path,
    classes: Collection[int],
    tested: Collection[str],
    plan: EvaluationPlan,
) -> None:
    """Write the images of an arm as a shard of OUTPUT.

    Args:
        name: of the arm.
        place: shards with classes: a file, glob or brace range.
        form: what all images are brought to.
        path: the shard to write.
        classes: of the source.
        tested: digests of the pixels of what it is scored on.
        plan: the evaluation, whose medium says how they are read.

    Raises:
        ConfigError: no image can be used, one has a class that the source lacks or cannot be
            decoded, or one is among `tested`.
        OSError: a shard cannot be read.
    """
    left_out, recipe, kind = LeftOut(), plan.recipe, plan.settings.kind
    read = Recipe.of(
        recipe.model_dump(include={"medium", "frames", "fps", "window"}, exclude_none=True)
    )
    pictures = list(each_picture(storage.expand([place]), read, left_out))
    if left_out.count or not pictures:
        why = f": {left_out.first[0]}" if left_out.first else ""
        raise ConfigError(
            f"{name}: {left_out.count} of the {left_out.count + len(pictures)} samples of "
            f"{storage.public_url(place)} cannot be used{why}"
        )
    if strange := {picture.label for picture in pictures} - set(classes):
        raise ConfigError(f"{name}: no {kind.noun} of the source has the class {min(strange)}")
    if found := sum(picture.pixels in tested for picture in pictures):
        raise ConfigError(
            f"{name}: {found} of its {kind.noun}s are test {kind.noun}s or, on trial, validation "
            f"{kind.noun}s, {kind.alike}: leave them out"
        )
    if any(frames_of(picture.image) != form.frames for picture in pictures):
        raise ConfigError(f"{name}: its clips must have {form.frames} frames, as the source's have")
    write_shard(pictures, form, path)

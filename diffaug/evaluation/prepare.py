"""What an evaluation takes from its sources, once: OUTPUT then holds all the images it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.evaluation.corruptions import corrupt
from diffaug.evaluation.pictures import (
    Form,
    LeftOut,
    Picture,
    each_picture,
    read_pictures,
    write_shard,
)
from diffaug.evaluation.plan import EvaluationPlan, freeze_plan, read_plan_if_any
from diffaug.evaluation.settings import Evaluation
from diffaug.evaluation.split import Split, draw

__all__ = ["CLEAN", "Found", "prepare", "read_found", "set_names", "set_path"]

CLEAN = ("clean", 0)
"""The corruption and the severity of images as they are."""


class Found(BaseModel):
    """OUTPUT/data.json: what the sources hold.

    Attributes:
        mode: of all images: L or RGB.
        labelled: images a seed, at the largest budget.
        validation: images a seed.
        test: images.
        left_out: how many samples of source, validation source and test could not be used.
        why: why, a sentence for each of the first of them.
        shared: the mean part of its labelled images that a seed shares with another.
        labelled_in_test: labelled images that are, pixel for pixel, test images too.
        validation_in_test: validation images that are.
        labelled_in_validation: labelled images that are validation images of the same seed.
    """

    model_config = ConfigDict(frozen=True)

    mode: str
    labelled: int
    validation: int
    test: int
    left_out: int
    why: tuple[str, ...]
    shared: float
    labelled_in_test: int
    validation_in_test: int
    labelled_in_validation: int


_Id = tuple[str, int]
"""A picture: the digest of its pixels, and its class."""


@dataclass(slots=True)
class _Listing:
    """All pictures of a source, without the pictures."""

    labels: list[int] = field(default_factory=list)
    pixels: list[str] = field(default_factory=list)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    modes: set[str] = field(default_factory=set)

    def at(self, places: NDArray[np.int64]) -> list[_Id]:
        return [(self.pixels[place], self.labels[place]) for place in places]

    def draw(self, seed: int, per_class: int, validation: int) -> Split:
        labels = np.array(self.labels, dtype=np.int64)
        return draw(labels, self.pixels, seed, per_class, validation)


def prepare(plan: EvaluationPlan, output: str) -> Found:
    """Draw each seed's images, corrupt those that classifiers are scored on, and freeze the plan.

    Sources are read twice, shard by shard, so that of a large one no more is in memory than what
    was drawn. Nothing is done where it was done before.

    Raises:
        ConfigError: a class has too few images, images differ in size, or validation or test
            images are of other classes.
        OSError: storage will not give a shard.
    """
    if read_plan_if_any(output) is not None:
        return read_found(output)
    left_out = LeftOut()
    source = _list(plan, plan.sources, left_out)
    apart = _list(plan, plan.validation, left_out) if plan.validation else None
    test = _list(plan, plan.test, left_out) if plan.test else None
    others = {"--validation-source": apart, "--test": test}
    listings = [source, *(one for one in others.values() if one is not None)]
    for flag, listing in others.items():
        strange = set(listing.labels) - set(source.labels) if listing is not None else set[int]()
        if strange:
            raise ConfigError(f"{flag}: no image of the source has the class {min(strange)}")
    settings = plan.settings
    form = Form.of(
        settings.size,
        (size for listing in listings for size in listing.sizes),
        (mode for listing in listings for mode in listing.modes),
    )
    most, each = settings.labels[-1], settings.validation
    seeds = range(settings.seeds)
    drawn = [source.draw(seed, most, 0 if apart is not None else each) for seed in seeds]
    labelled = [source.at(split.labelled) for split in drawn]
    validation = [
        source.at(split.validation)
        if apart is None
        else apart.at(apart.draw(seed, 0, each).validation)
        for seed, split in zip(seeds, drawn, strict=True)
    ]
    with storage.scratch(output) as scratch:
        wanted = set(chain.from_iterable((*labelled, *validation)))
        chosen = _pick(plan, (*plan.sources, *plan.validation), wanted)
        for seed in seeds:
            folder = scratch / f"seed-{seed}"
            folder.mkdir()
            write_shard([chosen[one] for one in labelled[seed]], form, folder / "labelled.tar")
            write_shard([chosen[one] for one in validation[seed]], form, folder / "validation.tar")
            _write_sets(folder / "validation.tar", form, settings)
        if test is not None:
            tested = list(each_picture(plan.test, plan.recipe, LeftOut()))
            (scratch / "test").mkdir()
            write_shard(tested, form, scratch / "test/test.tar")
            _write_sets(scratch / "test/test.tar", form, settings)
        for folder in scratch.iterdir():
            if folder.is_dir():
                folder.rename(Path(output, folder.name))
    found = _found(form, labelled, validation, test, left_out)
    storage.replace(found.model_dump_json(indent=1).encode(), _url(output))
    freeze_plan(plan, output)
    return found


def read_found(output: str) -> Found:
    """What `prepare` found."""
    return Found.model_validate_json(storage.read_bytes(_url(output)))


def set_names(settings: Evaluation) -> list[tuple[str, int]]:
    """The corruptions and severities that classifiers are scored on."""
    kinds = [(kind, level) for kind in settings.corruptions for level in settings.severities]
    return [CLEAN, *kinds]


def set_path(shard: Path, corruption: str, severity: int) -> Path:
    """Where the corrupted images of a shard are: uint8 (N, H, W, C), as numpy saves them."""
    return shard.with_name(f"{shard.stem}-{corruption}-{severity}.npy")


def _list(plan: EvaluationPlan, urls: Sequence[str], left_out: LeftOut) -> _Listing:
    listing = _Listing()
    for picture in each_picture(urls, plan.recipe, left_out):
        listing.labels.append(picture.label)
        listing.pixels.append(picture.pixels)
        listing.sizes.add(picture.image.size)
        listing.modes.add(picture.image.mode)
    if not listing.labels:
        why = f": the first one, {left_out.first[0]}" if left_out.first else ""
        raise ConfigError(f"no sample of {', '.join(urls)} has a picture and a class{why}")
    return listing


def _pick(plan: EvaluationPlan, urls: Sequence[str], wanted: set[_Id]) -> dict[_Id, Picture]:
    pictures = each_picture(urls, plan.recipe, LeftOut())
    named = (((picture.pixels, picture.label), picture) for picture in pictures)
    return {name: picture for name, picture in named if name in wanted}


def _write_sets(shard: Path, form: Form, settings: Evaluation) -> None:
    pictures = read_pictures(shard, form.mode)
    for kind, severity in set_names(settings):
        images = pictures.images
        if (kind, severity) != CLEAN:
            images = corrupt(images, pictures.pixels, kind, severity)
        np.save(set_path(shard, kind, severity), images)


def _found(
    form: Form,
    labelled: list[list[_Id]],
    validation: list[list[_Id]],
    test: _Listing | None,
    left_out: LeftOut,
) -> Found:
    sets, held_out = (
        [{pixels for pixels, _ in one} for one in drawn] for drawn in (labelled, validation)
    )
    tested = set(test.pixels if test is not None else ())
    return Found(
        mode=form.mode,
        labelled=len(labelled[0]),
        validation=len(validation[0]),
        test=0 if test is None else len(test.labels),
        left_out=left_out.count,
        why=tuple(left_out.first),
        shared=fmean(len(a & b) / len(a) for a, b in combinations(sets, 2)),
        labelled_in_test=len(set.union(*sets) & tested),
        validation_in_test=len(set.union(*held_out) & tested),
        labelled_in_validation=max(len(a & b) for a, b in zip(sets, held_out, strict=True)),
    )


def _url(output: str) -> str:
    return storage.join(output, "data.json")

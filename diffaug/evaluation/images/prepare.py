"""What an evaluation takes from its sources, once: OUTPUT then holds all the images it needs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, combinations
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.evaluation.images.corruptions import corrupt
from diffaug.evaluation.images.labelled import (
    Form,
    LeftOut,
    Picture,
    each_picture,
    read_pictures,
    write_shard,
)
from diffaug.evaluation.images.split import Split, draw
from diffaug.evaluation.plan import EvaluationPlan, freeze_plan, read_plan_if_any
from diffaug.evaluation.settings import Evaluation

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

_Passed = Callable[[Sequence[str]], Iterable[str]]
"""Passes shards on, telling how far they are."""


@dataclass(slots=True)
class _Listing:
    """All pictures of a source, without the pictures."""

    labels: list[int] = field(default_factory=list)
    pixels: list[str] = field(default_factory=list)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    modes: set[str] = field(default_factory=set)

    @classmethod
    def of(
        cls, urls: Sequence[str], plan: EvaluationPlan, left_out: LeftOut, passed: _Passed
    ) -> _Listing:
        listing = cls()
        for picture in each_picture(passed(urls), plan.recipe, left_out):
            listing.labels.append(picture.label)
            listing.pixels.append(picture.pixels)
            listing.sizes.add(picture.image.size)
            listing.modes.add(picture.image.mode)
        if not listing.labels:
            why = f": the first one, {left_out.first[0]}" if left_out.first else ""
            names = ", ".join(map(storage.public_url, urls))
            raise ConfigError(f"no sample of {names} has a picture and a class{why}")
        return listing

    def at(self, places: NDArray[np.int64]) -> list[_Id]:
        return [(self.pixels[place], self.labels[place]) for place in places]

    def draw(self, seed: int, per_class: int, validation: int) -> Split:
        labels = np.array(self.labels, dtype=np.int64)
        return draw(labels, self.pixels, seed, per_class, validation)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What all seeds take, by name, and what was seen on the way."""

    form: Form
    labelled: list[list[_Id]]
    validation: list[list[_Id]]
    test: _Listing | None
    left_out: LeftOut

    @classmethod
    def of(cls, plan: EvaluationPlan, passed: _Passed) -> _Drawn:
        left_out, settings = LeftOut(), plan.settings
        listed = partial(_Listing.of, plan=plan, left_out=left_out, passed=passed)
        source = listed(plan.sources)
        apart = listed(plan.validation) if plan.validation else None
        test = listed(plan.test) if plan.test else None
        others = {"--validation-source": apart, "--test": test}
        listings = [source, *(one for one in others.values() if one is not None)]
        for flag, listing in others.items():
            strange = (
                set(listing.labels) - set(source.labels) if listing is not None else set[int]()
            )
            if strange:
                raise ConfigError(f"{flag}: no image of the source has the class {min(strange)}")
        form = Form.of(
            settings.size,
            (size for listing in listings for size in listing.sizes),
            (mode for listing in listings for mode in listing.modes),
        )
        most, each, seeds = settings.labels[-1], settings.validation, range(settings.seeds)
        drawn = [source.draw(seed, most, 0 if apart is not None else each) for seed in seeds]
        validation = [
            source.at(split.validation)
            if apart is None
            else apart.at(apart.draw(seed, 0, each).validation)
            for seed, split in zip(seeds, drawn, strict=True)
        ]
        return cls(form, [source.at(split.labelled) for split in drawn], validation, test, left_out)

    def found(self) -> Found:
        sets, held_out = (
            [{pixels for pixels, _ in one} for one in drawn]
            for drawn in (self.labelled, self.validation)
        )
        tested = set(self.test.pixels if self.test is not None else ())
        return Found(
            mode=self.form.mode,
            labelled=len(self.labelled[0]),
            validation=len(self.validation[0]),
            test=0 if self.test is None else len(self.test.labels),
            left_out=self.left_out.count,
            why=tuple(self.left_out.first),
            shared=fmean(len(a & b) / len(a) for a, b in combinations(sets, 2)),
            labelled_in_test=len(set.union(*sets) & tested),
            validation_in_test=len(set.union(*held_out) & tested),
            labelled_in_validation=max(len(a & b) for a, b in zip(sets, held_out, strict=True)),
        )


def prepare(plan: EvaluationPlan, output: str, passed: _Passed = iter) -> Found:
    """Draw each seed's images, corrupt those that classifiers are scored on, and freeze the plan.

    Sources are read twice, shard by shard, so that of a large one no more is in memory than what
    was drawn. Nothing is done where it was done before.

    Args:
        plan: the evaluation.
        output: its OUTPUT, a local folder.
        passed: passes the shards of each reading on, and may tell how far it is.

    Raises:
        ConfigError: a class has too few images, images differ in size, validation or test images
            are of other classes, or OUTPUT holds folders of these names already.
        OSError: storage will not give a shard.
    """
    begun = read_plan_if_any(output) is not None
    if begun and (found := _read_found_if_any(output)) is not None:
        return found
    drawn = _Drawn.of(plan, passed)
    with storage.scratch(output) as scratch:
        _write(plan, drawn, scratch, passed)
        made = [folder for folder in scratch.iterdir() if folder.is_dir()]
        places = {folder: Path(output, folder.name) for folder in made}
        taken = [place for place in places.values() if place.exists()]
        if taken and not begun:
            raise ConfigError(f"{taken[0]} is there already: choose a new OUTPUT")
        freeze_plan(plan, output)
        for folder, place in places.items():
            if place in taken:  # from a process that was killed here
                shutil.rmtree(place)
            folder.rename(place)
    found = drawn.found()
    storage.replace(found.model_dump_json(indent=1).encode(), _url(output))
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


def _write(plan: EvaluationPlan, drawn: _Drawn, folder: Path, passed: _Passed) -> None:
    """Folders seed-0, seed-1, ... and test, of shards and their corrupted images."""
    wanted = set(chain.from_iterable((*drawn.labelled, *drawn.validation)))
    chosen = _pick(plan, passed((*plan.sources, *plan.validation)), wanted)
    for seed, (labelled, validation) in enumerate(
        zip(drawn.labelled, drawn.validation, strict=True)
    ):
        place = folder / f"seed-{seed}"
        place.mkdir()
        write_shard([chosen[one] for one in labelled], drawn.form, place / "labelled.tar")
        write_shard([chosen[one] for one in validation], drawn.form, place / "validation.tar")
        _write_sets(place / "validation.tar", drawn.form, plan.settings)
    if drawn.test is not None:
        tested = list(each_picture(passed(plan.test), plan.recipe, LeftOut()))
        (folder / "test").mkdir()
        write_shard(tested, drawn.form, folder / "test/test.tar")
        _write_sets(folder / "test/test.tar", drawn.form, plan.settings)


def _pick(plan: EvaluationPlan, urls: Iterable[str], wanted: set[_Id]) -> dict[_Id, Picture]:
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


def _read_found_if_any(output: str) -> Found | None:
    try:
        return read_found(output)
    except FileNotFoundError:
        return None


def _url(output: str) -> str:
    return storage.join(output, "data.json")

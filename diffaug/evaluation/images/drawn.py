"""What every seed draws from the sources: identities of pictures, without the pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.evaluation.images.found import Found
from diffaug.evaluation.images.pictures import Form, LeftOut, each_picture, frames_of, look_of
from diffaug.evaluation.images.split import Split, draw
from diffaug.evaluation.kinds import TEXTS
from diffaug.evaluation.plan import EvaluationPlan
from diffaug.evaluation.settings import ALL

__all__ = ["Drawn", "Passed", "PictureId"]

PictureId = tuple[str, int]
"""Identity of a picture: the digest of its pixels, and its class."""

Passed = Callable[[Sequence[str]], Iterable[str]]
"""Passes shards on, and may report progress as they are read."""


@dataclass(slots=True)
class _Listing:
    """All pictures of a source, by identity, size and mode."""

    labels: list[int] = field(default_factory=list)
    pixels: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    modes: set[str] = field(default_factory=set)
    lengths: set[int | None] = field(default_factory=set)

    @classmethod
    def of(
        cls, urls: Sequence[str], plan: EvaluationPlan, left_out: LeftOut, passed: Passed
    ) -> _Listing:
        listing = cls()
        for picture in each_picture(passed(urls), plan.recipe, left_out):
            listing.labels.append(picture.label)
            listing.pixels.append(picture.pixels)
            listing.keys.append(picture.key)
            size, mode = look_of(picture.image)
            listing.sizes.add(size)
            listing.modes.add(mode)
            listing.lengths.add(frames_of(picture.image))
        if not listing.labels:
            why = f": the first one, {left_out.first[0]}" if left_out.first else ""
            names = ", ".join(map(storage.public_url, urls))
            what = "text" if plan.settings.kind is TEXTS else "picture"
            raise ConfigError(f"no sample of {names} has a {what} and a class{why}")
        return listing

    def at(self, places: NDArray[np.int64]) -> list[PictureId]:
        return [(self.pixels[place], self.labels[place]) for place in places]

    def draw(self, seed: int, per_class: int | None, validation: int) -> Split:
        labels = np.array(self.labels, dtype=np.int64)
        return draw(labels, self.pixels, seed, per_class, validation)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What all seeds draw, the first of which is the recipe's.

    Attributes:
        form: size and mode that all pictures are brought to.
        labelled: labelled pictures of each seed.
        validation: validation pictures of each seed.
        tested: digests of the test pictures, in order; None without test shards.
        left_out: samples that cannot be used.
        keys: of all pictures of the source.
    """

    form: Form
    labelled: list[list[PictureId]]
    validation: list[list[PictureId]]
    tested: list[str] | None
    left_out: LeftOut
    keys: list[str]

    @classmethod
    def of(cls, plan: EvaluationPlan, passed: Passed) -> Drawn:
        """Read all shards once, and draw.

        Raises:
            ConfigError: a class has too few images, images differ in size, or validation or test
                images have classes that the source lacks.
            OSError: a shard cannot be read.
        """
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
                raise ConfigError(
                    f"{flag}: no {settings.kind.noun} of the source has the class {min(strange)}"
                )
        form = Form.of(
            settings.size,
            (size for listing in listings for size in listing.sizes),
            (mode for listing in listings for mode in listing.modes),
            (length for listing in listings for length in listing.lengths),
        )
        most = None if settings.labels[-1] == ALL else settings.labels[-1]
        each, seeds = settings.validation, [plan.seed_of(one) for one in range(settings.seeds)]
        drawn = [source.draw(seed, most, 0 if apart is not None else each) for seed in seeds]
        validation = [
            source.at(split.validation)
            if apart is None
            else apart.at(apart.draw(seed, 0, each).validation)
            for seed, split in zip(seeds, drawn, strict=True)
        ]
        labelled = [source.at(split.labelled) for split in drawn]
        tested = None if test is None else test.pixels
        return cls(form, labelled, validation, tested, left_out, source.keys)

    def found(self) -> Found:
        """Counts of what was drawn, and of what is in two sets at once."""
        sets, held_out = (
            [{pixels for pixels, _ in one} for one in drawn]
            for drawn in (self.labelled, self.validation)
        )
        tested = self.tested or []
        return Found(
            mode=self.form.mode,
            labelled=len(self.labelled[0]),
            validation=len(self.validation[0]),
            test=len(tested),
            left_out=self.left_out.count,
            why=tuple(self.left_out.first),
            shared=fmean(len(a & b) / len(a) for a, b in combinations(sets, 2)),
            labelled_in_test=len(set.union(*sets).intersection(tested)),
            validation_in_test=len(set.union(*held_out).intersection(tested)),
            labelled_in_validation=max(len(a & b) for a, b in zip(sets, held_out, strict=True)),
        )

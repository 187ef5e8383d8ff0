"""The settings of an evaluation: what it compares."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from diffaug.evaluation.kinds import IMAGES, TEXTS, UNEQUAL, Kind, check_arm
from diffaug.recipe import Recipe
from diffaug.recipe.fields import Commas, Fields, Names, as_list

__all__ = [
    "ALL",
    "CORRUPTIONS",
    "DEFAULT_RECIPE",
    "FIRST_SEEDS",
    "SEVERITIES",
    "Evaluation",
    "budget",
    "named",
]

ALL = 0
"""The budget of all images of the source, as many of each class as there are."""

DEFAULT_RECIPE = Recipe(copies=10, steps=10)
"""The recipe of an evaluation that is given none."""

_RATES = {"cnn": 0.004, "resnet": 0.004, "bag": 0.02}
"""Peak learning rates of the small classifiers."""

FIRST_SEEDS = 5
"""Seeds before it is first asked whether they are enough: fewer say little of how they differ."""

CORRUPTIONS = ("noise", "blur", "contrast", "occlusion", "jpeg")
"""Corruptions of the images that classifiers are scored on (see `images.corruptions`)."""

SEVERITIES = (1, 2, 3, 4, 5)
"""Severities of a corruption, mildest first."""


def _numbers(value: Any) -> Any:
    """Take `20,50,100`, one number, or a list of them."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return (value,) if isinstance(value, (int, float)) else value


_Strength = Annotated[float, Field(gt=0, le=1)]


def _budgets(value: Any) -> Any:
    """Take what `_numbers` takes, and `all`."""
    if value in ("all", ["all"], ("all",)):
        return (ALL,)
    numbers = _numbers(value)
    if isinstance(value, str) and "0" in numbers:
        raise ValueError("labels are numbers from 1 on, or all")
    return numbers


_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def budget(labels: int) -> str:
    """A budget of labelled images in words."""
    return "all labels" if labels == ALL else f"{labels} labels per class"


def named(given: Iterable[str]) -> dict[str, str]:
    """What stands behind each name of NAME=SHARDS."""
    return {name: url for name, _, url in (one.partition("=") for one in given)}


class Evaluation(Fields):
    """What an evaluation compares. Immutable; a wrong value raises a `ConfigError`."""

    what: ClassVar[str] = "evaluation"

    labels: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Commas(_budgets)] = Field(
        (20, 50, 100),
        min_length=1,
        description="labelled images per class: one budget, or several; or all, which takes every "
        "image of the source, as many of each class as there are",
    )
    seeds: int = Field(
        5, ge=2, le=1000, description="number of repetitions, each with its own draw of images"
    )
    validation: int = Field(
        50,
        ge=1,
        description="validation images per class, drawn from the source or from "
        "--validation-source; strength and filters are chosen on them",
    )
    arms: Names = Field(
        IMAGES.usual,
        min_length=1,
        description="arms to train; flips-crops, and of texts real, is always one. "
        "trivial-augment+reconstruct does both in turn, and so do other arms joined by + [default "
        f"of texts: {','.join(TEXTS.usual)}]",
    )
    augmented: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field(
        (),
        description="NAME=SHARDS or NAME=FOLDER: images made elsewhere, as an arm on trial; each "
        "has the key of its source (where SOURCE is a folder, its path in it), or that, a hyphen "
        "and more. {seed} in SHARDS stands for the seed, {labels} for the budget, where the images "
        "are made for one",
    )
    further: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field(
        (),
        description="NAME=SHARDS: images with classes of their own, such as samples of a model, as "
        "an arm on trial; drawn at random, whatever is labelled",
    )
    control: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field(
        (),
        description="NAME=SHARDS: the same as a control, such as images with pseudo-labels",
    )
    measure: Literal["accuracy", "balanced"] = Field(
        "accuracy",
        description="what verdicts are about: accuracy, or balanced accuracy, in which each class "
        "counts the same",
    )
    worth: float = Field(
        1.0, gt=0, description="the gain in points that would be worth having: less is ruled out"
    )
    until: float | None = Field(
        None,
        gt=0,
        description="stop adding seeds once every gain is known to so many points, and at --seeds "
        "at the latest [default: all seeds]",
    )
    strengths: Annotated[tuple[_Strength, ...], Commas(_numbers)] = Field(
        (0.3, 0.5, 0.7), min_length=1, description="strengths of reconstruct and filtered"
    )
    one_step_strengths: Annotated[tuple[_Strength, ...], Commas(_numbers)] = Field(
        (0.2, 0.4, 0.6), min_length=1, description="strengths of one-step"
    )
    classifier: str = Field(
        "cnn",
        min_length=1,
        description="cnn or resnet, small networks trained from scratch; or a transformers "
        "image-classification model to fine-tune: a folder, or org/name[@revision]; of texts bag, "
        "the mean of what single words and pairs of them mean",
    )
    train_steps: int = Field(600, ge=1, description="optimizer steps of every training")
    longer: float = Field(
        2.0, gt=1, description="how many times as long the arm longer trains as the others"
    )
    train_batch: int = Field(
        64,
        ge=2,
        multiple_of=2,
        description="images per step",
    )
    share: float = Field(
        0.5, gt=0, lt=1, description="share of them that is augmented, in arms that augment"
    )
    weight: float = Field(
        1.0, gt=0, description="weight of augmented images in the loss; labelled ones have 1"
    )
    soften: float = Field(
        0.0,
        ge=0,
        le=1,
        description="how much of the label of an image made by the diffusion model, or of one "
        "matched to it, is spread over all classes, times its strength",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="peak learning rate of AdamW [default: 0.004 for cnn and resnet, 0.02 for "
        "bag, 0.0001 for a transformers model]",
    )
    corruptions: Names = Field(
        CORRUPTIONS, min_length=1, description="corruptions of validation and test images"
    )
    severities: Annotated[tuple[int, ...], Commas(_numbers)] = Field(
        (1, 3, 5), min_length=1, description="severities of each corruption, from 1 to 5"
    )
    size: int | None = Field(
        None, ge=8, description="width and height to resize all images to; required if they differ"
    )
    model_saw: Literal["unknown", "labelled", "images", "classes"] | None = Field(
        None,
        description="what the diffusion model was trained on: labelled (only the labelled "
        "images), images (others too), classes (others with their classes), or unknown [default: "
        "from its card]",
    )

    synonyms: str = Field(
        "/usr/share/wordnet",
        min_length=1,
        description="the folder of WordNet's files, where eda has its synonyms from, as Debian's "
        "package wordnet-base has it",
    )

    @property
    def kind(self) -> Kind:
        """What it is about."""
        return TEXTS if self.classifier in TEXTS.classifiers else IMAGES

    @property
    def corrupted(self) -> list[tuple[str, int]]:
        """The corruptions of what classifiers are scored on, each with its severity."""
        if self.kind is TEXTS:
            return []
        return [(name, severity) for name in self.corruptions for severity in self.severities]

    @property
    def augmented_per_batch(self) -> int:
        """Images of a batch that are augmented, in arms that augment."""
        return min(max(1, round(self.share * self.train_batch)), self.train_batch - 1)

    @property
    def rate(self) -> float:
        """The learning rate."""
        return self.learning_rate or _RATES.get(self.classifier, 0.0001)

    @property
    def made_elsewhere(self) -> dict[str, str]:
        """The shards of `augmented`, by their names."""
        return named(self.augmented)

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name in self.arms:
            check_arm(name)
        sets = [frozenset(name.split("+")) for name in self.arms]
        for name, parts in zip(self.arms, sets, strict=True):
            if "+" in name and sets.count(parts) > 1:
                raise ValueError(f"arms: {name} is there twice: what is joined has no order")
        for name in self.corruptions:
            if name not in CORRUPTIONS:
                raise ValueError(f"corruptions: unknown {name!r}: use {', '.join(CORRUPTIONS)}")
        given = {field: getattr(self, field) for field in ("augmented", "further", "control")}
        for field, one in ((field, one) for field, each in given.items() for one in each):
            name, _, url = one.partition("=")
            families = (*IMAGES.families, *TEXTS.families)
            taken = any(re.match(rf"{family}($|[-+])", name) for family in families)
            if not _NAME.fullmatch(name) or taken or not url:
                kinds = "NAME=SHARDS or NAME=FOLDER" if field == "augmented" else "NAME=SHARDS"
                raise ValueError(
                    f"{field} is {kinds}, with a name that is no other arm's, got {one!r}"
                )
        every = [*self.augmented, *self.further, *self.control]
        if len(named(every)) < len(every):
            raise ValueError("augmented, further, control: give each name once")
        if self.until is not None and self.seeds <= FIRST_SEEDS:
            raise ValueError(
                f"until requires seeds to add: give the most there may be, above {FIRST_SEEDS}, as "
                "seeds"
            )
        for severity in self.severities:
            if severity not in SEVERITIES:
                raise ValueError(f"severities are whole numbers from 1 to 5, got {severity}")
        if ALL in self.labels and len(self.labels) > 1:
            raise ValueError("labels: all goes with no other number")
        unequal = [one for name in self.arms for one in name.split("+") if one in UNEQUAL]
        if unequal and ALL not in self.labels:
            raise ValueError(
                f"arms: {unequal[0]} makes up for classes of unequal size, and with so many labels "
                "of each there are none: give labels=all, or leave it out"
            )
        for field in ("labels", "strengths", "one_step_strengths", "severities"):
            if sorted(set(getattr(self, field))) != list(getattr(self, field)):
                raise ValueError(f"{field}: give each value once, in ascending order")
        return self

"""The trainings of an evaluation: each leaves a file, and is not done again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from diffaug import storage
from diffaug.evaluation import data
from diffaug.evaluation.arms import BASELINE, Arm, middle
from diffaug.evaluation.generation import pool_folder
from diffaug.evaluation.pictures import Pictures
from diffaug.evaluation.plan import EvaluationPlan, read_plan
from diffaug.evaluation.training import Lesson, Trained, train_classifier
from diffaug.evaluation.variants import (
    Pool,
    TrivialAugment,
    Variants,
    matched_blur,
    matched_noise,
)

__all__ = ["Score", "Trial", "read_trial", "run_group"]


class Score(BaseModel):
    """How many of some images a classifier named rightly.

    Attributes:
        split: `test` or `validation`.
        corruption: `clean`, or what the images were corrupted by.
        severity: from 1 to 5; 0 for clean ones.
        right: how many.
        images: of how many.
    """

    model_config = ConfigDict(frozen=True)

    split: str
    corruption: str
    severity: int
    right: int
    images: int


class Trial(BaseModel):
    """One training, and what it scored.

    Attributes:
        family: of its arm.
        strength: of its arm.
        labels: labelled images a class.
        seed: which draw of them, and of everything else.
        copies: how many augmented images there were to draw from, labelled ones standing in where
            none was left; None where they are unlimited.
        steps: how long it was trained.
        seconds: how long that took.
        scores: one for each split, corruption and severity.
    """

    model_config = ConfigDict(frozen=True)

    family: str
    strength: float | None
    labels: int
    seed: int
    copies: int | None
    steps: int
    seconds: float
    scores: tuple[Score, ...]


def trial_url(output: str, arm: Arm, labels: int, seed: int) -> str:
    """Where a trial's file is."""
    name = arm.name.replace(" ", "-")
    return storage.join(output, "trials", f"seed-{seed}", f"{labels}-{name}.json")


def read_trial(output: str, arm: Arm, labels: int, seed: int) -> Trial | None:
    """A trial that was done; None where it was not."""
    path = Path(trial_url(output, arm, labels, seed))
    return Trial.model_validate_json(path.read_bytes()) if path.is_file() else None


def run_group(output: str, labels: int, seed: int, arms: Iterable[Arm]) -> Iterator[Trial]:
    """Do the trials of one seed and one budget that have not been done.

    Args:
        output: an evaluation whose images are generated.
        labels: labelled images a class.
        seed: which draw.
        arms: which arms.
    """
    group = _Group(read_plan(output), output, labels, seed)
    for arm in arms:
        if read_trial(output, arm, labels, seed) is None:
            trial = group.trial(arm)
            url = trial_url(output, arm, labels, seed)
            storage.replace(trial.model_dump_json(indent=1).encode(), url)
            yield trial


class _Group:
    """One seed and one budget."""

    def __init__(self, plan: EvaluationPlan, output: str, labels: int, seed: int) -> None:
        self._plan, self._output, self._labels, self._seed = plan, output, labels, seed
        whole = data.labelled(output, seed)
        classes = np.unique(whole.labels)
        self._classes = classes
        self._pictures = whole.at(np.arange(labels * len(classes)))
        self._judge: Trained | None = None

    def trial(self, arm: Arm) -> Trial:
        """Train and score."""
        began = time.monotonic()
        variants = self._variants(arm)
        copies = int(variants.there.sum()) if isinstance(variants, Pool) else None
        model = self._train(arm, variants if copies != 0 else None)
        if arm.family == BASELINE:
            self._judge = model
        seconds = time.monotonic() - began
        return Trial(
            family=arm.family,
            strength=arm.strength,
            labels=self._labels,
            seed=self._seed,
            copies=copies,
            steps=self._plan.settings.train_steps,
            seconds=round(seconds, 3),
            scores=tuple(self._scores(model)),
        )

    def _train(self, arm: Arm, variants: Variants | None) -> Trained:
        lesson = Lesson(
            images=self._pictures.images,
            targets=self._targets(self._pictures),
            classes=len(self._classes),
            variants=variants,
            moved=arm.family != "real",
            repeated=arm.family == "oversampled",
            mixed=arm.family == "mixup",
        )
        return train_classifier(lesson, self._plan.settings, self._seed, self._plan.execution)

    def _targets(self, pictures: Pictures) -> NDArray[np.int64]:
        """Classes counted from 0; those that no labelled image has are never right."""
        places = np.searchsorted(self._classes, pictures.labels).clip(max=len(self._classes) - 1)
        return np.where(self._classes[places] == pictures.labels, places, -1)

    def _variants(self, arm: Arm) -> Variants | None:
        images, settings = self._pictures.images, self._plan.settings
        match arm.family:
            case "real" | "flips-crops" | "oversampled" | "mixup":
                return None
            case "trivial-augment":
                return TrivialAugment(images)
            case "blur" | "noise":
                like = self._pool("reconstruct", middle(settings.strengths))
            case "blur-one-step" | "noise-one-step":
                like = self._pool("one-step", middle(settings.one_step_strengths))
            case "filtered":
                assert arm.strength is not None
                return self._filtered(arm.strength)
            case family:
                assert arm.strength is not None
                return self._pool(family, arm.strength)
        if arm.family.startswith("blur"):
            return matched_blur(images, like)
        return matched_noise(images, self._pictures.pixels, like)

    def _pool(self, family: str, strength: float) -> Pool:
        whole, _ = _pool(self._output, self._seed, family, strength)
        count = len(self._pictures)
        return Pool(whole.copies[:count], whole.there[:count], whole.psnr[:count])

    def _filtered(self, strength: float) -> Pool:
        """What the recipe's filters keep.

        Without any: what a classifier that knows no more than these labelled images takes for its
        class.
        """
        pool = self._pool("reconstruct", strength)
        if self._plan.recipe.turns_away:
            _, passed = _pool(self._output, self._seed, "reconstruct", strength)
            return pool.kept(passed[: len(self._pictures)])
        if self._judge is None:
            self._judge = self._train(Arm(BASELINE), None)
        images, copies = pool.there.shape
        found = self._judge.confidences(pool.copies.reshape(-1, *pool.copies.shape[2:]))
        named = found.argmax(axis=1).reshape(images, copies)
        return pool.kept(named == self._targets(self._pictures)[:, None])

    def _scores(self, model: Trained) -> Iterator[Score]:
        for split, sets in data.sets(self._output, self._seed).items():
            targets = self._targets(sets.pictures)
            for (corruption, severity), images in sets.images.items():
                right = int((model.confidences(images).argmax(axis=1) == targets).sum())
                yield Score(
                    split=split,
                    corruption=corruption,
                    severity=severity,
                    right=right,
                    images=len(targets),
                )


@lru_cache(maxsize=2)
def _pool(output: str, seed: int, family: str, strength: float) -> tuple[Pool, NDArray[np.bool_]]:
    folder = pool_folder(output, seed, family, strength)
    return data.read_pool(folder, data.labelled(output, seed))

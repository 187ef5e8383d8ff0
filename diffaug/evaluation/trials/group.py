"""The trainings of one seed and one budget: each leaves a record, and is not repeated."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diffaug.evaluation.arms import Arm, arms_of
from diffaug.evaluation.images.elsewhere import load_elsewhere
from diffaug.evaluation.images.found import read_found
from diffaug.evaluation.images.further import Further
from diffaug.evaluation.images.pictures import read_pictures
from diffaug.evaluation.images.pool import Pool, read_pool
from diffaug.evaluation.images.sets import labelled, scored_sets
from diffaug.evaluation.kinds import FIXED, IMAGES, IN_TURN, TEXTS, UNEQUAL
from diffaug.evaluation.plan import EvaluationPlan, read_plan
from diffaug.evaluation.settings import ALL
from diffaug.evaluation.texts.eda import deletion, eda_of
from diffaug.evaluation.texts.unigram import matched_unigram
from diffaug.evaluation.trials.matched import in_turn, matched_blur, matched_field, matched_noise
from diffaug.evaluation.trials.record import (
    Hits,
    Score,
    Trial,
    read_hits,
    read_trial,
    read_trials,
    write_trial,
)
from diffaug.evaluation.trials.scores import by_preference, scores_table
from diffaug.evaluation.trials.scoring import hits_of, score_of
from diffaug.evaluation.trials.seeds import seeds_needed
from diffaug.evaluation.trials.training import Lesson, Trained, train_classifier
from diffaug.evaluation.trials.variants import (
    CHANGED,
    Change,
    Changed,
    Labelled,
    Variants,
    fixed,
    held,
)
from diffaug.output.evaluation import EvaluationOutput

__all__ = ["run_group"]

_CHANGES = (*CHANGED, "eda", "deletion")
"""The families whose samples are changed whenever they are drawn."""


def run_group(output: str, labels: int, seed: int, arms: Iterable[Arm]) -> Iterator[Trial]:
    """Do the trials of one seed and one budget that are not done yet, and yield their records.

    Args:
        output: OUTPUT of an evaluation whose images are generated. Matched controls require that
            all other arms are done, for all seeds.
        labels: labelled images per class; ALL: as many as there are.
        seed: which draw.
        arms: which arms.
    """
    group = _Group(read_plan(output), output, labels, seed)
    for arm in arms:
        if read_trial(output, arm, labels, seed) is None:
            trial, hits = group.trial(arm)
            write_trial(trial, hits, output)
            yield trial


class _Group:
    """One seed and one budget."""

    def __init__(self, plan: EvaluationPlan, output: str, labels: int, seed: int) -> None:
        self._plan, self._output, self._labels, self._seed = plan, output, labels, seed
        self._kind = plan.settings.kind
        self._whole = labelled(output, seed)
        self._classes = np.unique(self._whole.labels)
        count = len(self._whole) if labels == ALL else labels * len(self._classes)
        self._pictures = self._whole.first(count)
        # what trials share is kept for as long as their group: another evaluation may come to lie
        # under the same path
        self._sets = list(scored_sets(output, seed))
        self._pool = lru_cache(maxsize=2)(self._read_pool)
        self._judge: Trained | None = None
        self._chosen: dict[str, Arm] = {}

    def trial(self, arm: Arm) -> tuple[Trial, Hits | None]:
        """Train a classifier and score it; what it was right about, if there are test images."""
        began = time.monotonic()
        like = self._chosen_for(arm.rival_for) if arm.rival_for else None
        if like is not None and (done := self._done(arm, like)) is not None:
            return done
        further = self._further(arm)
        pool = self._pool_of(arm if like is None else like)
        like_psnr = _mean_psnr(pool) if like is not None else None
        if arm.rival_for is not None and pool is not None:
            pool = self._matched(arm.family, pool)
        parts = arm.parts if like is None else (arm.family, *like.parts)
        model = self._train(arm, further or pool, parts, (like or arm).strength)
        if arm.family == self._kind.baseline:
            self._judge = model
        scores, right = list[Score](), list[tuple[str, NDArray[np.bool_]]]()
        for one in self._sets:
            confidences, targets = model.confidences(one.images), self._targets(one.labels)
            scores.append(score_of(one, confidences, targets))
            if one.split == "test":
                right.append((one.corruption, confidences.argmax(axis=1) == targets))
        trial = Trial(
            arm=arm,
            labels=self._labels,
            seed=self._seed,
            copies=_copies(further or pool),
            psnr=_mean_psnr(pool),
            like=None if like is None else like.name,
            like_psnr=like_psnr,
            steps=round(self._longer(arm) * self._plan.settings.train_steps),
            seconds=round(time.monotonic() - began, 3),
            scores=tuple(scores),
        )
        return trial, hits_of(right)

    def _done(self, arm: Arm, like: Arm) -> tuple[Trial, Hits | None] | None:
        """The trial of a matched control where the same arm was chosen for the other kind of image.

        It is the same training, so it takes no time.
        """
        for reason in set(self._kind.chosen_for) - {arm.rival_for}:
            twin = replace(arm, rival_for=reason)
            trial = read_trial(self._output, twin, self._labels, self._seed)
            if trial is not None and trial.like == like.name:
                hits = read_hits(self._output, twin, self._labels, self._seed)
                return trial.model_copy(update={"arm": arm, "seconds": 0.0}), hits
        return None

    def _chosen_for(self, reason: str) -> Arm:
        """The arm on trial that validation images choose, by its mean over all seeds."""
        if reason not in self._chosen:
            settings, arms = self._plan.settings, arms_of(self._plan.settings)
            seeds = range(seeds_needed(self._plan, self._output))
            scores = scores_table(read_trials(self._output, arms, self._labels, seeds))
            preferred = by_preference(scores, arms, self._labels, reason, settings.measure)
            self._chosen[reason] = preferred[0]
        return self._chosen[reason]

    def _train(
        self,
        arm: Arm,
        pool: Pool | Further | None,
        parts: Sequence[str],
        strength: float | None = None,
    ) -> Trained:
        """Train on a pool, and whatever else is joined; a matched control has it from its rival."""
        images = self._pictures.images
        if _copies(pool) == 0:
            pool = None
        variants: Variants | None = pool
        if changes := [self._change(part) for part in parts if part in _CHANGES]:
            variants = Changed(variants or Labelled(images), changes)
        lesson = Lesson(
            images=images,
            targets=self._targets(self._pictures.labels),
            classes=len(self._classes),
            variants=variants,
            moved=self._kind is IMAGES and arm.family != "real",
            repeated=arm.family == "oversampled",
            mixed="mixup" in parts,
            softened=self._plan.settings.soften * (strength or 0) * (pool is not None),
            unequal=next((part for part in parts if part in UNEQUAL), None),
        )
        settings, execution = self._plan.settings, self._plan.execution
        seed = self._plan.seed_of(self._seed)
        return train_classifier(lesson, settings, seed, execution, self._longer(arm))

    def _change(self, name: str) -> Change:
        if self._kind is TEXTS:
            return eda_of(self._plan.settings.synonyms) if name == "eda" else deletion
        if self._plan.recipe.medium != "clip":
            return CHANGED[name]
        return held(CHANGED[name], 1 if read_found(self._output).mode == "L" else 3)

    def _longer(self, arm: Arm) -> float:
        return self._plan.settings.longer if arm.family == "longer" else 1.0

    def _targets(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Classes counted from 0."""
        return np.searchsorted(self._classes, labels)

    def _further(self, arm: Arm) -> Further | None:
        """The images of an arm that have classes of their own; None if it has none."""
        if not arm.own:
            return None
        shard = EvaluationOutput(self._output).further(arm.family)
        pictures = read_pictures(shard, read_found(self._output).mode)
        return Further(pictures.images, self._targets(pictures.labels))

    def _pool_of(self, arm: Arm) -> Pool | None:
        """The augmented images of an arm; None if it has none."""
        if arm.own:
            return None
        if arm.images is not None:
            made = load_elsewhere(self._output, self._seed, arm.family, self._labels)
            return made.first(len(self._pictures))
        if arm.family in FIXED:
            change = self._change(arm.family.removeprefix("fixed-"))
            random = np.random.default_rng(self._plan.seed_of(self._seed))
            return fixed(self._pictures.images, change, self._plan.recipe.copies, random)
        if arm.made is None:
            return None
        if arm.made.family == "filtered":
            return self._filtered(Arm("reconstruct", arm.strength))
        return self._made(arm.made)

    def _read_pool(self, arm: Arm) -> tuple[Pool, NDArray[np.bool_]]:
        return read_pool(EvaluationOutput(self._output).pool(self._seed, arm.name), self._whole)

    def _made(self, arm: Arm) -> Pool:
        whole, _ = self._pool(arm)
        pool = whole.first(len(self._pictures))
        if pool.classes is None:
            return pool
        known = np.isin(pool.classes, self._classes)
        return replace(pool, classes=self._targets(pool.classes)).kept(known)

    def _matched(self, family: str, like: Pool) -> Pool:
        images, pixels = self._pictures.images, self._pictures.pixels
        if family == IN_TURN:
            return in_turn([self._matched(one, like) for one in IMAGES.matched])
        if family == "unigram":
            return matched_unigram(images, pixels, like)
        if family == "blur":
            return matched_blur(images, like)
        return (matched_field if family == "field" else matched_noise)(images, pixels, like)

    def _filtered(self, reconstruct: Arm) -> Pool:
        """The images that the recipe's filters keep.

        If it has none: those that a classifier trained on these labelled images alone assigns to
        their class.
        """
        pool = self._made(reconstruct)
        if self._plan.recipe.turns_away:
            _, passed = self._pool(reconstruct)
            return pool.kept(passed[: len(self._pictures)])
        if self._judge is None:
            self._judge = self._train(Arm(self._kind.baseline), None, ())
        images, copies = pool.there.shape
        found = self._judge.confidences(pool.copies.reshape(-1, *pool.copies.shape[2:]))
        named = found.argmax(axis=1).reshape(images, copies)
        meant = self._targets(self._pictures.labels)[:, None]
        return pool.kept(named == (meant if pool.classes is None else pool.classes))


def _copies(pool: Pool | Further | None) -> int | None:
    """How many images there are to draw from; None if not from a number of them."""
    if pool is None:
        return None
    return len(pool.images) if isinstance(pool, Further) else int(pool.there.sum())


def _mean_psnr(pool: Pool | None) -> float | None:
    """Mean PSNR in dB, which texts have not; identical pictures count as 99 dB, not infinity."""
    if pool is None or not pool.there.any() or pool.copies.dtype == object:
        return None
    return float(np.minimum(pool.psnr[pool.there], 99.0).mean())

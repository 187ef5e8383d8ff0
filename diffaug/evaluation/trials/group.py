"""The trainings of an evaluation: each leaves a record, and is not done again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diffaug.evaluation.arms import BASELINE, DIFFUSION, MATCHED, Arm, arms_of
from diffaug.evaluation.images import scored as data
from diffaug.evaluation.images.pools import pool_folder
from diffaug.evaluation.plan import EvaluationPlan, read_plan
from diffaug.evaluation.trials.record import Score, Trial, read_trial, read_trials, write_trial
from diffaug.evaluation.trials.training import Lesson, Trained, train_classifier
from diffaug.evaluation.trials.variants import Pool, TrivialAugment, matched_blur, matched_noise
from diffaug.evaluation.verdict.summary import by_preference, scores_table

__all__ = ["run_group"]


def run_group(output: str, labels: int, seed: int, arms: Iterable[Arm]) -> Iterator[Trial]:
    """Do the trials of one seed and one budget that have not been done.

    Args:
        output: an evaluation whose images are generated. For matched controls, all other arms must
            have been done, for all seeds.
        labels: labelled images a class.
        seed: which draw.
        arms: which arms.
    """
    group = _Group(read_plan(output), output, labels, seed)
    for arm in arms:
        if read_trial(output, arm, labels, seed) is None:
            trial = group.trial(arm)
            write_trial(trial, output)
            yield trial


class _Group:
    """One seed and one budget."""

    def __init__(self, plan: EvaluationPlan, output: str, labels: int, seed: int) -> None:
        self._plan, self._output, self._labels, self._seed = plan, output, labels, seed
        whole = data.labelled(output, seed)
        classes = np.unique(whole.labels)
        self._classes = classes
        self._pictures = whole.first(labels * len(classes))
        self._judge: Trained | None = None

    def trial(self, arm: Arm) -> Trial:
        """Train and score."""
        began = time.monotonic()
        like = self._chosen_for(arm.rival_for) if arm.rival_for else None
        pool = self._pool_of(arm if like is None else like)
        like_psnr = _mean_psnr(pool) if like is not None else None
        if arm.family in MATCHED and pool is not None:
            pool = self._matched(arm.family, pool)
        model = self._train(arm, pool)
        if arm.family == BASELINE:
            self._judge = model
        return Trial(
            arm=arm,
            labels=self._labels,
            seed=self._seed,
            copies=None if pool is None else int(pool.there.sum()),
            psnr=_mean_psnr(pool),
            like=None if like is None else like.name,
            like_psnr=like_psnr,
            steps=self._plan.settings.train_steps,
            seconds=round(time.monotonic() - began, 3),
            scores=tuple(self._scores(model)),
        )

    def _chosen_for(self, reason: str) -> Arm:
        """The arm on trial that validation images choose, over all seeds."""
        arms, seeds = arms_of(self._plan.settings), range(self._plan.settings.seeds)
        scores = scores_table(read_trials(self._output, arms, self._labels, seeds))
        return by_preference(scores, arms, self._labels, reason)[0]

    def _train(self, arm: Arm, pool: Pool | None) -> Trained:
        images = self._pictures.images
        variants = pool if pool is not None and pool.there.any() else None
        lesson = Lesson(
            images=images,
            targets=self._targets(self._pictures.labels),
            classes=len(self._classes),
            variants=TrivialAugment(images) if arm.family == "trivial-augment" else variants,
            moved=arm.family != "real",
            repeated=arm.family == "oversampled",
            mixed=arm.family == "mixup",
        )
        return train_classifier(lesson, self._plan.settings, self._seed, self._plan.execution)

    def _targets(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Classes counted from 0."""
        return np.searchsorted(self._classes, labels)

    def _pool_of(self, arm: Arm) -> Pool | None:
        """What an arm draws from; None where it has no augmented images."""
        if arm.family not in DIFFUSION:
            return None
        assert arm.strength is not None
        if arm.family == "filtered":
            return self._filtered(arm.strength)
        return self._made("one-step" if arm.family == "one-step" else "reconstruct", arm.strength)

    def _made(self, family: str, strength: float) -> Pool:
        whole, _ = _pool(self._output, self._seed, family, strength)
        count = len(self._pictures)
        return Pool(whole.copies[:count], whole.there[:count], whole.psnr[:count])

    def _matched(self, family: str, like: Pool) -> Pool:
        if family == "blur":
            return matched_blur(self._pictures.images, like)
        return matched_noise(self._pictures.images, self._pictures.pixels, like)

    def _filtered(self, strength: float) -> Pool:
        """What the recipe's filters keep.

        Without any: what a classifier that knows no more than these labelled images takes for its
        class.
        """
        pool = self._made("reconstruct", strength)
        if self._plan.recipe.turns_away:
            _, passed = _pool(self._output, self._seed, "reconstruct", strength)
            return pool.kept(passed[: len(self._pictures)])
        if self._judge is None:
            self._judge = self._train(Arm(BASELINE), None)
        images, copies = pool.there.shape
        found = self._judge.confidences(pool.copies.reshape(-1, *pool.copies.shape[2:]))
        named = found.argmax(axis=1).reshape(images, copies)
        return pool.kept(named == self._targets(self._pictures.labels)[:, None])

    def _scores(self, model: Trained) -> Iterator[Score]:
        for scored in data.scored_sets(self._output, self._seed):
            named = model.confidences(scored.images).argmax(axis=1)
            yield Score(
                split=scored.split,
                corruption=scored.corruption,
                severity=scored.severity,
                right=int((named == self._targets(scored.labels)).sum()),
                images=len(scored.labels),
            )


def _mean_psnr(pool: Pool | None) -> float | None:
    """Of equal pictures it is infinite: they count as 99 dB."""
    if pool is None or not pool.there.any():
        return None
    return float(np.minimum(pool.psnr[pool.there], 99.0).mean())


@lru_cache(maxsize=2)
def _pool(output: str, seed: int, family: str, strength: float) -> tuple[Pool, NDArray[np.bool_]]:
    folder = pool_folder(output, seed, family, strength)
    return data.read_pool(folder, data.labelled(output, seed))

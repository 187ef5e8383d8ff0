"""What intervals and verdicts hold, and how often: against simulations and brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from diffaug.evaluation.arms import Arm
from diffaug.evaluation.statistics import (
    binomial_spread,
    difference,
    exceeds,
    from_images,
    holm,
    is_known,
    over_images,
    smallest_visible,
)
from diffaug.evaluation.trials.scores import MEASURES
from diffaug.evaluation.trials.seen import Seen
from diffaug.evaluation.verdict.evidence import weigh
from diffaug.evaluation.verdict.judge import judge

BASELINE = Arm("flips-crops")
CONTROLS = [Arm("mixup"), *(Arm(name, rival_for="clean") for name in ("blur", "noise", "field"))]


def test_p_values_are_scipys() -> None:
    from scipy.stats import ttest_rel

    random = np.random.default_rng(0)
    one, other = random.normal(80, 1, 6), random.normal(79, 1, 6)
    assert exceeds(one, other) == pytest.approx(ttest_rel(one, other, alternative="greater").pvalue)
    assert (exceeds(one, one), exceeds(one + 1, one)) == (1.0, 0.0)


def test_holm_is_what_a_closed_test_gives() -> None:
    """Each hypothesis must be rejected along with every set of others that it may be true with."""
    ps = np.random.default_rng(0).random(6) ** 3
    sets = [each for size in range(1, 7) for each in combinations(range(6), size)]
    closed = [
        max(min(1.0, len(each) * ps[list(each)].min()) for each in sets if one in each)
        for one in range(6)
    ]
    assert holm(ps.tolist()) == pytest.approx(closed)
    assert holm([]) == []


@pytest.mark.numerics
def test_over_images_is_as_wide_as_seeds_and_images_make_it() -> None:
    """Effects of seeds and of images that add up, whose variances are known."""
    random, seeds, images = np.random.default_rng(0), 40, 400
    of_seeds, of_images = random.normal(0, 0.05, (seeds, 1)), random.normal(0, 0.4, images)
    ours = of_seeds + of_images + random.normal(0, 0.3, (seeds, images))
    found = over_images(ours, np.zeros_like(ours))
    half = 196 * np.sqrt(0.05**2 / seeds + 0.4**2 / images)
    assert found.mean == pytest.approx(100 * ours.mean())
    assert found.half == pytest.approx(half, rel=0.2)
    assert from_images(ours, np.zeros_like(ours)) == pytest.approx(196 * 0.4 / 20, rel=0.15)
    noise = random.normal(0, 0.3, (seeds, images))
    assert from_images(noise, np.zeros_like(noise)) < 1


def test_weights_make_classes_count_the_same() -> None:
    """One class of three images, all right, and one of a single image that is wrong."""
    ours, theirs = np.tile([1.0, 1.0, 1.0, 0.0], (5, 1)), np.zeros((5, 4))
    weights = np.array([1 / 3, 1 / 3, 1 / 3, 1])
    assert over_images(ours, theirs).mean == pytest.approx(75)
    assert over_images(ours, theirs, weights).mean == pytest.approx(50)


@pytest.mark.numerics
@pytest.mark.parametrize("seeds", [3, 5, 10, 30])
def test_the_smallest_visible_difference_is_seen_four_times_in_five(seeds: int) -> None:
    random, true = np.random.default_rng(0), smallest_visible(1.5, seeds)
    drawn = true + random.normal(0, 1.5, (4000, seeds))
    seen = np.mean([difference(one, np.zeros(seeds)).low > 0 for one in drawn])
    assert seen == pytest.approx(0.8, abs=0.05)


def test_the_binomial_spread_is_that_of_coins() -> None:
    random = np.random.default_rng(0)
    coins = random.binomial(500, 0.5, (2, 4000)) / 5
    assert np.std(coins[0] - coins[1]) == pytest.approx(binomial_spread(500), rel=0.05)


class Evaluations:
    """Evaluations of which the truth is known: by how many points the arms on trial are better.

    Images differ in how hard they are, and arms in which images they get right; the mean of
    that over all images that there might be is zero. Trainings differ from seed to seed, which
    shows on validation and test images alike. Controls are ten points worse, so that the baseline
    alone decides.
    """

    def __init__(self, seeds: int, images: int, truth: float, on_trial: int = 1) -> None:
        self._random = np.random.default_rng(0)
        self._seeds, self._images, self._truth = seeds, images, truth
        self._on_trial = [Arm("reconstruct", 0.1 * (1 + place)) for place in range(on_trial)]
        self._arms = [*self._on_trial, BASELINE, *CONTROLS]

    def drawn(self) -> tuple[pd.DataFrame, Seen]:
        """Scores, and what each arm was right about."""
        random, right = self._random, dict[str, NDArray[np.float64]]()
        hard, rows = random.uniform(0.4, 0.9, self._images), list[tuple[object, ...]]()
        for arm in self._arms:
            better = -0.1 if arm in CONTROLS else 0.0 if arm == BASELINE else self._truth / 100
            own, drawn = random.normal(0, 0.12, self._images), random.normal(0, 0.02, self._seeds)
            chance = hard + own + better + drawn[:, None]
            found = (random.random((self._seeds, self._images)) < chance).astype(float)
            right[arm.name] = found
            validation = 65 + 100 * (better + drawn) + random.normal(0, 0.5, self._seeds)
            for split, values in (("test", 100 * found.mean(axis=1)), ("validation", validation)):
                rows += [
                    (arm.name, 20, seed, split, "clean", 0, value, 20.0)
                    for seed, value in enumerate(values)
                ]
        columns = ["arm", "labels", "seed", "split", "corruption", "severity", "accuracy", "psnr"]
        scores = pd.DataFrame(rows, columns=columns).assign(**dict.fromkeys(MEASURES, np.nan))
        return scores, Seen(right, np.ones(self._images))

    def words(self, count: int, *, by_image: bool = True) -> list[str]:
        """The verdicts of so many of them."""
        words = []
        for _ in range(count):
            scores, seen = self.drawn()
            evidence = weigh(scores, self._arms, 20, "clean", seen=seen if by_image else None)
            assert evidence is not None
            (verdict,) = judge([evidence])
            words.append(verdict.word)
        return words


@pytest.mark.numerics
@pytest.mark.parametrize(
    ("seeds", "on_trial"),
    [(5, 1), *(pytest.param(*one, marks=pytest.mark.proof) for one in ((30, 1), (5, 6), (30, 6)))],
)
def test_what_does_nothing_seldom_helps(seeds: int, on_trial: int) -> None:
    """At most five times in a hundred."""
    count = 100
    words = Evaluations(seeds, 300, 0.0, on_trial).words(count)
    assert words.count("helps") <= 0.05 * count
    assert words.count("hurts") <= 0.05 * count


@pytest.mark.numerics
@pytest.mark.proof
def test_seeds_alone_also_see_what_is_of_these_images_only() -> None:
    assert Evaluations(30, 300, 0.0).words(100, by_image=False).count("helps") > 10


@pytest.mark.numerics
@pytest.mark.parametrize(
    ("truth", "word"), [(4.0, "helps"), pytest.param(-4.0, "hurts", marks=pytest.mark.proof)]
)
def test_what_helps_is_found(truth: float, word: str) -> None:
    """Four points, with ten seeds and two thousand images; and what hurts by as much."""
    assert Evaluations(10, 2000, truth).words(20).count(word) >= 16


@pytest.mark.numerics
def test_a_point_was_out_of_sight_and_is_not() -> None:
    """Ten seeds that differ by a point: corrected for nineteen arms, and as it is now."""
    random, zero = np.random.default_rng(0), np.zeros(10)
    drawn = 1 + random.normal(0, 1, (1000, 10))
    before, now = (
        np.mean([difference(one, zero, arms).low > 0 for one in drawn]) for arms in (19, 1)
    )
    assert before < 0.35
    assert now > 0.75


@pytest.mark.numerics
@pytest.mark.proof
def test_to_stop_once_enough_is_known_finds_nothing_where_nothing_is() -> None:
    """Whatever the width that is asked for: false finds stay below five in a hundred."""
    random, count = np.random.default_rng(0), 1000
    for until in (0.5, 0.8, 1.2):
        found = 0
        for _ in range(count):
            drawn = random.normal(0, 1, 40)
            seeds = next((n for n in range(5, 40) if is_known(drawn[:n], np.zeros(n), until)), 40)
            found += difference(drawn[:seeds], np.zeros(seeds)).low > 0
        assert found <= 0.05 * count


def test_images_that_are_too_few_end_it() -> None:
    """Not even all seeds there are would tell."""
    random = np.random.default_rng(0)
    right = np.tile((random.random(50) < 0.5).astype(float), (6, 1)), np.zeros((6, 50))
    values = 100 * right[0].mean(axis=1) + random.normal(0, 4, 6)
    assert not is_known(values, np.zeros(6), 1.0)
    assert is_known(values, np.zeros(6), 1.0, right)

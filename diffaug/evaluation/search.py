"""Strength search: a budget of trainings, spent on the strengths that look best so far.

Successive halving (Jamieson & Talwalkar 2016): all candidates are tried on a few seeds; the better
half of them on twice as many; until two are left. Every strength of a round is tried on the same
seeds, and judged by validation images alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import fmean

import numpy as np

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.evaluation.arms import BASELINE, Arm
from diffaug.evaluation.images.pools import generate
from diffaug.evaluation.plan import EvaluationPlan
from diffaug.evaluation.settings import Evaluation
from diffaug.evaluation.trials.record import read_trial
from diffaug.evaluation.trials.run import run_trials

__all__ = ["LEAST", "Round", "Schedule", "candidates", "search", "settings_of"]

LEAST = 8
"""The smallest budget: four strengths, two of which are tried twice, and twice no augmentation."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a budget is spent.

    Attributes:
        strengths: how many there are in the first round, a power of two.
        seeds: on how many seeds each is tried in the first round; twice as many in each after.
    """

    strengths: int
    seeds: int

    @classmethod
    def of(cls, budget: int) -> Schedule:
        """The most strengths, at most sixteen, and then the most seeds that a budget pays for.

        Args:
            budget: trainings.

        Raises:
            ConfigError: it is too small.
        """
        if budget < LEAST:
            raise ConfigError(f"--budget: a search takes at least {LEAST} trainings, got {budget}")
        paid = [count for count in (4, 8, 16) if cls(count, 1).cost <= budget]
        return cls(paid[-1], budget // cls(paid[-1], 1).cost)

    @property
    def rounds(self) -> int:
        """How many rounds there are; two strengths are left in the last."""
        return self.strengths.bit_length() - 1

    @property
    def cost(self) -> int:
        """Trainings in all: a later round does only the seeds that an earlier did not."""
        return self.strengths * self.seeds * (self.rounds + 1) // 2 + self.most_seeds

    @property
    def most_seeds(self) -> int:
        """On how many seeds the last two are tried."""
        return self.seeds << (self.rounds - 1)


@dataclass(frozen=True, slots=True)
class Round:
    """One round.

    Attributes:
        seeds: on how many seeds each strength was tried.
        accuracy: mean accuracy on clean validation images by strength, in points of a hundred.
        baseline: that of flips and crops alone, on the same seeds.
    """

    seeds: int
    accuracy: dict[float, float]
    baseline: float

    def best(self) -> list[float]:
        """The strengths, the best first; of equals the lower, which costs less."""
        return sorted(self.accuracy, key=lambda strength: (-self.accuracy[strength], strength))


def candidates(text: str, schedule: Schedule) -> tuple[float, ...]:
    """The strengths that `strength=0.1:0.9` means, evenly spaced.

    Raises:
        ConfigError: it does not mean any.
    """
    name, _, span = text.partition("=")
    try:
        low, high = (float(part) for part in span.split(":"))
    except ValueError:
        low, high = 1.0, 0.0
    if name != "strength" or not 0 < low < high <= 1:
        raise ConfigError(
            f"--search is strength=lo:hi with 0 < lo < hi <= 1, such as strength=0.1:0.9, got "
            f"{text}"
        )
    return tuple(round(float(one), 3) for one in np.linspace(low, high, schedule.strengths))


def settings_of(
    settings: Evaluation, schedule: Schedule, strengths: tuple[float, ...]
) -> Evaluation:
    """The settings of a search: the seeds of its last round, and nothing but what it tries."""
    changes = {
        "arms": ("reconstruct",),
        "strengths": strengths,
        "seeds": schedule.most_seeds,
        "labels": settings.labels[-1:],
    }
    return settings.model_copy(update=changes)


def search(plan: EvaluationPlan, output: str, schedule: Schedule) -> Iterator[Round]:
    """Search among the plan's strengths, at its last budget of labels; yield each round.

    Where the recipe has filters, what they keep is tried.

    In the end OUTPUT/recipe.yaml is the plan's recipe at the best strength, ready for `diffaug
    augment`, and OUTPUT/search.json tells the rounds.

    Raises:
        ConfigError: the model or the classifier cannot do what is asked.
        UncommittedError: storage or memory failed; run it again.
    """
    left, labels = list(plan.settings.strengths), plan.settings.labels[-1]
    family = "filtered" if plan.recipe.turns_away else "reconstruct"
    rounds = list[Round]()
    for number in range(schedule.rounds):
        seeds = range(schedule.seeds * 2**number)
        pools = [Arm("reconstruct", strength) for strength in left]
        arms = [Arm(BASELINE), *(Arm(family, strength) for strength in left)]
        for seed in seeds:
            for _ in generate(plan, output, seed, pools):
                pass
        for _ in run_trials(output, {(labels, seed): arms for seed in seeds}):
            pass
        baseline, *means = (
            fmean(_accuracy(output, arm, labels, seed) for seed in seeds) for arm in arms
        )
        rounds.append(Round(len(seeds), dict(zip(left, means, strict=True)), baseline))
        yield rounds[-1]
        left = sorted(rounds[-1].best()[: len(left) // 2])
    best = plan.recipe.model_copy(update={"strength": rounds[-1].best()[0]})
    storage.replace(best.as_yaml().encode(), storage.join(output, "recipe.yaml"))
    told = json.dumps([asdict(one) for one in rounds], indent=1)
    storage.replace(told.encode(), storage.join(output, "search.json"))


def _accuracy(output: str, arm: Arm, labels: int, seed: int) -> float:
    trial = read_trial(output, arm, labels, seed)
    assert trial is not None
    (clean,) = (
        score
        for score in trial.scores
        if (score.split, score.corruption) == ("validation", "clean")
    )
    return 100 * clean.right / clean.images

"""Strength search: a budget of trainings, spent on the strengths that look best so far.

Successive halving (Jamieson & Talwalkar 2016): all candidates are tried on a few seeds, then the
better half on twice as many, and so on until two are left. A round tries every strength on the same
seeds, and judges them on validation images only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import fmean

import numpy as np

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.evaluation.arms import Arm
from diffaug.evaluation.images.generate import generate
from diffaug.evaluation.kinds import CLEAN
from diffaug.evaluation.plan import EvaluationPlan
from diffaug.evaluation.settings import Evaluation
from diffaug.evaluation.trials.record import read_trial
from diffaug.evaluation.trials.run import run_trials
from diffaug.output.evaluation import EvaluationOutput
from diffaug.recipe.checks import interval_of

__all__ = ["Round", "Schedule", "candidates", "search", "settings_of"]

_LEAST = 8
"""Smallest budget: four strengths once, two of them again, and the baseline twice."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a budget is spent.

    Attributes:
        strengths: number of strengths in the first round, a power of two.
        seeds: seeds per strength in the first round; each later round doubles them.
    """

    strengths: int
    seeds: int

    @classmethod
    def of(cls, budget: int) -> Schedule:
        """The most strengths, up to sixteen, and then the most seeds that a budget allows.

        Args:
            budget: number of trainings.

        Raises:
            ConfigError: the budget is too small.
        """
        if budget < _LEAST:
            raise ConfigError(f"--budget: a search takes at least {_LEAST} trainings, got {budget}")
        paid = [count for count in (4, 8, 16) if cls(count, 1).cost <= budget]
        return cls(paid[-1], budget // cls(paid[-1], 1).cost)

    @property
    def rounds(self) -> int:
        """Number of rounds; the last has two strengths."""
        return self.strengths.bit_length() - 1

    @property
    def cost(self) -> int:
        """Total number of trainings: a round reuses the seeds of the rounds before it."""
        return self.strengths * self.seeds * (self.rounds + 1) // 2 + self.most_seeds

    @property
    def most_seeds(self) -> int:
        """Seeds of the last round."""
        return self.seeds << (self.rounds - 1)


@dataclass(frozen=True, slots=True)
class Round:
    """One round.

    Attributes:
        seeds: number of seeds that each strength was tried on.
        accuracy: mean accuracy on clean validation images by strength, in percent.
        baseline: mean accuracy of the baseline, on the same seeds.
    """

    seeds: int
    accuracy: dict[float, float]
    baseline: float

    def best(self) -> list[float]:
        """The strengths, best first; of equally good ones the lower, which costs less."""
        return sorted(self.accuracy, key=lambda strength: (-self.accuracy[strength], strength))


def candidates(text: str, schedule: Schedule) -> tuple[float, ...]:
    """The strengths of a range such as `strength=0.1:0.9`, evenly spaced.

    Raises:
        ConfigError: the text is not such a range.
    """
    name, _, span = text.partition("=")
    low, high = interval_of(span)
    if name != "strength" or not 0 < low < high <= 1:
        raise ConfigError(
            f"--search is strength=lo:hi with 0 < lo < hi <= 1, such as strength=0.1:0.9, got "
            f"{text}"
        )
    return tuple(round(float(one), 3) for one in np.linspace(low, high, schedule.strengths))


def settings_of(
    settings: Evaluation, schedule: Schedule, strengths: tuple[float, ...]
) -> Evaluation:
    """The settings of a search: its strengths, the seeds of its last round, the last budget."""
    changes = {
        "arms": ("reconstruct",),
        "strengths": strengths,
        "seeds": schedule.most_seeds,
        "labels": settings.labels[-1:],
    }
    return settings.model_copy(update=changes)


def search(plan: EvaluationPlan, output: str, schedule: Schedule) -> Iterator[Round]:
    """Search among the plan's strengths, at its last budget of labels, and yield each round.

    If the recipe has filters, only the images that they keep are used.

    Writes OUTPUT/recipe.yaml, the plan's recipe at the best strength, ready for `diffaug augment`;
    and OUTPUT/search.json, the rounds.

    Raises:
        ConfigError: the model or the classifier cannot do what is asked.
        UncommittedError: storage failed or memory ran out; run it again.
    """
    left, labels = list(plan.settings.strengths), plan.settings.labels[-1]
    family = "filtered" if plan.recipe.turns_away else "reconstruct"
    rounds = list[Round]()
    for number in range(schedule.rounds):
        seeds = range(schedule.seeds * 2**number)
        pools = [Arm("reconstruct", strength) for strength in left]
        arms = [Arm(plan.settings.kind.baseline), *(Arm(family, strength) for strength in left)]
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
    files = EvaluationOutput(output)
    storage.replace(best.as_yaml().encode(), files.recipe_yaml)
    text = json.dumps([asdict(one) for one in rounds], indent=1)
    storage.replace(text.encode(), files.search_json)


def _accuracy(output: str, arm: Arm, labels: int, seed: int) -> float:
    trial = read_trial(output, arm, labels, seed)
    assert trial is not None
    (clean,) = (
        score for score in trial.scores if (score.split, score.corruption) == ("validation", CLEAN)
    )
    return 100 * clean.right / clean.images

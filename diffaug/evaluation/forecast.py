"""What an evaluation takes, and how small a gain it could show, before it begins."""

from __future__ import annotations

import json
from dataclasses import dataclass

from diffaug import storage
from diffaug.evaluation.arms import arms_of, matched_arms
from diffaug.evaluation.images.drawn import Drawn, Passed
from diffaug.evaluation.images.found import Found, read_found_if_any
from diffaug.evaluation.images.generate import pools_of
from diffaug.evaluation.kinds import Kind
from diffaug.evaluation.plan import EvaluationPlan
from diffaug.evaluation.statistics import binomial_spread, smallest_visible
from diffaug.output.evaluation import EvaluationOutput

__all__ = ["Forecast", "forecast"]

_MOST_SEEDS = 1000


@dataclass(frozen=True, slots=True)
class Forecast:
    """What an evaluation takes, and could show.

    Attributes:
        found: what its sources hold.
        images: images to generate for all seeds, those included that are there.
        trainings: for all seeds, likewise.
        seeds: how many.
        spread: standard deviation over seeds of the difference of two arms, in points.
        origin: where that number comes from, as the end of a sentence.
        worth: the gain that would be worth having, in points.
        kind: images or texts.
    """

    found: Found
    images: int
    trainings: int
    seeds: int
    spread: float
    origin: str
    worth: float
    kind: Kind

    @property
    def visible(self) -> float:
        """The smallest gain over the baseline that so many seeds would mostly show."""
        return smallest_visible(self.spread, self.seeds)

    @property
    def enough(self) -> int | None:
        """Seeds that would mostly show a gain worth having; None: a thousand would not."""
        for seeds in range(2, _MOST_SEEDS + 1):
            if smallest_visible(self.spread, seeds) <= self.worth:
                return seeds
        return None

    def __str__(self) -> str:
        found, enough, noun = self.found, self.enough, self.kind.noun
        needed = f"takes {enough} seeds" if enough else f"takes more than {_MOST_SEEDS} seeds"
        return (
            f"{found.labelled} labelled and {found.validation} validation {noun}s per seed, "
            f"{found.test} test {noun}s\n"
            f"{self.seeds} seeds: {self.images} {noun}s to generate, {self.trainings} trainings\n"
            f"smallest gain over {self.kind.without} that they would show four times in five: "
            f"{self.visible:.1f} points, if arms differ by {self.spread:.1f} points from seed to "
            f"seed ({self.origin})\n"
            f"to see a gain of {self.worth:g} that often {needed}"
        )


def forecast(
    plan: EvaluationPlan, output: str, passed: Passed = iter, spread: float | None = None
) -> Forecast:
    """Forecast an evaluation, from its sources and from the results that OUTPUT may hold.

    Args:
        plan: the evaluation.
        output: its OUTPUT; nothing is written there.
        passed: passes on the shards that are read, and may report progress.
        spread: how far arms differ from seed to seed, in points, if that is known; else as in
            OUTPUT's results or, without any, at least, as so many test images alone make them.

    Raises:
        ConfigError: see `Drawn.of`.
        OSError: a shard cannot be read.
    """
    settings = plan.settings
    found = read_found_if_any(output) or Drawn.of(plan, passed).found()
    origin = "as given"
    if spread is None:
        spread, origin = _spread_of(output), "as in the results here"
    if spread is None:
        spread = binomial_spread(found.test)
        noun = settings.kind.noun
        origin = f"at least, with {found.test} test {noun}s: give --spread if you know better"
    arms = len(arms_of(settings)) + len(matched_arms(settings))
    return Forecast(
        found=found,
        images=len(pools_of(plan)) * found.labelled * plan.recipe.copies * settings.seeds,
        trainings=arms * len(settings.labels) * settings.seeds,
        seeds=settings.seeds,
        spread=spread,
        origin=origin,
        worth=settings.worth,
        kind=settings.kind,
    )


def _spread_of(output: str) -> float | None:
    """The largest spread of the gains in the results of an evaluation; None without such results.

    Results of earlier versions do not say what was visible.
    """
    try:
        results = json.loads(storage.read_bytes(EvaluationOutput(output).result("results.json")))
    except FileNotFoundError:
        return None
    visible = [one["visible"] for one in results["verdicts"] if "visible" in one]
    if not visible:
        return None
    return float(max(visible) / smallest_visible(1, results["cost"]["seeds"]))

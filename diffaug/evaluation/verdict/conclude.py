"""The conclusion of an evaluation: OUTPUT/results, with tables, plots and a verdict."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from statistics import fmean
from typing import Any

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.evaluation.arms import Arm, arms_of, matched_arms
from diffaug.evaluation.images.found import read_found
from diffaug.evaluation.images.generate import pools_of
from diffaug.evaluation.plan import EvaluationPlan
from diffaug.evaluation.settings import named
from diffaug.evaluation.trials.record import Trial, read_trials
from diffaug.evaluation.trials.run import missing_trials
from diffaug.evaluation.trials.scores import scores_table
from diffaug.evaluation.trials.seeds import seeds_needed
from diffaug.evaluation.trials.seen import read_seen
from diffaug.evaluation.verdict.conclusion import Conclusion
from diffaug.evaluation.verdict.evidence import weigh
from diffaug.evaluation.verdict.judge import judge
from diffaug.evaluation.verdict.leakage import leakage, transfer
from diffaug.evaluation.verdict.notes import notes_on
from diffaug.evaluation.verdict.page import markdown_page
from diffaug.evaluation.verdict.plots import draw_plots
from diffaug.evaluation.verdict.summary import summary_table
from diffaug.output.evaluation import EvaluationOutput
from diffaug.output.summary import Summary, summarise

__all__ = ["conclude"]


def conclude(plan: EvaluationPlan, output: str) -> Conclusion:
    """Tabulate the trials, draw the plots, and write OUTPUT/results.

    Writes `scores.parquet` (one row per trial, split, corruption and severity), `summary.parquet`
    (one row per budget, arm and kind of image), `results.json`, `README.md` and the plots.

    Raises:
        ConfigError: trials are missing.
    """
    if missing_trials(plan, output):
        raise ConfigError(f"{output}: some trainings are not done yet: run it again")
    settings, found, files = plan.settings, read_found(output), EvaluationOutput(output)
    arms = [*arms_of(settings), *matched_arms(settings)]
    count = seeds_needed(plan, output)
    seeds = range(count)
    trials = [one for labels in settings.labels for one in read_trials(output, arms, labels, seeds)]
    scores = scores_table(trials)
    made = {
        arm.name: [summarise(files.pool(seed, arm.name)) for seed in seeds]
        for arm in pools_of(plan)
    }
    summary = summary_table(scores, arms, settings.measure, _making(arms, made), settings.kind)
    evidence = [
        weigh(
            scores,
            arms,
            labels,
            of,
            settings.measure,
            read_seen(plan, output, arms, labels, count, of),
            settings.kind,
        )
        for labels in settings.labels
        for of in settings.kind.chosen_for
    ]
    one_set = found.shared == 1 and len(settings.labels) == 1
    elsewhere = [*settings.made_elsewhere, *named(settings.further)]
    saw = settings.model_saw if pools_of(plan) else None
    verdicts = judge(
        [one for one in evidence if one is not None],
        settings.worth,
        transfer(saw, plan.recipe.condition, plan.model_labels),
        settings.kind,
    )
    conclusion = Conclusion(
        verdicts,
        leakage(
            saw, plan.recipe.condition, one_set, plan.recipe.judges, elsewhere, settings.kind.noun
        ),
        notes_on(settings, found, trials, verdicts),
    )
    cost = _cost(plan, list(chain.from_iterable(made.values())), trials, count)
    plots = draw_plots(summary, files.folder / "results", settings.kind)
    for name, table in (("scores", scores), ("summary", summary)):
        data = io.BytesIO()
        table.to_parquet(data, index=False)
        storage.replace(data.getvalue(), files.result(f"{name}.parquet"))
    results = asdict(conclusion) | {
        "cost": cost,
        "data": found.model_dump(),
        "plan": plan.model_dump(mode="json"),
    }
    storage.replace(json.dumps(results, indent=1).encode(), files.result("results.json"))
    page = markdown_page(plan, conclusion, cost, summary, [path.name for path in plots])
    storage.replace(page.encode(), files.result("README.md"))
    return conclusion


def _making(arms: Sequence[Arm], made: Mapping[str, Sequence[Summary]]) -> dict[str, float]:
    """Seconds that the images of a seed took, for each arm that has images made for it."""
    pools = {arm.name: arm.pool.name for arm in arms if arm.pool is not None}
    return {name: fmean(one.seconds for one in made[pool]) for name, pool in pools.items()}


def _cost(
    plan: EvaluationPlan, made: Sequence[Summary], trials: Sequence[Trial], seeds: int
) -> dict[str, Any]:
    """Images and seconds spent on generating and on training."""
    return {
        "generated_images": sum(one.planned - one.failed for one in made),
        "filtered_images": sum(one.filtered for one in made),
        "failed_images": sum(one.failed for one in made),
        "generating_seconds": round(sum(one.seconds for one in made), 1),
        "seeds": seeds,
        "trainings": len(trials),
        "training_seconds": round(sum(trial.seconds for trial in trials), 1),
        "device_class": plan.device_class,
    }

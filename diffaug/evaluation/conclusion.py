"""What an evaluation ends in: OUTPUT/results, plots, and a verdict."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.evaluation import data
from diffaug.evaluation.arms import arms_of
from diffaug.evaluation.generation import pool_folder, pools_of
from diffaug.evaluation.plan import EvaluationPlan
from diffaug.evaluation.plots import draw_plots
from diffaug.evaluation.results import CLEAN, CORRUPTED, read_trials, scores_table, summary_table
from diffaug.evaluation.settings import FAMILIES
from diffaug.evaluation.verdict import Verdict, judge, leakage
from diffaug.summary import summarise

__all__ = ["Conclusion", "conclude"]


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What was found.

    Attributes:
        verdicts: one for each budget, clean and corrupted.
        leakage: what the diffusion model knew, a sentence.
        notes: what else a reader must know, a sentence each.
        cost: of generating and of training.
        summary: see `results.summary_table`.
    """

    verdicts: list[Verdict]
    leakage: str
    notes: list[str]
    cost: dict[str, Any]
    summary: pd.DataFrame

    def __str__(self) -> str:
        said = [verdict.sentence for verdict in self.verdicts] or ["Nothing was on trial."]
        return "\n".join([*said, self.leakage, *self.notes])


def conclude(plan: EvaluationPlan, output: str) -> Conclusion:
    """Count the trials, draw the plots, and write OUTPUT/results.

    Writes `scores.parquet` (a row a trial, split, corruption and severity), `summary.parquet` (a
    row a budget, arm and kind of image), `results.json`, `README.md` and the plots.

    Raises:
        ConfigError: trials are missing.
    """
    trials, missing = read_trials(plan, output)
    if missing:
        raise ConfigError(f"{output}: {missing} trainings are yet to be done: run it again")
    arms, settings = arms_of(plan.settings), plan.settings
    scores = scores_table(trials)
    summary = summary_table(scores, arms)
    assert settings.model_saw is not None
    verdicts = [
        judge(scores, arms, labels, of) for labels in settings.labels for of in (CLEAN, CORRUPTED)
    ]
    conclusion = Conclusion(
        [verdict for verdict in verdicts if verdict is not None],
        leakage(settings.model_saw, plan.recipe.condition),
        _notes(plan, output),
        _cost(plan, output, sum(trial.seconds for trial in trials)),
        summary,
    )
    folder = Path(output, "results")
    plots = draw_plots(summary, folder)
    scores.to_parquet(folder / "scores.parquet", index=False)
    summary.to_parquet(folder / "summary.parquet", index=False)
    said = {
        "verdicts": [asdict(verdict) for verdict in conclusion.verdicts],
        "leakage": conclusion.leakage,
        "notes": conclusion.notes,
        "cost": conclusion.cost,
        "plan": plan.model_dump(mode="json"),
    }
    storage.replace(json.dumps(said, indent=1).encode(), str(folder / "results.json"))
    storage.replace(_page(plan, conclusion, plots).encode(), str(folder / "README.md"))
    return conclusion


def _notes(plan: EvaluationPlan, output: str) -> list[str]:
    notes = []
    seeds = range(plan.settings.seeds)
    labelled = [set(data.labelled(output, seed).pixels) for seed in seeds]
    if all(one == labelled[0] for one in labelled):
        notes.append(
            "Every seed had the same labelled images: intervals tell how trainings differ, not how "
            "draws of images do."
        )
    tested = set(data.sets(output, 0)["test"].pictures.pixels)
    both = len(set.union(*labelled) & tested)
    if both:
        notes.append(f"{both} labelled images are, pixel for pixel, among the test images.")
    return notes


def _cost(plan: EvaluationPlan, output: str, training: float) -> dict[str, Any]:
    images, seconds = 0, 0.0
    for seed in range(plan.settings.seeds):
        for arm in pools_of(plan):
            assert arm.strength is not None
            summary = summarise(pool_folder(output, seed, arm.family, arm.strength))
            images += summary.planned
            seconds += summary.seconds
    return {
        "generated_images": images,
        "generating_seconds": round(seconds, 1),
        "trainings": len(arms_of(plan.settings)) * plan.settings.seeds * len(plan.settings.labels),
        "training_seconds": round(training, 1),
        "device_class": plan.device_class,
    }


def _page(plan: EvaluationPlan, conclusion: Conclusion, plots: list[Path]) -> str:
    settings = plan.settings
    parts = ["# Does it help?", *(f"- {verdict.sentence}" for verdict in conclusion.verdicts)]
    parts += ["", conclusion.leakage, *conclusion.notes, "", _how(plan, conclusion), ""]
    for labels in settings.labels:
        parts += [f"## {labels} labels a class", "", _table(conclusion.summary, labels), ""]
    parts += [f"![{path.stem}]({path.name})" for path in plots]
    named = {arm.family: FAMILIES[arm.family] for arm in arms_of(settings)}
    parts += ["", "## The arms", "", *(f"- **{name}**: {text}" for name, text in named.items())]
    return "\n".join(parts) + "\n"


def _how(plan: EvaluationPlan, conclusion: Conclusion) -> str:
    settings, cost = plan.settings, conclusion.cost
    per_image = cost["generating_seconds"] / max(1, cost["generated_images"])
    return (
        f"{settings.seeds} seeds; every training has {settings.train_steps} steps of "
        f"{settings.train_batch} images, half of them augmented where there are such. Intervals "
        "are of 95%; those of differences are paired by seed and corrected for the number of arms. "
        f"Strengths were chosen on {settings.validation} validation images a class. "
        f"Generating took {cost['generated_images']} images and "
        f"{cost['generating_seconds'] / 60:.0f} minutes ({1000 * per_image:.0f} ms an image), "
        f"training {cost['training_seconds'] / 60:.0f} minutes of one core, on "
        f"{cost['device_class']}. Model {plan.recipe.model} ({plan.model_digest[:8]})."
    )


def _table(summary: pd.DataFrame, labels: int) -> str:
    rows = summary[summary["labels"] == labels]
    kinds = list(rows["of"].unique())
    lines = ["| arm | " + " | ".join(kinds) + " |", "| :--- |" + " ---: |" * len(kinds)]
    for arm in rows["arm"].unique():
        cells = []
        for of in kinds:
            row = rows[(rows["arm"] == arm) & (rows["of"] == of)].iloc[0]
            half = (row["accuracy_high"] - row["accuracy_low"]) / 2
            cells.append(f"{row['accuracy']:.1f} ± {half:.1f}")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)

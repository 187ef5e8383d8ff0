"""What an evaluation ends in: OUTPUT/results, with tables, plots and a verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.evaluation.arms import Arm, arms_of, matched_arms
from diffaug.evaluation.images.pools import pool_folder, pools_of
from diffaug.evaluation.images.prepare import Found, read_found
from diffaug.evaluation.plan import EvaluationPlan
from diffaug.evaluation.settings import FAMILIES
from diffaug.evaluation.trials.record import Trial, read_trials
from diffaug.evaluation.trials.run import missing_trials
from diffaug.evaluation.verdict.judge import Verdict, judge, leakage
from diffaug.evaluation.verdict.plots import draw_plots
from diffaug.evaluation.verdict.summary import CLEAN, CORRUPTED, scores_table, summary_table
from diffaug.output.summary import summarise

__all__ = ["Conclusion", "conclude"]

_OFF = 0.5
"""How far a matched control may be from what it is matched to, in dB, before that is noted."""


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
    if missing_trials(plan, output):
        raise ConfigError(f"{output}: some trainings are yet to be done: run it again")
    settings, found = plan.settings, read_found(output)
    arms = [*arms_of(settings), *matched_arms(settings)]
    seeds = range(settings.seeds)
    trials = [one for labels in settings.labels for one in read_trials(output, arms, labels, seeds)]
    scores = scores_table(trials)
    summary = summary_table(scores, arms)
    verdicts = [
        judge(scores, arms, labels, of) for labels in settings.labels for of in (CLEAN, CORRUPTED)
    ]
    one_set = found.shared == 1 and len(settings.labels) == 1
    conclusion = Conclusion(
        [verdict for verdict in verdicts if verdict is not None],
        leakage(str(settings.model_saw), plan.recipe.condition, one_set, plan.recipe.judges),
        [*_of_images(found), *_of_trials(trials)],
        _cost(plan, output, trials),
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
        "data": found.model_dump(),
        "plan": plan.model_dump(mode="json"),
    }
    storage.replace(json.dumps(said, indent=1).encode(), str(folder / "results.json"))
    storage.replace(_page(plan, conclusion, arms, plots).encode(), str(folder / "README.md"))
    return conclusion


def _of_images(found: Found) -> list[str]:
    notes = []
    if found.shared == 1:
        notes.append(
            "Every seed has the same labelled images: intervals tell how images are made and "
            "classifiers trained, not how labelled images are drawn."
        )
    elif found.shared > 0.1:
        notes.append(
            f"A seed shares {found.shared:.0%} of its labelled images with another: intervals are "
            "narrower than those of draws from a larger source."
        )
    for count, of, among in (
        (found.labelled_in_test, "labelled", "test"),
        (found.validation_in_test, "validation", "test"),
        (found.labelled_in_validation, "labelled", "validation"),
    ):
        if count:
            notes.append(f"{count} {of} images are, pixel for pixel, {among} images too.")
    if found.left_out:
        notes.append(
            f"{found.left_out} samples were left out; the first one, {found.why[0]} (data.json)."
        )
    return notes


def _of_trials(trials: Sequence[Trial]) -> list[str]:
    notes = []
    empty = sorted({trial.arm.name for trial in trials if trial.copies == 0})
    if empty:
        notes.append(
            f"Filters left nothing to {', '.join(empty)} in some trainings, which then are flips "
            "and crops alone."
        )
    off = [
        f"{trial.arm.name} with {trial.labels} labels a class ({trial.psnr:.1f} dB, where "
        f"{trial.like} has {trial.like_psnr:.1f})"
        for trial in trials
        if trial.seed == 0
        and trial.psnr is not None
        and trial.like_psnr is not None
        and abs(trial.psnr - trial.like_psnr) > _OFF
    ]
    if off:
        notes.append(
            f"Not as far from its images as what it is matched to: {'; '.join(off)}. A blur cannot "
            "be stronger than a plane of grey."
        )
    return notes


def _cost(plan: EvaluationPlan, output: str, trials: Sequence[Trial]) -> dict[str, Any]:
    made = [
        summarise(pool_folder(output, seed, arm.family, arm.strength or 0))
        for seed in range(plan.settings.seeds)
        for arm in pools_of(plan)
    ]
    return {
        "generated_images": sum(one.planned - one.failed for one in made),
        "filtered_images": sum(one.filtered for one in made),
        "failed_images": sum(one.failed for one in made),
        "generating_seconds": round(sum(one.seconds for one in made), 1),
        "trainings": len(trials),
        "training_seconds": round(sum(trial.seconds for trial in trials), 1),
        "device_class": plan.device_class,
    }


def _page(
    plan: EvaluationPlan, conclusion: Conclusion, arms: Sequence[Arm], plots: Sequence[Path]
) -> str:
    parts = ["# Does it help?", ""]
    for verdict in conclusion.verdicts:
        parts.append(f"- {verdict.sentence}")
        if verdict.lead is not None:
            lead = f"{verdict.lead.mean:+.1f} [{verdict.lead.low:+.1f}, {verdict.lead.high:+.1f}]"
            parts.append(f"  On validation images it is {lead} ahead of {verdict.runner_up}.")
    parts += ["", conclusion.leakage, "", *conclusion.notes, "", _how(plan, conclusion), ""]
    for labels in plan.settings.labels:
        parts += [f"## {labels} labels a class", "", _table(conclusion.summary, labels), ""]
    parts += [f"![{path.stem}]({path.name})" for path in plots]
    named = {arm.family: FAMILIES[arm.family] for arm in arms}
    parts += ["", "## The arms", "", *(f"- **{name}**: {text}" for name, text in named.items())]
    return "\n".join(parts) + "\n"


def _how(plan: EvaluationPlan, conclusion: Conclusion) -> str:
    settings, cost = plan.settings, conclusion.cost
    per_image = cost["generating_seconds"] / max(1, cost["generated_images"])
    return (
        f"{settings.seeds} seeds; every training has {settings.train_steps} steps of "
        f"{settings.train_batch} images, half of them augmented where there are such. Intervals "
        "are of 95%; those of differences to flips-crops, in brackets, are paired by seed and "
        "corrected for the number of arms. What is chosen was chosen on "
        f"{settings.validation} validation images a class. Generating took "
        f"{cost['generated_images']} images and {cost['generating_seconds'] / 60:.0f} minutes "
        f"({1000 * per_image:.0f} ms an image), {cost['trainings']} trainings "
        f"{cost['training_seconds'] / 60:.0f} minutes of one core, on {cost['device_class']}. "
        f"Model {plan.recipe.model} ({plan.model_digest[:8]})."
    )


def _table(summary: pd.DataFrame, labels: int) -> str:
    """Accuracy of every arm; for clean and corrupted also the difference to the baseline."""
    rows = summary[summary["labels"] == labels]
    kinds = list(rows["of"].unique())
    lines = ["| arm | PSNR | " + " | ".join(kinds) + " |"]
    lines.append("| :--- | ---: |" + " ---: |" * len(kinds))
    for arm in rows["arm"].unique():
        of_arm = rows[rows["arm"] == arm].set_index("of")
        psnr = of_arm["psnr"].iloc[0]
        cells = ["" if pd.isna(psnr) else f"{psnr:.1f}"]
        for of in kinds:
            row = of_arm.loc[of]
            gain = f" ({row['gain']:+.1f} [{row['gain_low']:+.1f}, {row['gain_high']:+.1f}])"
            shown = gain if of in (CLEAN, CORRUPTED) and arm != "flips-crops" else ""
            cells.append(f"{row['accuracy']:.1f}{shown}")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)

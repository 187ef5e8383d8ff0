"""OUTPUT/results/README.md: verdicts, accuracy of every arm, and plots, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import pandas as pd

from diffaug.evaluation.arms import uses_model
from diffaug.evaluation.kinds import CLEAN, CORRUPTED, described
from diffaug.evaluation.plan import EvaluationPlan
from diffaug.evaluation.settings import budget
from diffaug.evaluation.verdict.conclusion import Conclusion
from diffaug.evaluation.verdict.judge import MEASURED, signed
from diffaug.output.markdown import code, text

__all__ = ["markdown_page"]


def markdown_page(
    plan: EvaluationPlan,
    conclusion: Conclusion,
    cost: Mapping[str, Any],
    summary: pd.DataFrame,
    plots: Sequence[str],
) -> str:
    """The page.

    Args:
        plan: the evaluation.
        conclusion: what it found.
        cost: as in `results.json`.
        summary: see `summary.summary_table`.
        plots: file names of the plots.
    """
    parts, kind = ["# Does it help?", ""], plan.settings.kind
    for verdict in conclusion.verdicts:
        parts.append(f"- {verdict.sentence}")
        if verdict.lead is not None:
            parts.append(
                f"  On validation {kind.noun}s it is {signed(verdict.lead)} ahead of "
                f"{verdict.runner_up}."
            )
    notes = map(text, conclusion.notes)  # they name samples
    parts += ["", conclusion.leakage, "", *notes, "", _how(plan, cost), ""]
    for labels in plan.settings.labels:
        parts += [
            f"## {budget(labels).capitalize()}",
            "",
            _table(summary, labels, kind.baseline),
            "",
        ]
    parts += [f"![{PurePath(name).stem}]({name})" for name in plots]
    families = summary["family"].unique()
    parts += [
        "",
        "## The arms",
        "",
        *(f"- **{name}**: {described(name, kind)}" for name in families),
    ]
    return "\n".join(parts) + "\n"


def _how(plan: EvaluationPlan, cost: Mapping[str, Any]) -> str:
    settings, kind = plan.settings, plan.settings.kind
    model = ""
    if uses_model(settings):
        model = f" Model {code(plan.recipe.model)} ({plan.model_digest[:8]})."
    per_image = cost["generating_seconds"] / max(1, cost["generated_images"])
    return (
        f"Tables show {MEASURED[settings.measure]}, in %. {cost['seeds']} seeds; every training "
        f"of the classifier {code(settings.classifier)} has {settings.train_steps} steps of "
        f"{settings.train_batch} {kind.noun}s, {settings.augmented_per_batch} of them augmented in "
        "arms that augment. Intervals "
        f"are at 95%; those of differences to {kind.baseline}, in brackets, are paired by seed and "
        "corrected for the number of arms in the tables, and not in the verdicts, whose arm was "
        f"chosen on other {kind.noun}s. Cost is that of a training and of the {kind.noun}s made "
        f"for it, in trainings of {kind.baseline}. Choices were made on "
        f"{settings.validation} validation {kind.noun}s per class. Generating "
        f"{cost['generated_images']} {kind.noun}s took {cost['generating_seconds'] / 60:.0f} "
        f"minutes ({1000 * per_image:.0f} ms each), {cost['trainings']} trainings "
        f"{cost['training_seconds'] / 60:.0f} minutes of one core, on {cost['device_class']}."
        f"{model}"
    )


def _table(summary: pd.DataFrame, labels: int, baseline: str) -> str:
    """The measure of every arm; for clean and corrupted also the difference to the baseline.

    Accuracy or balanced accuracy, negative log-likelihood and calibration error of clean images
    come last.
    """
    rows = summary[summary["labels"] == labels]
    kinds = list(rows["of"].unique())
    further = {"accuracy": "accuracy", "balanced": "balanced", "nll": "NLL", "ece": "ECE"}
    del further[rows["measure"].iloc[0]]
    further = {name: shown for name, shown in further.items() if rows[name].notna().all()}
    costs = {"cost": "cost"} | ({"psnr": "PSNR"} if rows["psnr"].notna().any() else {})
    lines = ["| arm | " + " | ".join([*costs.values(), *kinds, *further.values()]) + " |"]
    lines.append("| :--- |" + " ---: |" * (len(costs) + len(kinds) + len(further)))
    for arm in rows["arm"].unique():
        of_arm = rows[rows["arm"] == arm].set_index("of")
        found = (of_arm[name].iloc[0] for name in costs)
        cells = ["" if pd.isna(one) else f"{one:.1f}" for one in found]
        for of in kinds:
            row = of_arm.loc[of]
            gain = f" ({row['gain']:+.1f} [{row['gain_low']:+.1f}, {row['gain_high']:+.1f}])"
            shown = gain if of in (CLEAN, CORRUPTED) and arm != baseline else ""
            cells.append(f"{row['value']:.1f}{shown}")
        cells += [f"{of_arm.loc[CLEAN][name]:.{2 if name == 'nll' else 1}f}" for name in further]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)

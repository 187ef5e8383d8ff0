"""Several evaluations as one: of the folds of a set, say, each with seeds of its own.

    python -m tests.benchmarks.gathered folds/out-0 folds/out-1 ... RESULT

Each must be finished, and differ from the first by its shards and its `--seed` alone. RESULT gets
what an evaluation's `results` has, over all their seeds: the arm is chosen by the validation images
of the others, as ever. Records by image have no part in it, since the test images differ; and
each evaluation has matched its controls to the arm that it chose itself.
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from diffaug import storage
from diffaug.evaluation.arms import arms_of, matched_arms
from diffaug.evaluation.plan import EvaluationPlan, read_plan
from diffaug.evaluation.verdict.conclusion import Conclusion
from diffaug.evaluation.verdict.evidence import weigh
from diffaug.evaluation.verdict.judge import judge
from diffaug.evaluation.verdict.page import markdown_page
from diffaug.evaluation.verdict.plots import draw_plots
from diffaug.evaluation.verdict.summary import summary_table
from diffaug.output.evaluation import EvaluationOutput

SUMMED = (
    *("generated_images", "filtered_images", "failed_images", "generating_seconds"),
    *("seeds", "trainings", "training_seconds"),
)
"""What of the cost is added up."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("evaluations", nargs="+")
    parser.add_argument("result", type=Path)
    given = parser.parse_args()
    plans = [read_plan(output) for output in given.evaluations]
    refuse_others(plans)
    found = [results(output) for output in given.evaluations]
    tables = [scores(output, plan) for output, plan in zip(given.evaluations, plans, strict=True)]
    table = pd.concat(tables, ignore_index=True)
    if (table.groupby("seed")["origin"].nunique() > 1).any():
        raise SystemExit("two of them have a seed in common: give each another --seed")
    table = table.drop(columns="origin")
    settings = plans[0].settings
    arms = [*arms_of(settings), *matched_arms(settings)]
    summary = summary_table(table, arms, settings.measure, kind=settings.kind)
    evidence = [
        weigh(table, arms, labels, of, settings.measure, kind=settings.kind)
        for labels in settings.labels
        for of in settings.kind.chosen_for
    ]
    verdicts = judge([one for one in evidence if one], settings.worth, kind=settings.kind)
    notes = [f"{len(plans)} evaluations, each with other shards and seeds; verdicts over seeds."]
    conclusion = Conclusion(verdicts, found[0]["leakage"], notes)
    cost = found[0]["cost"] | {name: sum(one["cost"][name] for one in found) for name in SUMMED}
    given.result.mkdir(parents=True, exist_ok=True)
    plots = [path.name for path in draw_plots(summary, given.result, settings.kind)]
    page = markdown_page(plans[0], conclusion, cost, summary, plots)
    (given.result / "README.md").write_text(page, encoding="utf-8")
    for name, one in (("scores", table), ("summary", summary)):
        one.to_parquet(given.result / f"{name}.parquet", index=False)
    text = json.dumps(asdict(conclusion) | {"cost": cost}, indent=1)
    (given.result / "results.json").write_text(text, encoding="utf-8")
    print(conclusion)


def refuse_others(plans: list[EvaluationPlan]) -> None:
    """Refuse evaluations that differ in more than shards and seed."""
    for plan in plans[1:]:
        ours, theirs = (one.recipe.model_dump(exclude={"seed"}) for one in (plans[0], plan))
        if plan.settings != plans[0].settings or ours != theirs:
            raise SystemExit("they differ in more than their shards and seeds")


def results(output: str) -> dict[str, Any]:
    """The results of an evaluation."""
    read: dict[str, Any]
    read = json.loads(storage.read_bytes(EvaluationOutput(output).result("results.json")))
    return read


def scores(output: str, plan: EvaluationPlan) -> pd.DataFrame:
    """Its scores, each with the seed that it was drawn with."""
    data = storage.read_bytes(EvaluationOutput(output).result("scores.parquet"))
    table = pd.read_parquet(io.BytesIO(data))
    return table.assign(seed=table["seed"] + plan.recipe.seed, origin=output)


if __name__ == "__main__":
    main()

"""What `diffaug augment --pilot` prints: tables of a pilot's scores and labels kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from rich.table import Table

from diffaug.job.pilot import Pilot

__all__ = ["tables"]


def tables(pilot: Pilot) -> Iterator[Table]:
    """Scores by strength and, if a judge predicts labels, labels kept by class and strength."""
    made = pilot.rows[pilot.rows["status"] != "failed"]
    scores = [str(name) for name in made if str(name).startswith("score_")]
    groups = list(made.groupby("strength"))
    table = Table("strength", *(f"{strength:g}" for strength, _ in groups))
    table.title = "Median (10th to 90th percentile)"
    table.add_row(f"{pilot.noun}s", *(str(len(group)) for _, group in groups))
    table.add_row("calls", *(f"{group['calls'].mean():.0f}" for _, group in groups))
    table.add_row("kept by filters", *(f"{_kept(pilot, group):.0%}" for _, group in groups))
    for name in scores:
        table.add_row(name, *(_spread_of(group[name]) for _, group in groups))
    yield table
    if "score_label" in made and made["score_label"].notna().any():
        yield _kept_table(made)


def _kept(pilot: Pilot, rows: pd.DataFrame) -> float:
    """The fraction of images within the bounds."""
    found = pilot.filters.verdicts([dict(row) for _, row in rows.iterrows()])
    return found.count({}) / len(found)


def _spread_of(scores: pd.Series[float]) -> str:
    known = scores.dropna()
    if known.empty:
        return "-"
    low, median, high = np.quantile(known, [0.1, 0.5, 0.9])
    return f"{median:.3g} ({low:.3g} to {high:.3g})"


def _kept_table(rows: pd.DataFrame) -> Table:
    known = rows[rows["score_label"].notna()]
    kept = known.pivot_table(
        index="label", columns="strength", values="score_label", margins=True, margins_name="all"
    )
    table = Table("class", *(f"{one:g}" for one in kept.columns[:-1]))
    table.title = "Labels kept, by class and strength"
    for name, row in kept.iterrows():
        table.add_row(str(name), *(f"{value:.0%}" for value in row.iloc[:-1]))
    return table

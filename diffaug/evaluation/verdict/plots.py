"""Plots of an evaluation: gains by arm, by strength and by corruption."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diffaug import storage
from diffaug.evaluation.kinds import CORRUPTED, IMAGES, Kind
from diffaug.evaluation.settings import budget
from diffaug.evaluation.verdict.judge import MEASURED

__all__ = ["draw_plots"]

_COLOURS = {"reconstruct": "#2563eb", "filtered": "#0d9488", "one-step": "#c2410c"}
_GREY, _INK = "#6b7280", "#1b1b1f"


def draw_plots(summary: pd.DataFrame, folder: Path, kind: Kind = IMAGES) -> list[Path]:
    """Draw `gains.png`, `strengths.png` if any arm has a strength, and `corruptions.png` if there
    are any; nothing if the baseline is the only arm.

    Args:
        summary: see `summary.summary_table`.
        folder: where to write them; made if need be.
        kind: images or texts.

    Returns:
        The paths of the plots.
    """
    from matplotlib import rc_context

    style: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with rc_context(style):
        drawn = dict[str, Any]()
        if (summary["arm"] != kind.baseline).any():
            drawn["gains"] = _gains(summary, kind)
            if CORRUPTED in kind.chosen_for:
                drawn["corruptions"] = _corruptions(summary, kind.baseline)
        if summary["strength"].notna().any():
            drawn["strengths"] = _strengths(summary, kind)
        paths = []
        for name, figure in drawn.items():
            paths.append(folder / f"{name}.png")
            data = io.BytesIO()
            figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
            storage.replace(data.getvalue(), str(paths[-1]))
    return paths


def _colour(family: str) -> str:
    """That of what the diffusion model does in it, or grey."""
    return next((_COLOURS[part] for part in family.split("+") if part in _COLOURS), _GREY)


def _measured(summary: pd.DataFrame) -> str:
    return MEASURED[summary["measure"].iloc[0]]


def _figure(rows: int, columns: int, width: float, height: float, **options: Any) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _gains(summary: pd.DataFrame, kind: Kind) -> Any:
    """Differences to the baseline with their intervals, one column per budget."""
    budgets, kinds = summary["labels"].unique(), kind.chosen_for
    arms = [arm for arm in summary["arm"].unique() if arm != kind.baseline]
    height = len(kinds) * (1.0 + 0.19 * len(arms))
    figure, axes = _figure(len(kinds), len(budgets), 1.6 + 3 * len(budgets), height, sharey=True)
    for row, of in enumerate(kinds):
        for axis, labels in zip(axes[row], budgets, strict=True):
            rows = summary[(summary["labels"] == labels) & (summary["of"] == of)]
            rows = rows.set_index("arm").loc[arms]
            for place, (_, arm) in enumerate(rows.iterrows()):
                colour = _colour(arm["family"])
                axis.plot([arm["gain_low"], arm["gain_high"]], [place] * 2, color=colour, lw=1.5)
                axis.plot(arm["gain"], place, "o", color=colour, ms=4)
            axis.axvline(0, color=_INK, lw=0.8)
            axis.set_yticks(range(len(arms)), arms)
            axis.set_ylim(len(arms) - 0.5, -0.5)
            axis.set_title(f"{budget(labels)}, {of} {kind.noun}s", fontsize=9)
            axis.grid(axis="x", color="#e5e7eb", lw=0.6)
    label = (
        f"{_measured(summary)} relative to {kind.baseline}, in points;\n95% intervals, corrected"
    )
    figure.supxlabel(label, fontsize=9)
    return figure


def _strengths(summary: pd.DataFrame, kind: Kind) -> Any:
    """Accuracy over strength, on each kind of test image, with the baseline as a line."""
    budgets, kinds, width = summary["labels"].unique(), kind.chosen_for, 1.0
    width += 2.6 * len(budgets)
    figure, axes = _figure(len(kinds), len(budgets), width, 2.4 * len(kinds), sharex=True)
    for row, of in enumerate(kinds):
        for axis, labels in zip(axes[row], budgets, strict=True):
            rows = summary[(summary["labels"] == labels) & (summary["of"] == of)]
            base = rows[rows["arm"] == kind.baseline].iloc[0]
            axis.axhline(base["value"], color=_GREY, lw=1, label=kind.baseline)
            for family, line in rows[rows["strength"].notna()].groupby("family", sort=False):
                error = [
                    line["value"] - line["value_low"],
                    line["value_high"] - line["value"],
                ]
                axis.errorbar(
                    line["strength"], line["value"], error, color=_colour(str(family)),
                    linestyle="--" if "+" in str(family) else "-",
                    marker="o", ms=4, lw=1.2, capsize=2, label=family,
                )  # fmt: skip
            axis.set_title(f"{budget(labels)}, {of}", fontsize=9)
            axis.grid(color="#e5e7eb", lw=0.6)
    lines = axes[0][0].get_legend_handles_labels()
    figure.legend(
        *lines, loc="outside upper center", ncols=2 * len(budgets), frameon=False, fontsize=8
    )
    figure.supxlabel("strength", fontsize=9)
    figure.supylabel(f"{_measured(summary)}, %", fontsize=9)
    return figure


def _corruptions(summary: pd.DataFrame, baseline: str) -> Any:
    """Gains by corruption, at the largest budget, as a heat map."""
    labels = summary["labels"].max()
    kinds = [kind for kind in summary["of"].unique() if kind != CORRUPTED]
    arms = [arm for arm in summary["arm"].unique() if arm != baseline]
    rows = summary[summary["labels"] == labels].pivot(index="arm", columns="of", values="gain")
    values = rows.loc[arms, kinds].to_numpy()
    figure, axes = _figure(1, 1, 2.6 + 0.75 * len(kinds), 1.2 + 0.24 * len(arms))
    axis, most = axes[0][0], max(1.0, float(np.abs(values).max()))
    axis.imshow(values, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        dark = abs(value) > 0.6 * most
        axis.text(
            column, row, f"{value:+.1f}", ha="center", va="center", fontsize=8,
            color="white" if dark else _INK,
        )  # fmt: skip
    axis.set_xticks(range(len(kinds)), kinds)
    axis.set_yticks(range(len(arms)), arms)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    axis.set_title(f"points relative to {baseline}, {budget(labels)}", fontsize=9)
    return figure

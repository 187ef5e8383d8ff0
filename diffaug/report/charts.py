"""Distributions of scores, drawn as SVG in the text colour of the page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffaug.recipe.filters import Bound

__all__ = ["score_chart"]

_COLOURS = ("#3b82f6", "#f97316", "#14b8a6", "#a855f7", "#eab308", "#ef4444")
_INK = "#010203"
"""Placeholder for the page's text colour."""
_BINS = 40
_CLASSES = 20


def score_chart(
    frame: pd.DataFrame, score: str, bounds: Sequence[Bound], things: str = "images"
) -> str:
    """Draw one score by strength and by class, with the filters' bounds on it, as an SVG element.

    Args:
        frame: see `Rows.frame`; rows without the score are skipped.
        score: column of the score.
        bounds: bounds on this score.
        things: what is counted.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    known = frame[np.isfinite(frame[score].astype(float))]
    with rc_context(_STYLE):
        by_class = known["class"].nunique() > 1
        figure = Figure(figsize=(9.0 if by_class else 4.5, 2.8), layout="constrained")
        axes = figure.subplots(1, 2 if by_class else 1, squeeze=False)[0]
        _by_strength(axes[0], known, score, things)
        if by_class:
            _by_class(axes[1], known, score)
        for bound in bounds:
            axes[0].axvline(bound.value, color=_INK, ls="--", lw=1)
            if by_class:
                axes[1].axhline(bound.value, color=_INK, ls="--", lw=1)
        kept = "; ".join(f"{bound.sign} {bound.value:g}" for bound in bounds)
        axes[0].set_xlabel(f"{score} (dashed: kept where {kept})" if kept else score)
        svg = io.StringIO()
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    return _inline(svg.getvalue(), f"{score} by strength and by class")


_STYLE: Any = {
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color"), _INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), _INK),
    **{"axes.spines.top": False, "axes.spines.right": False, "font.size": 9},
    **{"svg.fonttype": "none", "svg.hashsalt": "diffaug", "legend.frameon": False},
    "text.parse_math": False,  # a class may have any name
}


def _by_strength(axis: Any, known: pd.DataFrame, score: str, things: str) -> None:
    values = known[score].astype("float64")
    edges = _edges(values.to_numpy(np.float64))
    groups = list(values.groupby(known["strength"].round(1)))
    for (strength, group), colour in zip(groups, _COLOURS * len(groups), strict=False):
        counts, _ = np.histogram(group, edges)
        label = f"strength {strength:g}"
        axis.stairs(counts, edges, color=colour, fill=True, alpha=0.25)
        axis.stairs(counts, edges, color=colour, lw=1.2, label=label)
    axis.legend(fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    axis.set_ylabel(things)


def _edges(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Bin edges; for whole numbers, such as distances in bits, each bin spans equally many."""
    if not values.size:
        return np.array([0.0, 1.0])
    low, high = values.min(), values.max()
    if (values == np.rint(values)).all():
        step = max(1, np.ceil((high - low) / (_BINS / 2)))
        return np.arange(low - step / 2, high + step, step)
    return np.linspace(low, high, _BINS + 1)


def _by_class(axis: Any, known: pd.DataFrame, score: str) -> None:
    most = known["class"].value_counts().index[:_CLASSES]
    names = sorted(most, key=lambda name: name.zfill(8) if name.isdigit() else name)
    groups = [known[score][known["class"] == name].astype(float) for name in names]
    line = {"color": _INK, "lw": 0.8}
    axis.boxplot(
        groups, tick_labels=[name[:12] for name in names], showfliers=False, patch_artist=True,
        boxprops={"facecolor": _COLOURS[0], "alpha": 0.4, "edgecolor": _INK},
        medianprops={"color": _INK, "lw": 1.5}, whiskerprops=line, capprops=line,
    )  # fmt: skip
    axis.set_xlabel("class")
    axis.set_ylabel(score)
    if any(len(name) > 2 for name in names):
        axis.tick_params(axis="x", rotation=45)


def _inline(svg: str, label: str) -> str:
    """An SVG file as an element of a page, in the page's text colour."""
    element = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    return element.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)

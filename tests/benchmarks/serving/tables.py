"""Results as tables of rows: printed as Markdown, kept as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Row", "Tables", "markdown", "percentile", "write_json"]

Row = dict[str, Any]
"""Texts and numbers by column."""

Tables = dict[str, list[Row]]
"""Rows by what they show."""


def markdown(tables: Tables) -> str:
    """Each table with its name above it."""
    return "\n\n".join(f"{name}\n\n{_table(rows)}" for name, rows in tables.items())


def write_json(path: Path, measured: str, settings: Mapping[str, Any], tables: Tables) -> None:
    """Write what was measured, how, and the tables."""
    found = {"measured": measured, "settings": dict(settings), "tables": tables}
    path.write_text(json.dumps(found, indent=1) + "\n")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed; NaN of nothing."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _table(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, [":---", *["---:"] * (len(names) - 1)]]
    lines += [[_shown(row.get(name)) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

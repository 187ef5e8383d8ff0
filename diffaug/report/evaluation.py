"""The page of an evaluation: its verdicts first."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.report.cards import Cards, Strip
from diffaug.report.pictures import data_uri
from diffaug.report.render import render
from diffaug.report.rows import Rows

__all__ = ["evaluation_page", "is_evaluation"]

_SOURCES, _COPIES = 4, 4


def is_evaluation(output: str) -> bool:
    """Whether `diffaug evaluate` made it."""
    return storage.exists(storage.join(output, "evaluation.json"))


def evaluation_page(output: str) -> str:
    """The page, as HTML.

    Raises:
        ConfigError: the evaluation has no results yet.
        OSError: storage failed.
    """
    try:
        results = json.loads(storage.read_bytes(storage.join(output, "results", "results.json")))
    except FileNotFoundError:
        raise ConfigError(
            f"{storage.public_url(output)}: the evaluation is not finished: run diffaug evaluate "
            "again, and it goes on where it was"
        ) from None
    summary = _table(output, "summary.parquet")
    pools = list(_pools(output))
    return render(
        "evaluation.html",
        output=storage.public_url(output),
        verdicts=results["verdicts"],
        leakage=results["leakage"],
        notes=results["notes"],
        cost=results["cost"],
        settings=results["plan"]["settings"],
        tables=[(labels, list(_rows(rows))) for labels, rows in summary.groupby("labels")],
        kinds=list(summary["of"].unique()),
        plots=[(name, _plot(output, name)) for name in _plots(output)],
        pools=[(name, strips) for name, strips, _ in pools],
        details={
            "sources": {key: uri for *_, one in pools for key, uri in one["sources"].items()},
            "cards": {key: card for *_, one in pools for key, card in one["cards"].items()},
        },
    )


def _table(output: str, name: str) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(storage.read_bytes(storage.join(output, "results", name))))


def _rows(summary: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """A row an arm: what it scored on each kind of image."""
    for arm, of_arm in summary.groupby("arm", sort=False):
        yield {"arm": arm, "of": of_arm.set_index("of").to_dict("index")}


def _plots(output: str) -> list[str]:
    return storage.listing(storage.join(output, "results"), ".png")


def _plot(output: str, name: str) -> str:
    return data_uri(storage.read_bytes(storage.join(output, "results", name)), "png")


def _pools(output: str) -> Iterator[tuple[str, list[Strip], dict[str, Any]]]:
    """Some images of each arm of the first seed."""
    for run in sorted(Path(output, "seed-0").glob("*/run.json")):  # an evaluation's are local
        job, name = str(run.parent), run.parent.name
        rows = Rows(job)
        groups = rows.sources(_SOURCES, _COPIES)
        cards = Cards(rows.whole(place for group in groups for place in group), job, f"{name} ")
        yield name, [cards.strip(group) for group in groups], cards.details()

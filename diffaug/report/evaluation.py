"""The page of an evaluation, verdicts first."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import pandas as pd

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.output.evaluation import EvaluationOutput
from diffaug.output.run import the_run
from diffaug.report.cards import Cards, Strip
from diffaug.report.pictures import data_uri
from diffaug.report.render import render
from diffaug.report.rows import Rows

__all__ = ["evaluation_page", "is_evaluation"]

_SOURCES, _COPIES = 4, 4


def is_evaluation(output: str) -> bool:
    """Whether OUTPUT is that of an evaluation rather than of a job."""
    return storage.exists(EvaluationOutput(output).plan_json)


def evaluation_page(output: str) -> str:
    """The page, as HTML.

    Raises:
        ConfigError: the evaluation has no results yet.
        OSError: storage failed.
    """
    files = EvaluationOutput(output)
    try:
        results = json.loads(storage.read_bytes(files.result("results.json")))
    except FileNotFoundError:
        raise ConfigError(
            f"{files.public}: the evaluation is not finished: run diffaug evaluate again, which "
            "continues it"
        ) from None
    summary = pd.read_parquet(io.BytesIO(storage.read_bytes(files.result("summary.parquet"))))
    if "value" not in summary:  # of a version that had no measure but accuracy
        summary = summary.assign(value=summary["accuracy"], measure="accuracy")
    pools = list(_pools(files))
    texts = results["plan"]["recipe"].get("medium") == "text"
    return render(
        "evaluation.html",
        output=files.public,
        verdicts=results["verdicts"],
        leakage=results["leakage"],
        notes=results["notes"],
        cost=results["cost"],
        noun="text" if texts else "image",
        baseline="real" if texts else "flips-crops",
        settings=results["plan"]["settings"],
        tables=[(labels, list(_rows(rows))) for labels, rows in summary.groupby("labels")],
        kinds=list(summary["of"].unique()),
        plots=list(_plots(files)),
        pools=[(name, strips) for name, strips, _ in pools],
        details={
            "sources": {key: uri for *_, one in pools for key, uri in one["sources"].items()},
            "cards": {key: card for *_, one in pools for key, card in one["cards"].items()},
        },
    )


def _rows(summary: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """One row per arm: its scores on each kind of image."""
    for arm, of_arm in summary.groupby("arm", sort=False):
        yield {"arm": arm, "of": of_arm.set_index("of").to_dict("index")}


def _plots(files: EvaluationOutput) -> Iterator[tuple[str, str]]:
    """The name of each plot, and a data URI of it."""
    for name in storage.listing(files.results, ".png"):
        yield name, data_uri(storage.read_bytes(files.result(name)), "png")


def _pools(files: EvaluationOutput) -> Iterator[tuple[str, list[Strip], dict[str, Any]]]:
    """Some images of each pool of the first seed."""
    for job in files.pools(0):
        name, rows = PurePath(job).name, Rows(job)
        groups = rows.sources(_SOURCES, _COPIES)
        places = [place for group in groups for place in group]
        cards = Cards(rows.whole(places), job, the_run(job).recipe, f"{name} ")
        yield name, [cards.strip(group) for group in groups], cards.details()

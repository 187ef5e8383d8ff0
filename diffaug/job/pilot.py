"""A pilot: a few images at several strengths, to look at before paying for the whole job."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.job.handful import OF_A_JOB, augment_handful, look, spread, write_handful
from diffaug.output.layout import Output
from diffaug.output.run import Run
from diffaug.recipe import Recipe
from diffaug.recipe.filters import Filters
from diffaug.report import contact_sheet, text_sheet
from diffaug.shards.reading import Reading

__all__ = ["KEPT", "Choice", "Pilot", "run_pilot"]

KEPT = 0.9
"""The fraction of labels that a strength must keep to be chosen."""

_GRID = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a pilot would choose.

    Attributes:
        strength: None where there is nothing to choose by.
        sentence: the choice, and the reason.
    """

    strength: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Pilot:
    """What a pilot found.

    Attributes:
        rows: the manifest of its images, as pandas reads it.
        filters: the bounds of the job's recipe.
        choice: what it would choose.
        sheet: where its contact sheet is, or of texts the file that shows them; None where there is
            nothing to show.
        noun: what a sample is called.
    """

    rows: pd.DataFrame
    filters: Filters
    choice: Choice
    sheet: str | None
    noun: str


def run_pilot(run: Run, output: str, count: int) -> Pilot:
    """Run a few images of a job that is planned and not yet started.

    Every image is made once at each of several strengths: the recipe's own, if they are a list or a
    range; else 0.2, 0.4, 0.6, 0.8 and its own. Filters reject nothing; how many images they would
    keep is counted. The only file left in OUTPUT is `report/pilot.png`, of texts `pilot.txt`.

    Args:
        run: the job.
        output: its OUTPUT.
        count: how many source images, spread over shards and classes.

    Raises:
        ConfigError: the source has no sample.
        OSError: storage failed.
    """
    reading = Reading.of(run.recipe)
    urls = [shard.url for shard in run.sources]
    chosen = spread(look(urls, reading, count).shards, count)
    if not chosen:
        raise ConfigError("no sample in the source: check SOURCE and image_key")
    with storage.scratch(output) as folder:
        source, pilot = folder / "pilot.tar", str(folder / "pilot")
        write_handful(chosen, reading, source)
        recipe = _recipe(run.recipe)  # its classes were looked at when the job was planned
        augment_handful(source, pilot, recipe, run.execution, classes_as_numbered=True)
        rows = pd.read_parquet(Output(pilot).manifest)
        noun = run.recipe.noun
        sheet = folder / ("pilot.txt" if noun == "text" else "pilot.png")
        if noun == "text":
            text_sheet(pilot, sheet, sources=count)
        else:
            contact_sheet(pilot, sheet, sources=count, columns=4)
        url = Output(output).report(sheet.name) if sheet.is_file() else None
        if url is not None:
            storage.replace(sheet.read_bytes(), url)
    filters = Filters(bounds=run.recipe.filtering().bounds)
    return Pilot(rows, filters, _choose(rows), url, noun)


def _recipe(recipe: Recipe) -> Recipe:
    """The job's recipe with a copy for each strength, and without filters."""
    match recipe.strength:
        case str() as span:
            low, high = (float(part) for part in span.split(":"))
            strengths = [round(float(one), 3) for one in np.linspace(low, high, len(_GRID))]
        case tuple() as given:
            strengths = sorted({*given})
        case float() as one:
            strengths = sorted({*_GRID, one})
    changes = {"strength": tuple(strengths), "copies": len(strengths), "layout": "each"}
    kept = recipe.model_dump(exclude=set(OF_A_JOB))
    return Recipe.of(kept | changes)


def _choose(rows: pd.DataFrame) -> Choice:
    """The highest strength that keeps labels: the most variation that stays within the class."""
    if "score_label" not in rows or rows["score_label"].isna().all():
        return Choice(
            None,
            "Nothing measures which of these still belong to their class: look at them, or give a "
            "classifier (--judges label=CLASSIFIER) and run the pilot again.",
        )
    kept = rows.groupby("strength")["score_label"].mean()
    enough = kept[kept >= KEPT]
    if enough.empty:
        return Choice(
            None,
            f"No strength keeps {KEPT:.0%} of the labels: at {kept.idxmax():g} it is "
            f"{kept.max():.0%}. Use lower strengths, a condition, or the filter score_label == 1.",
        )
    strength = float(enough.index.max())
    sentence = f"Choose strength {strength:g}: it keeps {kept[strength]:.0%} of the labels."
    higher = kept[kept.index > strength]
    if not higher.empty:
        sentence += f" At {higher.index.min():g} it is {higher.iloc[0]:.0%}."
    return Choice(strength, sentence)

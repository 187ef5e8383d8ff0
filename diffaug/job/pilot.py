"""A pilot: a few images at several strengths, to look at before paying for the whole job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path

import numpy as np
import pandas as pd

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.job.job import Job
from diffaug.output.layout import Output
from diffaug.output.run import Run
from diffaug.output.select import evenly
from diffaug.recipe import Recipe
from diffaug.recipe.filters import Filters
from diffaug.report import contact_sheet
from diffaug.shards import Sample, ShardWriter
from diffaug.shards.census import Census
from diffaug.shards.reading import Reading

__all__ = ["KEPT", "Choice", "Pilot", "run_pilot"]

KEPT = 0.9
"""The fraction of labels that a strength must keep to be chosen."""

_GRID = (0.2, 0.4, 0.6, 0.8)
_SHARDS = 16
"""How many shards are read at most."""
_EACH = 20
"""How many samples are read for each one that is used."""


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
        sheet: where its contact sheet is; None where there is no image to show.
    """

    rows: pd.DataFrame
    filters: Filters
    choice: Choice
    sheet: str | None


def run_pilot(run: Run, output: str, count: int) -> Pilot:
    """Run a few images of a job that is planned and not yet started.

    Every image is made once at each of several strengths: the recipe's own, if they are a list or a
    range; else 0.2, 0.4, 0.6, 0.8 and its own. Filters reject nothing; how many images they would
    keep is counted. The only file left in OUTPUT is `report/pilot.png`.

    Args:
        run: the job.
        output: its OUTPUT.
        count: how many source images, spread over shards and classes.

    Raises:
        ConfigError: the source has no sample.
        OSError: storage failed.
    """
    samples = _spread(_look(run, count), count, Reading.of(run.recipe))
    if not samples:
        raise ConfigError("no sample in the source: check SOURCE and image_key")
    with storage.scratch(output) as folder:
        source, pilot = folder / "pilot.tar", str(folder / "pilot")
        _write(samples, source)
        rows = _augment(source, pilot, _recipe(run.recipe), run.execution)
        sheet = folder / "pilot.png"
        contact_sheet(pilot, sheet, sources=count, columns=4)
        url = Output(output).report("pilot.png") if sheet.is_file() else None
        if url is not None:
            storage.replace(sheet.read_bytes(), url)
    return Pilot(rows, Filters(bounds=run.recipe.filtering().bounds), _choose(rows), url)


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
    kept = recipe.model_dump(exclude={"filters", "keep_best", "keep_best_by", "keep_rejects"})
    return Recipe.of(kept | changes)


def _look(run: Run, count: int) -> list[list[Sample]]:
    """Samples of some shards, spread over all of them."""
    places = evenly(len(run.sources), min(_SHARDS, count))
    each = -(-count * _EACH // len(places))
    looked, census = [], Census(Reading.of(run.recipe))
    for place in places:
        url = run.sources[place].url
        with storage.open_whole(url) as source:
            read = census.of(url).samples(source.stream)
            looked.append([one for one in islice(read, each) if one.key is not None])
    return looked


def _spread(shards: Sequence[Sequence[Sample]], count: int, reading: Reading) -> list[Sample]:
    """One sample of each class in turn, and each class's from one shard after the other."""
    by_class = defaultdict[str, list[Sample]](list)
    in_turn = chain.from_iterable(zip_longest(*shards))
    for sample in (one for one in in_turn if one is not None):
        by_class[str(reading.label(sample).value or "")].append(sample)
    turns = chain.from_iterable(zip_longest(*(by_class[name] for name in sorted(by_class))))
    return list(islice((one for one in turns if one is not None), count))


def _write(samples: Sequence[Sample], path: Path) -> None:
    with path.open("wb") as stream:
        tar = ShardWriter(stream)
        for number, sample in enumerate(samples):
            for extension, member in sample.members.items():
                tar.add(f"{number:06d}.{extension}", member.data)
        tar.close()


def _augment(source: Path, output: str, recipe: Recipe, execution: Execution) -> pd.DataFrame:
    settings = execution.model_dump() | {"classes_as_numbered": True}  # the job has looked at them
    for _ in Job.plan([str(source)], output, recipe, **settings).run():
        pass
    return pd.read_parquet(Output(output).manifest)


def _choose(rows: pd.DataFrame) -> Choice:
    """The highest strength that keeps labels: the most variation that stays within the class."""
    if "score_label" not in rows or rows["score_label"].isna().all():
        return Choice(
            None,
            "Nothing measures which of these still belong to their class: look at the pictures, or "
            "give a classifier (--judges label=CLASSIFIER) and run the pilot again.",
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

"""A trial: twelve pictures at three strengths, to look at, and what the whole job would cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.job.decided import with_medium
from diffaug.job.handful import OF_A_JOB, augment_handful, look, spread, write_handful
from diffaug.models import with_suggestions
from diffaug.output.layout import Output
from diffaug.output.select import evenly
from diffaug.output.sources import source_shards
from diffaug.pack import Totals, pack
from diffaug.pack.beside import open_folder, permitted, refuse_pictures
from diffaug.pack.check import checked
from diffaug.pack.folder import FolderSource
from diffaug.pack.record import listing
from diffaug.recipe import Recipe
from diffaug.shards.reading import Reading

__all__ = ["PICTURES", "Handful", "Trial", "handful", "run_trial", "tried"]

PICTURES = 12
"""How many pictures are tried."""


@dataclass(frozen=True, slots=True)
class Handful:
    """A few pictures of a source, as a shard.

    Attributes:
        shard: the tar that holds them.
        images: how many pictures the whole source has, approximately if it is shards.
        to_pack: bytes that packing the source takes; 0 for shards.
    """

    shard: Path
    images: int
    to_pack: int


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial made, and what the whole job would cost.

    Attributes:
        output: OUTPUT of the job that made the pictures.
        pictures: how many sources were tried.
        strength: that of the whole job.
        images: how many images the whole job would make.
        seconds: how long it would take here.
        bytes: the size of its shards, with those of the source where that is a folder.
    """

    output: str
    pictures: int
    strength: float | str | tuple[float, ...]
    images: int
    seconds: float
    bytes: float


@contextmanager
def handful(sources: Sequence[str], recipe: Recipe) -> Iterator[Handful]:
    """Choose pictures fairly over the classes, always the same ones, and put them into a shard.

    Args:
        sources: one folder of pictures or of class folders; or patterns of shards.
        recipe: how they are read.

    Yields:
        the pictures; their shard is removed at the end.

    Raises:
        ConfigError: there is no picture, or there are folders among several sources.
        OSError: storage failed.
    """
    refuse_pictures(sources)
    folders = [source for source in sources if storage.is_folder(source)]
    if folders and len(sources) > 1:
        raise ConfigError(
            f"try takes one folder, or shards, and {storage.public_url(folders[0])} is one of "
            f"{len(sources)} sources: name it alone"
        )
    with TemporaryDirectory(prefix="diffaug-try-") as scratch:
        if folders:
            with permitted():
                some = _of_folder(open_folder(folders[0]), recipe, Path(scratch))
            yield some
        else:
            yield _of_shards(source_shards(list(sources)), recipe, Path(scratch, "try.tar"))


def _of_folder(source: FolderSource, recipe: Recipe, scratch: Path) -> Handful:
    some = source.only(set(_readable(source, recipe.max_pixels)))
    for _ in pack(some, str(scratch), "try", tally=Totals(), max_pixels=recipe.max_pixels):
        pass
    size = sum(stamp.size or 0 for stamp in listing(source).values())
    return Handful(scratch / "try-000000.tar", len(source), size)


def _readable(source: FolderSource, max_pixels: int) -> list[str]:
    """The paths of pictures spread over the classes, and over each class; none of a broken one."""
    by_class: dict[str, list[str]] = {}
    for path in source.paths:
        by_class.setdefault(path.rpartition("/")[0].partition("/")[0], []).append(path)
    turns = [_spread_first(by_class[name]) for name in _spread_first(sorted(by_class))]
    wanted = [path for turn in zip_longest(*turns) for path in turn if path is not None]
    place = {path: number for number, path in enumerate(source.paths)}
    listed = list(source.pictures(None))
    with closing(checked((listed[place[path]] for path in wanted), max_pixels)) as found:
        good = (path for path, one in zip(wanted, found, strict=True) if one.defect is None)
        chosen = list(islice(good, PICTURES))
    if not chosen:
        raise ConfigError(
            f"no picture of {storage.public_url(source.url)} can be read: check it with diffaug "
            "pack, which names the reasons"
        )
    return chosen


def _spread_first(names: list[str]) -> list[str]:
    """The names, those first that are spread evenly over them."""
    first = [names[place] for place in evenly(len(names), PICTURES)]
    return [*first, *(name for name in names if name not in set(first))]


def _of_shards(urls: list[str], recipe: Recipe, tar: Path) -> Handful:
    reading = Reading.of(with_medium(recipe, urls[0]))
    looked = look(urls, reading, PICTURES)
    chosen = spread(looked.shards, PICTURES)
    if not chosen:
        raise ConfigError("no sample in the source: check SOURCE and image_key")
    write_handful(chosen, reading, tar)
    sizes = [stat.size or 0 for stat in storage.stats(urls).values()]
    whole = sum(sizes) or looked.bytes_read
    count = sum(map(len, looked.shards))
    return Handful(tar, max(count, round(count * whole / looked.bytes_read)), 0)


def tried(
    recipe: Recipe, *, given: bool
) -> tuple[tuple[float, ...], float | str | tuple[float, ...]]:
    """The strengths that a trial tries, and that of the whole job.

    Args:
        recipe: with the model's suggestions.
        given: whether the user gave its strength. A list or range of the user's is tried itself:
            the list, or the range's ends and middle.
    """
    match recipe.strength:
        case tuple() as several if given:
            return tuple(sorted(set(several))), several
        case str() as span if given:
            low, high = (float(part) for part in span.split(":"))
            return tuple(sorted({low, round((low + high) / 2, 3), high})), span
        case str() as span:
            own = float(span.partition(":")[2])
        case tuple() as several:
            own = max(several)
        case float() as own:
            pass
    if own == 1:
        return (0.25, 0.5, 1.0), own
    return (round(own / 2, 3), own, min(1.0, round(2 * own, 3))), own


def run_trial(
    some: Handful, recipe: Recipe, output: str, *, classes_as_numbered: bool = False
) -> Trial:
    """Edit the pictures at each strength, and estimate the whole job from how long that took.

    Args:
        some: the pictures.
        recipe: as the user gave it.
        output: where to make them: an OUTPUT that does not exist yet.
        classes_as_numbered: as for `Job.plan`.

    Raises:
        ConfigError: the recipe cannot be run here.
        DiffaugError: a shard could not be committed.
        OSError: storage failed.
    """
    given = "strength" in recipe.model_fields_set
    whole = with_suggestions(recipe)
    strengths, strength = tried(whole, given=given)
    fields = whole.model_dump(include=whole.model_fields_set - OF_A_JOB - {"judges", "layout"})
    changes = {"strength": strengths, "copies": len(strengths)}
    execution = Execution.choose(batch_size=PICTURES)
    report, took = augment_handful(
        some.shard,
        output,
        Recipe.of(fields | changes),
        execution,
        classes_as_numbered=classes_as_numbered,
    )
    rows = pd.read_parquet(Output(output).manifest)
    made = rows[rows["status"] == "ok"]
    if made.empty:
        raise ConfigError(f"no picture could be edited: the first, {rows['reason'].iloc[0]}")
    calls = made.groupby("strength")["calls"].mean()
    weight = calls[strength] / calls.mean() if strength in calls else 1.0
    images = some.images * recipe.copies
    return Trial(
        output=output,
        pictures=rows["source_key"].nunique(),
        strength=strength,
        images=images,
        seconds=took / len(made) * max(1.0, weight) * images,
        bytes=report.output_bytes / len(made) * images + some.to_pack,
    )

"""A handful of a source's samples: chosen over shards and classes, and augmented on their own."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.job.binding import Binding
from diffaug.job.job import Job
from diffaug.output.select import evenly
from diffaug.output.survey import ShardReport
from diffaug.recipe import Recipe
from diffaug.shards import Sample, ShardWriter
from diffaug.shards.census import Census
from diffaug.shards.reading import TEXT, Reading

__all__ = ["OF_A_JOB", "Looked", "Place", "augment_handful", "look", "spread", "write_handful"]

OF_A_JOB = frozenset(
    ("filters", "keep_best", "keep_best_by", "keep_rejects", "balance", "max_copies")
)
"""Fields about all of a job's images, which a handful is made without."""

_SHARDS = 16
"""How many shards are read at most."""

_EACH = 20
"""Of how many samples the class is read for each one that is used."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sample lies, and its class; its picture has not been read.

    Attributes:
        url: of its shard.
        number: which of the shard's keys it is, from 0; keys that are no sample are not counted.
        label: its class, as text; empty if it has none.
    """

    url: str
    number: int
    label: str


@dataclass(frozen=True, slots=True)
class Looked:
    """Samples of some shards, spread over all of them.

    Attributes:
        shards: the places of the samples of each.
        bytes_read: of those shards.
    """

    shards: list[list[Place]]
    bytes_read: int


def look(urls: Sequence[str], reading: Reading, count: int) -> Looked:
    """Read the classes of samples from which `count` can be chosen.

    Raises:
        OSError: storage failed.
    """
    places = evenly(len(urls), min(_SHARDS, count))
    each = -(-count * _EACH // len(places))
    looked, census, read = [], Census(reading), 0
    of_class = {reading.label_key, TEXT}.__contains__
    for url in (urls[place] for place in places):
        with storage.open_whole(url) as source:
            samples = islice(census.of(url).samples(source.stream, of_class), each)
            looked.append(
                [
                    Place(url, number, _label(reading, sample))
                    for number, sample in enumerate(samples)
                    if sample.key is not None
                ]
            )
            read += source.bytes_read
    return Looked(looked, read)


def _label(reading: Reading, sample: Sample) -> str:
    value = reading.label(sample).value
    return "" if value is None else str(value)


def spread(shards: Sequence[Sequence[Place]], count: int) -> list[Place]:
    """One sample of each class in turn, and each class's from one shard after the other."""
    by_class = defaultdict[str, list[Place]](list)
    in_turn = chain.from_iterable(zip_longest(*shards))
    for place in (one for one in in_turn if one is not None):
        by_class[place.label].append(place)
    turns = chain.from_iterable(zip_longest(*(by_class[name] for name in sorted(by_class))))
    return list(islice((one for one in turns if one is not None), count))


def write_handful(places: Sequence[Place], reading: Reading, path: Path) -> None:
    """Read the samples at some places, and write them into a tar in that order.

    They get keys of their own.

    Raises:
        OSError: storage failed.
    """
    found: dict[Place, Sample] = {}
    by_shard = defaultdict[str, dict[int, Place]](dict)
    for place in places:
        by_shard[place.url][place.number] = place
    for url, wanted in by_shard.items():
        with storage.open_whole(url) as source:
            samples = Census(reading).of(url).samples(source.stream)
            for number, sample in enumerate(islice(samples, max(wanted) + 1)):
                if number in wanted:
                    found[wanted[number]] = sample
    with path.open("wb") as stream:
        tar = ShardWriter(stream)
        for number, place in enumerate(places):
            for extension, member in found[place].members.items():
                tar.add(f"{number:06d}.{extension}", member.data)
        tar.close()


def augment_handful(
    source: Path,
    output: str,
    recipe: Recipe,
    execution: Execution,
    *,
    classes_as_numbered: bool,
) -> tuple[ShardReport, float]:
    """Augment a tar into an OUTPUT of its own; the last argument is that of `Job.plan`.

    Returns:
        Its report, and the seconds that it took without the loading of the model.

    Raises:
        ConfigError: as for `Job.plan`.
        OSError: storage failed.
    """
    if recipe.to_class == "rarer":
        raise ConfigError(
            "to_class: rarer goes by the classes of all images, and only some are tried here: give "
            "a class's number, or leave it out"
        )
    settings = execution.model_dump() | {"classes_as_numbered": classes_as_numbered}
    job = Job.plan([str(source)], output, recipe, **settings)
    Binding.of_run(job.planned).editor()
    started = time.monotonic()
    (report,) = job.run()
    return report, time.monotonic() - started

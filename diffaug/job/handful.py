"""A handful of a source's samples: chosen over shards and classes, and augmented on their own."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path

from diffaug import storage
from diffaug.execution import Execution
from diffaug.job.binding import Binding
from diffaug.job.job import Job
from diffaug.output.select import evenly
from diffaug.output.survey import ShardReport
from diffaug.recipe import Recipe
from diffaug.shards import Sample, ShardWriter
from diffaug.shards.census import Census
from diffaug.shards.reading import Reading

__all__ = ["Looked", "augment_handful", "look", "spread", "write_handful"]

_SHARDS = 16
"""How many shards are read at most."""

_EACH = 20
"""How many samples are read for each one that is used."""


@dataclass(frozen=True, slots=True)
class Looked:
    """Samples of some shards, spread over all of them.

    Attributes:
        shards: the samples of each.
        bytes_read: of those shards.
    """

    shards: list[list[Sample]]
    bytes_read: int


def look(urls: Sequence[str], reading: Reading, count: int) -> Looked:
    """Read samples from which `count` can be chosen.

    Raises:
        OSError: storage failed.
    """
    places = evenly(len(urls), min(_SHARDS, count))
    each = -(-count * _EACH // len(places))
    looked, census, read = [], Census(reading), 0
    for place in places:
        with storage.open_whole(urls[place]) as source:
            samples = census.of(urls[place]).samples(source.stream)
            looked.append([one for one in islice(samples, each) if one.key is not None])
            read += source.bytes_read
    return Looked(looked, read)


def spread(shards: Sequence[Sequence[Sample]], count: int, reading: Reading) -> list[Sample]:
    """One sample of each class in turn, and each class's from one shard after the other."""
    by_class = defaultdict[str, list[Sample]](list)
    in_turn = chain.from_iterable(zip_longest(*shards))
    for sample in (one for one in in_turn if one is not None):
        by_class[str(reading.label(sample).value or "")].append(sample)
    turns = chain.from_iterable(zip_longest(*(by_class[name] for name in sorted(by_class))))
    return list(islice((one for one in turns if one is not None), count))


def write_handful(samples: Sequence[Sample], path: Path) -> None:
    """Write samples into a tar, with keys of their own."""
    with path.open("wb") as stream:
        tar = ShardWriter(stream)
        for number, sample in enumerate(samples):
            for extension, member in sample.members.items():
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
    settings = execution.model_dump() | {"classes_as_numbered": classes_as_numbered}
    job = Job.plan([str(source)], output, recipe, **settings)
    Binding.of_run(job.planned).editor()
    started = time.monotonic()
    (report,) = job.run()
    return report, time.monotonic() - started

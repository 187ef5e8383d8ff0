"""Selecting rows from an output's parts: some spread evenly, or one by its sample id.

Only parts that hold a selected row are read beyond their footers, and no part is held in memory as
a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

import pyarrow as pa

from diffaug import storage
from diffaug.errors import ConfigError, UncommittedError
from diffaug.manifest.part import Row, iter_rows, read_metadata
from diffaug.output.layout import Output, broken_part
from diffaug.output.survey import read_report

__all__ = ["evenly", "find_sample", "image_counts", "picked_rows", "spread"]

_WHOLE_ID, _SHORTEST_ID = 32, 8

_MADE = ("ok", "filtered")
"""The statuses of rows whose image can be regenerated, whether or not it was kept."""


def image_counts(output: str, stems: Iterable[str]) -> dict[str, int]:
    """The number of rows with an image, kept or filtered, of each committed shard, by its stem.

    The numbers come from the parts' footers. A shard that is not committed, or whose footer is
    broken, is left out; reporting those is up to `verify`.

    Args:
        output: OUTPUT of a job.
        stems: of the shards to count.
    """
    there = set(Output(output).stems())
    counts = {}
    for stem in stems:
        if stem in there:
            with suppress(UncommittedError, OSError):
                report = read_report(Output(output).part(stem))
                counts[stem] = report.ok + report.filtered
    return counts


def evenly(total: int, number: int) -> list[int]:
    """At most `number` of the indices 0 … total - 1, evenly spread and rising."""
    number = min(number, total)
    return [(2 * pick + 1) * total // (2 * number) for pick in range(number)]


def spread(counts: Mapping[str, int], number: int) -> dict[str, list[int]]:
    """Spread `number` picks evenly over all rows, or pick every row if there are not that many.

    Args:
        counts: the number of rows of each shard.
        number: how many rows to pick.

    Returns:
        For each shard with a pick, the indices of its picked rows, from 0 and rising.
    """
    places = iter(evenly(sum(counts.values()), number))
    picks: dict[str, list[int]] = {}
    place, first = next(places, None), 0
    for stem, count in counts.items():
        while place is not None and place < first + count:
            picks.setdefault(stem, []).append(place - first)
            place = next(places, None)
        first += count
    return picks


def picked_rows(
    output: str, picks: Mapping[str, Sequence[int]]
) -> Iterator[tuple[Mapping[str, Any], Iterator[Row]]]:
    """Yield, for each shard with a pick, its part's metadata and the picked rows with an image.

    Raises:
        UncommittedError: a part is broken or gone.
    """
    for stem, places in picks.items():
        with _reading(output, stem) as stream:
            metadata = read_metadata(stream)
        yield metadata, _made_rows(output, stem, set(places))


def find_sample(output: str, sample_id: str) -> tuple[Mapping[str, Any], Row]:
    """Find the first row with an image that has a sample id, and its part's metadata.

    Args:
        output: OUTPUT of a job; only its `manifest/` is read.
        sample_id: whole, or at least its first 8 characters, with which no other id may begin.

    Raises:
        ConfigError: there is no such output or row, or more than one id begins like that.
        UncommittedError: no row was found, but a part that may hold it is broken.
    """
    if not _SHORTEST_ID <= len(sample_id) <= _WHOLE_ID:
        raise ConfigError(
            f"sample id {sample_id!r}: give all its {_WHOLE_ID} characters, as the manifest's "
            f"column sample_id has them, or at least the first {_SHORTEST_ID}"
        )
    public = storage.public_url(output)
    stems = Output(output).stems()
    if not stems:
        raise ConfigError(f"{public} is not an output of diffaug: it has no manifest")
    found: dict[str, tuple[str, int]] = {}
    broken: list[UncommittedError] = []
    for stem in stems:
        try:
            for place, id in enumerate(_made_ids(output, stem)):
                if id.startswith(sample_id):
                    found.setdefault(id, (stem, place))
                if len(found) > 1:
                    raise ConfigError(
                        f"sample id {sample_id}: {' and '.join(found)} both begin with it: give "
                        "more characters"
                    )
        except UncommittedError as error:
            broken.append(error)
        if sample_id in found:  # a whole id, with which no other can begin
            break
    if not found and broken:
        raise broken[0]
    if not found:
        raise ConfigError(f"{public} has no image with the sample id {sample_id}")
    stem, place = next(iter(found.values()))
    ((metadata, rows),) = picked_rows(output, {stem: [place]})
    return metadata, next(rows)


def _made_ids(output: str, stem: str) -> Iterator[str]:
    with _reading(output, stem) as stream:
        for row in iter_rows(stream, ["sample_id", "status"]):
            if row["status"] in _MADE:
                yield row["sample_id"]


def _made_rows(output: str, stem: str, places: set[int]) -> Iterator[Row]:
    """Of the rows with an image, those with these indices."""
    place, last = 0, max(places)
    with _reading(output, stem) as stream:
        for row in iter_rows(stream):
            if place > last:
                return
            if row["status"] in _MADE:
                if place in places:
                    yield row
                place += 1


@contextmanager
def _reading(output: str, stem: str) -> Iterator[IO[bytes]]:
    """Open a part; errors within the context name it."""
    url = Output(output).part(stem)
    try:
        with storage.open_read(url) as stream:
            yield stream
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        if isinstance(error, ConfigError):
            raise
        raise broken_part(url, error) from error

"""A job's writing thread: each result is judged, kept or turned away, and put into its shard."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug.errors import DefectError
from diffaug.job.commit import ShardSink
from diffaug.job.items import Item, Planned, ShardEnd
from diffaug.job.rows import failed_rows
from diffaug.judges import Candidate, Panel
from diffaug.manifest.part import Row
from diffaug.output.run import Run, SourceShard
from diffaug.output.survey import ShardReport
from diffaug.storage import Fingerprint

__all__ = ["Tally", "Writer"]

_log = logging.getLogger(__name__)

Step = list[tuple[Item, NDArray[np.float32] | None]]


@dataclass
class Tally:
    """Counts that move while a job runs, for whoever draws its progress."""

    images: int = 0
    filtered: int = 0
    failed: int = 0


@dataclass(slots=True, eq=False)
class _Made:
    """What came out of the lanes for an item: its row, and its picture unless it failed."""

    item: Item
    row: Row
    image: Image.Image | None = None
    seen: Image.Image | None = None

    @property
    def sample(self) -> object:
        """What it shares with the other copies of its source, and with nothing else."""
        origin = self.item.origin if isinstance(self.item, Planned) else None
        return self.item if origin is None else origin


class Writer:
    """Takes the lanes' steps, and yields the report of each shard once it is committed.

    Args:
        run: the job.
        output: its OUTPUT.
        panel: its judges.
        folder: where tars and parts are made ready.
        tally: counts to keep up to date.
        left: where shards go that were not read to their end, and why.
    """

    def __init__(
        self,
        run: Run,
        output: str,
        panel: Panel,
        folder: Path,
        tally: Tally,
        left: list[tuple[SourceShard, OSError]],
    ) -> None:
        self._run = run
        self._output = output
        self._panel = panel
        self._filters = run.recipe.filtering()
        self._folder = folder
        self._tally = tally
        self._left = left

    def __call__(self, steps: Iterator[Step]) -> Iterator[ShardReport]:
        """Write what the steps bring, in their order."""
        sink: ShardSink | None = None
        try:
            for made, verdict in self._settled(self._judged(steps)):
                item = made.item
                sink = sink or ShardSink(item.shard, self._run, self._output, self._folder)
                if isinstance(item, Planned):
                    self._add(sink, item, made, verdict)
                    continue
                if isinstance(item.outcome, Fingerprint):
                    yield sink.commit(item.outcome)
                else:
                    sink.discard()
                    # without its frames, which hold what had been read
                    self._left.append((item.shard, item.outcome.with_traceback(None)))
                    _log.warning("%s was not read to its end: %s", item.shard.url, item.outcome)
                sink = None
        finally:
            if sink is not None:
                sink.discard()

    def _judged(self, steps: Iterator[Step]) -> Iterator[_Made]:
        """What became of each item, with its scores; the judges are asked for many at a time."""
        waiting: list[_Made] = []
        for step in steps:
            waiting += [_made(item, x_0) for item, x_0 in step]
            if len(waiting) >= self._panel.rows:
                yield from self._scored(waiting)
                waiting = []
        yield from self._scored(waiting)

    def _scored(self, several: list[_Made]) -> list[_Made]:
        pictures = [made for made in several if made.image is not None]
        for made, worth in zip(pictures, self._panel(list(map(_candidate, pictures))), strict=True):
            made.row |= worth
        return several

    def _settled(self, scored: Iterator[_Made]) -> Iterator[tuple[_Made, Row]]:
        """Each with its verdict's columns, the copies of a source together where they compete."""
        for group in self._groups(scored):
            pictures = [made for made in group if made.image is not None]
            verdicts = iter(self._filters.verdicts([made.row for made in pictures]))
            for made in group:
                yield made, {} if made.image is None else dict(next(verdicts))

    def _groups(self, scored: Iterator[_Made]) -> Iterator[Iterable[_Made]]:
        if not self._filters.compare_copies:
            return ([made] for made in scored)
        return (list(group) for _, group in groupby(scored, key=lambda made: made.sample))

    def _add(self, sink: ShardSink, item: Planned, made: _Made, verdict: Row) -> None:
        self._tally.images += 1
        if made.image is None or item.origin is None:
            self._tally.failed += 1
            sink.add_failed(made.row)
        elif verdict:
            self._tally.filtered += 1
            sink.add_filtered(made.row | verdict, made.image, item.origin)
        else:
            sink.add_image(made.row, made.image, item.origin)


def _made(item: Item, x_0: NDArray[np.float32] | None) -> _Made:
    """An item's row, and source and result where there is a result; a shard's end has none."""
    if isinstance(item, ShardEnd):
        return _Made(item, {})
    if item.finish is None or item.origin is None or x_0 is None:
        return _Made(item, item.row)
    try:
        picture = item.finish.picture(x_0, item.origin.image)
        return _Made(item, dict(item.row), picture, item.finish.frame.seen(item.origin.image))
    except DefectError as defect:
        (row,) = failed_rows(item.row, defect, [item.row["copy"]])
        return _Made(item, row)


def _candidate(made: _Made) -> Candidate:
    assert made.image is not None
    assert made.seen is not None
    return Candidate(
        source=made.seen,
        output=made.image,
        label=made.row.get("label"),
        label_text=made.row.get("label_text"),
        origin=made.sample,
    )

"""A job's writing thread: each result is judged, kept or rejected, and added to its shard."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from diffaug.diffusion.steps import Finished
from diffaug.errors import DefectError
from diffaug.job.commit import ShardSink
from diffaug.job.copy import Copy, Item
from diffaug.job.settling import score, verdicts
from diffaug.judges import Panel
from diffaug.manifest.part import Row
from diffaug.output.run import Run, SourceShard
from diffaug.output.survey import ShardReport
from diffaug.pictures.medium import Medium, Value
from diffaug.shards.reading import listed
from diffaug.storage import Fingerprint

__all__ = ["Tally", "Uncommitted", "Writer"]

_log = logging.getLogger(__name__)


@dataclass
class Tally:
    """Counts that move while a job runs, for a progress display.

    Attributes:
        images: planned images that are settled: kept, filtered or failed.
        filtered: how many of them filters rejected.
        failed: how many of them have no image.
        passed_over: keys of the source that are no sample and have no row.
    """

    images: int = 0
    filtered: int = 0
    failed: int = 0
    passed_over: int = 0


@dataclass(frozen=True, slots=True)
class Uncommitted:
    """A shard that was not read to its end, and why."""

    shard: SourceShard
    error: OSError


class Writer:
    """Takes the lanes' steps, and yields each shard's report once it is committed.

    Args:
        run: the job.
        output: its OUTPUT.
        medium: of its samples.
        panel: its judges.
        folder: where tars and parts are prepared.
        tally: counts to keep up to date.
    """

    def __init__(
        self,
        run: Run,
        output: str,
        medium: Medium[Value],
        panel: Panel,
        folder: Path,
        tally: Tally,
    ) -> None:
        self._run = run
        self._output = output
        self._medium = medium
        self._panel = panel
        self._filters = run.recipe.filtering()
        self._folder = folder
        self._tally = tally
        self._warned = False

    def __call__(self, steps: Iterator[Finished[Item]]) -> Iterator[ShardReport | Uncommitted]:
        """Write what the steps bring, in their order."""
        sink: ShardSink | None = None
        try:
            for item, verdict in self._settled(self._judged(steps)):
                sink = sink or ShardSink(
                    item.shard, self._run, self._output, self._medium, self._folder
                )
                if isinstance(item, Copy):
                    self._add(sink, item, verdict)
                    continue
                if isinstance(item.outcome, Fingerprint):
                    self._tally.passed_over += item.passed_over
                    report = sink.commit(item.outcome, item.passed_over)
                    self._warn_of_moved(report)
                    yield report
                else:
                    sink.discard()
                    _log.warning("%s was not read to its end: %s", item.shard.url, item.outcome)
                    # without its frames, which hold what had been read
                    yield Uncommitted(item.shard, item.outcome.with_traceback(None))
                sink = None
        finally:
            if sink is not None:
                sink.discard()

    def _warn_of_moved(self, report: ShardReport) -> None:
        """Warn once if images do not fit what they come with: what is carried, or the source."""
        moved = (report.geometry or {}).get("moved", 0)
        carried, paired = self._run.recipe.carry, self._run.recipe.layout == "paired"
        if self._warned or not moved or not (carried or paired):
            return
        self._warned = True
        kept = f"what is carried with them ({listed(carried)})" if carried else ""
        _log.warning(
            "%s: %d images are cut, or of another size than their sources; %s is unchanged, so "
            "any boxes, masks or keypoints in it do not fit them: fit=resize and result=source "
            "leave everything in its place",
            report.source,
            moved,
            kept or "the source beside them",
        )

    def _judged(self, steps: Iterator[Finished[Item]]) -> Iterator[Item]:
        """Each item, made and with its scores; the judges are given many at a time."""
        waiting: list[Item] = []
        for step in steps:
            for item, x_0 in step:
                if isinstance(item, Copy):
                    item.make(x_0)
                waiting.append(item)
            if len(waiting) >= self._panel.rows:
                score(self._panel, waiting)
                yield from waiting
                waiting = []
        score(self._panel, waiting)
        yield from waiting

    def _settled(self, scored: Iterator[Item]) -> Iterator[tuple[Item, Row]]:
        """Each with its verdict's columns, the copies of a source together where they compete."""
        for group in self._groups(scored):
            yield from zip(group, verdicts(self._filters, group), strict=True)

    def _groups(self, scored: Iterator[Item]) -> Iterator[list[Item]]:
        if not self._filters.compare_copies:
            return ([item] for item in scored)
        return (list(group) for _, group in groupby(scored, key=_origin))

    def _add(self, sink: ShardSink, copy: Copy, verdict: Row) -> None:
        self._tally.images += 1
        try:
            if copy.image is not None and verdict:
                sink.add_filtered(copy, verdict)
                self._tally.filtered += 1
                return
            if copy.image is not None:
                sink.add_image(copy)
                return
        except DefectError as defect:  # it cannot be stored
            copy.fail(defect)
        self._tally.failed += 1
        sink.add_failed(copy)


def _origin(item: Item) -> object:
    return item.origin if isinstance(item, Copy) else item

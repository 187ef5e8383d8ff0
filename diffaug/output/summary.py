"""The state of a whole output, counted from its parts' footers without reading a row."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from diffaug.output.run import the_run
from diffaug.output.survey import ShardReport, survey

__all__ = ["Summary", "count", "summarise"]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Counts over every committed shard of an output; `planned = ok + filtered + failed`.

    Attributes:
        shards: source shards planned.
        committed: shards that are done.
        planned: images planned in committed shards.
        ok: images that were made and kept.
        filtered: images that a filter rejected.
        failed: planned images that could not be made.
        passed_over: keys of the sources that are no sample and have no row, such as README.txt.
        lost_colour: images of colour pictures that are grey, since their model is.
        blurred: images that were enlarged more than twice.
        output_bytes: size of the tars in shards/.
        rejects_bytes: size of the tars in rejects/.
        seconds: time the shards took, summed over all processes.
    """

    shards: int
    committed: int
    planned: int
    ok: int
    filtered: int
    failed: int
    passed_over: int = 0
    lost_colour: int = 0
    blurred: int = 0
    output_bytes: int
    rejects_bytes: int
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether every planned shard is committed."""
        return self.committed == self.shards

    @property
    def failed_fraction(self) -> float:
        """Failed images divided by planned images.

        If none are planned, it is 0, or 1 if there was something to read and no sample in it.
        """
        if not self.planned:
            return 1.0 if self.passed_over else 0.0
        return self.failed / self.planned

    def __str__(self) -> str:
        return (
            f"{self.planned} planned = {self.ok} made + {self.filtered} filtered + "
            f"{self.failed} failed; {self.committed} of {self.shards} shards committed"
            + (f"; passed over: {self.passed_over}" if self.passed_over else "")
            + "".join(f"; {loss}" for loss in self.losses)
        )

    @property
    def losses(self) -> list[str]:
        """What images have lost of their pictures, as sentences; empty if nothing."""
        lost = {
            "lost their colour": self.lost_colour,
            "were enlarged more than twice, to a blur": self.blurred,
        }
        made = self.ok + self.filtered
        return [f"{count} of {made} images {what}" for what, count in lost.items() if count]


def summarise(output: str) -> Summary:
    """Count the current state of an output.

    Raises:
        ConfigError: it is not the output of a job, or holds a part of another job.
        UncommittedError: a part of its manifest is broken.
        OSError: storage failed.
    """
    run = the_run(output)
    return count(len(run.sources), survey(run.sources, output).committed.values())


def count(shards: int, reports: Collection[ShardReport]) -> Summary:
    """Add up the reports of the committed ones of so many shards."""
    return Summary(
        shards=shards,
        committed=len(reports),
        planned=sum(report.planned for report in reports),
        ok=sum(report.ok for report in reports),
        filtered=sum(report.filtered for report in reports),
        failed=sum(report.failed for report in reports),
        passed_over=sum(report.passed_over for report in reports),
        lost_colour=sum(report.lost_colour for report in reports),
        blurred=sum(report.blurred for report in reports),
        output_bytes=sum(report.output_bytes for report in reports),
        rejects_bytes=sum(report.rejects_bytes for report in reports),
        seconds=sum(report.seconds for report in reports),
    )

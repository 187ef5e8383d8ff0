"""The state of a whole output, counted from its manifest parts without reading a row."""

from __future__ import annotations

from dataclasses import dataclass

from diffaug import storage
from diffaug.commit import ShardReport, read_report
from diffaug.plan import Run, freeze, the_run

__all__ = ["Summary", "finish", "summarise"]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Counts over every committed shard of an output; `planned = ok + filtered + failed`."""

    shards: int
    committed: int
    planned: int
    ok: int
    filtered: int
    failed: int
    output_bytes: int
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether every planned shard is committed."""
        return self.committed == self.shards

    @property
    def failed_fraction(self) -> float:
        """Failed rows by planned rows."""
        return self.failed / self.planned if self.planned else 0.0

    def __str__(self) -> str:
        return (
            f"{self.planned} planned = {self.ok} ok + {self.filtered} filtered + "
            f"{self.failed} failed; {self.committed} of {self.shards} shards committed"
        )


def summarise(output: str) -> Summary:
    """Count an output as it stands.

    Raises:
        ConfigError: it is not the output of a job.
    """
    run = the_run(output)
    return _count(run, _reports(run, output))


def finish(run: Run, output: str) -> Summary:
    """Count an output and, when every shard is committed, list its tars in OUTPUT/shards.txt.

    While a shard is missing there is no such list.
    """
    run = freeze(run, output)  # another job may have replaced run.json since: keep both's sources
    reports = _reports(run, output)
    summary = _count(run, reports)
    url = storage.join(output, "shards.txt")
    if summary.complete:
        names = sorted(report.output_shard for report in reports if report.output_shard)
        storage.replace("".join(f"{name}\n" for name in names).encode(), url)
    else:
        storage.remove(url)
    return summary


def _reports(run: Run, output: str) -> list[ShardReport]:
    folder = storage.join(output, "manifest")
    planned = {f"{shard.stem}.parquet" for shard in run.sources}
    names = [name for name in storage.listing(folder, ".parquet") if name in planned]
    return [read_report(storage.join(folder, name)) for name in names]


def _count(run: Run, reports: list[ShardReport]) -> Summary:
    return Summary(
        shards=len(run.sources),
        committed=len(reports),
        planned=sum(report.planned for report in reports),
        ok=sum(report.ok for report in reports),
        filtered=sum(report.filtered for report in reports),
        failed=sum(report.failed for report in reports),
        output_bytes=sum(report.output_bytes for report in reports),
        seconds=sum(report.seconds for report in reports),
    )

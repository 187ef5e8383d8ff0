"""The end of a job: its state counted and, when every shard is there, its tars listed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from diffaug import storage
from diffaug.job.plan import freeze
from diffaug.output.layout import Output
from diffaug.output.run import Run
from diffaug.output.summary import Summary, count
from diffaug.output.survey import ShardReport, survey

__all__ = ["finish"]


def finish(
    run: Run, output: str, known: Mapping[str, ShardReport] = MappingProxyType({})
) -> Summary:
    """Count an output and, when every shard is committed, list its tars in OUTPUT/shards.txt.

    While a shard is missing, there is no such list.

    Args:
        run: the job.
        output: its OUTPUT.
        known: reports of committed shards, by stem, that need not be read again.

    Raises:
        ConfigError: run.json or a part is another job's.
        UncommittedError: a part of its manifest is broken.
        OSError: storage failed.
    """
    run = freeze(run, output)  # another job may have added sources to run.json since: keep them
    others = (shard for shard in run.sources if shard.stem not in known)
    reports = [*known.values(), *survey(others, output).committed.values()]
    summary = count(run, reports)
    url = Output(output).shards_txt
    if summary.complete:
        names = sorted(report.output_shard for report in reports if report.output_shard)
        storage.replace("".join(f"{name}\n" for name in names).encode(), url)
    else:
        storage.remove(url)
    return summary

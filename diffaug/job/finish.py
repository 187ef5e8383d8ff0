"""The end of a job: its state counted and, when every shard is there, its tars listed."""

from __future__ import annotations

from diffaug import storage
from diffaug.job.plan import freeze
from diffaug.output.layout import Output
from diffaug.output.run import Run
from diffaug.output.summary import Summary, count
from diffaug.output.survey import Survey, survey

__all__ = ["finish"]


def finish(run: Run, output: str, before: Survey | None = None) -> Summary:
    """Count an output and, when every shard is committed, list its tars in OUTPUT/shards.txt.

    While a shard is missing, there is no such list. Another process may have done a shard again
    meanwhile: every part is looked at, and read again unless it is the file that it was before.

    Args:
        run: the job.
        output: its OUTPUT.
        before: an earlier survey of it.

    Raises:
        ConfigError: run.json or a part is another job's.
        UncommittedError: a part of its manifest is broken.
        OSError: storage failed.
    """
    # another job may have added sources to run.json since: keep them
    run = freeze(run, output, allow_mixed=True)
    url = Output(output).shards_txt
    reports = survey(run.sources, output, before).committed.values()
    if len(reports) < len(run.sources) and storage.exists(url):
        storage.remove(url)
        # it is an old list, of fewer sources; or another process has just committed the last shard
        reports = survey(run.sources, output, before).committed.values()
    summary = count(len(run.sources), reports)
    if summary.complete:
        names = sorted(report.output_shard for report in reports if report.output_shard)
        storage.replace("".join(f"{name}\n" for name in names).encode(), url)
    return summary

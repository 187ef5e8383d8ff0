"""The flow `augment-dataset`: plan once, map groups of shards, summarise.

Prefect is the control plane only: a task gets the output's URL and a slice of its planned shards,
reads run.json for everything else, and returns counts.
"""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import Field

from diffaug import ConfigError, Recipe, Summary, augment_shards, finish, freeze, plan_run
from diffaug.plan import read_run
from flows.groups import ONE_AT_A_TIME, RETRIES, Count, groups_of, wait_for_all

DEFAULT_RECIPE = Recipe()

Fraction = Annotated[float, Field(ge=0, le=1)]


@task(task_run_name="shards {first} to {last}", **RETRIES)
def augment_group(output: str, first: int, last: int) -> dict[str, int]:
    """Augment the planned shards first to last, both counted in, but for those committed."""
    run = read_run(output)
    if run is None:
        raise ConfigError(f"{output} holds no run.json: was it deleted while the flow ran?")
    counts = {"shards": 0, "ok": 0, "filtered": 0, "failed": 0}
    for report in augment_shards(run.sources[first : last + 1], output, run=run):
        counts["shards"] += 1
        counts["ok"] += report.ok
        counts["filtered"] += report.filtered
        counts["failed"] += report.failed
    return counts


@flow(name="augment-dataset", task_runner=ONE_AT_A_TIME)
def augment_dataset(
    source: str | list[str],
    output: str,
    recipe: Recipe = DEFAULT_RECIPE,
    batch_size: Count | None = None,
    dtype: str | None = None,
    device: str | None = None,
    shards_per_task: Count | None = None,
    max_failed: Fraction = 0.01,
    allow_mixed: bool = False,
) -> dict[str, int] | State[Any]:
    """Augment sharded images into an audited output; run it again to finish what is missing.

    Args:
        source: shards: files, globs, brace ranges or lists, on any fsspec URL.
        output: folder or URL of the output.
        recipe: what to do to each image.
        batch_size: lanes of the fixed batch shape; 32 by default.
        dtype: float32 or bfloat16; by default what the planning machine is fast at.
        device: cpu, cuda or cuda:N; by default cuda where there is one.
        shards_per_task: shards in one task; by default enough for at most 2,000 tasks.
        max_failed: the run fails when more than this fraction of the images failed.
        allow_mixed: go on with an output begun on another kind of device or other versions.
    """
    sources = [source] if isinstance(source, str) else source
    try:
        planned = plan_run(
            sources,
            output,
            recipe,
            batch_size=batch_size,
            dtype=dtype,
            device=device,
            allow_mixed=allow_mixed,
        )
        run = freeze(planned, output)
    except ConfigError as error:
        return Failed(message=str(error))
    groups = list(groups_of(len(run.sources), shards_per_task))
    get_run_logger().info("%d shards, %d tasks, into %s", len(run.sources), len(groups), output)
    tasks = [augment_group.submit(output, first, last) for first, last in groups]
    wait_for_all(tasks, key="augment-progress", description=output)
    summary = finish(run, output)
    create_markdown_artifact(_markdown(summary, output), key="augment-summary")
    if not summary.complete:
        return Failed(message=f"{summary}: run it again to do the rest")
    if summary.failed_fraction > max_failed:
        return Failed(message=f"{summary}: more failed than max_failed={max_failed:g}")
    return {"planned": summary.planned, "ok": summary.ok, "failed": summary.failed}


def _markdown(summary: Summary, output: str) -> str:
    return f"""\
# {output}

| planned | ok | filtered | failed | shards committed |
| ---: | ---: | ---: | ---: | ---: |
| {summary.planned} | {summary.ok} | {summary.filtered} | {summary.failed} \
| {summary.committed} of {summary.shards} |

{summary.output_bytes:,} bytes of images, and the lineage of each in
`pandas.read_parquet("{output}/manifest")`.
"""

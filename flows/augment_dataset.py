"""The flow `augment-dataset`: plan once, map groups of shards, summarise.

Prefect is the control plane only: a task receives the output's URL and a range of its planned
shards, reads run.json for everything else, and returns counts. Only a group that still has a shard
to do gets a task.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.exceptions import TerminationSignal
from prefect.states import Failed
from pydantic import Field

from diffaug import (
    ConfigError,
    Job,
    Recipe,
    Summary,
    UncommittedError,
    augment_shards,
)
from diffaug.job.balance import described
from diffaug.job.plan import refuse_mixing
from diffaug.job.unused import refuse_unused
from diffaug.output.markdown import text
from diffaug.output.run import SourceShard, the_run
from diffaug.pack.packing import Packed
from diffaug.storage import public_url
from diffaug.storage.find import filesystem, on_this_machine
from flows.devices import devices_of, kind_of
from flows.folders import packed
from flows.groups import RETRIES, Count, follow, groups_of, names_of, run_name
from flows.lineage import Lineage
from flows.outcome import show_outcome
from flows.paths import listed, models_of, require_absolute, require_absolute_models
from flows.runners import Call, RunnerName, choose, droppable

Fraction = Annotated[float, Field(ge=0, le=1)]


@task(task_run_name="{names}", **RETRIES)
def augment_group(
    output: str, first: int, last: int, names: str, allow_mixed: bool
) -> dict[str, int]:
    """Augment the planned shards `first` to `last`, inclusive, except those already committed."""
    run = the_run(output)
    if not allow_mixed:
        refuse_mixing(run, output)
    counts = {"shards": 0, "ok": 0, "filtered": 0, "failed": 0}
    shards = run.sources[first : last + 1]
    with droppable(), closing(augment_shards(shards, output, run=run)) as reports:
        for report in reports:
            counts["shards"] += 1
            counts["ok"] += report.ok
            counts["filtered"] += report.filtered
            counts["failed"] += report.failed
    get_run_logger().info("%s: %s", names, counts)
    return counts


@flow(name="augment-dataset", flow_run_name=run_name("augment", "source", "output"))
def augment_dataset(
    source: str | list[str],
    output: str,
    recipe: Recipe | None = None,
    batch_size: Count | None = None,
    dtype: str | None = None,
    device: str | None = None,
    runner: RunnerName = "local",
    workers: Count | None = None,
    address: str | None = None,
    shards_per_task: Count | None = None,
    max_failed: Fraction = 0.01,
    allow_mixed: bool = False,
    classes_as_numbered: bool = False,
    redo: str | list[str] | None = None,
) -> dict[str, int] | State[Any]:
    """Augment sharded images into an audited output; run it again to finish what is missing.

    Args:
        source: shards: files, globs, brace ranges or lists, on any fsspec URL; or folders of
            pictures or of class folders, which the planning worker packs into `output`-source.
        output: folder or URL of the output.
        recipe: what to do to each image; strength, steps and sampler are by default those that
            the card of its model suggests.
        batch_size: lanes of the fixed batch shape; 32 by default.
        dtype: float32 or bfloat16; by default the one that is fast on the planning machine.
        device: cpu, cuda or cuda:N; by default cuda if available; with runner=processes also
            several, such as cuda:0,cuda:1, or all for every card: each has one worker.
        runner: local, in the run's own process; processes, several on its machine; ray, a cluster.
        workers: processes, or workers of a Ray cluster started for the run; by default one a core.
        address: auto, host:port or ray://host:port of a Ray cluster; if unset, one is started.
        shards_per_task: shards in one task; by default enough for at most 2,000 tasks.
        max_failed: the run fails if more than this fraction of the images failed.
        allow_mixed: continue an output begun on another kind of device or with other versions.
        classes_as_numbered: with condition=label, the sources number their classes as the model
            does, although the names that are known of both differ.
        redo: shards to do again because their sources have changed, each a source of the job or its
            stem in run.json; what was made of them is withdrawn, what was made of others stays.
    """
    try:
        recipe = recipe or Recipe()
        paths = [one for one in listed(redo) if "/" in one]  # the others are stems
        require_absolute(source=source, output=output, redo=paths)
        require_absolute_models(**models_of(recipe))
        devices = devices_of(device)
        shards, folders = packed(output, source, max_pixels=recipe.max_pixels)
        job = Job.plan(
            shards[0],
            output,
            recipe,
            batch_size=batch_size,
            dtype=dtype,
            device=kind_of(devices),
            allow_mixed=allow_mixed,
            classes_as_numbered=classes_as_numbered,
            redo=listed(redo),
        )
        refuse_unused(recipe, job.planned.recipe, output)
        if job.suggestion:
            get_run_logger().info("%s", job.suggestion)
        if job.planned.class_counts is not None:
            get_run_logger().info("%s", described(recipe, job.planned.class_counts))
        place = choose(runner, workers, address, job.planned.execution.device, devices)
        run, missing = job.freeze(), job.missing
    except (ConfigError, UncommittedError) as error:
        return Failed(message=str(error))
    public = public_url(output)
    calls = list(_calls(job, missing, shards_per_task, allow_mixed))
    get_run_logger().info("%d shards to do in %d tasks, into %s", len(missing), len(calls), public)
    with Lineage("augment-dataset", run, output) as lineage:
        failures: list[str] = []
        try:
            if calls:
                with closing(place.run(augment_group, calls)) as states:
                    ended = follow(
                        states, len(calls), key="augment-progress", description=text(public)
                    )
                    failures = [_failure(state) for state in ended if not state.is_completed()]
        except ConfigError as error:
            lineage.failure = str(error)
            return Failed(message=lineage.failure)
        except (KeyboardInterrupt, TerminationSignal):
            get_run_logger().warning("stopped; what is committed stays: run it again for the rest")
            raise
        lineage.summary = summary = job.finish()
        show_outcome(run, output, summary)
        lineage.failure = _shortfall(summary, failures, folders, max_failed)
    if lineage.failure is not None:
        return Failed(message=lineage.failure)
    return {name: getattr(summary, name) for name in ("planned", "ok", "filtered", "failed")}


def _shortfall(
    summary: Summary, failures: list[str], folders: Iterable[Packed], max_failed: float
) -> str | None:
    """Why what there is now is not enough, in a sentence; None if it is."""
    if not summary.complete:
        why = f" ({failures[0]})" if failures else ""
        return f"{summary}{why}: run it again to do the rest"
    if summary.failed_fraction > max_failed:
        why = f"more failed than max_failed={max_failed:g}"
        return f"{summary}: {why if summary.planned else 'no sample was found'}"
    for folder in folders:
        if folder.failed_fraction > max_failed:
            return f"{summary}: more than max_failed={max_failed:g} of {folder}"
    return None


def _calls(
    job: Job, missing: list[SourceShard], shards_per_task: int | None, allow_mixed: bool
) -> Iterator[Call]:
    fs, path = filesystem(job.output)
    where = path if on_this_machine(fs) else job.output  # a worker may run in another folder
    run, stems = job.planned, {shard.stem for shard in missing}
    for first, last in groups_of(len(run.sources), shards_per_task):
        if any(shard.stem in stems for shard in run.sources[first : last + 1]):
            group: Call = {"output": where, "first": first, "last": last}
            yield group | {"names": names_of(run, first, last), "allow_mixed": allow_mixed}


def _failure(state: State[Any]) -> str:
    error = state.result(raise_on_failure=False)
    return str(error) if isinstance(error, Exception) and str(error) else str(state.message)

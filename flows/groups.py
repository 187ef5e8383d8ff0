"""Shared by the flows over an output's shards: groups of shards, one task each, and progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, cast
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.tasks import Task, exponential_backoff
from pydantic import Field

from diffaug import ConfigError, DivergedError
from diffaug.output.run import Run
from diffaug.storage import public_url

MAX_TASKS = 2000

SECONDS = 5
"""Least time between two updates of the progress artifact."""

Count = Annotated[int, Field(ge=1)]


def worth_another_try(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether to retry: storage may recover, a configuration error or a NaN loss will not."""
    return not isinstance(state.result(raise_on_failure=False), ConfigError | DivergedError)


RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": worth_another_try,
}


def groups_of(shards: int, shards_per_task: int | None) -> Iterator[tuple[int, int]]:
    """The first and last shard of each group, inclusive; by default at most MAX_TASKS groups."""
    size = shards_per_task or max(1, math.ceil(shards / MAX_TASKS))
    for first in range(0, shards, size):
        yield first, min(first + size, shards) - 1


def names_of(run: Run, first: int, last: int) -> str:
    """The name of a group: its shard, or its first and last one."""
    begin, end = run.sources[first].stem, run.sources[last].stem
    return f"shard {begin}" if first == last else f"shards {begin} to {end}"


def run_name(verb: str, *parameters: str) -> Callable[[], str]:
    """A namer for a flow's runs: the verb, and the values of these parameters of the flow."""

    def name() -> str:
        given = cast(dict[str, Any], flow_run.parameters)
        return f"{verb} {' into '.join(_short(given[name]) for name in parameters)}"

    return name


def _short(urls: str | list[str]) -> str:
    """The first URL, without credentials, and how many more there are."""
    first, *more = [urls] if isinstance(urls, str) else urls or ["nothing"]
    return public_url(first) + (f" and {len(more)} more" if more else "")


def follow(
    states: Iterable[State[Any]], total: int, key: str, description: str
) -> Iterator[State[Any]]:
    """Yield the states of `total` tasks, updating a progress artifact every few seconds."""
    progress = cast(UUID, create_progress_artifact(0.0, key=key, description=description))
    moved = time.monotonic()
    for done, state in enumerate(states, start=1):
        yield state
        if done == total or time.monotonic() - moved >= SECONDS:
            try:
                update_progress_artifact(progress, 100.0 * done / total)
            except httpx.HTTPError as error:  # the work matters more than its progress
                get_run_logger().warning("no progress is shown: %s", error)
            moved = time.monotonic()

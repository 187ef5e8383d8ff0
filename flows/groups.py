"""What the flows over an output's shards share: groups of shards, one task each, and progress."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import Task, exponential_backoff
from pydantic import Field

from diffaug import ConfigError, DivergedError

MAX_TASKS = 2000

Count = Annotated[int, Field(ge=1)]

# one task at a time: a task keeps every core of its machine busy, and the model stays loaded
ONE_AT_A_TIME = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=1))


def worth_another_try(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Storage may recover; a mistake in the configuration, or a loss that is NaN, will not."""
    return not isinstance(state.result(raise_on_failure=False), ConfigError | DivergedError)


RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": worth_another_try,
}


def groups_of(shards: int, shards_per_task: int | None) -> Iterator[tuple[int, int]]:
    """The first and last shard of each group, both counted in; by default at most MAX_TASKS."""
    size = shards_per_task or max(1, math.ceil(shards / MAX_TASKS))
    for first in range(0, shards, size):
        yield first, min(first + size, shards) - 1


def wait_for_all(tasks: Sequence[PrefectFuture[Any]], key: str, description: str) -> None:
    """Wait until every task has ended, however it did, moving a progress artifact."""
    progress = cast(UUID, create_progress_artifact(0.0, key=key, description=description))
    for done, task in enumerate(as_completed(list(tasks)), start=1):
        task.wait()
        update_progress_artifact(progress, 100.0 * done / len(tasks))

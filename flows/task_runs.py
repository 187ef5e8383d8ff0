"""How task runs ended, as a server knows it: from their workers, and a little later."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter
from prefect.client.schemas.objects import TERMINAL_STATES
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

LIMIT = 200
"""Of how many a server answers at once."""
PATIENCE = 30
"""Seconds a server has to take in how the last ended."""


def report_lost(task_run: UUID) -> None:
    """Say for a task whose worker died what it cannot say itself; Prefect would have it run on.

    A server that has not taken in yet that the task began knows nothing to say it of.
    """
    with suppress(httpx.HTTPError, ObjectNotFound), get_client(sync_client=True) as client:
        client.set_task_run_state(task_run, Crashed(message="its worker died"), force=True)


def wait_until_known(ended: Collection[UUID]) -> None:
    """Until the server knows how so many ended, at most LIMIT; not for ever.

    It may never learn of one whose worker was killed before it could tell.
    """
    known = TaskRunFilter.model_validate(
        {"id": {"any_": ended}, "state": {"type": {"any_": TERMINAL_STATES}}}
    )
    deadline = time.monotonic() + PATIENCE
    with suppress(httpx.HTTPError), get_client(sync_client=True) as client:
        while len(client.read_task_runs(task_run_filter=known)) < len(ended):
            if time.monotonic() > deadline:
                return
            time.sleep(0.2)

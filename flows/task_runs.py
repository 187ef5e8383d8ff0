"""How task runs ended, as the server knows it: reported by their workers, a little later."""

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
"""How many task runs a server returns for one request."""
PATIENCE = 30
"""Seconds a server has to record how the last ones ended."""


def report_lost(task_run: UUID) -> None:
    """Report a task whose worker died as crashed; Prefect would show it as running for ever.

    A server that has not yet recorded that the task began does not know it; that is ignored.
    """
    with suppress(httpx.HTTPError, ObjectNotFound), get_client(sync_client=True) as client:
        client.set_task_run_state(task_run, Crashed(message="its worker died"), force=True)


def wait_until_known(ended: Collection[UUID]) -> None:
    """Wait until the server knows how these ended, at most LIMIT of them; not for ever.

    It may never learn of one whose worker was killed before it could report.
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

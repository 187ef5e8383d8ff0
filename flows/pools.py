"""A step of deploy/prefect.yaml: create a work pool before a deployment names it."""

from __future__ import annotations

import json
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists


def create_if_missing(name: str, type: str, template: str) -> None:
    """Create a work pool with a JSON file as base job template, unless the name exists."""
    base_job_template = json.loads(Path(template).read_text(encoding="utf-8"))
    pool = WorkPoolCreate(name=name, type=type, base_job_template=base_job_template)
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(pool)
        except ObjectAlreadyExists:
            return
    print(f"Created work pool {name!r}")

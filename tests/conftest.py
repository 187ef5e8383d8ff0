"""What every test shares: the real shards, a quiet environment, and a way to run a job."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads slow a shared machine

FIXTURES = Path(__file__).parent / "fixtures"
SHARDS = sorted(FIXTURES.glob("fashion-mnist-*.tar"))
BRACES = str(FIXTURES / "fashion-mnist-{000000..000002}.tar")

RunJob = Callable[..., pd.DataFrame]


@pytest.fixture
def run_job() -> RunJob:
    """`run_job(sources, output, **recipe_fields)`: a whole job here, and its manifest."""
    import diffaug

    def run(sources: list[str], output: Path, **fields: Any) -> pd.DataFrame:
        recipe = diffaug.Recipe(**{"steps": 5, **fields})
        run = diffaug.freeze(diffaug.plan_run(sources, str(output), recipe), str(output))
        list(diffaug.augment_shards(run.sources, str(output), run=run))
        diffaug.finish(run, str(output))
        return pd.read_parquet(output / "manifest")

    return run


def diffaug_command(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a user does."""
    command = [str(Path(sys.executable).with_name("diffaug")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)

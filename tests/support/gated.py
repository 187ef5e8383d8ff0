"""The command line with lanes that a file stops, or that have no memory."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from diffaug.cli import main
from diffaug.diffusion.lanes import Lanes
from diffaug.errors import OutOfMemoryError

__all__ = ["ENTRY", "GATE", "WITHOUT_MEMORY", "run", "run_without_memory"]

ENTRY = "tests.support.gated:run"
"""The entry of a process that makes no step while a file is there."""

GATE = "DIFFAUG_TESTS_GATE"
"""The environment variable that names the file."""

WITHOUT_MEMORY = "tests.support.gated:run_without_memory"
"""The entry of a process whose network calls do not fit into memory."""


def run_without_memory() -> None:
    def step(lanes: Lanes[Any]) -> Any:
        raise OutOfMemoryError("a batch_size of 2 fits")

    Lanes.step = step  # type: ignore[assignment, method-assign]
    main()


def run() -> None:
    closed, step = Path(os.environ[GATE]), Lanes.step

    def gated(lanes: Lanes[Any]) -> Any:
        while closed.exists():
            time.sleep(0.01)
        return step(lanes)

    Lanes.step = gated  # type: ignore[assignment, method-assign]
    main()

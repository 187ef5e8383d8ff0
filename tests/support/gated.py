"""The command line with lanes that a file stops: while it is there, no step is made."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from diffaug.cli import main
from diffaug.diffusion.lanes import Lanes

__all__ = ["ENTRY", "GATE", "run"]

ENTRY = "tests.support.gated:run"
"""The entry of such a process."""

GATE = "DIFFAUG_TESTS_GATE"
"""The environment variable that names the file."""


def run() -> None:
    closed, step = Path(os.environ[GATE]), Lanes.step

    def gated(lanes: Lanes[Any]) -> Any:
        while closed.exists():
            time.sleep(0.01)
        return step(lanes)

    Lanes.step = gated  # type: ignore[assignment, method-assign]
    main()

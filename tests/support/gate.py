"""A classifier that holds a job back until a test lets it go on, however fast the machine is.

A judge `label=tests.support.gate:classify`. While the file that `DIFFAUG_TEST_GATE` names is
there, no image is judged once OUTPUT holds as many parts as the file says: what is committed by
then is committed, and the rest is not.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from torch import Tensor

NAME = "DIFFAUG_TEST_GATE"
JUDGE = f"label={__name__}:classify"


def hold(gate: Path, output: Path, parts: int) -> None:
    """Close the gate once `output` has so many parts."""
    ready = gate.with_suffix(".new")
    ready.write_text(json.dumps([str(output), parts]))
    ready.rename(gate)


def classify(pictures: Tensor) -> Tensor:
    """(B, C, H, W) to (B, 10), all alike, when the gate is open."""
    gate = os.environ.get(NAME)
    while gate and _is_held(Path(gate)):
        time.sleep(0.02)
    return pictures.new_zeros(len(pictures), 10)


def _is_held(gate: Path) -> bool:
    try:
        output, parts = json.loads(gate.read_text())
    except FileNotFoundError:
        return False
    return len(list(Path(output).glob("manifest/*.parquet"))) >= int(parts)

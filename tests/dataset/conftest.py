"""What tests of datasets share: a job over unequal shards, and no rank in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.hostile import fashion, write_samples
from tests.support.jobs import augmented

SIZES = (3, 9, 1, 12, 5)
"""Of the source shards: so unequal that no split of whole shards is even."""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "WORKER", "NUM_WORKERS"):
        monkeypatch.delenv(name, raising=False)


def unequal_job(folder: Path) -> Path:
    """A job of two copies over unequal shards, in `out`."""
    start = 0
    for number, size in enumerate(SIZES):
        write_samples(folder / f"in/{number}.tar", fashion(size, start))
        start += size
    augmented([folder / "in/*.tar"], folder / "out", copies=2, strength="0.2:0.6")
    return folder

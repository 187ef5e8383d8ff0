"""Mixing where both sides lie in an S3-compatible store, read by forked workers too."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

import diffaug
from tests.conftest import SHARDS
from tests.support.jobs import augmented
from tests.support.services import Store

pytestmark = pytest.mark.services


def test_it_yields_from_a_bucket_what_it_yields_from_a_disk(
    store: Store, bucket: str, tmp_path: Path
) -> None:
    augmented(SHARDS, tmp_path / "out")
    files = store.files()
    files.put(str(tmp_path / "out"), f"{bucket}/out", recursive=True)
    for shard in SHARDS:
        files.put_file(str(shard), f"{bucket}/in/{shard.name}")
    where = "score_ssim > 0.5"
    here = diffaug.AugmentedDataset(
        tmp_path / "out", real=[str(shard) for shard in SHARDS], where=where, samples=40
    )
    there = diffaug.AugmentedDataset(
        f"{bucket}/out", real=f"{bucket}/in/*.tar", where=where, samples=40
    )
    assert there.chosen == here.chosen > 0
    expected = list(here)
    for sample, other in zip(there, expected, strict=True):
        assert sample["__key__"] == other["__key__"]
        np.testing.assert_array_equal(np.asarray(sample["image"]), np.asarray(other["image"]))
    for workers in (1, 2):
        loaders: list[DataLoader[Any]] = [
            DataLoader(dataset, 8, num_workers=workers, collate_fn=list)
            for dataset in (there, here)
        ]
        far, near = ([s["__key__"] for batch in loader for s in batch] for loader in loaders)
        assert Counter(far) == Counter(near)
        assert far == near

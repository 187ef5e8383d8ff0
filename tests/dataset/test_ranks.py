"""Real ranks: two processes of torch.distributed, with shards that no split makes even."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

import diffaug
from tests.support.forks import Forks
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import augmented
from tests.support.services import free_ports

pytestmark = pytest.mark.process

WORLD_SIZE = 2


def test_an_all_reduce_for_each_batch_does_not_hang_and_evaluation_is_exact(
    tmp_path: Path, forked: Forks
) -> None:
    for number, size in enumerate((1, 17, 2)):
        write_samples(tmp_path / f"in/{number}.tar", fashion(size, 20 * number))
    augmented([tmp_path / "in/*.tar"], tmp_path / "out", copies=2)
    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    ranks = [
        forked.start(address, tmp_path, str(rank), entry=f"{__name__}:main", env=environment)
        for rank in range(WORLD_SIZE)
    ]
    for process in ranks:
        assert process.wait() == 0, process.err
    said = [json.loads(process.out) for process in ranks]
    assert said[0]["batches"] == said[1]["batches"] == [5, 6]
    assert said[0]["sums"] == said[1]["sums"]
    for kind in ("forked", "spawned"):
        found = Counter(said[0][kind]) + Counter(said[1][kind])
        assert found == Counter(pd.read_parquet(tmp_path / "out/manifest")["output_key"])


def main() -> None:
    """What one rank does: its process group is all that tells which it is."""
    address, folder, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=WORLD_SIZE)
    dataset = diffaug.AugmentedDataset(f"{folder}/out", real=f"{folder}/in/*.tar", samples=40)
    batches, sums = [], []
    for epoch, workers in enumerate((0, 2)):
        dataset.set_epoch(epoch)
        loader: DataLoader[Any] = DataLoader(dataset, 4, num_workers=workers, collate_fn=list)
        count, steps = torch.zeros(1), 0
        for batch in loader:
            count += len(batch)
            dist.all_reduce(count)
            steps += 1
        batches.append(steps)
        sums.append(count.item())
    exact = diffaug.AugmentedDataset(f"{folder}/out", train=False)
    found = {}
    for kind in ("fork", "spawn"):
        loader = DataLoader(exact, 4, num_workers=1, collate_fn=list, multiprocessing_context=kind)
        found[f"{kind}ed"] = [sample["__key__"] for batch in loader for sample in batch]
    print(json.dumps({"batches": batches, "sums": sums, **found}))
    dist.destroy_process_group()

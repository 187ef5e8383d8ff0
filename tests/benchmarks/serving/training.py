"""A training that is fed by a server, by pictures made beforehand, or by a model in each worker.

Every arm trains the same small classifier for some epochs, in a process of its own with two loader
workers. Made beforehand, or kept in the server's cache, all epochs have the same images; otherwise
each has its own. The server runs on the same machine, and its processor time and memory count too.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

import diffaug
from tests.benchmarks.classifier import new_classifier
from tests.benchmarks.serving.pictures import (
    GREY,
    Picture,
    as_samples,
    job,
    pictures,
    write_shard,
)
from tests.benchmarks.serving.processes import Starts, cpu_seconds, megabytes, watched
from tests.benchmarks.serving.recipes import Fields, diffaug_serves
from tests.benchmarks.serving.tables import Row, Tables
from tests.support.forks import ROOT

__all__ = ["training"]

WORKERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What one process is to do.

    Attributes:
        arm: `server`, `beforehand` or `workers`.
        count: pictures of an epoch.
        recipe: fields.
        batch_size: of the lanes.
        epochs: how many.
        batch: images of a step.
        fresh: whether each epoch has other images.
        url: of the server.
        made: folder of the images made beforehand.
    """

    arm: str
    count: int
    recipe: Fields
    batch_size: int
    epochs: int
    batch: int
    fresh: bool = True
    url: str = ""
    made: str = ""


def training(
    starts: Starts,
    folder: Path,
    *,
    count: int = 512,
    epochs: int = 2,
    batch: int = 64,
    model: str = GREY,
    steps: int = 5,
    batch_size: int = 32,
) -> Tables:
    """Train by each arm, one after the other.

    Args:
        starts: of the server.
        folder: for everything.
        count: pictures of an epoch.
        epochs: of each arm.
        batch: images of a step.
        model: its name.
        steps: of a recipe of strength 0.4.
        batch_size: of the lanes, wherever they are.
    """
    recipe: Fields = {"model": model, "strength": 0.4, "steps": steps, "format": "png"}
    common: Any = {"count": count, "recipe": recipe, "batch_size": batch_size}
    common |= {"epochs": epochs, "batch": batch}
    began = time.perf_counter()
    shard = write_shard(folder / "in.tar", pictures(model, count))
    beforehand = folder / "made"
    beforehand.mkdir()
    for (key, _), data in job(shard, folder / "job", recipe, batch_size).items():
        (beforehand / f"{key}.png").write_bytes(data)
    seconds = time.perf_counter() - began
    rows = [_arm(_Task(arm="beforehand", made=str(beforehand), **common), folder)]
    rows[0]["made before, s"] = seconds
    for arm, options in {
        "server": ("--max-wait", "600"),
        "server, cache": ("--max-wait", "600", "--cache", folder / "cache"),
    }.items():
        with diffaug_serves(
            starts, folder / "recipes", {"one": recipe}, batch_size, *options
        ) as server:
            before = cpu_seconds(server.process.pid)
            task = _Task(arm="server", url=server.url, fresh="--cache" not in options, **common)
            row = _arm(task, folder) | {"arm": arm}
            row["processor, s"] += cpu_seconds(server.process.pid) - before
            row["memory, MB"] += megabytes(server.process.pid)
            rows.append(row)
    rows.append(_arm(_Task(arm="workers", **common), folder))
    return {"A training of two loader workers": rows}


def _arm(task: _Task, folder: Path) -> Row:
    asked = folder / "task.json"
    asked.write_text(json.dumps(asdict(task)))
    command = [sys.executable, "-m", "tests.benchmarks.serving.training", str(asked)]
    done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


class _Images(IterableDataset[tuple[torch.Tensor, int]]):
    """A worker's share of the images, and their classes."""

    def __init__(self, task: _Task) -> None:
        self._task = task
        found = pictures(task.recipe["model"], task.count)
        self._found = {one.key: one for one in found}
        self._stage: Any = None
        if task.arm == "server":
            self._stage = diffaug.RemoteAugmenter(task.url, task.recipe)
        elif task.arm == "workers":
            self._stage = diffaug.Augmenter(task.recipe, batch_size=task.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Other images, where they are made on the way."""
        if self._stage is not None:
            self._stage.set_epoch(epoch)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        info = get_worker_info()
        assert info is not None
        own = list(islice(self._found.values(), info.id, None, info.num_workers))
        if self._stage is None:
            own = [self._beforehand(one) for one in own]
        samples = as_samples(own)
        for sample in samples if self._stage is None else self._stage(samples):
            pixels = np.asarray(sample["png"], dtype=np.float32) / 255 - 0.5
            yield torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1), sample["cls"]

    def _beforehand(self, one: Picture) -> Picture:
        return Picture(one.key, Path(self._task.made, f"{one.key}.png").read_bytes(), one.label)


def _train(task: _Task) -> Row:
    images = _Images(task)
    loader = DataLoader(images, task.batch, num_workers=WORKERS, persistent_workers=True)
    shape = (1, 28, 28) if task.recipe["model"] == GREY else (1, 32, 32, 3)
    torch.manual_seed(0)
    network = new_classifier(np.zeros(shape, dtype=np.uint8))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    seen = steps = 0
    first = began = time.perf_counter()
    with watched(os.getpid(), 1.0, megabytes) as memory:
        for epoch in range(task.epochs):
            if task.fresh:
                images.set_epoch(epoch)
            for x, y in loader:
                if not steps:
                    first = time.perf_counter()
                loss = nn.functional.cross_entropy(network(x), y)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                seen, steps = seen + len(y), steps + 1
        ended = time.perf_counter()
    assert seen == task.epochs * task.count
    del loader  # ends the workers, whose time counts once they have
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "arm": task.arm,
        "steps": steps,
        "first batch, s": first - began,
        "steps/s after it": (steps - 1) / (ended - first) if steps > 1 else None,
        "processor, s": sum(one.ru_utime + one.ru_stime for one in used),
        "memory, MB": max(memory),
    }


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(_train(_Task(**given))))

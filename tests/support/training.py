"""Trainings that take a second, and what they leave."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from diffaug.train import preview
from diffaug.train.data import Batch, Position, batches
from diffaug.train.loop import Step, train
from diffaug.train.pictures import Pictures
from diffaug.train.recipe import LoopRecipe, TrainRecipe
from tests.support.hostile import fashion, write_samples

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
preview._STEPS = 2  # with twenty, the pictures at its end take most of a small training


def tiny(**fields: Any) -> TrainRecipe:
    """A training that takes a second."""
    given = {
        "network": "tiny",
        "size": 8,
        "channels": 1,
        "steps": 6,
        "batch_size": 4,
        "warmup_steps": 2,
        "shuffle": 20,
        **fields,
    }
    return TrainRecipe(**given)


def two_shards(tmp_path: Path) -> list[str]:
    """Two shards of ten real images each."""
    paths = [write_samples(tmp_path / f"in/s{i}.tar", fashion(10, 10 * i)) for i in range(2)]
    return [str(path) for path in paths]


def taken(shards: list[str], recipe: TrainRecipe, count: int, start: Position) -> list[Batch]:
    return list(islice(batches(shards, recipe, Pictures(recipe), start), count))


def fingerprints(made: list[Batch]) -> list[bytes]:
    return [image.tobytes() for batch in made for image in batch.x_0]


def run(source: list[str], folder: str | Path, recipe: LoopRecipe, **options: Any) -> list[Step]:
    return list(train(source, folder, recipe, dtype="float32", device="cpu", **options))


def state(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(folder / "training/state.pt", weights_only=True)
    return loaded


def events(folder: Path) -> Any:
    """What TensorBoard itself reads."""
    accumulator = EventAccumulator(str(folder / "training"), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """A nested state as one level of tensors and plain values."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = dict(enumerate(value)).items()
    else:
        return {name: value}
    return {key: leaf for k, v in items for key, leaf in flat(v, f"{name}/{k}").items()}


def same(one: Path, other: Path, weights: str = WEIGHTS) -> None:
    """Two trainings stand at the same place, bit for bit, and saved the same weights."""
    left, right = flat(state(one)), flat(state(other))
    assert left.keys() == right.keys()
    for name, value in left.items():
        equal = torch.equal(value, right[name]) if torch.is_tensor(value) else value == right[name]
        assert equal, name
    assert (one / weights).read_bytes() == (other / weights).read_bytes()

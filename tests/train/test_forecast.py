"""What a training says beforehand that it takes."""

from __future__ import annotations

import re
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import load_file

from diffaug.train.forecast import forecast
from diffaug.train.recipe import TrainRecipe
from tests.conftest import Cli
from tests.support.training import WEIGHTS, run, tiny, two_shards


def test_it_counts_what_a_training_then_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that two seconds pass on whenever it is looked at."""
    clock = SimpleNamespace(perf_counter=partial(next, count(step=2)))
    monkeypatch.setattr("diffaug.train.forecast.time", clock)
    source, recipe = two_shards(tmp_path), tiny(classes=10, size=None, channels=None)
    found = forecast(source, recipe, dtype="float32", device="cpu")
    assert isinstance(found.recipe, TrainRecipe)
    assert (found.recipe.size, found.recipe.channels) == (32, 1)
    assert found.images_per_second == 2  # four a step
    assert found.seconds == 12  # six steps
    assert "take 0:00:12 (hours, minutes, seconds) at 2 images/s" in str(found)
    run(source, tmp_path / "c", recipe)
    weights = load_file(tmp_path / "c" / WEIGHTS)
    assert found.parameters == sum(weight.numel() for weight in weights.values())


@pytest.mark.parametrize("kind", ["denoiser", "autoencoder"])
def test_the_command_writes_nothing(kind: str, tmp_path: Path, cli: Cli) -> None:
    few: list[Any] = [*two_shards(tmp_path), tmp_path / "c", "--network", "tiny", "--size", "8"]
    few += ["--steps", "500", "--batch-size", "4", "--kind", kind, "--dry-run"]
    said = cli("train", *few)
    assert said.code == 0, said
    assert re.search(
        r"0\.\d M parameters, pictures of 8x8 in grey\n500 steps of 4 images", said.out
    )
    assert "next: the same command without --dry-run" in said.err
    assert not (tmp_path / "c").exists()
    cli("train", *few, "--resume").assert_mistake("--dry-run does nothing with --resume")

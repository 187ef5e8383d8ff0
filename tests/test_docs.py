"""docs/training.md's own words, run: its commands, then its Python, in one folder."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from diffusers import UNet2DModel
from PIL import Image

from diffaug.train.recipe import TrainRecipe
from tests.conftest import ROOT, blocks, diffaug_command

pytestmark = pytest.mark.services

TRAINING = (ROOT / "docs/training.md").read_text(encoding="utf-8")


def test_the_whole_way_from_pictures_to_augmented_pictures(tmp_path: Path) -> None:
    lines = [line for block in blocks(TRAINING, "bash") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("diffaug ")]
    assert [command[1] for command in commands] == ["sample", "pack", "train", "sample", "augment"]
    for command in commands:
        done = diffaug_command(*command[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "grid.png") as sheet:
        assert sheet.width > 500
    assert "200 planned = 200 ok" in done.stdout


def test_the_python_of_training_runs(tmp_path: Path) -> None:
    code = "\n".join(blocks(TRAINING, "python"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def test_the_recipe_of_training_is_a_recipe(tmp_path: Path) -> None:
    (text,) = blocks(TRAINING, "yaml")
    (tmp_path / "recipe.yaml").write_text(text)
    recipe = TrainRecipe.from_yaml(tmp_path / "recipe.yaml", size=8, channels=1)
    unet: Any = UNet2DModel(**recipe.unet_config())
    assert unet.config.layers_per_block == 2

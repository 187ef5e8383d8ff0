"""The words of docs/training.md and docs/models.md, run, each in one folder.

Of docs/models.md the public models are replaced by tiny ones of their family, as it says.
"""

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
from tests import tiny
from tests.conftest import ROOT, blocks, diffaug_command

pytestmark = pytest.mark.services

MODELS = (ROOT / "docs/models.md").read_text(encoding="utf-8")
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


def test_the_commands_and_the_python_of_models_run(tmp_path: Path) -> None:
    places = {
        "stable-diffusion-v1-5/stable-diffusion-v1-5": tiny.stable_diffusion(tmp_path / "sd"),
        "facebook/DiT-XL-2-256": tiny.dit(tmp_path / "dit"),
    }
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (code,) = blocks(MODELS, "python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    text = "\n".join(blocks(MODELS, "bash")).replace("\\\n", " ")
    commands = [shlex.split(line) for line in text.splitlines() if line]
    assert [command[1] for command in commands] == [
        *("augment", "verify", "augment", "augment", "verify")
    ]
    said = []
    for command in commands:
        named = [str(places.get(word, word)) for word in command[1:]]
        done = diffaug_command(*named, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert "240 planned = 240 ok" in said[0]
    assert "4 replayed: 4 equal" in said[1]
    assert "120 planned = 120 ok" in said[2]
    assert "1 replayed: 1 equal" in said[4]

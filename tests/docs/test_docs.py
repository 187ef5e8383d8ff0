"""The words of docs/training.md and docs/models.md, run, each in one folder.

Of docs/models.md the public models are replaced by tiny ones of their family, as it says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from diffusers import UNet2DModel
from PIL import Image

from diffaug import execution
from diffaug.train.recipe import TrainRecipe
from tests.conftest import ROOT, Cli, Python, blocks, commands
from tests.support import tiny

pytestmark = pytest.mark.pages

MODELS = (ROOT / "docs/models.md").read_text(encoding="utf-8")
TRAINING = (ROOT / "docs/training.md").read_text(encoding="utf-8")


@pytest.mark.proof
def test_the_whole_way_from_pictures_to_a_verdict(
    checkout: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder of pictures to a verdict and a page; then the pictures of the shipped model.

    Its last command, which draws forty pictures in colour, is given two steps: by itself it takes
    a minute.
    """
    typed = [words for words in commands(TRAINING) if words[0] == "diffaug"]
    path = ["sample", "pack", "train", "sample", "augment", "evaluate", "report"]
    latents = ["train", "train", "sample"]
    assert [words[1] for words in typed] == [*path, *latents, "sample"]
    typed[-1] += ["--steps", "2"]
    monkeypatch.setattr(execution, "DEFAULT_BATCH_SIZE", 32)  # here pictures fill the lanes
    for words in typed:
        said = cli(*words[1:])
        assert said.code == 0, said
    for drawn in ("grid.png", "latent.png", "samples.png"):
        with Image.open(checkout / drawn) as sheet:
            assert sheet.width > 500
    rows = pd.read_parquet(checkout / "augmented/manifest")
    assert len(rows) == 160
    assert ((rows["score_ssim"] >= 0.8) == (rows["status"] == "ok")).all()
    assert set(rows["status"]) == {"ok", "filtered"}
    results = json.loads((checkout / "evaluation/results/results.json").read_text())
    assert {one["word"] for one in results["verdicts"]} == {"no evidence"}
    assert "160 planned" in (checkout / "augmented/report/index.html").read_text()


@pytest.mark.proof
@pytest.mark.usefixtures("checkout")
def test_the_python_of_training_runs(python: Python) -> None:
    python("\n".join(blocks(TRAINING, "python")))


def test_the_recipe_of_training_is_a_recipe(tmp_path: Path) -> None:
    (text,) = blocks(TRAINING, "yaml")
    (tmp_path / "recipe.yaml").write_text(text)
    recipe = TrainRecipe.from_yaml(tmp_path / "recipe.yaml", size=8, channels=1)
    unet: Any = UNet2DModel(**recipe.unet_config(recipe.shape))
    assert unet.config.layers_per_block == 2


@pytest.mark.proof
def test_the_commands_and_the_python_of_models_run(
    checkout: Path, cli: Cli, python: Python
) -> None:
    places = {
        "stable-diffusion-v1-5/stable-diffusion-v1-5": tiny.stable_diffusion(checkout / "sd"),
        "facebook/DiT-XL-2-256": tiny.dit(checkout / "dit"),
    }
    (code,) = blocks(MODELS, "python")
    python(code)
    assert [words[1] for words in commands(MODELS)] == [
        *("augment", "verify", "augment", "augment", "verify")
    ]
    said = []
    for words in commands(MODELS):
        told = cli(*(str(places.get(word, word)) for word in words[1:]))
        assert told.code == 0, told
        said.append(told.out)
    assert "80 planned = 80 made" in said[0]
    assert "4 replayed: 4 equal" in said[1]
    assert "40 planned = 40 made" in said[2]
    assert "1 replayed: 1 equal" in said[4]

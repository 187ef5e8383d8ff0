"""What a recipe of a training means."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from diffaug.diffusion.schedule import Schedule
from diffaug.errors import ConfigError
from diffaug.train.networks import NETWORKS
from diffaug.train.recipe import TrainRecipe


@pytest.mark.parametrize("preset", NETWORKS)
@pytest.mark.parametrize("size", [8, 32, 40])
def test_a_preset_is_a_network_for_any_multiple_of_eight(preset: str, size: int) -> None:
    from diffusers import UNet2DModel

    recipe = TrainRecipe(network=preset, size=size, channels=3)
    with torch.device("meta"):
        unet: Any = UNet2DModel(**recipe.unet_config(recipe.shape))
    million = sum(weight.numel() for weight in unet.parameters()) / 1e6
    low, high = {"tiny": (0.1, 0.5), "small": (1.5, 2.5), "base": (30, 40)}[preset]
    assert low < million < high


def test_every_field_of_the_network_can_be_overridden_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "network:\n  preset: tiny\n  layers_per_block: 2\n  block_out_channels: [8, 16, 24]\n"
        "  dropout: 0.25\n  act_fn: gelu\n  norm_eps: 1e-5\nclasses: [cat, dog]\n"
        "min_snr_gamma: none\nsize: 16\nchannels: 1\n"
    )
    recipe = TrainRecipe.from_yaml(path, steps="7")
    config = recipe.unet_config(recipe.shape)
    assert config["layers_per_block"] == 2
    assert config["block_out_channels"] == [8, 16, 24]
    assert config["dropout"] == 0.25
    assert config["act_fn"] == "gelu"
    assert config["norm_eps"] == 1e-5
    assert config["norm_num_groups"] == 8
    assert (recipe.class_count, recipe.class_names, recipe.steps) == (2, ("cat", "dog"), 7)
    assert recipe.min_snr_gamma is None
    (tmp_path / "again.yaml").write_text(recipe.as_yaml(), encoding="utf-8")
    assert TrainRecipe.from_yaml(tmp_path / "again.yaml") == recipe


def test_a_field_as_a_flag_has_it_is_the_field() -> None:
    texts = {"size": "16", "channels": "1", "classes": "10", "min_snr_gamma": "5", "seed": "3"}
    recipe = TrainRecipe.of(dict(texts))
    assert {name: str(getattr(recipe, name)).removesuffix(".0") for name in texts} == texts


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"network": "huge"}, "network must be tiny, small, base"),
        ({"network": {"preset": "huge"}}, "network must be tiny, small, base"),
        ({"size": 30}, "size: .*multiple of 8"),
        ({"channels": 2}, "channels"),
        ({"prediction": "noise"}, "prediction"),
        ({"steps": 0}, "steps"),
        ({"stepz": 3}, "stepz: no such field"),
        ({"classes": -1}, "classes is a number"),
        ({"classes": "-1"}, "classes is a number"),
        ({"classes": "ten"}, "classes is a number"),
        ({"network": {"in_channels": 3}}, "omit in_channels, and give channels instead"),
        ({"network": {"class_embed_type": "identity"}}, "omit class_embed_type, and give classes"),
        ({"network": {"preset": ["tiny"]}}, "network must be tiny, small, base"),
        ({"channels": "["}, "channels"),
        ({"min_snr_gamma": 0}, "min_snr_gamma"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TrainRecipe.of(fields)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("linear", {"beta_schedule": "linear"}),
        ("scaled-linear", {"beta_schedule": "scaled_linear", "beta_start": 0.00085}),
        ("cosine", {"beta_schedule": "squaredcos_cap_v2"}),
    ],
)
def test_schedules_are_diffusers_own(name: str, theirs: dict[str, Any]) -> None:
    schedule = Schedule.from_config(TrainRecipe(schedule=name).schedule_config())
    end = {"beta_end": 0.012} if name == "scaled-linear" else {}
    reference: Any = DDPMScheduler(**theirs, **end)
    np.testing.assert_allclose(schedule.alpha_t**2, reference.alphas_cumprod.double().numpy())


def test_the_cosine_schedule_is_that_of_the_paper() -> None:
    """Nichol & Dhariwal 2021, eq. 17, up to where beta is capped."""
    schedule = Schedule.from_config(TrainRecipe(schedule="cosine").schedule_config())
    t = np.arange(1, 990) / 1000
    angle = (np.array([0, *t]) + 0.008) / 1.008 * math.pi / 2
    f = np.cos(angle) ** 2
    np.testing.assert_allclose(schedule.alpha_t[:989] ** 2, f[1:] / f[0], rtol=2e-4)

"""Training an autoencoder: what it minimises, leaves, continues and refuses."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file
from skimage.metrics import peak_signal_noise_ratio

from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.train.autoencoding import AutoencoderTask
from diffaug.train.data import Position, usable
from diffaug.train.loop import train
from diffaug.train.networks import AUTOENCODERS
from diffaug.train.objective import Reconstruction
from diffaug.train.pictures import Pictures
from diffaug.train.recipe import TrainRecipe
from tests.support.hostile import fashion, write_samples
from tests.support.training import events, run, same, taken, tiny, two_shards

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def source(tmp_path: Path) -> list[str]:
    return two_shards(tmp_path)


def autoencoder(**fields: Any) -> TrainRecipe:
    """A training that takes a second."""
    return tiny(**{"kind": "autoencoder", "size": 16, **fields})


@torch.inference_mode()
def reconstructed(folder: Path, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """By diffusers alone, from the most likely latents."""
    vae: Any = AutoencoderKL.from_pretrained(folder)
    made: Any = vae(torch.from_numpy(images), sample_posterior=False).sample
    return np.asarray(made)


@pytest.mark.parametrize(("preset", "factor"), [("tiny", 4), ("small", 4), ("base", 8)])
def test_a_preset_is_an_autoencoder(preset: str, factor: int) -> None:
    recipe = autoencoder(network=preset, channels=3, size=32)
    with torch.device("meta"):
        vae: Any = AutoencoderKL(**recipe.autoencoder_config())
        latents = vae.encode(torch.zeros(1, 3, 32, 32)).latent_dist.mean
    assert latents.shape == (1, vae.config.latent_channels, 32 // factor, 32 // factor)
    million = sum(weight.numel() for weight in vae.parameters()) / 1e6
    low, high = {"tiny": (0.1, 0.3), "small": (0.8, 1.2), "base": (18, 24)}[preset]
    assert low < million < high
    groups = AUTOENCODERS[preset]["norm_num_groups"]
    assert min(AUTOENCODERS[preset]["block_out_channels"]) // groups >= 16


def test_it_minimises_the_error_and_a_little_of_the_divergence() -> None:
    """Both worked out by hand, at the posterior's own draw."""
    recipe = autoencoder(channels=1, size=8)
    model = AutoencoderTask(recipe, Execution.choose(dtype="float32", device="cpu")).trainer
    x_0 = torch.linspace(-1, 1, 4 * 64).reshape(4, 1, 8, 8)
    with torch.no_grad():
        torch.manual_seed(0)
        loss = Reconstruction().loss(model.ema_model, x_0, torch.zeros(4))
        mean, log_var = model.ema_model.encode(x_0).latent_dist.parameters.chunk(2, dim=1)
        torch.manual_seed(0)
        latents = mean + (log_var / 2).exp() * torch.randn(mean.shape)
        error = (model.ema_model.decode(latents).sample - x_0).abs().mean()
    divergence = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).flatten(1).sum(1)
    expected = error + 1e-5 * divergence.mean() / 64
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_what_a_training_leaves(source: list[str], tmp_path: Path) -> None:
    """diffusers' own class loads it, and scikit-image measures what was reported."""
    recipe = autoencoder(steps=8)
    steps = run(source[:1], tmp_path / "c", recipe, held_back=source[1:], preview_steps=4)
    images = np.stack(
        [x_0 for x_0, _ in usable(source[1:], Pictures(recipe.model_copy(update={"size": 16})))]
    )
    made = reconstructed(tmp_path / "c", images).clip(-1, 1)
    pairs = zip(images, made, strict=True)
    found = np.mean([peak_signal_noise_ratio(one, two, data_range=2) for one, two in pairs])
    assert steps[-1].held_back == pytest.approx(found, abs=1e-3)
    assert [event.step for event in events(tmp_path / "c").Scalars("held_back")] == [4, 8]
    names = {path.name for path in (tmp_path / "c/training").glob("*.png")}
    assert names == {"reconstructions-000004.png", "reconstructions-000008.png"}
    with Image.open(tmp_path / "c/training/reconstructions-000008.png") as picture:
        assert np.asarray(picture).std() > 10
    assert "8 steps, 32 images" in (tmp_path / "c/README.md").read_text()


@pytest.mark.numerics
def test_it_learns(tmp_path: Path) -> None:
    path = str(write_samples(tmp_path / "s.tar", fashion(4)))
    recipe = autoencoder(steps=120, batch_size=4, ema_decay=0.9, learning_rate=3e-3)
    steps = run([path], tmp_path / "c", recipe, held_back=[path], preview_steps=1000)
    assert np.mean([step.loss for step in steps[-10:]]) < 0.2 * steps[0].loss
    assert steps[-1].held_back is not None
    assert steps[-1].held_back > 22


def test_it_goes_on_as_if_it_had_not_stopped(source: list[str], tmp_path: Path) -> None:
    recipe = autoencoder(steps=8)
    straight = run(source, tmp_path / "straight", recipe)
    first = train(
        source, tmp_path / "halves", recipe, dtype="float32", device="cpu", checkpoint_minutes=1e-9
    )
    begun = list(islice(first, 5))
    first.close()  # type: ignore[attr-defined]
    rest = run(source, tmp_path / "halves", recipe, resume=True)
    assert [step.loss for step in begun + rest] == [step.loss for step in straight]
    same(tmp_path / "straight", tmp_path / "halves", WEIGHTS)


def test_it_begins_with_the_weights_of_another(source: list[str], tmp_path: Path) -> None:
    run(source, tmp_path / "first", autoencoder(seed=1, steps=2))
    still = autoencoder(steps=2, learning_rate=1e-30, weight_decay=0, init=str(tmp_path / "first"))
    run(source, tmp_path / "c", still)
    first = load_file(tmp_path / "first" / WEIGHTS)
    for name, value in load_file(tmp_path / "c" / WEIGHTS).items():
        torch.testing.assert_close(value, first[name], atol=1e-7, rtol=0)
    with pytest.raises(ConfigError, match=r"weights of .*first do not fit this network"):
        run(source, tmp_path / "d", autoencoder(network="small", init=str(tmp_path / "first")))
    with pytest.raises(ConfigError, match="no such autoencoder: nowhere"):
        run(source, tmp_path / "d", autoencoder(init="nowhere"))
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"classes": 10}, "classes: an autoencoder takes no classes"),
        ({"autoencoder": "other"}, "autoencoder: this is for a denoiser; .* give init"),
        ({"kind": "vae"}, "kind"),
        ({"network": "huge"}, "network must be tiny, small, base, .* diffusers' AutoencoderKL"),
        ({"prediction": "epsilon"}, "prediction does nothing with kind autoencoder"),
        ({"min_snr_gamma": 5}, "min_snr_gamma does nothing with kind autoencoder"),
        ({"label_key": "txt"}, "label_key does nothing with kind autoencoder"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        TrainRecipe.of({"kind": "autoencoder", **fields})


def test_a_file_with_every_default_is_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(autoencoder().as_yaml(), encoding="utf-8")
    assert TrainRecipe.from_yaml(tmp_path / "r.yaml") == autoencoder()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"block_out_channels": [16] * 5}, "it makes 16x16 of 24x24; give a size"),
    ],
)
def test_a_network_diffusers_cannot_run_is_a_mistake_in_the_recipe(
    source: list[str], tmp_path: Path, fields: dict[str, Any], says: str
) -> None:
    recipe = autoencoder(size=24, network={"preset": "tiny", **fields})
    with pytest.raises(ConfigError, match=f"network: diffusers cannot build or run it.*{says}"):
        run(source, tmp_path / "c", recipe)
    assert not (tmp_path / "c").exists()


def test_it_sees_what_a_denoiser_would(source: list[str]) -> None:
    """The same pictures in the same order, without classes."""
    (batch,) = taken(source, autoencoder(channels=1), 1, Position())
    (other,) = taken(source, tiny(size=16, classes=10), 1, Position())
    assert (batch.x_0 == other.x_0).all()
    assert batch.labels.tolist() == [0] * 4

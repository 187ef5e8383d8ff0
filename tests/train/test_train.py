"""What a training does and leaves."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline
from PIL import Image
from safetensors.torch import load_file

from diffaug import DiffusionModel
from diffaug.errors import ConfigError, DivergedError
from diffaug.train.data import Position
from diffaug.train.held_back import HeldBack
from diffaug.train.loop import train
from tests.support.hostile import fashion, png, write_samples
from tests.support.training import WEIGHTS, events, run, state, taken, tiny, two_shards


@pytest.fixture
def source(tmp_path: Path) -> list[str]:
    return two_shards(tmp_path)


def test_what_a_training_leaves(source: list[str], tmp_path: Path) -> None:
    steps = run(source, tmp_path / "c", tiny(classes=10), preview_steps=4)
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step.images for step in steps] == [4, 8, 12, 16, 20, 24]
    assert [step.saved for step in steps] == [False] * 5 + [True]
    pipeline: Any = DDPMPipeline.from_pretrained(tmp_path / "c")
    assert pipeline.unet.config.num_class_embeds == 11
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    names = {path.name for path in (tmp_path / "c/training").glob("*.png")}
    assert names == {
        f"{kind}-{step:06d}.png" for kind in ("samples", "reconstructions") for step in (4, 6)
    }
    with Image.open(tmp_path / "c/training/reconstructions-000006.png") as picture:
        assert np.asarray(picture).std() > 10
    logged = events(tmp_path / "c")
    assert [event.value for event in logged.Scalars("loss")] == pytest.approx(
        [step.loss for step in steps]
    )
    assert [step.learning_rate for step in steps][:3] == pytest.approx([5e-4, 1e-3, 1e-3])
    assert steps[-1].learning_rate == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi * 3 / 4)))


@pytest.mark.parametrize("schedule", ["linear", "scaled-linear", "cosine"])
def test_colour_on_every_schedule(source: list[str], tmp_path: Path, schedule: str) -> None:
    recipe = tiny(channels=3, steps=1, schedule=schedule, prediction="x_0", min_snr_gamma=5)
    run(source, tmp_path / "c", recipe)
    pipeline: Any = DDPMPipeline.from_pretrained(tmp_path / "c")
    assert pipeline.unet.config.in_channels == pipeline.unet.config.out_channels == 3
    assert pipeline.unet.config.num_class_embeds is None
    assert pipeline.scheduler.config.prediction_type == "sample"
    made = DiffusionModel.from_pretrained(tmp_path / "c").sample(1, steps=2, batch_size=1)
    assert made.shape == (1, 3, 8, 8)


@pytest.mark.numerics
def test_it_learns(tmp_path: Path) -> None:
    """On copies of one image the best estimate of a clean image is that image."""
    path = write_samples(tmp_path / "s.tar", fashion(1))
    recipe = tiny(steps=90, batch_size=16, size=16, ema_decay=0.9, learning_rate=2e-3)
    steps = run([str(path)], tmp_path / "c", recipe)
    assert np.mean([step.loss for step in steps[-10:]]) < 0.1 * steps[0].loss
    (batch,) = taken([str(path)], recipe, 1, Position())
    model, image = DiffusionModel.from_pretrained(tmp_path / "c"), torch.from_numpy(batch.x_0[:1])
    edited = model.edit(image, 0.7, steps=10)
    assert (edited - image).square().mean() < 0.05 * image.square().mean()


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x_0"])
def test_what_is_held_back_is_measured_by_the_noise(
    source: list[str], tmp_path: Path, prediction: str
) -> None:
    """Against the noise worked out from each prediction by hand, at the times that were set."""
    (shard,) = source[1:]
    recipe = tiny(prediction=prediction, steps=4, classes=10)
    steps = run(source[:1], tmp_path / "c", recipe, held_back=[shard], preview_steps=2)
    assert [step.held_back is None for step in steps] == [True, False, True, False]
    assert [event.step for event in events(tmp_path / "c").Scalars("held_back")] == [2, 4]

    apart = HeldBack([shard], recipe)
    times = sorted((apart.times(1000)).tolist())
    assert times == [50 + 100 * n for n in range(10)]
    model = DiffusionModel.from_pretrained(tmp_path / "c")
    alpha, sigma = (
        torch.from_numpy(table[apart.times(1000)]).view(-1, 1, 1, 1)
        for table in (model.denoiser.schedule.alpha_t, model.denoiser.schedule.sigma_t)
    )
    x_t = alpha * apart.x_0 + sigma * apart.noise
    with torch.inference_mode():
        said = model.network(x_t.float(), apart.times(1000), apart.labels).double()
    noise = {
        "epsilon": said,
        "v": sigma * x_t + alpha * said,
        "x_0": (x_t - alpha * said) / sigma,
    }[prediction]
    expected = (noise - apart.noise).square().mean().item()
    assert steps[-1].held_back == pytest.approx(expected, rel=1e-3)
    torch.testing.assert_close(apart.labels, torch.tensor([int(s["cls"]) for s in fashion(10, 10)]))


def test_what_cannot_be_held_back_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torn, *others = fashion(3)
    shard = write_samples(tmp_path / "s.tar", [torn | {"png": torn["png"][:50]}, *others])
    assert len(HeldBack([str(shard)], tiny()).x_0) == 2
    assert f"left out {shard} {torn['__key__'].decode()}: " in caplog.text
    shard = write_samples(tmp_path / "t.tar", [torn | {"png": b"?"}])
    with pytest.raises(ConfigError, match="can be used"):
        HeldBack([str(shard)], tiny())


def test_it_begins_with_the_weights_of_another_model(source: list[str], tmp_path: Path) -> None:
    """And after a kill it continues without that model."""
    recipe = tiny(steps=3, learning_rate=1e-30, weight_decay=0)
    run(source, tmp_path / "first", tiny(seed=1))
    recipe = recipe.model_copy(update={"init": str(tmp_path / "first")})
    options = {"dtype": "float32", "device": "cpu", "checkpoint_minutes": 1e-9}
    made = train(source, tmp_path / "c", recipe, **options)  # type: ignore[arg-type]
    next(made)
    shutil.rmtree(tmp_path / "first/training")
    first = load_file((tmp_path / "first").rename(tmp_path / "moved") / WEIGHTS)
    assert len(run(source, tmp_path / "c", recipe, resume=True)) == 2
    for name, value in load_file(tmp_path / "c" / WEIGHTS).items():
        torch.testing.assert_close(value, first[name], atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("init", "sentence"),
    [
        ("fashion-mnist-32", "weights of fashion-mnist-32 do not fit this network"),
        ("nowhere", "nowhere"),
    ],
)
def test_a_model_that_cannot_be_begun_with_is_named(
    source: list[str], tmp_path: Path, init: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        run(source, tmp_path / "c", tiny(init=init))
    assert not (tmp_path / "c").exists()


def test_the_averaged_weights_are_an_exponential_average(source: list[str], tmp_path: Path) -> None:
    """Followed by hand: the weights saved after each step, averaged in float64."""
    recipe = tiny(steps=5, ema_decay=0.3)
    average: dict[str, Any] = {}
    made = train(
        source, tmp_path / "c", recipe, dtype="float32", device="cpu", checkpoint_minutes=1e-9
    )
    for count, _ in enumerate(made):
        decay = 0.0 if count == 0 else min(0.3, (1 + count) / (10 + count))
        now = {
            name: value.double()
            for name, value in state(tmp_path / "c")["trainer"]["model"].items()
        }
        average = {n: decay * average.get(n, v) + (1 - decay) * v for n, v in now.items()}
    saved = load_file(tmp_path / "c" / WEIGHTS)
    for name, value in saved.items():
        torch.testing.assert_close(
            value.double(), average[f"network.unet.{name}"], atol=1e-6, rtol=1e-5
        )


def test_a_loss_that_is_no_number_stops_and_names_the_last_good_checkpoint(
    source: list[str], tmp_path: Path
) -> None:
    recipe = tiny(steps=50, learning_rate=1e30, warmup_steps=0)
    with pytest.raises(DivergedError, match=r"checkpoint of step 1 in .* is the last good one"):
        run(source, tmp_path / "c", recipe, checkpoint_minutes=1e-9)
    assert state(tmp_path / "c")["trainer"]["step"] == 1
    assert DDPMPipeline.from_pretrained(tmp_path / "c")
    with pytest.raises(DivergedError, match="no checkpoint was written yet"):
        run(source, tmp_path / "d", recipe)


def test_skipped_samples_are_counted_and_kept_by_name(tmp_path: Path) -> None:
    torn = {"__key__": b"torn", "png": png(5)[:60]}
    path = write_samples(tmp_path / "s.tar", [*fashion(7), torn])
    steps = run([str(path)], tmp_path / "c", tiny(steps=4))
    assert [one.key for step in steps for one in step.newly_skipped] == ["torn"]
    read = 8 * steps[-1].epoch + state(tmp_path / "c")["position"]["sample"]
    assert steps[-1].images + steps[-1].skipped == read == 19
    lines = (tmp_path / "c/training/skipped.jsonl").read_text().splitlines()
    (line,) = map(json.loads, lines)
    assert line["key"] == "torn"
    assert line["shard"] == str(path)
    assert "cannot be decoded" in line["reason"]


def test_weights_that_are_no_numbers_are_never_saved(source: list[str], tmp_path: Path) -> None:
    """A step so large that it ends in infinity leaves the last good checkpoint in place."""
    with pytest.raises(DivergedError, match="not finite: stopped; no checkpoint"):
        run(source, tmp_path / "c", tiny(steps=1, learning_rate=1e38, weight_decay=1e38))
    assert not (tmp_path / "c" / "model_index.json").exists()


def test_a_network_diffusers_cannot_build_is_a_mistake_in_the_recipe(
    source: list[str], tmp_path: Path
) -> None:
    for fields, said in (
        ({"nonsense": 1}, "nonsense"),
        ({"time_embedding_type": "learned", "num_train_timesteps": 10}, "index out of range"),
        ({"time_embedding_type": "fourier"}, "not finite"),  # the logarithm of time 0
    ):
        recipe = tiny(network={"preset": "tiny", **fields})
        with pytest.raises(ConfigError, match=f"network: diffusers cannot build or run it.*{said}"):
            run(source, tmp_path / "c", recipe)
        assert not (tmp_path / "c").exists()

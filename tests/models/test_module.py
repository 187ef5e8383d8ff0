"""DiffusionModel against diffusers: its schedulers, its loss weights, its pipelines."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, DPMSolverMultistepScheduler
from diffusers.training_utils import compute_snr
from safetensors.torch import load_file
from torch import Tensor

from diffaug import DiffusionModel
from diffaug.diffusion.denoiser import Prediction
from diffaug.diffusion.noise import SampleRandom
from diffaug.diffusion.samplers import timesteps
from diffaug.diffusion.schedule import Schedule
from diffaug.models.families import unet2d
from diffaug.train.recipe import TrainRecipe

PREDICTIONS: list[Prediction] = ["epsilon", "v_prediction", "sample"]


def small(prediction: Prediction = "epsilon", classes: int = 3, **schedule: Any) -> DiffusionModel:
    """An untrained model of 16x16 grey images."""
    torch.manual_seed(0)
    recipe = TrainRecipe(network="tiny", size=16, channels=1)
    config = {"num_train_timesteps": 1000, **schedule}
    return DiffusionModel(
        unet2d.create(
            recipe.unet_config(recipe.shape), Schedule.from_config(config), prediction, classes
        ),
        [f"class {label}" for label in range(classes)],
    )


def images(count: int = 4) -> Tensor:
    return torch.from_numpy(
        np.random.default_rng(0).uniform(-1, 1, (count, 1, 16, 16)).astype(np.float32)
    )


def reference(prediction: Prediction = "epsilon", **config: Any) -> Any:
    return DDPMScheduler(prediction_type=prediction, **config)


T = torch.tensor([3, 250, 600, 990])
NOISE = torch.randn((4, 1, 16, 16), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_the_loss_is_the_error_of_what_diffusers_would_have_predicted(
    prediction: Prediction, beta_schedule: str
) -> None:
    model, x_0 = small(prediction, beta_schedule=beta_schedule), images()
    scheduler = reference(prediction, beta_schedule=beta_schedule)
    x_t = scheduler.add_noise(x_0, NOISE, T)
    torch.testing.assert_close(model.add_noise(x_0, T, NOISE), x_t, atol=2e-6, rtol=1e-5)
    target = {
        "epsilon": NOISE,
        "sample": x_0,
        "v_prediction": scheduler.get_velocity(x_0, NOISE, T),
    }[prediction]
    unet: Any = model.network.unet
    output = unet(x_t, T, class_labels=torch.tensor([0, 1, 2, 3])).sample

    terms = model(x_0, torch.tensor([0, 1, 2, 3]), t=T, noise=NOISE)
    expected = (output - target).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(terms.error, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(terms.loss, expected.mean(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_min_snr_weights_are_those_of_the_paper(prediction: Prediction) -> None:
    """With the SNR that diffusers' own training utilities compute."""
    snr = compute_snr(reference(), T)
    least = torch.minimum(snr, torch.full_like(snr, 5.0))
    expected = {"epsilon": least / snr, "v_prediction": least / (snr + 1), "sample": least}
    terms = small(prediction)(images(), t=T, noise=NOISE, min_snr_gamma=5.0)
    torch.testing.assert_close(terms.weight, expected[prediction], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(terms.loss, (terms.weight * terms.error).mean())


def test_times_and_noise_are_drawn_where_none_are_given() -> None:
    model = small()
    torch.manual_seed(3)
    first = model(images())
    torch.manual_seed(3)
    again = model(images())
    other = model(images())
    assert first.loss == again.loss != other.loss
    assert len(set(model(images(64)[:1].repeat(64, 1, 1, 1)).t.tolist())) > 40


def test_the_loss_reaches_every_weight() -> None:
    model = small()
    model(images(), [0, 1, 2, 3]).loss.backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_no_class_is_the_last_class() -> None:
    model = small()
    without = model.denoise(NOISE, T)
    torch.testing.assert_close(without, model.denoise(NOISE, T, [3, 3, 3, 3]))
    assert not torch.equal(without, model.denoise(NOISE, T, [0, 0, 0, 0]))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_is_saved_is_a_diffusers_pipeline(prediction: Prediction, tmp_path: Path) -> None:
    model = small(prediction, beta_schedule="scaled_linear", beta_end=0.012)
    model.save_pretrained(tmp_path)
    pipeline: Any = DDPMPipeline.from_pretrained(tmp_path)
    assert pipeline.scheduler.config.prediction_type == prediction
    table = pipeline.scheduler.alphas_cumprod.double().numpy()
    np.testing.assert_allclose(table, model.denoiser.schedule.alpha_t**2)
    labels = torch.tensor([0, 1, 2, 3])
    theirs = pipeline.unet(NOISE, T, class_labels=labels).sample
    torch.testing.assert_close(model.network(NOISE, T, labels), theirs, atol=1e-6, rtol=1e-5)
    estimate = [
        pipeline.scheduler.step(theirs[i : i + 1], int(T[i]), NOISE[i : i + 1]).pred_original_sample
        for i in range(4)
    ]
    torch.testing.assert_close(
        model.denoise(NOISE, T, labels), torch.cat(estimate), atol=1e-4, rtol=1e-4
    )


def test_what_is_saved_comes_back_whole(tmp_path: Path) -> None:
    model = small("v_prediction")
    model.save_pretrained(tmp_path)
    again = DiffusionModel.from_pretrained(tmp_path)
    assert again.class_names == ("class 0", "class 1", "class 2")
    assert torch.equal(again.denoise(NOISE, T), model.denoise(NOISE, T))
    model(images()).loss.backward()  # and it can still be trained


def test_half_precision_is_halved_on_disk(tmp_path: Path) -> None:
    model = small()
    model.save_pretrained(tmp_path / "whole")
    DiffusionModel.from_pretrained(tmp_path / "whole").half().save_pretrained(tmp_path / "half")
    weights = "unet/diffusion_pytorch_model.safetensors"
    whole, half = ((tmp_path / name / weights).stat().st_size for name in ("whole", "half"))
    assert half < 0.55 * whole
    assert {weight.dtype for weight in load_file(tmp_path / "half" / weights).values()} == {
        torch.float16
    }
    texts = [path.read_text() for path in (tmp_path / "half").rglob("*.json")]
    assert not [text for text in texts if str(tmp_path) in text]  # where it was loaded from
    assert len({path.stat().st_mode for path in tmp_path.rglob("*") if path.is_file()}) == 1


def test_a_schedule_without_configuration_cannot_be_saved(tmp_path: Path) -> None:
    model = small()
    model._parts.schedule.config = {}
    with pytest.raises(TypeError, match="made from a configuration"):
        model.save_pretrained(tmp_path)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers'
def test_sampling_is_diffusers_own_from_the_same_noise() -> None:
    """First order, on the grid of times diffaug uses, which DPM-Solver++'s scheduler takes."""
    model = DiffusionModel.from_pretrained("fashion-mnist-32")
    steps = 10
    way: Any = {"sampler": "ddim", "condition": [9, 1], "seed": 4, "batch_size": 2}
    made = model.sample(2, steps=steps, **way)
    times = timesteps(1.0, steps, "ddim", 1000)
    noise = [SampleRandom(4, "generated", index).normal((1, 32, 32)) for index in range(2)]
    x: Tensor = torch.from_numpy(np.stack(noise))
    solver: Any = DPMSolverMultistepScheduler(
        beta_end=0.02,
        prediction_type="sample",
        solver_order=1,
        algorithm_type="dpmsolver++",
        final_sigmas_type="zero",
    )
    solver.set_timesteps(timesteps=list(times))
    for t in times:
        x_0 = model.denoise(x, torch.full((2,), t), [9, 1]).detach()
        x = solver.step(x_0, t, x).prev_sample
    torch.testing.assert_close(made, x, atol=2e-3, rtol=0)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers'
def test_guidance_is_that_of_the_paper_from_the_same_noise() -> None:
    """Every prediction is away + scale * (towards - away), by diffusers' network and schedule."""
    model, scale = DiffusionModel.from_pretrained("cifar10-32"), 3.0
    way: Any = {"sampler": "ddim", "condition": [9, 1], "seed": 4, "batch_size": 2}
    made = model.sample(2, steps=4, guidance=scale, **way)
    unet: Any = model.network.unet
    noise = [SampleRandom(4, "generated", index).normal((3, 32, 32)) for index in range(2)]
    x: Tensor = torch.from_numpy(np.stack(noise))
    solver: Any = DDIMScheduler(beta_schedule="squaredcos_cap_v2")
    times = [*timesteps(1.0, 4, "ddim", 1000), None]
    for t, before in pairwise(times):
        with torch.inference_mode():
            towards, away = (
                unet(x, t, class_labels=torch.tensor(labels)).sample
                for labels in ([9, 1], [10, 10])
            )
        alpha_bar = solver.alphas_cumprod[t]
        v = away + scale * (towards - away)
        x_0 = (alpha_bar.sqrt() * x - (1 - alpha_bar).sqrt() * v).clamp(-1, 1)
        noised = (x - alpha_bar.sqrt() * x_0) / (1 - alpha_bar).sqrt()
        rest = torch.tensor(1.0) if before is None else solver.alphas_cumprod[before]
        x = rest.sqrt() * x_0 + (1 - rest).sqrt() * noised
    torch.testing.assert_close(made, x, atol=2e-3, rtol=0)


def test_guidance_without_a_class_is_refused() -> None:
    with pytest.raises(ValueError, match="no class to guide towards"):
        small().sample(1, steps=2, guidance=2.0)


def test_a_sample_does_not_depend_on_how_many_there_are() -> None:
    model = DiffusionModel.from_pretrained("fashion-mnist-32")
    few, many = (model.sample(n, steps=3, sampler="ddpm", batch_size=4) for n in (2, 7))
    assert torch.equal(few, many[:2])
    assert not torch.equal(many[0], many[1])
    assert not torch.equal(few, model.sample(2, steps=3, sampler="ddpm", batch_size=4, seed=1))


def test_an_edit_does_not_depend_on_its_neighbours() -> None:
    model, x_0 = small(), images(6)
    together = model.edit(x_0, 0.5, steps=6, batch_size=4)
    alone = torch.cat([model.edit(x_0[i : i + 1], 0.5, steps=6, batch_size=4) for i in range(6)])
    assert torch.equal(together, alone)
    assert model.edit(x_0[:0], 0.5).shape == (0, 1, 16, 16)


def test_editing_leaves_a_training_model_training() -> None:
    model = small().train()
    model.edit(images(1), 0.2, steps=5, batch_size=1)
    assert model.network.training


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (lambda model: model.edit(images(), 0), "strength must be in"),
        (
            lambda model: model.edit(images(), 0.5, condition=[1]),
            "each of 4 images, got the shape .1,.",
        ),
        (lambda model: model.edit(images()[..., :8], 0.5), "images must have .*, got .1, 16, 8."),
        (lambda model: model.edit(images(), 0.5, sampler="DDIM"), "sampler"),
        (lambda model: model.edit(images(), 0.5, batch_size=0), "batch_size"),
        (lambda model: model.sample(1, condition=[7]), "the model has 4 classes"),
        (lambda model: model.sample(1, steps=0), "steps"),
        (lambda model: model.sample(1, eta=0.5), "eta belongs to the sampler ddim"),
        (lambda model: model(images(), [9, 0, 0, 0]), "the model has 4 classes"),
    ],
)
def test_mistakes_are_said(mistake: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        mistake(small())

"""DiT and consistency models against diffusers' own pipelines: same image, noise, class and times.

These pipelines only generate, and draw their noise and choose their times themselves: they are
handed our noised images for it, and our times, and then run as they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    ConsistencyModelPipeline,
    DiTPipeline,
    DPMSolverMultistepScheduler,
)
from PIL import Image
from torch import Tensor

import diffaug
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.samplers import trajectory
from diffaug.editor import Draft, PictureEditor
from diffaug.errors import ConfigError, DefectError
from diffaug.execution import Execution
from diffaug.models import Pretrained, checkpoint_of, find_checkpoint, load_model
from diffaug.recipe import Recipe
from tests.support import tiny
from tests.support.drafts import draft_copies

# diffusers' schedulers take a list of times the way numpy 1 did
pytestmark = [
    pytest.mark.numerics,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

BATCH = 4
FLOAT32 = Execution(batch_size=BATCH, dtype="float32")
LABELS = {"dit": (3, 999, 0), "conditional": (3, 4, 0), "unconditional": None}
"""Of the families below; the second knows 5 classes."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("families")
    return {
        "dit": tiny.dit(folder / "dit"),
        "conditional": tiny.consistency(folder / "conditional", num_class_embeds=5),
        "unconditional": tiny.consistency(folder / "unconditional"),
    }


def pictures(count: int = 3) -> list[Image.Image]:
    """Smooth random pictures of 32x32."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    levels = (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(one) for one in levels]


def drafts(
    folder: Path,
    labels: Sequence[int] | None,
    execution: Execution = FLOAT32,
    **fields: Any,
) -> tuple[Pretrained, list[Draft]]:
    """The model, and each picture's draft, with noise of its own."""
    condition = "none" if labels is None else "label"
    recipe = Recipe(model=str(folder), condition=condition, **fields)
    editor = PictureEditor(recipe, checkpoint_of(recipe), execution)
    found: list[Draft] = []
    for number, picture in enumerate(pictures()):
        label = None if labels is None else labels[number]
        found += draft_copies(editor, picture, {"label": label}, [0])
    return editor.model, found


def results(model: Pretrained, edits: Sequence[Edit], batch_size: int = BATCH) -> list[Any]:
    return [x_0 for _, x_0 in model.steps(batch_size).run((None, edit) for edit in edits)]


def made(model: Pretrained, edits: Sequence[Edit]) -> Tensor:
    """What the lanes make of the edits, in [0, 1] as diffusers gives pictures."""
    return (torch.from_numpy(np.stack(results(model, edits))) / 2 + 0.5).clamp(0, 1)


def clean(edits: Sequence[Edit]) -> Tensor:
    return torch.from_numpy(np.stack([edit.x_0 for edit in edits if edit.x_0 is not None]))


def noise(edits: Sequence[Edit], draw: int = 0) -> Tensor:
    return torch.from_numpy(np.stack([edit.noise[draw] for edit in edits]))


def gap(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    return float((one - other).abs().max())


# --- DiT


def loaded(kind: Any, folder: Path, **parts: Any) -> Any:
    pipe: Any = kind.from_pretrained(folder, **parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.inference_mode()
def encoded(vae: Any, edits: Sequence[Edit]) -> Tensor:
    found = vae.encode(clean(edits))
    latents = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents
    scaled: Tensor = latents * vae.config.scaling_factor
    return scaled


def dit_pipeline(
    folder: Path,
    edits: Sequence[Edit],
    labels: Sequence[int],
    guidance: float,
    monkeypatch: pytest.MonkeyPatch,
    **parts: Any,
) -> Tensor:
    """diffusers' pictures in [0, 1]: `DPMSolverMultistepScheduler` takes a list of times, and its
    first-order step is that of DDIM."""
    pipe = loaded(DiTPipeline, folder, **parts)
    times = list(edits[0].trajectory.timesteps)
    config = {**pipe.scheduler.config}
    scheduler = DPMSolverMultistepScheduler.from_config(config, solver_order=1)
    scheduler.set_timesteps(timesteps=times)
    latents = encoded(pipe.vae, edits)
    x_t = scheduler.add_noise(latents, noise(edits), torch.tensor(times[:1]))
    monkeypatch.setattr(scheduler, "set_timesteps", lambda _: None)
    monkeypatch.setattr(f"{DiTPipeline.__module__}.randn_tensor", lambda *_, **__: x_t)
    pipe.scheduler = scheduler
    images: Tensor = pipe(list(labels), guidance_scale=guidance, output_type="pt").images
    return images


@pytest.mark.parametrize(("sampler", "calls"), [("ddim", 4), ("one-step", 1)])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_dit(
    folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    guidance: float,
    sampler: str,
    calls: int,
) -> None:
    folder, labels = folders["dit"], (3, 999, 0)
    fields: dict[str, Any] = {"sampler": sampler, "strength": 0.7, "steps": 6}
    model, found = drafts(folder, labels, guidance=guidance, **fields)
    edits = [draft.edit for draft in found]
    assert edits[0].trajectory.calls == calls
    expected = dit_pipeline(folder, edits, labels, guidance, monkeypatch)
    assert gap(made(model, edits), expected) < 1e-3


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
@pytest.mark.parametrize("out_channels", [8, 4])
def test_dit_of_other_predictions_with_a_learned_variance_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prediction: str, out_channels: int
) -> None:
    folder, labels = tiny.dit(tmp_path, prediction, out_channels=out_channels), (3, 999, 0)
    model, found = drafts(folder, labels, sampler="ddim", strength=0.7, steps=6, guidance=4.0)
    edits = [draft.edit for draft in found]
    expected = dit_pipeline(folder, edits, labels, 4.0, monkeypatch)
    assert gap(made(model, edits), expected) < 1e-3


def test_dit_without_a_class(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = drafts(folders["dit"], None, sampler="ddim", strength=0.7, steps=6)
    edits = [draft.edit for draft in found]
    expected = dit_pipeline(folders["dit"], edits, [1000] * 3, 1.0, monkeypatch)
    assert gap(made(model, edits), expected) < 1e-3


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_dit_from_pure_noise(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, guidance: float
) -> None:
    """With the pipeline's own scheduler, at its own times, which end at 0."""
    pipe = loaded(DiTPipeline, folders["dit"])
    assert type(pipe.scheduler).__name__ == "DDIMScheduler"
    pipe.scheduler.set_timesteps(4)
    times = tuple(pipe.scheduler.timesteps.tolist())
    model, found = drafts(folders["dit"], (3, 999, 0), steps=4, strength=1, guidance=guidance)
    way = trajectory("ddim", model.denoiser.schedule, times)
    edits = [replace(draft.edit, x_0=None, trajectory=way) for draft in found]
    drawn = noise(edits)
    monkeypatch.setattr(f"{DiTPipeline.__module__}.randn_tensor", lambda *_, **__: drawn)
    expected = pipe([3, 999, 0], guidance, num_inference_steps=4, output_type="pt").images
    assert gap(made(model, edits), expected) < 1e-3


def test_dit_behind_another_autoencoder(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, labels = tiny.tiny_autoencoder(tmp_path), (3, 999, 0)
    fields: dict[str, Any] = {"sampler": "ddim", "strength": 0.7, "steps": 6, "guidance": 4.0}
    model, found = drafts(folders["dit"], labels, autoencoder=str(other), **fields)
    edits = [draft.edit for draft in found]
    vae: Any = AutoencoderTiny.from_pretrained(other)
    expected = dit_pipeline(folders["dit"], edits, labels, 4.0, monkeypatch, vae=vae)
    assert gap(made(model, edits), expected) < 1e-3


def test_dit_by_its_older_name(folders: dict[str, Path], tmp_path: Path) -> None:
    """The published ones say Transformer2DModel, of which diffusers made two classes."""
    folder = tiny.dit(tmp_path)
    rewrite(folder / "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    rewrite(
        folder / "transformer/config.json",
        **{"_class_name": "Transformer2DModel", "cross_attention_dim": None},
        **{"num_vector_embeds": None, "use_linear_projection": False},
    )
    edits = [draft.edit for draft in drafts(folders["dit"], (3, 999, 0))[1]]
    old, new = (load_model(find_checkpoint(str(f)), FLOAT32) for f in (folder, folders["dit"]))
    assert same(results(old, edits), results(new, edits))


def test_dit_bounds_latents_where_its_scheduler_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, labels = tiny.dit(tmp_path), (3, 999, 0)
    rewrite(folder / "scheduler/scheduler_config.json", clip_sample=True, clip_sample_range=0.5)
    model, found = drafts(folder, labels, sampler="one-step", strength=0.7)
    edits = [draft.edit for draft in found]
    pipe = loaded(DiTPipeline, folder)
    scheduler, (time,) = pipe.scheduler, edits[0].trajectory.timesteps
    latents = encoded(pipe.vae, edits)
    x_t = scheduler.add_noise(latents, noise(edits), torch.tensor([time]))
    monkeypatch.setattr(f"{DiTPipeline.__module__}.randn_tensor", lambda *_, **__: x_t)
    scheduler.num_inference_steps = 1  # whose step goes to the image itself
    scheduler.timesteps = torch.tensor([time])
    monkeypatch.setattr(scheduler, "set_timesteps", lambda _: None)
    expected = pipe(list(labels), 1.0, output_type="pt").images
    assert gap(made(model, edits), expected) < 1e-3


# --- consistency models


def consistency_pipeline(
    folder: Path,
    edits: Sequence[Edit],
    labels: Sequence[int] | None,
    monkeypatch: pytest.MonkeyPatch,
    as_strong: bool,
) -> Tensor:
    """diffusers' pictures in [0, 1].

    It adds noise of strength sqrt(sigma² - sigma_min²) where we add sigma. `as_strong` evens that
    out, by draws that are so much stronger.
    """
    pipe = loaded(ConsistencyModelPipeline, folder)
    way, last = edits[0].trajectory, pipe.scheduler.config.num_train_timesteps - 1
    sigma = pipe.scheduler.sigmas.flip(0)
    x_t = noise(edits) * sigma[way.timesteps[0]]
    if edits[0].x_0 is not None:
        x_t = x_t + clean(edits)
    draws = [noise(edits, 1 + draw) for draw in range(way.draws)]
    if as_strong:
        kept = (1 - (sigma[0] / sigma) ** 2) ** 0.5
        draws = [(z / kept[t]).float() for z, t in zip(draws, way.timesteps[1:], strict=True)]
    # the last step draws too, to add it no times, but for what sigma_min loses as a float32
    given = iter([*draws, torch.zeros_like(x_t)])
    module = type(pipe.scheduler).__module__
    monkeypatch.setattr(f"{module}.randn_tensor", lambda *_, **__: next(given))
    images: Tensor = pipe(
        batch_size=len(edits),
        class_labels=None if labels is None else list(labels),
        num_inference_steps=None,
        # it counts from the noisiest, and turns the list round
        timesteps=[last - time for time in reversed(way.timesteps)],
        latents=(x_t / pipe.scheduler.init_noise_sigma).float(),
        output_type="pt",
    ).images
    return images


@pytest.mark.parametrize(("sampler", "calls"), [("lcm", 4), ("one-step", 1)])
@pytest.mark.parametrize("family", ["unconditional", "conditional"])
def test_consistency(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, family: str, sampler: str, calls: int
) -> None:
    folder, labels = folders[family], LABELS[family]
    model, found = drafts(folder, labels, sampler=sampler, strength=0.7, steps=6)
    edits = [draft.edit for draft in found]
    assert edits[0].trajectory.calls == calls
    for as_strong, bound in ((True, 1e-5), (False, 1e-3)):
        expected = consistency_pipeline(folder, edits, labels, monkeypatch, as_strong)
        assert gap(made(model, edits), expected) < bound


@pytest.mark.parametrize(("sampler", "calls"), [("lcm", 6), ("one-step", 1)])
@pytest.mark.parametrize("family", ["unconditional", "conditional"])
def test_consistency_from_pure_noise(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, family: str, sampler: str, calls: int
) -> None:
    folder, labels = folders[family], LABELS[family]
    model, found = drafts(folder, labels, sampler=sampler, strength=1, steps=6)
    edits = [replace(draft.edit, x_0=None) for draft in found]
    assert edits[0].trajectory.calls == calls
    for as_strong, bound in ((True, 1e-5), (False, 1e-3)):
        expected = consistency_pipeline(folder, edits, labels, monkeypatch, as_strong)
        assert gap(made(model, edits), expected) < bound


def test_consistency_of_other_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.consistency(tmp_path)
    rewrite(
        folder / "scheduler/scheduler_config.json",
        **{"num_train_timesteps": 18, "sigma_min": 0.05, "sigma_max": 9.0},
        **{"sigma_data": 0.7, "rho": 5.0, "clip_denoised": False},
    )
    model, found = drafts(folder, None, sampler="lcm", strength=0.9, steps=4)
    edits = [draft.edit for draft in found]
    expected = consistency_pipeline(folder, edits, None, monkeypatch, as_strong=True)
    assert gap(made(model, edits), expected) < 1e-5


def test_how_much_more_noise_lcm_adds_than_diffusers(folders: dict[str, Path]) -> None:
    """sigma - sqrt(sigma² - sigma_min²) of noise, in pictures that span 2: never above sigma_min,
    which is 0.002; where a step of a few calls ends, thousandths of sigma at most."""
    model = load_model(find_checkpoint(str(folders["unconditional"])), FLOAT32)
    sigma = model.denoiser.schedule.sigma_t
    more = sigma - np.sqrt(sigma**2 - sigma[0] ** 2)
    assert len(sigma) == 40
    assert more.max() == pytest.approx(0.002)
    assert more[1] == pytest.approx(5.92e-4, rel=1e-2)  # no step ends nearer to the image
    assert more[7] == pytest.approx(3.19e-5, rel=1e-2)  # the last step in the tests above, of 4
    assert more[7] / sigma[7] == pytest.approx(5.08e-4, rel=1e-2)


# --- both, in the lanes


def same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Equal to the last bit."""
    return [x_0.tobytes() for x_0 in one] == [x_0.tobytes() for x_0 in other]


MIXED: dict[str, list[dict[str, Any]]] = {
    "dit": [
        {"strength": 0.2, "steps": 10, "guidance": 4},
        {"strength": 0.9, "steps": 3, "guidance": 1},
        {"strength": 0.5, "steps": 6, "guidance": 2.5, "sampler": "ddim", "eta": 0.5},
    ],
    "conditional": [
        {"strength": 0.2, "steps": 10, "sampler": "lcm"},
        {"strength": 0.9, "steps": 3, "sampler": "one-step"},
        {"strength": 1.0, "steps": 6, "sampler": "lcm"},
    ],
}
MIXED["unconditional"] = MIXED["conditional"]


@pytest.mark.parametrize(
    ("family", "batch_size", "dtype"),
    [
        *(("dit", 3, "bfloat16"), ("unconditional", 4, "float32"), ("conditional", 3, "float32")),
        *(
            pytest.param(*one, marks=pytest.mark.proof)
            for one in (
                *(("dit", 3, "float32"), ("dit", 4, "float32")),
                *(("unconditional", 3, "float32"), ("unconditional", 3, "bfloat16")),
                *(("conditional", 4, "float32"), ("conditional", 3, "bfloat16")),
            )
        ),
    ],
)
def test_each_sample_is_as_if_alone(
    folders: dict[str, Path], family: str, batch_size: int, dtype: str
) -> None:
    execution = Execution.model_validate({"batch_size": batch_size, "dtype": dtype})
    edits: list[Edit] = []
    for fields in MIXED[family]:
        model, found = drafts(folders[family], LABELS[family], execution, **fields)
        edits += [draft.edit for draft in found]
    edits.append(replace(edits[-1], x_0=None))
    together = results(model, edits, batch_size)
    assert same(together, results(model, edits[::-1], batch_size)[::-1])
    for edit, result in zip(edits, together, strict=True):
        assert same([result], results(model, [edit], batch_size))
    assert len({result.tobytes() for result in together}) == len(edits)


@pytest.mark.parametrize(("family", "guidance"), [("dit", 4.0), ("conditional", 1.0)])
def test_augment_the_whole_way(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, family: str, guidance: float
) -> None:
    """Within a level of 255 of diffusers' pictures, which are as far from those without class."""
    labels = LABELS[family] or ()
    sampler = "ddim" if family == "dit" else "lcm"
    fields: dict[str, Any] = {"sampler": sampler, "strength": 0.7, "steps": 6, "guidance": guidance}
    edits = [draft.edit for draft in drafts(folders[family], labels, **fields)[1]]
    recipe = Recipe(model=str(folders[family]), condition="label", **fields)
    found = diffaug.augment(
        pictures(), recipe, labels=labels, batch_size=BATCH, dtype="float32", device="cpu"
    )
    if family == "dit":
        expected = dit_pipeline(folders[family], edits, labels, guidance, monkeypatch)
    else:
        expected = consistency_pipeline(folders[family], edits, labels, monkeypatch, True)
    levels = torch.from_numpy(np.stack([np.asarray(one) for one in found])).permute(0, 3, 1, 2)
    assert gap(levels.double(), expected.double() * 255) <= 0.51


@pytest.mark.parametrize(
    ("family", "label", "sentence"),
    [
        ("dit", 1000, r"image 1: class 1000 is not one of the model's 1000 \(0 to 999\)"),
        ("dit", -1, r"image 1: class -1 is not one of the model's 1000 \(0 to 999\)"),
        ("conditional", 5, r"image 1: class 5 is not one of the model's 5 \(0 to 4\)"),
        ("conditional", None, "image 1: condition is label, and the sample has no integer class"),
    ],
)
def test_augment_refuses_a_label_that_is_no_class(
    folders: dict[str, Path], family: str, label: Any, sentence: str
) -> None:
    recipe = Recipe(model=str(folders[family]), condition="label", sampler="one-step")
    with pytest.raises(DefectError, match=sentence):
        diffaug.augment(pictures(2), recipe, labels=[0, label], batch_size=BATCH, dtype="float32")


@pytest.mark.parametrize(
    ("family", "fields", "sentence"),
    [
        ("conditional", {"condition": "label", "guidance": 4}, "guidance: .* use guidance=1"),
        ("unconditional", {"guidance": 4}, "guidance: .* use guidance=1"),
        ("dit", {"guidance": 4}, "guidance: .* is given no class to guide towards"),
        ("conditional", {}, "condition: .* requires a class for every image.* use condition=label"),
        ("unconditional", {"condition": "label"}, "condition: .* takes no class"),
        ("dit", {"prompt": "a cat"}, "prompt: .* is not a text-to-image model"),
    ],
)
def test_augment_refuses_what_the_model_cannot_do(
    folders: dict[str, Path], family: str, fields: dict[str, Any], sentence: str
) -> None:
    recipe = Recipe(model=str(folders[family]), **fields)
    with pytest.raises(ConfigError, match=sentence):
        diffaug.augment(pictures(1), recipe, labels=[0], batch_size=BATCH, dtype="float32")


# --- what would load, and be wrong


def rewrite(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refused(folder: Path, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_model(find_checkpoint(str(folder)), FLOAT32)


def with_scheduler(folder: Path, name: str, **fields: Any) -> Path:
    rewrite(folder / "model_index.json", scheduler=["diffusers", name])
    rewrite(folder / "scheduler/scheduler_config.json", _class_name=name, **fields)
    return folder


@pytest.mark.parametrize(
    ("scheduler", "fields", "sentence"),
    [
        ("FlowMatchEulerDiscreteScheduler", {}, "is not a plain diffusion of betas"),
        ("EDMEulerScheduler", {}, "is not a plain diffusion of betas"),
        ("LCMScheduler", {}, "is not a plain diffusion of betas"),
        (
            "DPMSolverMultistepScheduler",
            {"prediction_type": "flow_prediction"},
            "prediction type 'flow_prediction' is not supported",
        ),
        ("DDIMScheduler", {"thresholding": True}, "set thresholding to false"),
        ("DDIMScheduler", {"rescale_betas_zero_snr": True}, "ends without signal"),
    ],
)
def test_dit_of_another_scheduler_is_refused(
    tmp_path: Path, scheduler: str, fields: dict[str, Any], sentence: str
) -> None:
    refused(with_scheduler(tiny.dit(tmp_path), scheduler, **fields), sentence)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"in_channels": 3, "out_channels": 6}, "takes 3 channels and latents have 4"),
        ({"out_channels": 12}, "gives 12 channels for 4"),
    ],
)
def test_dit_of_other_channels_is_refused(
    tmp_path: Path, fields: dict[str, Any], sentence: str
) -> None:
    refused(tiny.dit(tmp_path, **fields), sentence)


def test_dit_by_the_name_that_the_published_ones_give_it(tmp_path: Path) -> None:
    folder, name = tiny.dit(tmp_path), "Transformer2DModel"
    rewrite(folder / "model_index.json", transformer=["diffusers", name])
    rewrite(folder / "transformer/config.json", _class_name=name)
    assert load_model(find_checkpoint(str(folder)), FLOAT32).denoiser.classes == 1000


def test_dit_of_pictures_that_are_none_is_refused(tmp_path: Path) -> None:
    folder = tiny.dit(tmp_path)
    vae: Any = AutoencoderKL(in_channels=2, out_channels=2, norm_num_groups=8)
    vae.save_pretrained(folder / "vae")
    refused(folder, "pictures of 2 channels")


@pytest.mark.parametrize(
    ("scheduler", "fields", "sentence"),
    [
        ("DDPMScheduler", {}, "its scheduler, DDPMScheduler, is not one of consistency models"),
        ("EDMEulerScheduler", {}, "its scheduler, EDMEulerScheduler, is not one of consistency"),
        ("CMStochasticIterativeScheduler", {"s_noise": 1.01}, "1.01 times as much"),
    ],
)
def test_consistency_of_another_scheduler_is_refused(
    tmp_path: Path, scheduler: str, fields: dict[str, Any], sentence: str
) -> None:
    refused(with_scheduler(tiny.consistency(tmp_path), scheduler, **fields), sentence)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"sample_size": None}, "its sample_size is not set"),
        ({"in_channels": 4, "out_channels": 4}, "4 channels; must be grey"),
        ({"out_channels": 6}, "gives 6 channels for 3"),
        ({"class_embed_type": "timestep"}, "embedded as 'timestep'"),
        ({"class_embed_type": "identity"}, "embedded as 'identity'"),
        ({"num_class_embeds": 0}, "num_class_embeds is 0"),
        ({"time_embedding_type": "fourier"}, "has time_embedding_type 'fourier'"),
    ],
)
def test_consistency_of_another_unet_is_refused(
    tmp_path: Path, fields: dict[str, Any], sentence: str
) -> None:
    refused(tiny.consistency(tmp_path, **fields), sentence)

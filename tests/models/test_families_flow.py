"""Flow-matching families against diffusers' own pipelines: same image, noise, prompt and sigmas.

The pipelines shift the sigmas they are given by the checkpoint's own scheduler, so they are given
ours as they are before the shift: evenly spaced.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FluxImg2ImgPipeline,
    StableDiffusion3Img2ImgPipeline,
)
from PIL import Image
from torch import Tensor

import diffaug
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.samplers import trajectory
from diffaug.diffusion.schedule import Schedule
from diffaug.editor import Draft, PictureEditor
from diffaug.execution import Execution
from diffaug.models import Pretrained, checkpoint_of, find_checkpoint, load_model
from diffaug.recipe import Recipe
from tests.models.test_families import PROMPTS, gap, image_of, ours, pictures
from tests.support import tiny
from tests.support.drafts import draft_copies

pytestmark = pytest.mark.numerics

GUIDED = [(1.0, None), (4.0, None), (4.0, "blurry")]

Noises = Callable[[str, Any], None]

FLOAT32 = Execution(batch_size=4, dtype="float32")
SD3_MODULE = "diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3_img2img"
FLUX_MODULE = "diffusers.pipelines.flux.pipeline_flux_img2img"
SD3_5 = {"dual_attention_layers": (0,), "qk_norm": "rms_norm"}


@pytest.fixture
def noises(monkeypatch: pytest.MonkeyPatch) -> Noises:
    """Let a pipeline take our noise where it would draw its own."""

    def give(module: str, edits: Any) -> None:
        noise = torch.from_numpy(np.stack([edit.noise[0] for edit in edits]))
        monkeypatch.setattr(f"{module}.randn_tensor", lambda *_, **__: noise)

    return give


def reference(pipeline: Any, edits: Any, **told: Any) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    total = pipeline.scheduler.config.num_train_timesteps
    images: Tensor = pipeline(
        prompt=list(PROMPTS),
        image=pictures() / 2 + 0.5,
        height=32,
        width=32,
        strength=1.0,
        sigmas=[(t + 1) / total for t in edits[0].trajectory.timesteps],
        output_type="pt",
        **told,
    ).images
    return images


# Against diffusers


@pytest.mark.parametrize("steps", [pytest.param(1, marks=pytest.mark.proof), 6])
@pytest.mark.parametrize(("guidance", "negative"), GUIDED)
@pytest.mark.parametrize("transformer", [{}, SD3_5], ids=["3", "3.5"])
def test_stable_diffusion_3(
    tmp_path: Path,
    noises: Noises,
    transformer: dict[str, Any],
    guidance: float,
    negative: str | None,
    steps: int,
) -> None:
    folder = tiny.stable_diffusion_3(tmp_path, **transformer)
    made, edits = ours(
        folder, strength=0.7, steps=steps, guidance=guidance, negative_prompt=negative
    )
    pipeline: Any = StableDiffusion3Img2ImgPipeline.from_pretrained(folder)
    noises(SD3_MODULE, edits)
    told = {} if negative is None else {"negative_prompt": [negative] * 3}
    assert gap(made, reference(pipeline, edits, guidance_scale=guidance, **told)) < 1e-4


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_stable_diffusion_3_without_its_largest_encoder(
    tmp_path: Path, noises: Noises, guidance: float
) -> None:
    folder = tiny.stable_diffusion_3(tmp_path, t5=False)
    made, edits = ours(folder, strength=1.0, steps=4, guidance=guidance)
    pipeline: Any = StableDiffusion3Img2ImgPipeline.from_pretrained(
        folder, text_encoder_3=None, tokenizer_3=None
    )
    noises(SD3_MODULE, edits)
    assert gap(made, reference(pipeline, edits, guidance_scale=guidance)) < 1e-4


@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_flux_that_embeds_its_guidance(
    tmp_path: Path, noises: Noises, guidance: float, steps: int
) -> None:
    folder = tiny.flux(tmp_path, dev=True)
    made, edits = ours(folder, strength=0.7, steps=steps, guidance=guidance)
    assert not any(edit.away for edit in edits)
    pipeline: Any = FluxImg2ImgPipeline.from_pretrained(folder)
    noises(FLUX_MODULE, edits)
    assert gap(made, reference(pipeline, edits, guidance_scale=guidance)) < 1e-4


@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize(("guidance", "negative"), GUIDED)
def test_flux_guided_by_two_calls(
    tmp_path: Path, noises: Noises, guidance: float, negative: str | None, steps: int
) -> None:
    """Without a negative prompt diffusers does not guide at all, so it is told the empty one."""
    folder = tiny.flux(tmp_path, dev=False)
    made, edits = ours(
        folder, strength=0.7, steps=steps, guidance=guidance, negative_prompt=negative
    )
    pipeline: Any = FluxImg2ImgPipeline.from_pretrained(folder)
    noises(FLUX_MODULE, edits)
    found = reference(
        pipeline,
        edits,
        true_cfg_scale=guidance,
        negative_prompt=[negative or ""] * 3,
        max_sequence_length=256,
    )
    assert gap(made, found) < 1e-4


# The schedule


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        "sd3": tiny.stable_diffusion_3(tmp_path_factory.mktemp("sd3")),
        "dev": tiny.flux(tmp_path_factory.mktemp("dev"), dev=True),
        "schnell": tiny.flux(tmp_path_factory.mktemp("schnell"), dev=False),
    }


FAMILIES = pytest.mark.parametrize("family", ["sd3", "dev", "schnell"])


def loaded(folder: Path) -> Pretrained:
    return load_model(find_checkpoint(str(folder)), FLOAT32)


@FAMILIES
def test_the_schedule_is_the_checkpoints(models: dict[str, Path], family: str) -> None:
    schedule = loaded(models[family]).denoiser.schedule
    scheduler: Any = FlowMatchEulerDiscreteScheduler.from_pretrained(models[family] / "scheduler")
    # 16 patches, on the line from 256 (0.5) to 4096 (1.15)
    scheduler.set_timesteps(sigmas=np.arange(1000, 0, -1) / 1000, mu=0.5 - 240 * 0.65 / 3840)
    np.testing.assert_allclose(schedule.sigma_t[::-1], scheduler.sigmas[:-1], rtol=1e-6)
    np.testing.assert_allclose(schedule.alpha_t + schedule.sigma_t, 1)
    assert schedule.sigma_t[-1] == 1


@pytest.mark.parametrize("stochastic", [False, True])
def test_ddim_is_the_euler_step_and_lcm_the_stochastic_one(stochastic: bool) -> None:
    schedule = Schedule.flow(torch.arange(1, 1001) / 1000)
    times = (999, 700, 333, 20)
    way = trajectory("lcm" if stochastic else "ddim", schedule, times)
    scheduler: Any = FlowMatchEulerDiscreteScheduler(stochastic_sampling=stochastic)
    scheduler.set_timesteps(sigmas=[schedule.sigma_t[t] for t in times])
    random = torch.Generator().manual_seed(0)
    x_t = ours_x_t = torch.randn(2, 4, 8, 8, generator=random)
    for call, t in enumerate(times):
        flow = torch.randn(2, 4, 8, 8, generator=random)
        fresh = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(call))
        x_t = scheduler.step(
            flow,
            scheduler.timesteps[call],
            x_t,
            generator=torch.Generator().manual_seed(call),
            return_dict=False,
        )[0]
        a, b, _, d = way.weights[call]
        x_0 = ours_x_t - schedule.sigma_t[t] * flow
        ours_x_t = a * ours_x_t + b * x_0 + d * fresh
        torch.testing.assert_close(ours_x_t, x_t, rtol=0, atol=1e-5)


# The size


@FAMILIES
def test_pictures_are_of_the_size_it_was_made_for(models: dict[str, Path], family: str) -> None:
    model = loaded(models[family])
    assert (model.shape, model.denoiser.shape) == ((3, 32, 32), (4, 8, 8))


def test_flux_is_as_large_as_its_own_autoencoder_says(
    models: dict[str, Path], tmp_path: Path
) -> None:
    other: Any = AutoencoderKL.from_pretrained(models["dev"] / "vae")
    other.register_to_config(sample_size=64)
    other.save_pretrained(tmp_path / "vae")
    recipe = Recipe(model=str(models["dev"]), autoencoder=str(tmp_path / "vae"))
    assert load_model(checkpoint_of(recipe), FLOAT32).shape == (3, 32, 32)


def test_flux_is_of_the_usual_size_where_its_autoencoder_names_none(
    models: dict[str, Path], tmp_path: Path
) -> None:
    folder = copy_of(models["schnell"], tmp_path)
    path = folder / "vae/config.json"
    config = json.loads(path.read_text("utf-8"))
    del config["sample_size"]
    path.write_text(json.dumps(config), "utf-8")
    model = loaded(folder)
    assert (model.shape, model.denoiser.shape) == ((3, 512, 512), (4, 128, 128))


# Through the lanes, and the whole way


def draft(
    folder: Path, number: int, execution: Execution, **fields: Any
) -> tuple[PictureEditor, Draft]:
    recipe = Recipe(model=str(folder), steps=6, **fields)
    editor = PictureEditor(recipe, find_checkpoint(str(folder)), execution)
    (made,) = draft_copies(editor, picture(number), {"label_text": "cat"}, [number])
    return editor, made


def picture(number: int) -> Image.Image:
    levels = ((pictures(number + 1)[number] + 1) * 127.5).round().to(torch.uint8)
    image: Image.Image = image_of(levels.permute(1, 2, 0).numpy())
    return image


@FAMILIES
@pytest.mark.parametrize(
    ("batch_size", "dtype"),
    [pytest.param(1, "float32", marks=pytest.mark.proof), (3, "bfloat16")],
)
def test_each_sample_is_as_if_alone(
    models: dict[str, Path], family: str, batch_size: int, dtype: str
) -> None:
    """Prompts, strengths, samplers and guidance scales of all kinds share the calls."""
    recipes: list[dict[str, Any]] = [
        {"prompt": "a photo of a {label_text}", "strength": 1.0, "guidance": 4},
        {"prompt": "a {label_text}", "strength": 0.3, "sampler": "ddim"},
        {"prompt": "a", "strength": 0.7, "guidance": 2.0, "sampler": "ddim"},
        {"prompt": "another", "strength": 0.5, "guidance": 7, "sampler": "lcm"},
        {"strength": 0.6, "sampler": "one-step"},
    ]
    execution = Execution.choose(batch_size, dtype, "cpu")
    plans = [draft(models[family], number, execution, **one) for number, one in enumerate(recipes)]
    editor, edits = plans[0][0], [one.edit for _, one in plans]
    together = run(editor, edits)
    backwards = run(editor, edits[::-1])[::-1]
    for edit, first, second in zip(edits, together, backwards, strict=True):
        (alone,) = run(editor, [edit])
        assert alone.tobytes() == first.tobytes() == second.tobytes()
        assert np.isfinite(alone).all()
    assert len({one.tobytes() for one in together}) == len(edits)


def run(editor: PictureEditor, edits: Sequence[Edit]) -> list[Any]:
    return [x_0 for _, x_0 in editor.steps().run((None, edit) for edit in edits)]


@FAMILIES
def test_what_conditions_it_counts(models: dict[str, Path], family: str) -> None:
    """Each of a network's inputs moves its output by far more than what is compared above."""
    model = loaded(models[family])
    x_t, t = pictures(1)[:, :1, :8, :8].repeat(1, 4, 1, 1), torch.tensor([600])
    cat, dog = (
        [part[None] for part in model.condition(None, word)] for word in ("a cat", "the dogs")
    )
    if model.embed_guidance is not None:
        cat.append(model.embed_guidance(1.0)[None])
        dog.append(model.embed_guidance(7.0)[None])
    with torch.inference_mode():
        plain = model.denoiser(x_t, t, *cat)
        later = model.denoiser.network(x_t, t + 200, *cat) - model.denoiser.network(x_t, t, *cat)
        assert later.abs().max() > 1e-3
        for index in range(len(cat)):
            given = [*cat[:index], dog[index], *cat[index + 1 :]]
            assert gap(plain, model.denoiser(x_t, t, *given)) > 1e-3


@FAMILIES
def test_the_whole_way(models: dict[str, Path], family: str) -> None:
    recipe = Recipe(
        model=str(models[family]),
        prompt="a photo of a {label_text}",
        strength=0.6,
        steps=4,
        guidance=3,
        copies=2,
    )
    sources = [picture(number) for number in range(2)]
    made = diffaug.augment(
        sources, recipe, labels=["cat", "dog"], batch_size=4, dtype="float32", device="cpu"
    )
    assert [image.size for copies in made for image in copies] == [(32, 32)] * 4
    assert len({image.tobytes() for copies in made for image in copies}) == 4
    # a picture's result does not depend on what came with it
    (again,) = diffaug.augment(
        sources[1:], recipe, labels=["dog"], batch_size=4, dtype="float32", device="cpu"
    )
    assert [image.tobytes() for image in again] == [image.tobytes() for image in made[1]]


# What is refused


def _dev(folder: Path, **transformer: Any) -> Path:
    return tiny.flux(folder, dev=True, **transformer)


@pytest.mark.parametrize(
    ("family", "part", "changes", "said"),
    [
        ("sd3", "scheduler", {"invert_sigmas": True}, "has invert_sigmas"),
        ("sd3", "scheduler", {"use_karras_sigmas": True}, "has use_karras_sigmas"),
        ("dev", "scheduler", {"use_exponential_sigmas": True}, "has use_exponential_sigmas"),
        ("dev", "scheduler", {"shift_terminal": 0.02}, "has shift_terminal"),
        ("schnell", "vae", {"sample_size": 36}, "36x36, the sample_size of its autoencoder"),
    ],
)
def test_what_would_load_and_be_wrong(
    models: dict[str, Path],
    tmp_path: Path,
    family: str,
    part: str,
    changes: dict[str, Any],
    said: str,
) -> None:
    folder = copy_of(models[family], tmp_path)
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    rewrite(folder / part / name, changes)
    with pytest.raises(diffaug.ConfigError) as caught:
        loaded(folder)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("make", "transformer", "said"),
    [
        (tiny.stable_diffusion_3, {"out_channels": 8}, "returns 8 channels for 4"),
        (tiny.stable_diffusion_3, {"in_channels": 8, "out_channels": 8}, "of 8 channels, and its"),
        (tiny.stable_diffusion_3, {"sample_size": 64}, "has positions for 6 patches of 2"),
        (tiny.stable_diffusion_3, {"pooled_projection_dim": 48}, "48 wide (pooled_projection_dim)"),
        (tiny.stable_diffusion_3, {"joint_attention_dim": 64}, "64 wide (joint_attention_dim)"),
        (_dev, {"in_channels": 96, "out_channels": 16}, "takes latents of 24 channels"),
        (_dev, {"out_channels": 32}, "returns 32 channels for 16"),
        (_dev, {"patch_size": 2}, "has patch_size 2"),
        (_dev, {"pooled_projection_dim": 48}, "its text_encoder makes them 32 wide"),
        (_dev, {"joint_attention_dim": 64}, "its text_encoder_2 makes them 80 wide"),
    ],
)
def test_a_transformer_that_must_be_given_something_else(
    tmp_path: Path, make: Callable[..., Path], transformer: dict[str, Any], said: str
) -> None:
    with pytest.raises(diffaug.ConfigError) as caught:
        loaded(make(tmp_path / "model", **transformer))
    assert said in str(caught.value)


def copy_of(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target / "model"))


def rewrite(path: Path, changes: dict[str, Any]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


def test_another_scheduler_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    folder = copy_of(models["sd3"], tmp_path)
    shutil.rmtree(folder / "scheduler")
    other: Any = FlowMatchHeunDiscreteScheduler()
    other.save_pretrained(folder / "scheduler")
    rewrite(
        folder / "model_index.json",
        {"scheduler": ["diffusers", "FlowMatchHeunDiscreteScheduler"]},
    )
    with pytest.raises(diffaug.ConfigError, match="FlowMatchHeunDiscreteScheduler, is not"):
        loaded(folder)


@pytest.mark.parametrize(
    ("family", "part"), [("sd3", "text_encoder"), ("sd3", "tokenizer_3"), ("dev", "text_encoder_2")]
)
def test_a_part_without_which_no_prompt_is_encoded(
    models: dict[str, Path], tmp_path: Path, family: str, part: str
) -> None:
    folder = copy_of(models[family], tmp_path)
    rewrite(folder / "model_index.json", {part: [None, None]})
    with pytest.raises(diffaug.ConfigError, match=part):
        loaded(folder)


@pytest.mark.parametrize("family", ["sd3", "dev"])
def test_an_autoencoder_of_another_family(
    models: dict[str, Path], tmp_path: Path, family: str
) -> None:
    other: Any = AutoencoderKL(latent_channels=8, norm_num_groups=4, block_out_channels=(8,))
    other.save_pretrained(tmp_path / "vae")
    recipe = Recipe(model=str(models[family]), autoencoder=str(tmp_path / "vae"))
    with pytest.raises(diffaug.ConfigError, match="its latents have 8 channels and those of"):
        load_model(checkpoint_of(recipe), FLOAT32)

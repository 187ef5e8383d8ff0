"""Checkpoints: found, digested, refused in sentences, and loaded as diffusers loads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    UNet2DModel,
)
from PIL import Image
from torch import Tensor

from diffaug.diffusion.denoiser import Clip
from diffaug.editor import PictureEditor
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models import find_checkpoint, load_model, shipped_cards, with_suggestions
from diffaug.recipe import Recipe
from tests.conftest import SHARDS, Cli
from tests.support.drafts import draft_copies

EXECUTION = Execution(batch_size=3, dtype="float32", device="cpu")
TIMES = torch.tensor([0, 500, 999])
CLASSES = torch.tensor([1, 0, 2])
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"

Make = Callable[..., Path]


def tiny_unet(**config: Any) -> Any:
    torch.manual_seed(0)
    fields: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": 1,
        "out_channels": 1,
        "layers_per_block": 1,
        "block_out_channels": (8, 8),
        "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
    }
    unet: Any = UNet2DModel(**fields | config)
    return unet.eval()


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make(scheduler=…, **unet_config)`: a tiny checkpoint, written by diffusers."""

    def make(scheduler: Any = None, pipeline: Any = DDPMPipeline, **config: Any) -> Path:
        folder = tmp_path / "checkpoint"
        made = pipeline(unet=tiny_unet(**config), scheduler=scheduler or DDPMScheduler())
        made.save_pretrained(folder)
        return folder

    return make


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def load(folder: Path) -> Any:
    return load_model(find_checkpoint(str(folder)), EXECUTION).denoiser


def refusal(folder: Path) -> str:
    """The sentence with which a checkpoint is refused; it names the checkpoint."""
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert folder.name in str(caught.value)
    return str(caught.value)


def predicted(unet: Any, x_t: Tensor, classes: Tensor | None) -> Tensor:
    with torch.inference_mode():
        output: Tensor = unet(x_t, TIMES, class_labels=classes).sample
    return output


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


# The shipped models


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("fashion-mnist-32", "mit"),
        ("fashion-mnist-32-fast", "mit"),
        ("cifar10-32", "apache-2.0"),
        ("cifar10-32-fast", "apache-2.0"),
        ("clothes-128", "apache-2.0"),
    ],
)
def test_the_shipped_models_are_listed(name: str, licence: str) -> None:
    (card,) = (card for card in shipped_cards() if card.name == name)
    assert card.licence == licence
    assert card.saw == "classes"
    assert len(card.classes) == card.null_class == 10
    checkpoint = find_checkpoint(card.name)
    assert checkpoint.revision is None
    assert checkpoint.card == card
    assert int(checkpoint.digest, 16) > 0
    assert len(checkpoint.digest) == 64


@pytest.mark.parametrize("teacher", ["fashion-mnist-32", "cifar10-32"])
def test_the_shipped_students_are_called_as_their_cards_say(teacher: str) -> None:
    """Told the class, they have their guidance, and an edit takes two calls of a row each."""
    recipe = with_suggestions(Recipe(model=f"{teacher}-fast", condition="label"))
    assert recipe.guidance == 3
    checkpoint = find_checkpoint(recipe.model)
    assert checkpoint.card is not None
    assert checkpoint.card.taught is not None
    assert checkpoint.card.taught.teacher == teacher
    for strength in (0.1, 0.2, 0.4, 0.6):
        editor = PictureEditor(
            recipe.model_copy(update={"strength": strength}), checkpoint, EXECUTION
        )
        (draft,) = draft_copies(editor, Image.new("RGB", (32, 32)), {"label": 3}, [0])
        assert draft.edit.rows == 2


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("fashion-mnist-32", 1),
        ("fashion-mnist-32-fast", 1),
        ("cifar10-32", 3),
        ("cifar10-32-fast", 3),
    ],
)
def test_the_shipped_models_are_unets_that_diffusers_loads(name: str, channels: int) -> None:
    checkpoint = find_checkpoint(name)
    denoiser = load_model(checkpoint, EXECUTION).denoiser
    unet: Any = UNet2DModel.from_pretrained(checkpoint.folder / "unet").float().eval()
    x_t, classes = noise(3, channels, 32, 32), torch.tensor([9, 0, 10])
    with torch.inference_mode():
        ours = denoiser.network(x_t, TIMES, classes)
    torch.testing.assert_close(ours, predicted(unet, x_t, classes), rtol=1e-4, atol=1e-5)
    assert denoiser.shape == (channels, 32, 32)
    assert (denoiser.classes, denoiser.null_class) == (10, 10)
    assert denoiser.clip == Clip(bound=1.0)


def test_the_shipped_latent_model_is_parts_that_diffusers_loads() -> None:
    """Its autoencoder reproduces a smooth picture."""
    checkpoint = find_checkpoint("clothes-128")
    model = load_model(checkpoint, EXECUTION)
    assert model.shape == (3, 128, 128)
    unet: Any = UNet2DModel.from_pretrained(checkpoint.folder / "unet").float().eval()
    x_t, classes = noise(3, 6, 32, 32), torch.tensor([9, 0, 10])
    with torch.inference_mode():
        ours = model.denoiser.network(x_t, TIMES, classes)
    torch.testing.assert_close(ours, predicted(unet, x_t, classes), rtol=1e-4, atol=1e-4)
    vae: Any = AutoencoderKL.from_pretrained(checkpoint.folder / "vqvae").float().eval()
    rows, columns = torch.meshgrid(*[torch.linspace(-1, 1, 128)] * 2, indexing="ij")
    smooth = torch.stack([rows, columns, rows * columns])[None]
    with torch.inference_mode():
        again = vae(smooth).sample
    assert 10 * torch.log10(4 / (again - smooth).square().mean()) > 28


def test_every_suggestion_of_a_card_is_a_recipe() -> None:
    for card in shipped_cards():
        suggested = dict(card.suggested)
        strength = str(suggested.pop("strength")).replace("-", ":")
        assert Recipe(model=card.name, strength=strength, **suggested).model == card.name


# Checkpoints of others

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "time scales and shifts": {"resnet_time_scale_shift": "scale_shift"},
    "attention": {
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    },
    "residual sampling": {
        "down_block_types": ("ResnetDownsampleBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "ResnetUpsampleBlock2D"),
    },
    "skips": {
        "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_unet_is_that_of_diffusers(make: Make, kind: str) -> None:
    """Bit for bit where it is left to diffusers; ours differs in its last bits."""
    colour = {"in_channels": 3, "out_channels": 3, "sample_size": 16}
    folder = make(block_out_channels=(32, 64), **colour, **KINDS[kind])
    unet: Any = UNet2DModel.from_pretrained(folder / "unet").eval()
    x_t = noise(3, 3, 16, 16).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        ours = load(folder).network(x_t, TIMES, CLASSES)
        theirs = unet.to(memory_format=torch.channels_last)(x_t, TIMES).sample
    if kind in ("plain", "attention"):
        assert torch.allclose(ours, theirs, atol=1e-5)
    else:
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pipeline", [DDPMPipeline, DDIMPipeline])
def test_an_unconditional_checkpoint(make: Make, channels: int, pipeline: Any) -> None:
    config = {"in_channels": channels, "out_channels": channels, "sample_size": (8, 16)}
    denoiser = load(make(pipeline=pipeline, scheduler=DDIMScheduler(), **config))
    x_t = noise(3, channels, 8, 16)
    with torch.inference_mode():
        ours = denoiser.network(x_t, TIMES, CLASSES)
    torch.testing.assert_close(ours, predicted(tiny_unet(**config), x_t, None))
    assert denoiser.shape == (channels, 8, 16)
    assert denoiser.classes == 0


def test_a_learned_variance_is_left_out(make: Make) -> None:
    denoiser = load(make(out_channels=2))
    x_t = noise(3, 1, 8, 8)
    with torch.inference_mode():
        ours = denoiser.network(x_t, TIMES, CLASSES)
    torch.testing.assert_close(ours, predicted(tiny_unet(out_channels=2), x_t, None)[:, :1])


def test_a_class_conditional_checkpoint_without_a_card(make: Make) -> None:
    """All its classes are classes: nothing says that one of them means none."""
    folder = make(num_class_embeds=3)
    denoiser = load(folder)
    assert (denoiser.classes, denoiser.null_class) == (3, None)
    x_t = noise(3, 1, 8, 8)
    with torch.inference_mode():
        ours = denoiser.network(x_t, TIMES, CLASSES)
    torch.testing.assert_close(ours, predicted(tiny_unet(num_class_embeds=3), x_t, CLASSES))
    checkpoint = find_checkpoint(str(folder))
    PictureEditor(Recipe(model=str(folder), condition="label"), checkpoint, EXECUTION)
    with pytest.raises(ConfigError, match="names no null_class; use condition=label"):
        PictureEditor(Recipe(model=str(folder)), checkpoint, EXECUTION)


def test_a_card_names_the_null_class(make: Make) -> None:
    folder = make(num_class_embeds=3)
    card = "---\nlicense: mit\ndiffaug:\n  name: tiny\n  null_class: 2\n---\n# Tiny\n"
    (folder / "README.md").write_text(card)
    denoiser = load(folder)
    assert (denoiser.classes, denoiser.null_class) == (2, 2)


@pytest.mark.parametrize(
    "readme",
    [
        "# A model\n\nWithout front matter.\n",
        "---\nlicense: mit\n---\n# A model\n",
        "A model\n-------\n\nTrained by us: see: [the page\n",
        "---\nlicense: [mit\n---\n",
    ],
    ids=["plain", "no-section", "underlined-title", "not-yaml"],
)
def test_a_readme_of_another_kind_is_no_card(make: Make, readme: str) -> None:
    folder = make()
    (folder / "README.md").write_text(readme)
    assert find_checkpoint(str(folder)).card is None
    assert load(folder).shape == (1, 8, 8)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_schedulers_configuration_is_followed(make: Make, prediction: str) -> None:
    """Schedule, prediction type and clipping: x_0 as diffusers' own scheduler estimates it."""
    scheduler: Any = DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.002,
        beta_end=0.015,
        prediction_type=prediction,
        clip_sample_range=0.7,
    )
    scheduler.set_timesteps(10)
    x_t, unet = noise(3, 1, 8, 8), tiny_unet()
    with torch.inference_mode():
        x_0 = load(make(scheduler=scheduler))(x_t, TIMES, CLASSES)
    output = predicted(unet, x_t, None)
    for i, t in enumerate(TIMES.tolist()):
        step = scheduler.step(output[i], t, x_t[i])
        torch.testing.assert_close(x_0[i], step.pred_original_sample, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "clip"),
    [
        ({}, Clip(bound=1.0)),
        ({"clip_sample": False}, Clip()),
        ({"clip_sample_range": 3.0}, Clip(bound=3.0)),
        ({"thresholding": True}, Clip(bound=1.0, quantile=0.995)),
        (
            {"thresholding": True, "sample_max_value": 4.0, "dynamic_thresholding_ratio": 0.9},
            Clip(bound=4.0, quantile=0.9),
        ),
    ],
)
def test_clipping_is_as_configured(make: Make, config: dict[str, Any], clip: Clip) -> None:
    assert load(make(scheduler=DDPMScheduler(**config))).clip == clip


# Digests


def test_digest_follows_weights_and_configurations_only(make: Make, tmp_path: Path) -> None:
    folder = make()
    digest = find_checkpoint(str(folder)).digest

    def after(change: Callable[[Path], object]) -> str:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        change(copy)
        found = find_checkpoint(str(copy)).digest
        shutil.rmtree(copy)
        return found

    def flip_last_byte(copy: Path) -> None:
        weights = bytearray((copy / WEIGHTS).read_bytes())
        weights[-1] ^= 1
        (copy / WEIGHTS).write_bytes(weights)

    scheduler = "scheduler/scheduler_config.json"
    assert after(lambda copy: None) == digest
    assert after(lambda copy: (copy / "README.md").write_text("hello")) == digest
    changed = {
        after(flip_last_byte),
        after(lambda copy: change(copy / scheduler, beta_end=0.03)),
        after(lambda copy: change(copy / "unet/config.json", norm_eps=0.1)),
    }
    assert len(changed | {digest}) == 4


def test_new_weights_in_the_same_folder_are_loaded(make: Make) -> None:
    """A training run may write its checkpoint again: digest and network must both be the new."""
    folder = make()
    x_t, before, digest = noise(3, 1, 8, 8), load(folder), find_checkpoint(str(folder)).digest
    unet = tiny_unet()
    torch.nn.init.constant_(unet.conv_out.bias, 0.5)
    unet.save_pretrained(folder / "unet")
    assert find_checkpoint(str(folder)).digest != digest
    with torch.inference_mode():
        after = load(folder).network(x_t, TIMES, CLASSES)
        assert not torch.equal(after, before.network(x_t, TIMES, CLASSES))
    torch.testing.assert_close(after, predicted(unet, x_t, None))


# Refusals


@pytest.mark.parametrize("reference", ["nope", "../nowhere", "/no/such/folder", "a b/c d"])
def test_an_unknown_model_is_named_with_what_is_known(reference: str) -> None:
    with pytest.raises(ConfigError, match=r"no such model.*fashion-mnist-32") as caught:
        find_checkpoint(reference)
    assert reference in str(caught.value)


@pytest.mark.parametrize("reference", ["nobody/nothing", "nobody/nothing@v1.0"])
def test_the_hub_out_of_reach(reference: str) -> None:
    with pytest.raises(ConfigError, match="cannot be reached") as caught:
        find_checkpoint(reference)
    assert reference in str(caught.value)


def test_a_folder_that_is_no_pipeline(tmp_path: Path) -> None:
    assert "model_index.json" in refusal(tmp_path)
    (tmp_path / "model_index.json").write_text("[]")
    assert "model_index.json" in refusal(tmp_path)


def test_a_pickle_is_not_opened(make: Make) -> None:
    folder = make()
    torch.save({"weight": torch.zeros(1)}, folder / "unet/diffusion_pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    assert "safetensors" in refusal(folder)


def test_a_pipeline_of_another_kind(make: Make) -> None:
    folder = make()
    change(folder / "model_index.json", _class_name="AudioLDM2Pipeline")
    assert "AudioLDM2Pipeline is not supported" in refusal(folder)


def test_a_prediction_type_of_another_kind(make: Make) -> None:
    folder = make()
    change(folder / "scheduler/scheduler_config.json", prediction_type="flow")
    assert "'flow' is not supported" in refusal(folder)


def test_four_channels_are_no_picture(make: Make) -> None:
    assert "4 channels" in refusal(make(in_channels=4, out_channels=4))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"class_embed_type": "identity"}, "classes are embedded as 'identity'"),
        ({"class_embed_type": "timestep"}, "classes are embedded as 'timestep'"),
        # diffusers builds it without a table, and then ignores every class
        ({"class_embed_type": "projection", "num_class_embeds": 3}, "embedded as 'projection'"),
        ({"num_class_embeds": 0}, "num_class_embeds is 0; must be the number of classes, or null"),
        ({"out_channels": 3}, "gives 3 channels for 1"),
        ({"in_channels": 3, "out_channels": 1}, "gives 1 channels for 3"),
        (
            {"time_embedding_type": "learned", "num_train_timesteps": 10},
            "knows 10 times (num_train_timesteps in unet/config.json), and its scheduler has 1000",
        ),
    ],
)
def test_a_network_that_must_be_given_something_else(
    make: Make, config: dict[str, Any], sentence: str
) -> None:
    assert sentence in refusal(make(**config))


def test_learned_times_of_the_scheduler_are_taken(make: Make) -> None:
    folder = make(time_embedding_type="learned", num_train_timesteps=1000)
    x_t = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    unet: Any = UNet2DModel.from_pretrained(folder / "unet")
    found = load(folder).network(x_t, TIMES, CLASSES)
    assert torch.allclose(found, predicted(unet.eval(), x_t, None), atol=1e-5)


def test_such_a_network_is_refused_when_a_job_is_planned(
    make: Make, tmp_path: Path, cli: Cli
) -> None:
    folder = make(class_embed_type="identity")
    cli("augment", SHARDS[0], tmp_path / "out", "--model", folder).assert_mistake(
        "its classes are embedded as 'identity' (class_embed_type in unet/config.json), which is "
        "not supported"
    )
    assert not (tmp_path / "out").exists()
    cli("sample", folder, "-o", tmp_path / "x.png").assert_mistake("embedded as 'identity'")


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("unet/config.json", None),
        ("unet/config.json", "not json"),
        ("scheduler/scheduler_config.json", None),
        ("scheduler/scheduler_config.json", "not json"),
        ("scheduler/scheduler_config.json", "[]"),
    ],
)
def test_a_broken_configuration(make: Make, part: str, content: str | None) -> None:
    folder = make()
    if content is None:
        (folder / part).unlink()
    else:
        (folder / part).write_text(content)
    assert refusal(folder)


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        ("scheduler/scheduler_config.json", {"beta_schedule": "unheard-of"}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": "many"}),
        ("unet/config.json", {"sample_size": None}),
        ("unet/config.json", {"block_out_channels": [8, 16]}),
        ("unet/config.json", {"layers_per_block": 2}),  # wants weights that are not there
    ],
)
def test_a_configuration_that_does_not_fit(make: Make, part: str, fields: dict[str, Any]) -> None:
    folder = make()
    change(folder / part, **fields)
    assert refusal(folder)


@pytest.mark.parametrize("size", [0, 100, -100])
def test_weights_cut_short(make: Make, size: int) -> None:
    folder = make()
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:size])
    assert refusal(folder)

"""Training a denoiser on the latents of an autoencoder."""

from __future__ import annotations

import json
import pickle
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, LDMPipeline, UNet2DModel
from PIL import Image
from safetensors.torch import load_file

from diffaug.diffusion.edit import Edit
from diffaug.editor import PictureEditor
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models import checkpoint_of, find_checkpoint, load_model
from diffaug.models.card import read_card
from diffaug.models.families.latent_unet2d import read_autoencoder
from diffaug.models.families.taef2 import FILES, TAEF2
from diffaug.recipe import Recipe
from diffaug.train.data import Position, usable
from diffaug.train.latents import Latents, open_autoencoder, scale_as
from diffaug.train.loop import Step, train
from diffaug.train.pictures import Pictures
from diffaug.train.recipe import TrainRecipe
from diffaug.train.task import prepare
from tests.support import tiny as tiny_models
from tests.support.drafts import draft_copies
from tests.support.jobs import augmented
from tests.support.training import events, run, same, taken, tiny, two_shards

VAE = "vqvae/diffusion_pytorch_model.safetensors"
FLOAT32 = Execution(batch_size=4, dtype="float32")


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An autoencoder of grey pictures, hardly trained."""
    folder = tmp_path_factory.mktemp("autoencoder")
    run(two_shards(folder), folder / "a", tiny(kind="autoencoder", size=16, steps=3))
    return folder / "a"


@pytest.fixture
def source(tmp_path: Path) -> list[str]:
    return two_shards(tmp_path)


def latent(autoencoder: Path, **fields: Any) -> TrainRecipe:
    """A training that takes a second, on latents of 4x4."""
    return tiny(**{"autoencoder": str(autoencoder), "size": 16, "channels": None, **fields})


@torch.inference_mode()
def encoded(vae: Any, x_0: np.ndarray[Any, Any]) -> torch.Tensor:
    """By diffusers alone, unscaled."""
    latents: torch.Tensor = vae.encode(torch.from_numpy(x_0)).latent_dist.mean
    return latents


def parts(folder: Path) -> tuple[Any, Any, Any]:
    """Autoencoder, network and scheduler, each by diffusers' own class."""
    vae: Any = AutoencoderKL.from_pretrained(folder / "vqvae")
    unet: Any = UNet2DModel.from_pretrained(folder / "unet")
    return vae, unet, DDPMScheduler.from_pretrained(folder / "scheduler")


@pytest.fixture(scope="module")
def trained(
    autoencoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str], TrainRecipe, list[Step]]:
    """The folder of a training, its source and the held-out shard, recipe and steps."""
    folder, recipe = tmp_path_factory.mktemp("trained"), latent(autoencoder, classes=10)
    shards = two_shards(folder)
    steps = run(shards[:1], folder / "c", recipe, held_back=shards[1:])
    return folder / "c", shards, recipe.model_copy(update={"channels": 1}), steps


Trained = tuple[Path, list[str], TrainRecipe, list[Step]]


def run_edits(editor: PictureEditor, edits: list[Edit]) -> list[Any]:
    return [made for _, made in editor.model.steps(4).run((None, edit) for edit in edits)]


def test_what_a_training_leaves(autoencoder: Path, trained: Trained) -> None:
    """A pipeline of diffusers, of the autoencoder and a denoiser of latents of variance 1."""
    folder, shards, recipe, _ = trained
    pipeline: Any = LDMPipeline.from_pretrained(folder)
    assert isinstance(pipeline.vqvae, AutoencoderKL)
    assert (pipeline.unet.config.in_channels, pipeline.unet.config.sample_size) == (4, 4)
    assert pipeline.unet.config.num_class_embeds == 11
    assert pipeline.scheduler.config.clip_sample is False
    before = load_file(autoencoder / "diffusion_pytorch_model.safetensors")
    after = load_file(folder / VAE)
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    first = taken(shards[:1], recipe, 64, Position())
    latents = torch.cat([encoded(pipeline.vqvae, batch.x_0) for batch in first])
    expected = 1 / latents.std(correction=0).item()
    assert pipeline.vqvae.config.scaling_factor == pytest.approx(expected, rel=1e-5)
    card = read_card(folder)
    assert card is not None
    assert (card.family, card.null_class) == ("LDMPipeline", 10)
    names = {path.name for path in (folder / "training").glob("*.png")}
    assert names == {"samples-000006.png", "reconstructions-000006.png"}


def test_what_is_held_back_is_measured_on_latents(trained: Trained) -> None:
    """Against diffusers' own autoencoder, scheduler and network, put together by hand."""
    folder, shards, recipe, steps = trained
    images = list(usable(shards[1:], Pictures(recipe)))
    vae, unet, scheduler = parts(folder)
    z_0 = encoded(vae, np.stack([image for image, _ in images])) * vae.config.scaling_factor
    labels = torch.tensor([label for _, label in images])
    generator = torch.Generator().manual_seed(recipe.seed)
    noise = torch.randn(z_0.shape, generator=generator)
    t = 50 + 100 * torch.randperm(10, generator=generator)
    with torch.inference_mode():
        z_t = scheduler.add_noise(z_0, noise, t)
        said = unet(z_t, t, class_labels=labels).sample
    alpha = scheduler.alphas_cumprod[t].sqrt().view(-1, 1, 1, 1)
    expected = (((1 - alpha**2).sqrt() * z_t + alpha * said) - noise).square().mean()
    assert steps[-1].held_back == pytest.approx(expected.item(), rel=1e-3)
    assert [event.step for event in events(folder).Scalars("held_back")] == [6]


def test_a_picture_is_edited_as_diffusers_parts_do_it(trained: Trained) -> None:
    """One call from the same picture, noise, class and time; and alone as among others."""
    folder, shards, recipe, _ = trained
    fields = Recipe(model=str(folder), condition="label", sampler="one-step", strength=0.6)
    editor = PictureEditor(fields, checkpoint_of(fields), FLOAT32)
    edits = []
    for number, (x_0, label) in enumerate(usable(shards[1:], Pictures(recipe))):
        levels = ((x_0[0] + 1) * 127.5).round().astype(np.uint8)
        edits += [
            draft.edit
            for draft in draft_copies(editor, Image.fromarray(levels), {"label": label}, [number])
        ]
    made = run_edits(editor, edits)
    vae, unet, scheduler = parts(folder)
    (t,) = edits[0].trajectory.timesteps
    x_0 = np.stack([edit.x_0 for edit in edits if edit.x_0 is not None])
    z_0 = encoded(vae, x_0) * vae.config.scaling_factor
    noise = torch.from_numpy(np.stack([edit.noise[0] for edit in edits]))
    labels = torch.stack([edit.condition[0] for edit in edits])
    with torch.inference_mode():
        z_t = scheduler.add_noise(z_0, noise, torch.tensor([t]))
        said = unet(z_t, t, class_labels=labels).sample
        estimate = scheduler.step(said, t, z_t).pred_original_sample
        expected = vae.decode(estimate / vae.config.scaling_factor).sample.numpy()
    assert expected.std() > 0.01
    np.testing.assert_allclose(np.stack(made), expected, atol=1e-4)
    for edit, one in zip(edits, made, strict=True):
        assert run_edits(editor, [edit])[0].tobytes() == one.tobytes()


def test_augment_takes_it(trained: Trained, tmp_path: Path) -> None:
    folder, shards, _, _ = trained
    rows = augmented(shards[:1], tmp_path, model=str(folder), condition="label", copies=2)
    assert rows.status.tolist() == ["ok"] * 20
    assert set(rows.model_digest) == {find_checkpoint(str(folder)).digest}
    assert rows.score_ssim.nunique() == 20


def test_its_autoencoder_is_not_exchanged(trained: Trained, autoencoder: Path) -> None:
    fields = Recipe(model=str(trained[0]), autoencoder=str(autoencoder))
    with pytest.raises(ConfigError, match="knows only the latents of its own"):
        load_model(checkpoint_of(fields), FLOAT32)


def test_parts_of_different_models_are_refused(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    shutil.copytree(trained[0], folder)
    config = json.loads((folder / "vqvae/config.json").read_text())
    for fields, says in (
        ({"latent_channels": 3}, "weights in .* fit|cannot be loaded"),
        ({"_class_name": "VQModel"}, "its autoencoder is of the kind VQModel"),
    ):
        (folder / "vqvae/config.json").write_text(json.dumps(config | fields))
        with pytest.raises(ConfigError, match=says):
            load_model(find_checkpoint(str(folder)), FLOAT32)
    other: Any = AutoencoderKL(norm_num_groups=1, latent_channels=3)
    other.save_pretrained(folder / "vqvae")
    with pytest.raises(ConfigError, match="4 channels; must be 3, as its latents have"):
        load_model(find_checkpoint(str(folder)), FLOAT32)


def test_it_goes_on_without_the_folder_of_its_autoencoder(
    autoencoder: Path, source: list[str], tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    run(source, mine, tiny(kind="autoencoder", size=16, steps=1))
    recipe = latent(mine, steps=8, classes=10)
    straight = run(source, tmp_path / "straight", recipe)
    first = train(
        source, tmp_path / "halves", recipe, dtype="float32", device="cpu", checkpoint_minutes=1e-9
    )
    begun = list(islice(first, 5))
    first.close()  # type: ignore[attr-defined]
    mine.rename(tmp_path / "moved")
    rest = run(source, tmp_path / "halves", recipe, resume=True)
    assert [step.loss for step in begun + rest] == [step.loss for step in straight]
    same(tmp_path / "straight", tmp_path / "halves")
    for name in (VAE, "vqvae/config.json"):
        assert (tmp_path / "straight" / name).read_bytes() == (
            tmp_path / "halves" / name
        ).read_bytes()


def test_latents_do_not_depend_on_what_is_encoded_with_them(
    autoencoder: Path, source: list[str]
) -> None:
    vae: Any = AutoencoderKL.from_pretrained(autoencoder)
    latents = Latents(vae, (1, 16, 16), FLOAT32)
    (batch,) = taken(source, tiny(size=16, batch_size=20), 1, Position())
    together = latents.encoded(batch.x_0)
    np.testing.assert_allclose(together, encoded(vae, batch.x_0).numpy(), atol=1e-5)
    alone = Latents(vae, (1, 16, 16), FLOAT32)
    for image, expected in zip(batch.x_0, together, strict=True):
        assert (alone.encoded(image[None]) == expected).all()
    again = np.concatenate([batch.x_0[3:9], batch.x_0[3:9, :, :, ::-1], batch.x_0[3:4]])
    known = latents.encoded(again)
    assert (known[:6] == together[3:9]).all()
    assert (known[12] == together[3]).all()
    assert (known[6:12] == Latents(vae, (1, 16, 16), FLOAT32).encoded(again[6:12])).all()
    assert (known[6:12] != known[:6]).any()


def test_it_goes_on_with_another_training_of_the_same_latents(
    autoencoder: Path, source: list[str], tmp_path: Path
) -> None:
    """With the scale that the weights were trained with, whatever the new pictures are."""
    run(source[:1], tmp_path / "first", latent(autoencoder, seed=1))
    first = str(tmp_path / "first")
    still = latent(Path(first), init=first, steps=2, learning_rate=1e-30, weight_decay=0)
    run(source[1:], tmp_path / "c", still)
    for name in ("unet/diffusion_pytorch_model.safetensors", VAE):
        before = load_file(tmp_path / "first" / name)
        for key, value in load_file(tmp_path / "c" / name).items():
            torch.testing.assert_close(value, before[key], atol=1e-7, rtol=0)
    configs = [json.loads((tmp_path / n / "vqvae/config.json").read_text()) for n in ("first", "c")]
    assert configs[0]["scaling_factor"] == configs[1]["scaling_factor"]
    other = tmp_path / "other"
    run(source, other, tiny(kind="autoencoder", size=16, steps=1, seed=7))
    for recipe, says in (
        (latent(other, init=first), "trained on the latents of another autoencoder"),
        (latent(autoencoder, init="fashion-mnist-32"), "is a DDPMPipeline, and with an autoenc"),
        (latent(autoencoder, init=first, classes=10), "weights of .*first do not fit this network"),
        (tiny(size=16, init=first), "LDMPipeline cannot be trained or sampled here"),
    ):
        with pytest.raises(ConfigError, match=says):
            run(source, tmp_path / "d", recipe)
        assert not (tmp_path / "d").exists()


def test_a_model_is_continued_on_latents_of_its_own_scale_and_shift(
    autoencoder: Path, trained: Trained, source: list[str]
) -> None:
    """Also where the autoencoder's own folder shifts them, as those of Stable Diffusion 3 do."""
    vae: Any = AutoencoderKL.from_pretrained(autoencoder)
    vae.register_to_config(scaling_factor=1.5, shift_factor=0.6)
    scale_as(vae, str(trained[0]))
    theirs, _, _ = parts(trained[0])
    (batch,) = taken(source, tiny(size=16), 1, Position())
    found = Latents(vae, (1, 16, 16), FLOAT32).encoded(batch.x_0)
    expected = encoded(theirs, batch.x_0) * theirs.config.scaling_factor
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(("crop", "calls"), [(0, 1), (0.1, 3)])
def test_only_latents_that_are_read_again_are_kept(
    autoencoder: Path,
    source: list[str],
    crop: float,
    calls: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A random crop never comes again."""
    vae: Any = AutoencoderKL.from_pretrained(autoencoder)
    made: list[int] = []
    vae.encoder.register_forward_hook(lambda *given: made.append(len(given[1][0])))
    recipe = latent(autoencoder, channels=1, crop=crop)
    monkeypatch.setattr("diffaug.train.task.open_autoencoder", lambda *given: vae)
    _, _, task = prepare(recipe, source, tmp_path, dtype="float32", device="cpu")
    (batch,) = taken(source, recipe, 1, Position())
    for _ in range(3):
        task.inputs(batch.x_0)
    assert len(made) == calls


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"channels": 3}, "channels: 3, but the autoencoder .* encodes pictures of 1"),
        ({"size": 8, "network": "base"}, "network: .* for latents of 2x2"),
    ],
)
def test_what_does_not_fit_is_refused(
    autoencoder: Path, source: list[str], tmp_path: Path, fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        run(source, tmp_path / "c", latent(autoencoder, **fields))
    assert not (tmp_path / "c").exists()


def test_folders_that_hold_no_autoencoder_are_refused(
    autoencoder: Path, source: list[str], tmp_path: Path
) -> None:
    pixels, empty = tmp_path / "pixels", tmp_path / "empty"
    run(source, pixels, tiny(steps=1))
    empty.mkdir()
    deep: Any = AutoencoderKL(
        block_out_channels=(8,) * 5,
        down_block_types=("DownEncoderBlock2D",) * 5,
        up_block_types=("UpDecoderBlock2D",) * 5,
        norm_num_groups=1,
        in_channels=1,
        out_channels=1,
    )
    deep.save_pretrained(tmp_path / "deep")
    constant: Any = AutoencoderKL.from_pretrained(autoencoder)
    torch.nn.init.zeros_(constant.quant_conv.weight)
    torch.nn.init.zeros_(constant.quant_conv.bias)
    constant.save_pretrained(tmp_path / "constant")
    for folder, says in (
        (Path("nowhere"), "no such autoencoder: nowhere"),
        (pixels, "no readable config.json at its top, in vae/ or in vqvae/"),
        (pixels / "unet", "it is a UNet2DModel, not an autoencoder"),
        (empty, "no readable config.json at its top, in vae/ or in vqvae/"),
        (tmp_path / "constant", "its latents have a standard deviation of 0"),
    ):
        with pytest.raises(ConfigError, match=says):
            run(source, tmp_path / "c", latent(folder))
    with pytest.raises(ConfigError, match="size: 24 is not a multiple of 16"):
        run(source, tmp_path / "c", latent(tmp_path / "deep", size=24))
    assert not (tmp_path / "c").exists()


# --- TAEF2


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder like the published one, its weights drawn at random."""
    torch.manual_seed(0)
    network: Any = TAEF2().half()
    folder = tmp_path / "taef2"
    folder.mkdir()
    for half, name in zip((network.encoder, network.decoder), FILES, strict=True):
        torch.save(half.state_dict(), folder / name)
    return folder


def test_a_denoiser_of_its_latents_carries_a_copy_of_it(
    published: Path, source: list[str], tmp_path: Path
) -> None:
    run(source, tmp_path / "c", latent(published, size=32, steps=2))
    copied = load_file(tmp_path / "c" / VAE)
    for half, name in zip(("encoder", "decoder"), FILES, strict=True):
        for key, weight in torch.load(published / name, weights_only=True).items():
            assert torch.equal(copied.pop(f"{half}.{key}"), weight)
    assert not copied
    assert "Ollin Boer Bohan" in (tmp_path / "c/vqvae/LICENSE").read_text()
    assert "MIT licence" in (tmp_path / "c/README.md").read_text()
    assert not list((tmp_path / "c").rglob("*.pth"))
    rows = augmented(source[:1], tmp_path / "out", model=str(tmp_path / "c"))
    assert rows.status.tolist() == ["ok"] * 10
    again = latent(tmp_path / "c", init=str(tmp_path / "c"), size=32, steps=1)
    assert len(run(source, tmp_path / "d", again)) == 1
    other = Recipe(model=str(tiny_models.dit(tmp_path / "dit")), autoencoder=str(tmp_path / "c"))
    with pytest.raises(ConfigError, match="autoencoder: it is a TAEF2, and model"):
        load_model(checkpoint_of(other), FLOAT32)


def test_the_weights_in_a_checkpoint_are_its_safetensors(
    published: Path, trained: Trained, tmp_path: Path
) -> None:
    """Its digest covers no pickle, so none may decide what it draws or what is trained on it."""
    folder = tmp_path / "c"
    shutil.copytree(trained[0], folder)
    digest = find_checkpoint(str(folder)).digest
    for name in FILES:
        shutil.copy(published / name, folder / "vqvae")
    assert find_checkpoint(str(folder)).digest == digest
    assert isinstance(read_autoencoder("x", folder / "vqvae"), AutoencoderKL)
    assert load_model(find_checkpoint(str(folder)), FLOAT32).shape == (1, 16, 16)
    again = open_autoencoder(trained[2], folder)
    assert isinstance(again, AutoencoderKL)
    scale_as(again, str(folder))


def test_a_missing_half_is_named(published: Path, source: list[str], tmp_path: Path) -> None:
    (published / FILES[1]).unlink()
    with pytest.raises(ConfigError, match=r"taef2_decoder\.pth is missing; .*: download it too"):
        run(source, tmp_path / "c", latent(published, size=32))
    assert not (tmp_path / "c").exists()


class _Harmful:
    def __reduce__(self) -> Any:
        return print, ("unpickled",)


def test_other_weights_under_its_names_are_refused(
    published: Path, source: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = published / FILES[1]
    whole = path.read_bytes()
    for data in (b"", whole[:1000], (published / FILES[0]).read_bytes(), pickle.dumps(_Harmful())):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=r"taef2_decoder\.pth does not hold the weights of"):
            run(source, tmp_path / "c", latent(published, size=32))
    assert "unpickled" not in capsys.readouterr().out
    assert not (tmp_path / "c").exists()

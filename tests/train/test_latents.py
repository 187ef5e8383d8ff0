"""Training a denoiser on the latents of an autoencoder."""

from __future__ import annotations

import json
import pickle
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, LDMPipeline, UNet2DModel
from safetensors.torch import load_file

from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models import find_checkpoint
from diffaug.models.card import read_card
from diffaug.models.families.taef2 import FILES, TAEF2
from diffaug.train.data import Position, usable
from diffaug.train.held_back import HeldBack
from diffaug.train.latents import Latents
from diffaug.train.loop import train
from diffaug.train.recipe import TrainRecipe
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


def test_what_a_training_leaves(autoencoder: Path, source: list[str], tmp_path: Path) -> None:
    """A pipeline of diffusers, of the autoencoder and a denoiser of latents of variance 1."""
    recipe = latent(autoencoder, classes=10)
    run(source, tmp_path / "c", recipe)
    pipeline: Any = LDMPipeline.from_pretrained(tmp_path / "c")
    assert isinstance(pipeline.vqvae, AutoencoderKL)
    assert (pipeline.unet.config.in_channels, pipeline.unet.config.sample_size) == (4, 4)
    assert pipeline.unet.config.num_class_embeds == 11
    assert pipeline.scheduler.config.clip_sample is False
    before = load_file(autoencoder / "diffusion_pytorch_model.safetensors")
    after = load_file(tmp_path / "c" / VAE)
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    first = taken(source, recipe.model_copy(update={"channels": 1}), 64, Position())
    latents = torch.cat([encoded(pipeline.vqvae, batch.x_0) for batch in first])
    expected = 1 / latents.std(correction=0).item()
    assert pipeline.vqvae.config.scaling_factor == pytest.approx(expected, rel=1e-5)
    card = read_card(tmp_path / "c")
    assert card is not None
    assert (card.family, card.null_class) == ("LDMPipeline", 10)
    names = {path.name for path in (tmp_path / "c/training").glob("*.png")}
    assert names == {"samples-000006.png", "reconstructions-000006.png"}


def test_without_classes_diffusers_generates_with_it(
    autoencoder: Path, source: list[str], tmp_path: Path
) -> None:
    run(source, tmp_path / "c", latent(autoencoder, steps=1))
    pipeline: Any = LDMPipeline.from_pretrained(tmp_path / "c")
    pipeline.vqvae.register_to_config(scaling_factor=1.0)
    assert pipeline.unet.config.num_class_embeds is None
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.isfinite(pipeline.vqvae.decode(pipeline.unet(noise, 999).sample).sample).all()


def test_what_is_held_back_is_measured_on_latents(
    autoencoder: Path, source: list[str], tmp_path: Path
) -> None:
    """Against diffusers' own autoencoder, scheduler and network, put together by hand."""
    recipe = latent(autoencoder, steps=4, classes=10)
    steps = run(source[:1], tmp_path / "c", recipe, held_back=source[1:])
    settled = recipe.model_copy(update={"channels": 1})
    apart, images = HeldBack(source[1:], settled), list(usable(source[1:], settled))
    vae: Any = AutoencoderKL.from_pretrained(tmp_path / "c/vqvae")
    unet: Any = UNet2DModel.from_pretrained(tmp_path / "c/unet")
    scheduler: Any = DDPMScheduler.from_pretrained(tmp_path / "c/scheduler")
    z_0 = encoded(vae, np.stack([image for image, _ in images])) * vae.config.scaling_factor
    labels, t = torch.tensor([label for _, label in images]), apart.times(1000)
    noise = torch.randn(z_0.shape, generator=torch.Generator().manual_seed(recipe.seed))
    with torch.inference_mode():
        # the times are drawn after noise of the latents' shape
        times = HeldBack(source[1:], settled, lambda x_0: z_0.numpy()).times(1000)
        z_t = scheduler.add_noise(z_0, noise, times)
        said = unet(z_t, times, class_labels=labels).sample
    assert sorted(times.tolist()) == sorted(t.tolist())
    alpha = scheduler.alphas_cumprod[times].sqrt().view(-1, 1, 1, 1)
    expected = (((1 - alpha**2).sqrt() * z_t + alpha * said) - noise).square().mean()
    assert steps[-1].held_back == pytest.approx(expected.item(), rel=1e-3)
    assert [event.step for event in events(tmp_path / "c").Scalars("held_back")] == [4]


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


def test_augment_takes_it(autoencoder: Path, source: list[str], tmp_path: Path) -> None:
    """The whole way, against diffusers' parts put together by hand: noise none, as one call is."""
    run(source, tmp_path / "c", latent(autoencoder, classes=10))
    rows = augmented(
        source[:1], tmp_path / "out", model=str(tmp_path / "c"), condition="label", copies=2
    )
    assert rows.status.tolist() == ["ok"] * 20
    assert set(rows.model_digest) == {find_checkpoint(str(tmp_path / "c")).digest}
    assert rows.score_ssim.nunique() == 20


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"autoencoder": "nowhere"}, "no such autoencoder: nowhere"),
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
        (pixels, "no readable config.json at its top or in vae/"),
        (pixels / "unet", "it is a UNet2DModel, not an autoencoder"),
        (empty, "no readable config.json at its top or in vae/"),
        (tmp_path / "constant", "its latents have a standard deviation of 0"),
    ):
        with pytest.raises(ConfigError, match=says):
            run(source, tmp_path / "c", latent(folder))
    with pytest.raises(ConfigError, match="size: 24 is not a multiple of 16"):
        run(source, tmp_path / "c", latent(tmp_path / "deep", size=24))
    assert not (tmp_path / "c").exists()
    (tmp_path / "pixels/vqvae").mkdir()


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
        with pytest.raises(ConfigError, match="taef2_decoder.pth does not hold the weights of"):
            run(source, tmp_path / "c", latent(published, size=32))
    assert "unpickled" not in capsys.readouterr().out
    assert not (tmp_path / "c").exists()

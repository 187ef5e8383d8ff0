"""A denoiser of whole clips: trained, saved, loaded, and a job that uses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel

import diffaug
from diffaug.errors import ConfigError
from diffaug.train.data import Position, batches
from diffaug.train.pictures import Pictures, settle
from diffaug.train.recipe import TrainRecipe
from tests.conftest import Cli
from tests.support.clips import container, decoded, moving, write_clips
from tests.support.forks import Forks
from tests.support.jobs import augmented, differences, output_bytes, planned

FRAMES = 4


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clips = {str(n): container(moving(FRAMES + n % 3, (16, 16), seed=n)) for n in range(6)}
    return write_clips(tmp_path_factory.mktemp("clips") / "clips.tar", clips)


@pytest.fixture(scope="module")
def model(source: Path, forked: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    flags = ["--frames=4", "--network=tiny", "--steps=3", "--batch-size=4", "--preview-steps=2"]
    flags += ["--classes=6", f"--held-back={source}"]
    forked("train", source, folder, *flags).check_returncode()
    return folder


def test_a_sample_is_the_channels_of_its_frames(source: Path) -> None:
    recipe = settle(TrainRecipe(frames=FRAMES, batch_size=6, shuffle=1), [str(source)])
    assert (recipe.size, recipe.channels, recipe.sample_shape) == (16, 3, (12, 16, 16))
    batch = next(batches([str(source)], recipe, Pictures(recipe), Position()))
    assert batch.x_0.shape == (6, 12, 16, 16)
    of_three = np.rint((batch.x_0[0].reshape(4, 3, 16, 16) + 1) * 127.5).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(of_three, moving(FRAMES, (16, 16), seed=0))
    longer = np.rint((batch.x_0[2].reshape(4, 3, 16, 16) + 1) * 127.5).transpose(0, 2, 3, 1)
    whole = moving(FRAMES + 2, (16, 16), seed=2)
    runs = [whole[begin : begin + FRAMES] for begin in range(3)]
    assert any(np.array_equal(longer, run) for run in runs)


def test_it_is_a_folder_that_diffusers_loads(model: Path) -> None:
    unet = UNet2DModel.from_pretrained(model / "unet")
    assert unet.config["in_channels"] == 3 * FRAMES
    loaded = diffaug.DiffusionModel.from_pretrained(model)
    assert loaded.frames == FRAMES
    assert loaded.sample(2, steps=2).shape == (2, 12, 16, 16)
    assert sorted(path.name for path in (model / "training").glob("samples-*.png"))


def test_a_job_makes_clips_of_clips(model: Path, source: Path, tmp_path: Path) -> None:
    fields = {"model": str(model), "strength": 0.5, "steps": 4, "sampler": "ddim", "frames": 4}
    rows = augmented([source], tmp_path / "out", **fields, dtype="float32")
    assert (rows["status"] == "ok").all()
    assert rows["noise_time"].isna().all()
    assert differences(tmp_path / "out") == []
    from diffaug.clips.clip import Selection, clip_sha256
    from diffaug.clips.decode import decode_clip
    from diffaug.diffusion.noise import SampleRandom

    first = rows[rows["source_key"] == "0"].iloc[0]
    clip = decode_clip(container(moving(4, (16, 16), seed=0)), 10**6, None, Selection())
    noise = torch.from_numpy(SampleRandom(0, clip_sha256(clip), 0).normal((12, 16, 16)))
    frames = moving(4, (16, 16), seed=0).transpose(0, 3, 1, 2).reshape(1, 12, 16, 16)
    x_0 = torch.from_numpy(frames).float() / 127.5 - 1
    loaded = diffaug.DiffusionModel.from_pretrained(model)
    x = loaded.add_noise(x_0, torch.tensor([500]), noise[None])
    for time, after in ((500, 250), (250, None)):
        clean = loaded.denoise(x, torch.tensor([time])).clamp(-1, 1)
        alpha, sigma = loaded.denoiser.schedule.alpha_t, loaded.denoiser.schedule.sigma_t
        epsilon = (x - alpha[time] * clean) / sigma[time]
        x = clean if after is None else alpha[after] * clean + sigma[after] * epsilon
    wanted = ((x + 1) * 127.5).round().clamp(0, 255).reshape(4, 3, 16, 16).permute(0, 2, 3, 1)
    found = decoded(output_bytes(tmp_path / "out", first))[0]
    assert np.abs(found.astype(int) - wanted.detach().numpy()).max() <= 1


def test_a_clip_of_another_length_is_refused(model: Path, source: Path, tmp_path: Path) -> None:
    rows = augmented([source], tmp_path / "out", model=str(model), strength=0.5)
    assert rows["status"].tolist().count("failed") == 4
    reason = rows[rows["status"] == "failed"]["reason"].iloc[0]
    assert "the clip has 5 frames" in reason
    assert "takes 4" in reason


def test_noise_is_the_models_own(model: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"noise_time: model .* takes a clip as a whole"):
        planned([source], tmp_path / "out", model=str(model), noise_time="shared")
    with pytest.raises(ConfigError, match=r"takes clips of 4 frames; give medium=clip"):
        planned([source], tmp_path / "out", model=str(model), medium="image")


def test_clips_that_are_too_short_are_named(source: Path, tmp_path: Path, cli: Cli) -> None:
    said = cli("train", source, tmp_path / "model", "--frames=9", "--network=tiny", "--steps=1")
    said.assert_mistake("the clip has 4 frames, fewer than frames=9")


def test_samples_are_strips(model: Path, tmp_path: Path, cli: Cli) -> None:
    assert (
        cli("sample", model, "-o", tmp_path / "drawn.png", "--number", "2", "--steps", "2").code
        == 0
    )
    cli("sample", model, "-o", tmp_path / "drawn.tar").assert_mistake("draws clips")

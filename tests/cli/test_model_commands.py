"""`diffaug train` and `diffaug sample` as commands."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SHARDS, Cli
from tests.support import tiny
from tests.support.forks import Forks
from tests.support.hostile import fashion, png, write_samples

Trained = tuple[Path, subprocess.CompletedProcess[str]]

TINY = ["--network", "tiny", "--size", "8", "--batch-size", "4", "--steps", "3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, forked: Forks) -> Trained:
    """A model trained by the command, on a shard in which one image is torn."""
    folder = tmp_path_factory.mktemp("trained")
    torn = {"__key__": b"torn", "png": png(5)[:60], "cls": b"3"}
    shard = write_samples(folder / "s.tar", [torn, *fashion(11)])
    done = forked("train", shard, folder / "model", *TINY, "--classes", "10", "--shuffle", "4")
    assert done.returncode == 0, done.stderr
    return folder / "model", done


def test_training_says_how_it_went(trained: Trained) -> None:
    model, done = trained
    assert "step 3 of 3: loss" in done.stderr
    assert "torn: the image cannot be decoded" in done.stderr
    assert "3 steps, 12 images, 1 skipped" in done.stdout
    use = shlex.split(done.stderr.splitlines()[-1].removeprefix("next: "))
    assert use[:2] == ["diffaug", "augment"]
    assert use[-2:] == ["--model", str(model)]


def test_its_model_augments_and_samples(trained: Trained, tmp_path: Path, cli: Cli) -> None:
    model, _ = trained
    flags = ["--condition", "label", "--sampler", "one-step", "--batch-size", "4"]
    said = cli("augment", SHARDS[0], tmp_path / "out", "--model", model, *flags)
    assert said.code == 0, said
    flags = ["-n", "6", "--columns", "3", "--steps", "2", "--label", "all", "--batch-size", "4"]
    said = cli("sample", model, "-o", tmp_path / "grid.png", *flags)
    assert said.code == 0, said
    assert "6 images in" in said.out
    with Image.open(tmp_path / "grid.png") as sheet:
        assert np.asarray(sheet).std() > 5


def test_an_autoencoder_and_a_denoiser_of_its_latents(tmp_path: Path, cli: Cli) -> None:
    """From shards to pictures drawn and edited, by commands alone."""
    shards = [write_samples(tmp_path / f"{n}.tar", fashion(8, 8 * n)) for n in range(2)]
    flags = ["--network", "tiny", "--size", "16", "--batch-size", "4", "--steps", "2"]
    first, second = tmp_path / "first", tmp_path / "second"
    said = cli("train", shards[0], first, "--kind", "autoencoder", *flags, "--held-back", shards[1])
    assert said.code == 0, said
    assert re.search(r"step 2: held-out PSNR \d+\.\d\d dB", said.err)
    assert f"--autoencoder {first}" in said.err
    flags += ["--autoencoder", str(first), "--classes", "10"]
    said = cli("train", shards[0], second, *flags, "--held-back", shards[1])
    assert said.code == 0, said
    assert "step 2: held-out noise loss" in said.err
    assert f"--model {second}" in said.err
    said = cli("sample", second, "-n", "2", "--label", "3", "-o", tmp_path / "x.png")
    assert said.code == 0, said
    said = cli("augment", shards[1], tmp_path / "out", "--model", second, "--sampler", "one-step")
    assert said.code == 0, said
    assert cli("verify", tmp_path / "out", "--replay", "2").code == 0
    said = cli("augment", shards[1], tmp_path / "none", "--model", first)
    assert said.code == 2
    assert "has no model_index.json. It seems to be a single network" in said.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", str(SHARDS[0])], "train requires SOURCE... CHECKPOINT"),
        (["train", str(SHARDS[0]), "{tmp}", "--size", "30"], "size: .* multiple of 8"),
        (["train", "{tmp}/none.tar", "{tmp}/c"], "no such shard"),
        (
            ["train", str(SHARDS[0]), "{tmp}/c", "--kind", "autoencoder", "--schedule", "cosine"],
            "--schedule does nothing with --kind autoencoder",
        ),
        (["train", str(SHARDS[0]), "{tmp}/c", "--autoencoder", "{tmp}"], "autoencoder .*config.js"),
        (["train", str(SHARDS[0]), "{tmp}/c", "--recipe", "{tmp}/none.yaml"], "cannot read the"),
        (
            ["train", str(SHARDS[0]), str(SHARDS[0]), *TINY],
            "cannot write to .*fashion-mnist-000000",
        ),
        (["train", str(SHARDS[0]), "memory://c"], "CHECKPOINT must be a local folder"),
        (["train", str(SHARDS[0]), "{tmp}/c", "--preview-steps", "0"], "must be more than 0"),
        (["sample", "{tmp}/none"], "no such model"),
        (["sample", "fashion-mnist-32", "-n", "0"], "must be at least 1"),
        (["sample", "fashion-mnist-32", "--label", "10"], "the model has 10 classes"),
        (
            ["sample", "fashion-mnist-32", "--label", "shoe"],
            "--label must be none, all, or classes",
        ),
        (["sample", "fashion-mnist-32", "--guidance", "2"], "no class to guide towards"),
        (["sample", "fashion-mnist-32", "--eta", "0.5"], "eta belongs to the sampler ddim"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], says: str, tmp_path: Path, cli: Cli
) -> None:
    said = cli(*(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert said.code == 2
    assert re.search(says, said.err.replace("\n", " ")), said


def test_sample_names_its_own_flag_for_a_class_that_is_missing(tmp_path: Path, cli: Cli) -> None:
    folder = tiny.consistency(tmp_path / "conditional", num_class_embeds=5)
    said = cli("sample", folder, "-o", tmp_path / "x.png")
    assert said.code == 2
    assert "conditional requires a class for every image: all, or 0,3" in said.err.replace(
        "\n", " "
    )
    assert cli("sample", folder, "-n", "2", "--label", "all", "-o", tmp_path / "x.png").code == 0

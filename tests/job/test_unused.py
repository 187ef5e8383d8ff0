"""What a new job would leave unused is refused; where it counts, or the job goes on, it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from diffaug import ConfigError, Recipe
from diffaug.job.unused import refuse_unused
from tests.conftest import SHARDS, Cli
from tests.support.outputs import write_output

FAST = ("--model=fashion-mnist-32", "--sampler=one-step", "--batch-size=4")


def refuse(fields: dict[str, Any], output: str = "nowhere", planned: Any = None) -> None:
    recipe = Recipe(**fields)
    refuse_unused(recipe, planned or recipe, output, fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"strength": "0.1,0.3,0.5"},
            "strength: 3 are given and cycled over copies, of which there is 1: the last 2 would "
            "not be used; raise copies to 3, or leave them out",
        ),
        ({"strength": (0.1, 0.3, 0.5), "copies": 2}, "of which there are 2: the last 1 would not"),
        ({"prompt": ("a {label}", "b")}, "prompt: 2 are given and cycled over copies"),
        (
            {"eta": 0.5, "sampler": "ddim", "strength": 0.1, "steps": 10},
            "eta does nothing with one call, which strength 0.1 of 10 steps makes",
        ),
        (
            {"carry": ("json", "png"), "format": "png"},
            "carry: png is the name of the results (format=png), and a sample has a name once",
        ),
        ({"carry": ("diffaug.json",)}, "carry: every result has a diffaug.json of its own"),
        ({"embeddings": "x.safetensors"}, "embeddings do nothing without a prompt"),
        (
            {"guidance": 3, "guidance_interval": "0.6:1", "strength": "0.2:0.5"},
            "guidance_interval: it begins at 0.6, and no image is noised further than to 0.5",
        ),
    ],
)
def test_what_no_image_is_made_with(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse(fields)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"strength": "0.1,0.3,0.5", "copies": 3},
        {"strength": "0.1,0.3,0.5", "copies": 5},
        {"strength": "0.1:0.5"},
        {"strength": (0.1,)},
        {"prompt": ("a", "b"), "copies": 2},
        {"carry": ("png",), "format": "webp"},
        {"carry": ("mask.png",), "format": "png"},
        {"carry": ("png", "diffaug.json"), "format": "png", "layout": "paired"},
        {"steps": 7},
        {"steps": 7, "sampler": "one-step"},  # a row records them, as of the other samplers
        {"eta": 0.5, "sampler": "ddim", "strength": (0.1, 0.2), "copies": 2, "steps": 10},
        {"embeddings": "x", "prompt": "a <cat>"},
        {"embeddings": "x", "negative_prompt": "a <cat>", "guidance": 2},
        {"guidance": 3, "guidance_interval": "0.2:0.5", "strength": (0.1, 0.3), "copies": 2},
    ],
)
def test_what_counts(fields: dict[str, Any]) -> None:
    refuse(fields)


def test_what_a_file_sets_for_other_uses_is_let_be() -> None:
    recipe = Recipe(steps=7, sampler="one-step", embeddings="x")
    refuse_unused(recipe, recipe, "nowhere")


def test_a_list_that_the_card_suggests_is_nobody_s_mistake() -> None:
    refuse({"steps": 4}, planned=Recipe(strength=(0.2, 0.4), steps=4))


def test_a_job_that_has_begun_goes_on(tmp_path: Path) -> None:
    refuse({"strength": "0.1,0.3,0.5"}, output=str(write_output(tmp_path / "out")))


def test_flags_of_augment(tmp_path: Path, cli: Cli) -> None:
    asked = ("augment", SHARDS[0], tmp_path / "out", *FAST)
    cli(*asked, "--strength", "0.1,0.3,0.5").assert_mistake("raise copies to 3")
    cli(*asked, "--strength", "0.1,0.3,0.5", "--dry-run").assert_mistake("raise copies to 3")
    cli(*asked, "--dry-run", "--pilot", "2").assert_mistake("give one of the two")
    (tmp_path / "r.yaml").write_text("strength: [0.1, 0.3]\nsteps: 5\n")
    cli(*asked, "--recipe", tmp_path / "r.yaml").assert_mistake("raise copies to 2")
    assert not (tmp_path / "out").exists()
    assert cli(*asked, "--recipe", tmp_path / "r.yaml", "--copies", "2", "--dry-run").code == 0


def test_flags_of_sample(tmp_path: Path, cli: Cli) -> None:
    asked = ("sample", "fashion-mnist-32", "--number", "2", "--batch-size", "2", "-o")
    grid, folder = tmp_path / "x.png", tmp_path / "x"
    cli(*asked, folder, "--columns", "4").assert_mistake("--columns is for a grid")
    cli(*asked, tmp_path / "x.tar", "--columns", "4").assert_mistake("--columns is for a grid")
    said = cli(*asked, grid, "--label", "0,3,9")
    said.assert_mistake("--label names 3 classes for 2 samples")
    assert [*tmp_path.iterdir()] == []
    assert cli(*asked, grid, "--columns", "1", "--label", "all", "--sampler", "one-step").code == 0


def test_flags_of_train(tmp_path: Path, cli: Cli) -> None:
    asked = ("train", SHARDS[0], tmp_path / "c", "--network", "tiny")
    for flag in ("--class-dropout=0.1", "--label-key=cls", "--unlabelled=keep"):
        name = flag.partition("=")[0]
        cli(*asked, flag).assert_mistake(f"{name} does nothing without --classes")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--test", "T", "--budget", "9"], "--budget is for --search"),
        (["--search", "strength=0.1:0.9", "--arms", "real"], "--arms does nothing with --search"),
        (["--search", "strength=0.1:0.9", "--seeds", "3"], "--seeds does nothing with --search"),
        (["--search", "strength=0.1:0.9", "--labels", "2,4"], "but for the last of several"),
        (
            ["--test", "T", "--arms", "one-step", "--strengths", "0.3"],
            "nothing without reconstruct",
        ),
        (["--test", "T", "--arms", "one-step", "--sampler", "ddim"], "nothing without reconstruct"),
        (["--test", "T", "--arms", "real", "--copies", "3"], "nothing without an arm of diffusion"),
        (
            ["--test", "T", "--arms", "reconstruct", "--one-step-strengths", "0.3"],
            "--one-step-strengths does nothing without the arm one-step",
        ),
        (["--test", "T", "--arms", "blur,mixup"], "arms: blur matches an arm of diffusion"),
    ],
)
def test_flags_of_evaluate(flags: list[str], said: str, tmp_path: Path, cli: Cli) -> None:
    cli("evaluate", SHARDS[0], tmp_path / "out", *flags).assert_mistake(said)

"""A leading `~` is the home folder in every path of every command, and no folder named `~` is made.

A shell replaces it in `--output ~/x`, and neither in `--output=~/x` nor in quotes or a YAML file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffaug.models import placed
from diffaug.output.evaluation import EvaluationOutput
from diffaug.pictures.gallery import write_images
from diffaug.recipe import Recipe
from tests.conftest import Cli
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import manifest, members

FAST = ("--model=fashion-mnist-32", "--sampler=one-step", "--batch-size=8")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder with a shard in `in`; the current folder is another, and must stay empty."""
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    write_samples(home / "in/s.tar", fashion(2))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    yield home
    assert list(here.iterdir()) == []


def test_a_job_its_check_and_its_replay(home: Path, cli: Cli) -> None:
    (home / "recipe.yaml").write_text("model: fashion-mnist-32\nstrength: 0.3\nsampler: one-step\n")
    said = cli("augment", "~/in/*.tar", "~/out", "--recipe=~/recipe.yaml", "--batch-size=8")
    assert said.code == 0, said
    rows = manifest(home / "out")
    assert set(rows["source_shard"]) == {str(home / "in/s.tar")}
    assert set(rows["strength"]) == {0.3}
    for command in ("verify", "compact", "report"):
        assert cli(command, "~/out").code == 0
    assert (home / "out/report/index.html").is_file()
    for flag, name in (("--file=~/1.png", "1.png"), ("-o=file:~/2.png", "2.png")):
        assert cli("replay", "~/out", rows["sample_id"][0], flag).code == 0
        assert (home / name).is_file()
    assert cli("augment", "~/in/s.tar", "~/out", "--redo=~/in/s.tar", *FAST, "--dry-run").code == 2
    again = ("--recipe=~/recipe.yaml", "--redo=~/in/s.tar", "--dry-run")
    assert "1 of 1 shards to do" in cli("augment", "~/in/s.tar", "~/out", *again).out


def test_generated_images(home: Path, cli: Cli) -> None:
    said = cli("sample", "fashion-mnist-32", "-n=1", "--steps=1", "--output=~/grid.png")
    assert said.code == 0, said
    image = [np.zeros((1, 4, 4), np.float32)]
    for output in ("~/folder", "~/s.tar", f"file://{home}/again.png"):
        assert list(write_images(image, [None], output, 1)) == [1]
    made = ("grid.png", "folder/00000000.png", "s.tar", "again.png")
    assert all((home / name).is_file() for name in made)


def test_pictures_to_pack(home: Path, cli: Cli) -> None:
    (home / "pictures/a").mkdir(parents=True)
    Image.new("L", (4, 4)).save(home / "pictures/a/0.png")
    assert cli("pack", "~/pictures", "~/packed").code == 0
    assert (home / "packed/pictures-000000.tar").is_file()
    (home / "i.idx").write_bytes(b"\0\0\x08\x03" + b"\0\0\0\1" * 3 + b"\7")
    (home / "l.idx").write_bytes(b"\0\0\x08\x01" + b"\0\0\0\1" + b"\3")
    said = cli("pack", "~/i.idx", "~/idx", "--labels=~/l.idx", "--name=i")
    assert said.code == 0, said
    assert members(home / "idx/i-000000.tar")["00000000.cls"] == b"3"


READ = {
    "a recipe": (["augment", "~/in/s.tar", "~/o", "--recipe=~/bad.yaml"], "strength"),
    "a training recipe": (["train", "~/in/s.tar", "~/c", "--recipe=~/bad.yaml"], "strength"),
    "settings": (["evaluate", "~/in/s.tar", "~/e", "--settings=~/bad.yaml"], "strength"),
    "an evaluation's recipe": (
        ["evaluate", "~/in/s.tar", "~/e", "--test=~/in/s.tar", "--recipe=~/bad.yaml"],
        "strength",
    ),
    "a model": (["augment", "~/in/s.tar", "~/o", "--model=~/empty"], "{home}/empty"),
    "a model to sample": (["sample", "~/empty"], "{home}/empty"),
    "a model to start from": (
        ["train", "~/in/s.tar", "~/c", "--init=~/empty", "--network=tiny"],
        "{home}/empty",
    ),
    "a LoRA": (
        ["augment", "~/in/s.tar", "~/o", "--lora=~/empty"],
        "lora {home}/empty: there is no",
    ),
    "an autoencoder": (
        ["augment", "~/in/s.tar", "~/o", "--autoencoder=~/empty"],
        "no readable config.json at its top",
    ),
    "an embedding": (
        ["augment", "~/in/s.tar", "~/o", "--embeddings=~/empty"],
        "embedding {home}/empty: there is no",
    ),
    "a judge": (
        ["augment", "~/in/s.tar", "~/o", "--judges=label=~/empty"],
        "{home}/empty has no safetensors weights",
    ),
    "a place to examine": (["doctor", "~/empty"], "~/empty: a file was written, read and removed"),
}


@pytest.mark.parametrize("what", READ)
def test_what_a_command_reads_is_looked_for_at_home(what: str, home: Path, cli: Cli) -> None:
    command, sentence = READ[what]
    (home / "empty").mkdir()
    (home / "bad.yaml").write_text("strength: none at all\n")
    said = cli(*command)
    assert sentence.format(home=home) in str(said)
    assert "Traceback" not in str(said)


def test_a_model_of_a_user_who_does_not_exist_is_a_mistake(cli: Cli) -> None:
    said = cli("augment", "~/in/s.tar", "~/o", "--model=~no-such-user/m")
    said.assert_mistake("no such model: ~no-such-user/m")


def test_a_recipe_in_yaml_and_what_is_recorded_of_it(home: Path) -> None:
    for name in ("m", "l", "v", "e", "j"):
        (home / name).mkdir()
    text = "model: ~/m\nlora: ~/l\nautoencoder: ~/v\nembeddings: [~/e]\n"
    (home / "r.yaml").write_text(f"{text}judges: [phash, label=~/j]\nprompt: ~\n")
    recipe = placed(Recipe.from_yaml("~/r.yaml"))
    assert json.loads(recipe.model_dump_json()) | {
        "model": f"{home}/m",
        "lora": f"{home}/l",
        "autoencoder": f"{home}/v",
        "embeddings": [f"{home}/e"],
        "judges": ["phash", f"label={home}/j"],
        "prompt": [],
    } == recipe.model_dump(mode="json")
    code = ("label=package.module:callable",)
    assert placed(Recipe(judges=code)).judges == code


def test_an_evaluation_lies_in_one_folder(home: Path) -> None:
    output = EvaluationOutput("~/e")
    assert output.test == home / "e/test/test.tar"
    assert output.pool(0, "reconstruct 0.3") == f"{home}/e/seed-0/reconstruct-0.3"
    assert output.trial(1, 20, "blur") == home / "e/trials/seed-1/20-blur.json"
    assert EvaluationOutput("s3://b/e").plan_json == "s3://b/e/evaluation.json"

"""The card's suggestions in a job, in loaders and in the flow: resolved once, then frozen."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diffaug
import flows.augment_dataset
from diffaug.models import find_checkpoint
from tests.conftest import Cli
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import BATCH, manifest, members, pixels, tree

CARD = {"strength": "0.2:0.6", "steps": 4, "sampler": "ddim"}
LINE = "strength 0.2:0.6, steps 4, sampler ddim: suggested by the card of"


def suggesting(model: Path, **suggested: Any) -> Path:
    """A copy of the shipped model whose card suggests this."""
    if not model.exists():
        shutil.copytree(find_checkpoint("fashion-mnist-32").folder, model)
    readme = model / "README.md"
    line = f"  suggested: {json.dumps(suggested)}\n"
    readme.write_text(re.sub(r"  suggested: .*\n", line, readme.read_text()))
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of four pictures whose recipe is set by the card alone, in `out`."""
    folder = tmp_path_factory.mktemp("suggested")
    write_samples(folder / "s.tar", fashion(4))
    model = suggesting(folder / "model", **CARD, condition="label", guidance=3)
    job = diffaug.Job.plan(
        [str(folder / "s.tar")],
        str(folder / "out"),
        diffaug.Recipe(model=str(model)),
        batch_size=BATCH,
    )
    assert str(job.suggestion) == f"{LINE} {model}"
    list(job.run())
    job.finish()
    return folder


def test_run_json_and_rows_have_the_cards_values(folder: Path) -> None:
    said = json.loads((folder / "out/run.json").read_text())["recipe"]
    assert {name: said[name] for name in CARD} == CARD
    assert (said["condition"], said["guidance"]) == ("none", 1.0)
    rows = manifest(folder / "out")
    assert set(rows["status"]) == {"ok"}
    assert set(rows["sampler"]) == {"ddim"}
    assert set(rows["steps"]) == {4}
    assert rows["strength"].between(0.2, 0.6).all()
    assert rows["strength"].nunique() == 4


def test_loaders_resolve_as_the_job_did(folder: Path) -> None:
    (tar,) = (folder / "out/shards").glob("*.tar")
    made = {name: pixels(data) for name, data in members(tar).items() if name.endswith(".png")}
    recipe = diffaug.Recipe(model=str(folder / "model"))
    pictures = [Image.fromarray(pixels(sample["png"])) for sample in fashion(4)]
    results = diffaug.augment(pictures, recipe, batch_size=BATCH)
    samples = [
        {"__key__": f"{index:05d}", "png": picture} for index, picture in enumerate(pictures)
    ]
    stream = diffaug.Augmenter(recipe, batch_size=BATCH)(samples)
    for index, (result, sample) in enumerate(zip(results, stream, strict=True)):
        image = made[f"{index:05d}-a0.png"]
        assert np.array_equal(np.asarray(result), image)
        assert np.array_equal(np.asarray(sample["png"]), image)
    named = recipe.model_copy(update=CARD)
    alone, again = diffaug.Augment(recipe)(pictures[0]), diffaug.Augment(named)(pictures[0])
    assert np.array_equal(np.asarray(alone), np.asarray(again))


@pytest.mark.parametrize(
    "flags",
    [[], ["--steps", "4"], ["--strength", "0.2:0.6", "--steps", "4", "--sampler", "ddim"]],
)
def test_the_command_resumes_and_prints_what_the_card_suggests(
    flags: list[str], folder: Path, cli: Cli
) -> None:
    before = {name: what[1] for name, what in tree(folder / "out").items()}
    said = cli("augment", folder / "s.tar", folder / "out", "--model", folder / "model", *flags)
    assert said.code == 0
    shown = [name for name in CARD if f"--{name}" not in flags]
    values = ", ".join(f"{name} {CARD[name]}" for name in shown)
    line = f"{values}: suggested by the card of {folder / 'model'}"
    assert [one for one in said.err.splitlines() if "suggested" in one and "card" in one] == (
        [line] if shown else []
    )
    assert {name: what[1] for name, what in tree(folder / "out").items()} == before


def test_the_origin_is_printed_with_every_kind_of_run(
    folder: Path, tmp_path: Path, cli: Cli
) -> None:
    source, out = folder / "s.tar", tmp_path / "out"
    asked = ["augment", source, out, "--model", folder / "model", "--batch-size", "8"]
    assert LINE in cli(*asked, "--dry-run").err
    assert LINE in cli(*asked, "--pilot", "1").err
    logged = json.loads(cli(*asked, "--dry-run", "--log-json").err.splitlines()[0])
    assert logged.pop("time")
    message = f"{LINE} {folder / 'model'}"
    assert logged == {"event": "suggested", "message": message, **CARD}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--steps", "5"], "steps (4 there, 5 asked)"),
        (["--strength", "0.4"], "strength (0.2:0.6 there, 0.4 asked)"),
        (["--sampler", "dpmsolver++"], "sampler (ddim there, dpmsolver++ asked)"),
    ],
)
def test_other_values_are_refused(flags: list[str], says: str, folder: Path, cli: Cli) -> None:
    said = cli("augment", folder / "s.tar", folder / "out", "--model", folder / "model", *flags)
    assert said.code == 2
    assert f"was begun with another recipe: {says}. Choose a new OUTPUT" in said.err


def test_naming_nothing_is_refused_where_the_job_began_with_other_values(
    folder: Path, tmp_path: Path, cli: Cli
) -> None:
    asked = ["augment", folder / "s.tar", tmp_path / "out", "--model", folder / "model"]
    asked += ["--batch-size", "8"]
    assert cli(*asked, "--steps", "2", "--sampler", "dpmsolver++").code == 0
    said = cli(*asked)
    assert said.code == 2
    assert "steps (2 there, 4 asked), sampler (dpmsolver++ there, ddim asked)" in said.err


def test_a_refusal_of_another_model_names_the_model_alone(folder: Path, cli: Cli) -> None:
    said = cli("augment", folder / "s.tar", folder / "out")
    assert said.code == 2
    model = folder / "model"
    assert f"another recipe: model ({model} there, cifar10-32 asked). Choose" in said.err


def test_a_wrong_card_is_a_mistake_and_leaves_nothing(
    folder: Path, tmp_path: Path, cli: Cli
) -> None:
    model = suggesting(tmp_path / "model", strength=0.4, steps=0)
    asked = ["augment", folder / "s.tar", tmp_path / "out", "--model", model]
    cli(*asked).assert_mistake(f"the card of {model}, suggested: steps: ")
    assert not (tmp_path / "out").exists()
    assert cli(*asked, "--steps", "2", "--dry-run").code == 0


def test_sample_takes_steps_and_sampler(folder: Path, tmp_path: Path, cli: Cli) -> None:
    asked = ["sample", folder / "model", "-n", "2", "--batch-size", "2"]
    said = cli(*asked, "-o", tmp_path / "open.png")
    line = f"steps 4, sampler ddim: suggested by the card of {folder / 'model'}"
    assert said.err.splitlines()[0] == line
    said = cli(*asked, "-o", tmp_path / "named.png", "--steps", "4", "--sampler", "ddim")
    assert "by the card" not in said.err
    assert (tmp_path / "open.png").read_bytes() == (tmp_path / "named.png").read_bytes()


def test_the_flow_logs_the_origin_and_its_form_has_no_default_to_send(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(flows.augment_dataset, "get_run_logger", lambda: logging.getLogger("run"))
    recipe = diffaug.Recipe.of({"model": str(folder / "model")})
    with caplog.at_level(logging.INFO, "run"):
        flows.augment_dataset.augment_dataset.fn(
            str(folder / "s.tar"), str(tmp_path / "out"), recipe, address="nowhere"
        )
    assert [record.getMessage() for record in caplog.records] == [f"{LINE} {folder / 'model'}"]
    form = flows.augment_dataset.augment_dataset.parameters
    assert form.properties["recipe"]["default"] is None
    fields = form.definitions["Recipe"]["properties"]
    without = [name for name in fields if "default" not in fields[name]]
    assert without == ["model", *CARD, "detail", "format"]

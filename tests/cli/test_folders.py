"""Folders of pictures where commands take SOURCE, and what each command ends with."""

from __future__ import annotations

import json
import shlex
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import fsspec
import pandas as pd
import pytest

import diffaug
from diffaug.cli.evaluate import _suggested
from diffaug.cli.steps import name_of, not_known
from diffaug.evaluation.plan import EvaluationPlan, plan_evaluation
from diffaug.evaluation.statistics import Estimate
from diffaug.evaluation.verdict.conclusion import Conclusion
from diffaug.evaluation.verdict.judge import Verdict
from diffaug.models.card import read_card, shipped_cards
from tests.conftest import SHARDS, Cli, Said
from tests.support.hostile import png
from tests.support.jobs import members, tree
from tests.support.packing import as_folder, write

FAST = ["--sampler", "one-step", "--batch-size", "4", "--model", "fashion-mnist-32"]
ONCE = ["--network", "tiny", "--size", "8", "--steps", "1", "--batch-size", "2"]


def next_step(said: Said) -> list[str]:
    """The command that a command ends with."""
    (line,) = (line for line in said.err.splitlines() if line.startswith("next: "))
    return shlex.split(line.removeprefix("next: "))


def test_a_folder_is_augmented_checked_and_augmented_again(tmp_path: Path, cli: Cli) -> None:
    folder, output = as_folder(tmp_path), tmp_path / "out"
    said = cli("augment", folder, output, *FAST)
    assert said.code == 0, said
    assert said.out.startswith("6 planned = 6 made + 0 filtered + 0 failed; 1 of 1 shards")
    place = f"{output}-source"
    assert f"{folder}: 6 pictures packed into {place} (1 shard); classes 0 ape, 1 bee" in said.err
    rows = pd.read_parquet(output / "manifest")
    assert set(rows["source_shard"]) == {f"{place}/all-000000.tar"}
    assert Counter(rows["label_text"]) == {"ape": 2, "bee": 2, "cat": 2}
    record = json.loads(Path(place, "all.json").read_text())["pictures"]
    for row in rows.itertuples():
        (path,) = (path for path, one in record.items() if one["key"] == row.source_key)
        assert record[path]["sha256"] == row.source_sha256
        assert path.startswith(f"{row.label_text}/")
    before = tree(Path(place)) | tree(output / "shards")
    again = cli("augment", folder, output, *FAST)
    assert (again.code, "packed already" in again.err) == (0, True)
    assert tree(Path(place)) | tree(output / "shards") == before
    write(folder / "bee/new.png", png(9))
    grown = cli("augment", folder, output, *FAST)
    assert grown.out.startswith("7 planned = 7 made")
    assert "1 images now" in grown.out
    for path in folder.rglob("*.png"):
        path.unlink()
    replayed = cli("verify", output, "--replay", "7")
    assert (replayed.code, "7 equal" in replayed.out) == (0, True)
    lost = cli("augment", folder, output, *FAST)
    assert (lost.code, "holds no picture" in lost.err) == (2, True)


def test_what_was_left_out_counts_as_failed(tmp_path: Path, cli: Cli) -> None:
    folder = as_folder(tmp_path)
    write(folder / "ape/torn.png", b"no picture")
    for _ in range(2):
        said = cli("augment", folder, tmp_path / "out", *FAST)
        assert said.code == 1
        assert "1 left out (ape/torn.png: the bytes are not in a known image format" in said.err
        assert "1 of the pictures of" in said.err
        assert "next: " not in said.err
    assert cli("augment", folder, tmp_path / "out", *FAST, "--max-failed", "0.2").code == 0


def test_a_log_for_machines_has_what_was_packed_and_no_advice(tmp_path: Path, cli: Cli) -> None:
    said = cli("augment", as_folder(tmp_path), tmp_path / "out", *FAST, "--log-json")
    events = [json.loads(line) for line in said.err.splitlines()]
    (packed,) = (event for event in events if event["event"] == "packed")
    assert (packed["images"], packed["left_out"]) == (6, 0)
    assert packed["classes"] == ["ape", "bee", "cat"]
    (summary,) = (event for event in events if event["event"] == "summary")
    assert summary["ok"] == 6
    assert "next: " not in said.err
    assert "help a classifier" not in said.err


def test_a_dry_run_packs_and_makes_nothing(tmp_path: Path, cli: Cli) -> None:
    said = cli("augment", as_folder(tmp_path), tmp_path / "out", *FAST, "--dry-run")
    assert (said.code, "about 6 images" in said.out) == (0, True)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out-source/all-000000.tar").exists()


def test_every_step_leads_to_the_next(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder with a blank in its name, each command as it was printed."""
    monkeypatch.chdir(tmp_path)
    as_folder(tmp_path).rename("my photos")
    said = cli("augment", "my photos", "made of them", *FAST)
    seen = []
    for _ in range(3):
        step = next_step(said)
        assert step[0] == "diffaug"
        seen.append(step[1])
        said = cli(*step[1:])
        assert said.code == 0, said
    assert seen == ["report", "verify", "export"]
    assert "next: mlcroissant.Dataset('made of them/croissant.json')" in said.err


def test_it_is_said_whether_such_pictures_are_known_to_help(tmp_path: Path, cli: Cli) -> None:
    """What the card of the model says about evaluations; without one, that nothing is known."""
    (card,) = (card for card in shipped_cards() if card.name == "fashion-mnist-32")
    said = cli("augment", SHARDS[0], tmp_path / "out", *FAST)
    assert f"help a classifier: {card.evaluated} for fashion-mnist-32 so far" in said.err
    measure = f"diffaug evaluate {SHARDS[0]} fashion-mnist-evaluated --test TEST"
    assert f"{measure} --model fashion-mnist-32\n" in said.err
    model = tmp_path / "own"
    shipped = Path(diffaug.__file__).parent / "models/shipped/fashion-mnist-32"
    for name, data in tree_bytes(shipped).items():
        write(model / name, data)
    readme = model / "README.md"
    readme.write_text(readme.read_text().replace(f"  evaluated: {card.evaluated}\n", ""))
    said = cli("augment", SHARDS[0], tmp_path / "own-out", *FAST[:-1], model)
    assert f"help a classifier is not known for {model}; to measure it: diffaug" in said.err


def tree_bytes(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_loader_reads_the_folder_that_the_job_did(tmp_path: Path, cli: Cli) -> None:
    folder, output = as_folder(tmp_path), tmp_path / "out"
    assert cli("augment", folder, output, *FAST).code == 0
    before = tree(tmp_path)
    mixed = diffaug.AugmentedDataset(output, real=folder, train=False)
    found = [(one["augmented"], one["label"]) for one in mixed]
    assert Counter(found) == {(made, label): 2 for made in (True, False) for label in range(3)}
    assert tree(tmp_path) == before


def test_a_loader_refuses_a_folder_of_other_classes(tmp_path: Path, cli: Cli) -> None:
    folder, output = as_folder(tmp_path), tmp_path / "out"
    assert cli("augment", folder, output, *FAST).code == 0
    for number, name in enumerate(("boot", "dress")):
        write(tmp_path / f"clothes/{name}/1.png", png(number))
    moved = shutil.move(output, tmp_path / "moved-out")  # away from the shards and what names them
    with pytest.raises(diffaug.ConfigError, match=r"that of the same number of .*out: 0 boot"):
        diffaug.AugmentedDataset(moved, real=tmp_path / "clothes")
    assert not (tmp_path / "moved-out-source").exists()


def test_a_loader_packs_another_folder(
    tmp_path: Path, cli: Cli, caplog: pytest.LogCaptureFixture
) -> None:
    assert cli("augment", SHARDS[0], tmp_path / "out", *FAST).code == 0
    folder = as_folder(tmp_path)
    for name, theirs in {"ape": "t-shirt", "bee": "trouser", "cat": "zebra"}.items():
        (folder / name).rename(folder / theirs)  # trouser has the same number in those shards
    real = diffaug.AugmentedDataset(tmp_path / "out", real=folder, train=False, mode="L", p=0)
    assert Counter(one["label"] for one in real) == {0: 2, 1: 2, 2: 2}
    assert "6 pictures packed into" in caplog.text


def test_a_folder_is_trained_on(tmp_path: Path, cli: Cli) -> None:
    folder, model = as_folder(tmp_path), tmp_path / "own"
    held = write(tmp_path / "held/bee/8.png", png(8)).parent.parent
    flags = [*ONCE, "--classes", "ape,bee,cat"]
    said = cli("train", folder, model, "--held-back", held, *flags)
    assert said.code == 0, said
    assert sorted(path.name for path in Path(f"{model}-source").glob("*.tar")) == [
        *("all-000000.tar", "held-000000.tar")
    ]
    assert members(Path(f"{model}-source/held-000000.tar"))["00000000.cls"] == b"1"
    assert "held-out noise loss" in said.err
    assert next_step(said)[1:] == [
        *("augment", str(folder), "all-augmented", "--model", str(model))
    ]


def test_a_model_is_trained_for_the_classes_as_the_folder_numbers_them(
    tmp_path: Path, cli: Cli
) -> None:
    """Its card names them; a wrong order would name each by another's pictures."""
    folder, model = as_folder(tmp_path), tmp_path / "own"
    for wrong in ("bee,ape,cat", "dog,owl,yak"):
        said = cli("train", folder, model, *ONCE, "--classes", wrong)
        assert said.code == 2
        assert "0 ape, 1 bee, 2 cat there" in said.err
    assert not model.exists()
    said = cli("train", folder, model, *ONCE, "--classes", "3")
    assert said.code == 0, said
    assert (card := read_card(model)) is not None
    assert card.classes == ("ape", "bee", "cat")
    assert cli("train", folder, model, *ONCE, "--classes", "3", "--resume").code == 0


def test_folders_are_evaluated(tmp_path: Path, cli: Cli) -> None:
    """Classes have the same numbers in the source and in the test, which lacks one."""
    for number in range(24):
        write(
            tmp_path / f"data/train/{['ant', 'bee', 'cat'][number % 3]}/{number}.png", png(number)
        )
    for number in range(24, 28):
        write(tmp_path / f"data/test/{['ant', 'cat'][number % 2]}/{number}.png", png(number))
    flags = ["--labels", "2", "--seeds", "2", "--validation", "2", "--train-steps", "2"]
    flags += ["--arms", "real", "--corruptions", "noise", "--severities", "1", "--train-batch", "4"]
    train, test = tmp_path / "data/train", tmp_path / "data/test"
    said = cli("evaluate", train, tmp_path / "out", "--test", test, *flags)
    assert said.code == 0, said
    assert members(tmp_path / "out-source/test-000000.tar")["00000000.txt"] in (b"ant", b"cat")
    labels = {
        data.decode()
        for name, data in members(tmp_path / "out-source/test-000000.tar").items()
        if name.endswith(".cls")
    }
    assert labels == {"0", "2"}
    lines = said.err.splitlines()
    assert lines[-2] == f"next: diffaug report {tmp_path}/out"
    assert lines[-1].startswith("train without these images, or look for a strength: diffaug eval")


def test_what_measures_it_has_the_model_and_condition_of_the_job() -> None:
    recipe = diffaug.Recipe(model="own", condition="label")
    said = not_known(recipe, None, ["photos"], classes_as_numbered=True)
    assert said.endswith(
        "diffaug evaluate photos photos-evaluated --test TEST --model own --condition label "
        "--classes-as-numbered"
    )


def test_the_terminal_shows_no_password(tmp_path: Path, cli: Cli) -> None:
    store, host = fsspec.filesystem("memory"), f"user:secret@{tmp_path.name}"
    store.put(str(as_folder(tmp_path)), f"/{host}/all", recursive=True)
    said = cli("augment", f"memory://{host}/all", tmp_path / "out", *FAST)
    store.rm(f"/{host}", recursive=True)
    assert said.code == 0, said
    assert f"real='memory://{tmp_path.name}/all'" in said.err
    assert "secret" not in said.out + said.err


@pytest.mark.parametrize(
    ("source", "name"),
    [
        *(("photos", "photos"), ("x/my photos/", "my-photos"), ("photos-2", "photos-2")),
        *(("x/photos-000000.tar", "photos"), ("x/photos-{000000..000003}.tar", "photos")),
        *(("x/*.tar", "pictures"), ("s3://bucket/a/b.tar", "b"), ("2024", "2024")),
    ],
)
def test_what_a_source_is_called(source: str, name: str) -> None:
    assert name_of([source]) == name


def test_a_verdict_that_helps_leads_to_its_command(tmp_path: Path) -> None:
    """With the arm's strength and sampler, and the recipe's fields; else it leads to a search."""
    recipe = diffaug.Recipe(model="cifar10-32", copies=10, condition="label", guidance=3)
    plan = plan_evaluation(
        [str(SHARDS[0])], str(tmp_path / "out"), test=[str(SHARDS[1])], recipe=recipe
    )
    nothing = Estimate(0.0, -1.0, 1.0)
    verdict = Verdict(
        labels=20,
        of="clean",
        measure="accuracy",
        word="helps",
        arm="one-step 0.4",
        strength=0.4,
        runner_up=None,
        lead=None,
        gain=nothing,
        gain_over_images=None,
        rival=None,
        margin=None,
        margin_over_images=None,
        untried=(),
        better=0.0,
        worse=1.0,
        visible=1.0,
        left=None,
        sentence="",
    )
    said = _suggested(Conclusion([verdict], "", []), plan, ["my photos"])
    _, _, typed = said.partition("use it: ")
    words = shlex.split(typed)
    assert words[:4] == ["diffaug", "augment", "my photos", "my-photos-augmented"]
    given = dict(zip(words[4::2], words[5::2], strict=True))
    assert given == {
        "--model": "cifar10-32",
        "--copies": "10",
        "--condition": "label",
        "--guidance": "3.0",
        "--strength": "0.4",
        "--sampler": "one-step",
    }
    frozen = EvaluationPlan.model_validate_json(plan.model_dump_json())  # as a resumed one is
    said = _suggested(
        Conclusion([verdict], "", []), frozen, ["my photos"], classes_as_numbered=True
    )
    words = shlex.split(said.partition("use it: ")[2])
    assert words.pop() == "--classes-as-numbered"
    again = dict(zip(words[4::2], words[5::2], strict=True))
    assert again == given | {"--steps": str(recipe.steps)}
    for word in ("no evidence", "hurts"):
        said = _suggested(Conclusion([replace(verdict, word=word)], "", []), plan, ["photos"])
        assert "--search strength=0.1:0.9" in said
        assert "diffaug augment" not in said

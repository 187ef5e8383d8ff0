"""`diffaug evaluate` on the fixture shards: what it leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import psutil  # type: ignore[import-untyped]
import pytest
import torch
from PIL import Image

import diffaug
from diffaug.errors import ConfigError
from diffaug.evaluation.arms import arms_of, matched_arms
from diffaug.evaluation.images.prepare import prepare
from diffaug.evaluation.plan import plan_evaluation
from diffaug.evaluation.settings import Evaluation
from diffaug.evaluation.statistics import smallest_visible
from diffaug.evaluation.trials.record import read_trials
from diffaug.evaluation.trials.run import missing_trials, run_trials
from tests.conftest import SHARDS, Cli, Said
from tests.support.forks import LANES, Forks
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import GREY, tree, webdataset
from tests.support.services import wait_until

pytestmark = pytest.mark.numerics

SOURCE = [str(shard) for shard in SHARDS[:2]]
SMALL = ["--labels", "2,3", "--seeds", "2", "--validation", "1", "--train-steps", "6"]
SMALL += ["--strengths", "0.4", "--one-step-strengths", "0.4", "--severities", "3"]
SMALL += ["--model", GREY, "--copies", "2", "--steps", "4", "--test", str(SHARDS[2])]

LITTLE = Evaluation(labels=(2,), seeds=2, validation=1, severities=(3,))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory, forked: Forks) -> Path:
    output = tmp_path_factory.mktemp("evaluation") / "output"
    done = forked("evaluate", "--log-json", *SOURCE, output, *SMALL)
    assert done.returncode == 0, done.stderr
    output.with_name("log.jsonl").write_text(done.stderr)
    return output


def test_it_reports_its_progress(output: Path) -> None:
    """The sources are read twice: to draw from them, and for what was drawn; the test shard too."""
    events = map(json.loads, output.with_name("log.jsonl").read_text().splitlines())
    progress = [(one["what"], one["total"]) for one in events if one["event"] == "progress"]
    stages = [stage for stage, _ in groupby(progress)]
    assert stages[:4] == [("reading shards", count) for count in (2, 1, 2, 1)]
    others = [what for what, _ in stages[4:]]
    assert others == ["generating pools", "training classifiers", "training classifiers"]


def test_it_leaves_a_row_a_score(output: Path) -> None:
    """As pandas reads them: every arm, budget and seed, on every image of the test shard."""
    scores = pd.read_parquet(output / "results/scores.parquet")
    plan = json.loads((output / "evaluation.json").read_text())
    settings = Evaluation.of(plan["settings"])
    arms = {arm.name for arm in (*arms_of(settings), *matched_arms(settings))}
    assert len(arms) == 17
    assert set(scores["arm"]) == arms
    assert len(scores) == 17 * 2 * 2 * 2 * 6  # arms, budgets, seeds, splits, corruptions
    assert set(scores["images"][scores["split"] == "test"]) == {40}
    assert set(scores["images"][scores["split"] == "validation"]) == {10}
    assert set(scores["steps"]) == {6}
    assert scores["accuracy"].between(0, 100).all()
    summary = pd.read_parquet(output / "results/summary.parquet")
    clean = scores[(scores["split"] == "test") & (scores["corruption"] == "clean")]
    means = clean.groupby(["labels", "arm"])["accuracy"].mean().reset_index()
    both = means.merge(summary[summary["of"] == "clean"], on=["labels", "arm"])
    assert len(both) == 2 * 17
    assert np.allclose(both["accuracy_x"], both["accuracy_y"])
    assert scores["balanced"].between(0, 100).all()
    test = scores[scores["split"] == "test"].iloc[0]
    classes = [int(sample["cls"]) for sample in webdataset(SHARDS[2])]
    by_class = test["right_by_class"] / np.bincount(classes, minlength=10)
    assert test["balanced"] == pytest.approx(100 * by_class.mean())


def test_it_leaves_what_each_training_was_right_about(output: Path) -> None:
    for record in (output / "trials").rglob("*.json"):
        trial = json.loads(record.read_text())
        clean, corrupted = np.load(record.with_suffix("").with_name(f"{record.stem}.npy"))
        right = [one["right"] for one in trial["scores"] if one["split"] == "test"]
        assert [clean.sum(), corrupted.sum()] == [right[0], sum(right[1:])]


def test_it_leaves_a_verdict_and_plots(output: Path) -> None:
    results = json.loads((output / "results/results.json").read_text())
    assert [(one["labels"], one["of"]) for one in results["verdicts"]] == [
        (labels, of) for labels in (2, 3) for of in ("clean", "corrupted")
    ]
    words = {"helps", "no evidence", "hurts", "no more than 1"}
    assert {one["word"] for one in results["verdicts"]} <= words
    assert "trained on other images of this kind, with their classes" in results["leakage"]
    assert results["cost"]["generated_images"] == 2 * 2 * 30 * 2  # seeds, jobs, images, copies
    page = (output / "results/README.md").read_text()
    for one in results["verdicts"]:
        assert one["sentence"] in page
    for name in ("gains", "corruptions", "strengths"):
        with Image.open(output / f"results/{name}.png") as picture:
            picture.load()
        assert f"({name}.png)" in page


def test_its_images_are_jobs_like_any_other(output: Path, cli: Cli) -> None:
    said = cli("verify", output / "seed-1/reconstruct-0.4", "--replay", "3")
    assert said.code == 0, said
    assert "3 equal" in said.out
    rows = pd.read_parquet(output / "seed-1/reconstruct-0.4/manifest")
    assert (len(rows), set(rows["strength"]), set(rows["calls"])) == (60, {0.4}, {2})


def test_run_again_it_does_nothing_and_says_the_same(output: Path, cli: Cli) -> None:
    before = contents(output)
    results = (output / "results/results.json").read_bytes()
    said = cli("evaluate", *SOURCE, output, *SMALL)
    assert said.code == 0, said
    assert "trainings to do" not in said.err
    assert contents(output) == before
    assert (output / "results/results.json").read_bytes() == results


def test_records_of_an_earlier_version_are_judged_by_seeds_alone(
    output: Path, tmp_path: Path, cli: Cli
) -> None:
    again = Path(shutil.copytree(output, tmp_path / "again"))
    for path in again.glob("trials/*/*"):
        if path.suffix == ".npy":
            path.unlink()
            continue
        record = json.loads(path.read_text())
        for score in record["scores"]:
            for name in ("right_by_class", "balanced", "nll", "ece"):
                del score[name]
        path.write_text(json.dumps(record))
    for path in again.rglob("*-labels.npy"):
        path.unlink()
    said = cli("evaluate", *SOURCE, again, *SMALL)
    assert said.code == 0, said
    assert "trainings to do" not in said.err
    assert "so verdicts are over seeds alone" in said.out
    assert "balanced" not in (again / "results/README.md").read_text()


def test_a_lost_training_comes_out_as_it_was(output: Path, cli: Cli) -> None:
    """Its judge is trained again for it, while the first time it was at hand."""
    path = output / "trials/seed-1/3-filtered-0.4.json"
    was = json.loads(path.read_text())
    path.unlink()
    said = cli("evaluate", *SOURCE, output, *SMALL)
    assert "1 trainings to do" in said.err
    assert {**json.loads(path.read_text()), "seconds": 0} == {**was, "seconds": 0}


def test_interrupted_trainings_give_the_threads_back(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process they run in one thread, since there is only one at a time."""
    used = list[int]()

    def interrupted(*_: object) -> None:
        used.append(torch.get_num_threads())
        raise KeyboardInterrupt

    monkeypatch.setattr("diffaug.evaluation.trials.run.at_once", lambda device: 1)
    monkeypatch.setattr("diffaug.evaluation.trials.run.run_group", interrupted)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(run_trials(str(output), {(2, 0): arms_of(LITTLE)}))
        assert (used, torch.get_num_threads()) == ([1], 3)
    finally:
        torch.set_num_threads(threads)


def contents(output: Path) -> dict[str, str]:
    found = tree(output / "seed-0") | tree(output / "trials")
    return {name: digest for name, (_, digest) in found.items()}


def test_another_evaluation_is_refused(output: Path, cli: Cli) -> None:
    said = cli("evaluate", *SOURCE, output, *SMALL, "--learning-rate", "0.1")
    said.assert_mistake("settings learning_rate (None there, 0.1 requested). Choose a new OUTPUT")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([*SOURCE, "OUT"], "requires either --test SHARDS or --search strength=lo:hi"),
        (
            [*SOURCE, "OUT", "--test", SOURCE[0]],
            "source too: test on images used nowhere else",
        ),
        ([*SOURCE, "OUT", "--test", str(SHARDS[2]), "--labels", "60"], "ask for fewer, or give"),
        ([*SOURCE, "OUT", "--search", "strength=0.9:0.1"], "--search is strength=lo:hi"),
        ([*SOURCE, "OUT", "--search", "steps=1:9", "--budget", "8"], "--search is strength=lo:hi"),
        ([*SOURCE, "OUT", "--search", "strength=0.1:0.9", "--budget", "7"], "at least 8"),
        ([SOURCE[0]], "at least one shard, then a folder"),
        ([*SOURCE, "s3://bucket/out", "--test", str(SHARDS[2])], "requires a local folder"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], sentence: str, cli: Cli, tmp_path: Path
) -> None:
    given = [str(tmp_path / "out") if one == "OUT" else one for one in arguments]
    cli("evaluate", *given).assert_mistake(sentence)


def test_as_many_seeds_as_it_takes(tmp_path: Path, cli: Cli) -> None:
    """Arms that do two things in turn, and images made elsewhere, of which half are there."""
    made = [sample | {"__key__": sample["__key__"] + b"-x1"} for sample in fashion(60)]
    shard = write_samples(tmp_path / "made.tar", made)
    output = tmp_path / "out"
    few = ["--labels", "3", "--seeds", "7", "--until", "90", "--validation", "1"]
    few += ["--train-steps", "2", "--severities", "3", "--corruptions", "blur", "--copies", "1"]
    few += ["--arms", "jitter,trivial-augment+jitter+one-step", "--one-step-strengths", "0.4"]
    few += ["--model", GREY, "--measure", "balanced", "--augmented", f"mine={shard}"]
    few += ["--test", str(SHARDS[2])]
    planned = cli("evaluate", *SOURCE, output, *few, "--dry-run", "--spread", "2")
    assert planned.code == 0, planned
    assert "30 labelled and 10 validation images per seed, 40 test images" in planned.out
    assert "7 seeds: 210 images to generate, 28 trainings" in planned.out  # four arms
    assert f"{smallest_visible(2, 7):.1f} points, if arms differ by 2.0 points" in planned.out
    assert not output.exists()
    said = cli("evaluate", *SOURCE, output, *few)
    assert said.code == 0, said
    scores = pd.read_parquet(output / "results/scores.parquet")
    assert set(scores["seed"]) == set(range(5))
    assert not (output / "seed-5/one-step-0.4").exists()
    assert set(scores["arm"]) == {
        *("flips-crops", "jitter", "trivial-augment+jitter+one-step 0.4", "mine")
    }
    copies = scores[scores["arm"] == "mine"].drop_duplicates("seed")["copies"]
    assert copies.between(1, 29).all()
    assert "What made the images of mine, and from what, is not known." in said.out
    assert "changes balanced accuracy by" in said.out
    done = cli("evaluate", *SOURCE, output, *few, "--dry-run")
    assert "(as in the results here)" in done.out
    cli("evaluate", *SOURCE, output, *few, "--spread", "2").assert_mistake("--spread is for")


def test_a_search_ends_in_a_recipe_that_augments(tmp_path: Path, cli: Cli) -> None:
    flags = ["--labels", "2", "--validation", "2", "--train-steps", "6", "--steps", "4"]
    flags += ["--model", GREY, "--copies", "2", "--severities", "3", "--budget", "8"]
    said: Said = cli("evaluate", *SOURCE, tmp_path / "out", "--search", "strength=0.2:0.8", *flags)
    assert said.code == 0, said
    rounds = json.loads((tmp_path / "out/search.json").read_text())
    assert [(one["seeds"], len(one["accuracy"])) for one in rounds] == [(1, 4), (2, 2)]
    assert len(list((tmp_path / "out/trials").rglob("*.json"))) == 8
    assert "points relative to flips and crops (" in said.out
    recipe = diffaug.Recipe.from_yaml(tmp_path / "out/recipe.yaml")
    assert str(recipe.strength) in rounds[-1]["accuracy"]
    best = max(rounds[-1]["accuracy"].values())
    assert rounds[-1]["accuracy"][str(recipe.strength)] == best
    said = cli("augment", SHARDS[2], tmp_path / "a", "--recipe", tmp_path / "out/recipe.yaml")
    assert said.code == 0, said
    assert set(pd.read_parquet(tmp_path / "a/manifest")["strength"]) == {recipe.strength}


def test_after_a_mistake_the_same_output_can_be_used(tmp_path: Path, cli: Cli) -> None:
    few = ["--arms", "real", "--seeds", "2", "--train-steps", "2", "--severities", "3"]
    few += ["--validation", "1", "--test", str(SHARDS[2]), "--labels"]
    cli("evaluate", *SOURCE, tmp_path, *few, "60").assert_mistake("ask for fewer, or give more")
    said = cli("evaluate", *SOURCE, tmp_path, *few, "2")
    assert said.code == 0, said
    assert "Nothing was on trial" in said.out


def test_it_begins_with_the_seed_of_the_recipe(tmp_path: Path) -> None:
    """So that what helps is confirmed on other draws, or an evaluation added to."""

    def trials(name: str, first: int, seeds: int) -> list[tuple[bytes, list[float]]]:
        output, arms = tmp_path / name, ("flips-crops",)
        settings = LITTLE.model_copy(update={"seeds": seeds, "arms": arms, "train_steps": 3})
        plan = plan_evaluation(
            SOURCE, str(output), test=[str(SHARDS[2])], settings=settings, recipe={"seed": first}
        )
        prepare(plan, str(output))
        list(run_trials(str(output), missing_trials(plan, str(output))))
        found = read_trials(str(output), arms_of(settings), 2, range(seeds))
        drawn = [(output / f"seed-{one.seed}/labelled.tar").read_bytes() for one in found]
        losses = [[float(score.nll or 0) for score in one.scores] for one in found]
        return list(zip(drawn, losses, strict=True))

    first, second, third = trials("three", 0, 3)
    assert first != second != third != first
    assert trials("two", 1, 2) == [second, third]


def test_killed_while_it_places_its_images_it_goes_on(tmp_path: Path) -> None:
    plan = plan_evaluation(SOURCE, str(tmp_path), test=[str(SHARDS[2])], settings=LITTLE)
    found = prepare(plan, str(tmp_path))
    before = {name: held for name, (_, held) in tree(tmp_path).items()}
    (tmp_path / "data.json").unlink()
    shutil.rmtree(tmp_path / "seed-1")
    (tmp_path / "seed-0/validation.tar").write_bytes(b"")
    assert prepare(plan, str(tmp_path)) == found
    assert {name: held for name, (_, held) in tree(tmp_path).items()} == before


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test/mine.txt").write_text("mine")
    plan = plan_evaluation(SOURCE, str(tmp_path), test=[str(SHARDS[2])], settings=LITTLE)
    with pytest.raises(ConfigError, match="test is there already: choose a new OUTPUT"):
        prepare(plan, str(tmp_path))
    assert [path.name for path in tmp_path.rglob("*")] == ["test", "mine.txt"]


def test_what_is_in_both_source_and_test_is_reported(tmp_path: Path, cli: Cli) -> None:
    """Resized, with a red one among grey ones, and one without a class."""
    Image.new("RGB", (40, 20), "red").save(tmp_path / "red.png")
    red = {"__key__": b"red", "png": (tmp_path / "red.png").read_bytes(), "cls": b"9"}
    lost = {"__key__": b"lost", "png": fashion(1)[0]["png"]}
    tested = write_samples(tmp_path / "t.tar", [*fashion(40), red, lost])
    flags = ["--labels", "3", "--arms", "real", "--seeds", "2", "--train-steps", "2"]
    flags += ["--validation", "1", "--severities", "3", "--size", "16", "--test", str(tested)]
    said = cli("evaluate", *SOURCE, tmp_path / "out", *flags)
    assert said.code == 0, said
    assert "labelled images are also test images, pixel for pixel" in said.out
    assert "1 samples were left out" in said.out
    assert "41 test images, 1 left out" in said.err
    scores = pd.read_parquet(tmp_path / "out/results/scores.parquet")
    assert set(scores["images"][scores["split"] == "test"]) == {41}


def test_a_model_that_makes_nothing_is_a_mistake(tmp_path: Path, cli: Cli) -> None:
    strange = [{**sample, "cls": b"1%s" % sample["cls"]} for sample in fashion(120)]
    shard = write_samples(tmp_path / "s.tar", strange[:80])
    tested = write_samples(tmp_path / "t.tar", strange[80:])
    flags = ["--labels", "3", "--arms", "one-step", "--seeds", "2", "--validation", "1"]
    flags += ["--model", GREY, "--condition", "label", "--test", str(tested)]
    said = cli("evaluate", shard, tmp_path / "out", *flags)
    said.assert_mistake("one-step 0.2 of seed 0 made no image: all 300 failed, the first because")


def test_filters_of_the_recipe_make_the_filtered_arm(tmp_path: Path, cli: Cli) -> None:
    recipe = diffaug.Recipe(model=GREY, copies=3, steps=4, filters=["ssim >= 0.6"], strength=0.4)
    (tmp_path / "recipe.yaml").write_text(recipe.as_yaml())
    flags = ["--recipe", str(tmp_path / "recipe.yaml"), "--labels", "3", "--seeds", "2"]
    flags += ["--arms", "reconstruct,filtered", "--strengths", "0.4", "--train-steps", "2"]
    flags += ["--validation", "1", "--severities", "3", "--test", str(SHARDS[2])]
    said = cli("evaluate", *SOURCE, tmp_path / "out", *flags)
    assert said.code == 0, said
    scores = pd.read_parquet(tmp_path / "out/results/scores.parquet")
    copies = scores.drop_duplicates(["arm", "seed"]).set_index(["arm", "seed"])["copies"]
    for seed in range(2):
        rows = pd.read_parquet(tmp_path / f"out/seed-{seed}/reconstruct-0.4/manifest")
        assert set(rows["seed"]) == {seed}
        assert copies["reconstruct 0.4", seed] == 90
        assert copies["filtered 0.4", seed] == (rows["score_ssim"] >= 0.6).sum()


def test_images_of_several_sizes_require_a_size(tmp_path: Path, cli: Cli) -> None:
    Image.new("RGB", (40, 20), "red").save(tmp_path / "wide.png")
    wide = {"__key__": b"wide", "png": (tmp_path / "wide.png").read_bytes(), "cls": b"1"}
    shard = write_samples(tmp_path / "s.tar", [*fashion(60), wide])
    cli("evaluate", shard, tmp_path / "out", *SMALL).assert_mistake("differ in size (2 sizes)")


@pytest.mark.proof
def test_stopped_it_ends_soon_and_then_continues(tmp_path: Path, cli: Cli) -> None:
    """By SIGTERM while two processes train: they end with it, and their trainings are kept.

    In the tests one process trains by itself otherwise: its scores are the same, bit for bit.
    """
    output, again = tmp_path / "output", tmp_path / "again"
    few = ["--labels", "3", "--seeds", "2", "--validation", "1", "--train-steps", "6"]
    few += ["--arms", "one-step", "--one-step-strengths", "0.4", "--severities", "3"]
    few += ["--model", GREY, "--copies", "2", "--test", str(SHARDS[2])]
    assert cli("evaluate", *SOURCE, output, *few).code == 0
    shutil.copytree(output, again)
    shutil.rmtree(again / "trials")
    (again / "results/results.json").unlink()
    command = [str(Path(sys.executable).with_name("diffaug")), "evaluate", *SOURCE, str(again)]
    command += ["--batch-size", str(LANES)]
    processes = os.environ | {"OMP_NUM_THREADS": "2"}
    running = subprocess.Popen([*command, *few], stderr=subprocess.PIPE, text=True, env=processes)
    wait_until(lambda: any(again.glob("trials/*/*.json")), 300, "a first training", running)
    family = psutil.Process(running.pid).children(recursive=True)
    assert len(family) >= 2
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate()
    assert running.returncode == 128 + signal.SIGTERM
    assert "the same command continues from there" in said
    _, alive = psutil.wait_procs(family, 120)
    assert not alive
    done = {path.name for path in again.glob("trials/*/*.json")}
    assert len(done) < len(list(output.glob("trials/*/*.json")))
    assert cli("evaluate", *SOURCE, again, *few).code == 0
    scores, before = (pd.read_parquet(one / "results/scores.parquet") for one in (again, output))
    assert scores.drop(columns="seconds").equals(before.drop(columns="seconds"))


def test_what_would_ruin_its_images_is_refused(tmp_path: Path, cli: Cli) -> None:
    flags = ["cifar10-32" if flag == GREY else flag for flag in SMALL]
    said = cli("evaluate", *SOURCE, tmp_path / "out", *flags, "--condition", "label")
    said.assert_mistake("0 t-shirt/top, 1 trouser, 2 pullover")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("detail: none\n")
    flags = ["--labels", "2", "--seeds", "2", "--validation", "1", "--size", "70"]
    flags += ["--arms", "one-step", "--test", str(SHARDS[2]), "--recipe", str(recipe)]
    said = cli("evaluate", *SOURCE, tmp_path / "out", *flags)
    said.assert_mistake("pictures (all) more than twice as large as model cifar10-32")
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]

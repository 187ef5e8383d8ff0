"""Classes of unequal size: all labels, what makes up for it, and copies of another class."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diffaug.errors import ConfigError
from diffaug.evaluation.arms import Arm
from diffaug.evaluation.images.pool import Pool
from diffaug.evaluation.images.sets import labelled
from diffaug.evaluation.images.split import draw
from diffaug.evaluation.kinds import IMAGES, IN_TURN, UNEQUAL
from diffaug.evaluation.plan import read_plan
from diffaug.evaluation.settings import ALL, Evaluation
from diffaug.evaluation.trials.group import _Group
from diffaug.evaluation.trials.training import Lesson, _batches, train_classifier
from diffaug.execution import Execution
from tests.conftest import SHARDS, Cli
from tests.job.test_balance import shard
from tests.support.forks import Forks
from tests.support.small_pictures import PIXELS, pictures

RARE = np.array([0] * 30 + [1] * 20 + [2] * 10)
ON = Execution.choose(dtype="float32", device="cpu")


def test_all_labels_are_all_but_those_for_validation() -> None:
    split = draw(RARE, PIXELS, 0, None, 4)
    assert np.bincount(RARE[split.labelled]).tolist() == [26, 16, 6]
    assert np.bincount(RARE[split.validation]).tolist() == [4, 4, 4]
    assert sorted([*split.labelled, *split.validation]) == list(range(60))
    few = draw(RARE, PIXELS, 0, 6, 4)
    assert np.array_equal(split.labelled[:18], few.labelled)
    with pytest.raises(ConfigError, match="class 2 has 10 samples, but 1 labelled and 10"):
        draw(RARE, PIXELS, 0, None, 10)


@pytest.mark.parametrize("unequal", [None, *UNEQUAL])
def test_of_pictures_that_say_nothing_only_the_frequencies_are_learned(
    unequal: str | None,
) -> None:
    """The closed form: the frequencies themselves or, where they are made up for, equal shares."""
    images = np.random.default_rng(0).integers(0, 256, (13_000, 8, 8, 1), dtype=np.uint8)
    targets = np.repeat([0, 1], [9000, 3000])
    lesson = Lesson(images[:12_000], targets, 2, moved=False, unequal=unequal)
    settings = Evaluation(train_steps=100, train_batch=64)
    found = train_classifier(lesson, settings, 0, ON).confidences(images[12_000:]).mean(axis=0)
    assert found.tolist() == pytest.approx([0.5, 0.5] if unequal else [0.75, 0.25], abs=0.06)


def test_balanced_batches_have_every_class_as_often_and_every_image() -> None:
    lesson = Lesson(pictures(12), np.repeat([0, 1, 2], [8, 3, 1]), 3, unequal="class-balanced")
    settings = Evaluation(train_batch=6, train_steps=16)
    drawn = Counter[int]()
    for _, targets, _ in _batches(lesson, settings, 0, 16):
        drawn.update(targets.argmax(dim=1).tolist())
    assert drawn == {0: 32, 1: 32, 2: 32}


def test_a_copy_of_another_class_brings_that_class() -> None:
    images = pictures(4)
    classes = np.array([[2], [0], [1], [1]])
    pool = Pool(images[:, None] // 2, np.ones((4, 1), bool), np.full((4, 1), 20.0), classes)
    lesson = Lesson(images, np.array([0, 0, 1, 2]), 3, pool, moved=False)
    for batch, targets, _ in _batches(lesson, Evaluation(train_batch=4), 0, 5):
        for place in (2, 3):
            (whose,) = (n for n in range(4) if np.array_equal(batch[place], images[n] // 2))
            assert int(targets[place].argmax()) == classes[whose, 0]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory, forked: Forks) -> Path:
    """An evaluation of six, three and two images of three classes, edited towards the rarer."""
    folder = tmp_path_factory.mktemp("unequal")
    source = shard(folder / "a.tar", [0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
    validation = shard(folder / "v.tar", [0, 1, 2] * 2, 30)
    test = shard(folder / "t.tar", [0, 1, 2] * 4, 60)
    arms = ("blur", "noise", "field", "longer", *UNEQUAL)
    done = forked(
        *("evaluate", source, folder / "out", "--test", test, "--validation-source", validation),
        *("--labels=all", "--seeds=2", "--validation=2", "--train-steps=4", "--train-batch=8"),
        *("--model=fashion-mnist-32", "--condition=label", "--detail=none", "--to-class=rarer"),
        *("--copies=2", "--steps=2", "--strengths=0.8", "--longer=2.5", "--severities=3"),
        f"--arms={','.join(arms)},reconstruct,filtered,balanced-softmax+reconstruct",
    )
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_its_images_have_the_classes_that_they_were_edited_towards(output: Path) -> None:
    whole = labelled(str(output), 0)
    assert np.bincount(whole.labels).tolist() == [6, 3, 2]
    group = _Group(read_plan(str(output)), str(output), ALL, 0)
    pool = group._made(Arm("reconstruct", 0.8))
    rows = pd.read_parquet(output / "seed-0/reconstruct-0.8/manifest")
    assert pool.classes is not None
    for key, copy, to in rows[["source_key", "copy", "to_label"]].to_numpy():
        assert pool.classes[int(key), copy] == to
    assert set(rows[rows["label"] == 0]["to_label"]) <= {1, 2}
    assert pool.there.all()


def test_its_tables_say_what_each_arm_costs(output: Path) -> None:
    summary = pd.read_parquet(output / "results/summary.parquet")
    clean = summary[summary["of"] == "clean"].set_index("arm")
    assert clean.loc["flips-crops", "cost"] == 1
    same = {f"{name} for corrupted" for name in (*IMAGES.matched, IN_TURN)}  # one arm was chosen
    assert set(clean.index[clean["cost"].isna()]) <= same
    assert (clean["cost"].dropna() > 0).all()
    trials = [json.loads(path.read_text()) for path in (output / "trials/seed-1").glob("*.json")]
    steps = {trial["arm"]["family"]: trial["steps"] for trial in trials}
    assert steps.pop("longer") == 10
    assert set(steps.values()) == {4}
    page = (output / "results/README.md").read_text()
    assert "## All labels" in page
    assert "| arm | cost | PSNR |" in page
    assert "- All labels, clean images: " in page


def test_what_goes_with_no_other_is_refused(cli: Cli, tmp_path: Path) -> None:
    for flags, sentence in (
        (["--labels=all,20"], "all"),
        (["--arms=class-balanced+balanced-softmax"], "one of the four before them"),
        (["--arms=class-balanced"], "class-balanced makes up for classes of unequal size"),
        (["--labels=0"], "labels are numbers from 1 on, or all"),
        (["--longer=3"], "--longer does nothing without the arm of that name"),
        (["--arms=longer", "--longer=1"], "longer"),
    ):
        said = cli("evaluate", SHARDS[0], tmp_path / "out", "--test", SHARDS[1], *flags)
        assert said.code == 2, said
        assert sentence in said.err

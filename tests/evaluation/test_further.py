"""Further images with classes of their own, on trial or as a control."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diffaug.evaluation.images.further import Further
from diffaug.evaluation.settings import Evaluation
from diffaug.evaluation.trials.training import Lesson, _batches
from tests.conftest import SHARDS, Cli
from tests.support.forks import Forks
from tests.support.hostile import fashion, write_samples
from tests.support.small_pictures import pictures

LITTLE = ["--labels=2", "--seeds=2", "--validation=1", "--train-steps=4", "--severities=3"]


def shard(path: Path, start: int, count: int) -> Path:
    return write_samples(path, fashion(count, start))


def test_they_are_drawn_whatever_is_labelled() -> None:
    images = pictures(12)
    further = Further(images[4:] // 2, np.arange(8) % 3)
    lesson = Lesson(images[:4], np.array([0, 0, 1, 2]), 3, further, moved=False)
    settings, seen = Evaluation(train_batch=8, train_steps=40), set[int]()
    for batch, targets, _ in _batches(lesson, settings, 0, 40):
        for image, target in zip(batch[4:], targets[4:], strict=True):
            (which,) = (n for n in range(8) if np.array_equal(image, further.images[n]))
            assert int(target.argmax()) == which % 3
            seen.add(which)
    assert seen == set(range(8))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory, forked: Forks) -> Path:
    folder = tmp_path_factory.mktemp("further")
    drawn, known = shard(folder / "drawn.tar", 80, 20), shard(folder / "known.tar", 40, 30)
    done = forked(
        "evaluate",
        *(str(one) for one in (SHARDS[0], folder / "out")),
        *(*LITTLE, "--arms=mixup"),
        *("--test", str(shard(folder / "test.tar", 100, 20))),
        *(f"--further=drawn={drawn}", f"--control=known={known}"),
    )
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_one_is_on_trial_and_one_is_a_control(output: Path) -> None:
    results = json.loads((output / "results/results.json").read_text())
    for verdict in results["verdicts"]:
        assert verdict["arm"] == "drawn"
        assert verdict["rival"] in ("known", "mixup")
        assert verdict["untried"] == []
    assert "What made the images of drawn, and from what, is not known" not in results["leakage"]
    assert results["leakage"].startswith("Leakage: what made the images of drawn, and from what")
    summary = pd.read_parquet(output / "results/summary.parquet")
    assert set(summary["arm"]) == {"flips-crops", "mixup", "known", "drawn"}
    trials = [json.loads(path.read_text()) for path in (output / "trials/seed-0").glob("*.json")]
    copies = {trial["arm"]["family"]: trial["copies"] for trial in trials}
    assert copies == {"flips-crops": None, "mixup": None, "known": 30, "drawn": 20}


@pytest.mark.parametrize(
    ("flag", "start", "sentence"),
    [
        ("--further=a", 80, "further is NAME=SHARDS"),
        ("--control=mixup={0}", 80, "a name that is no other arm's"),
        ("--further=a={0}", 40, "a: 10 of its images are test images or"),
    ],
)
def test_what_cannot_be_is_refused(
    flag: str, start: int, sentence: str, cli: Cli, tmp_path: Path
) -> None:
    images = shard(tmp_path / "images.tar", start, 10)
    command = ("evaluate", SHARDS[0], tmp_path / "out", "--test", SHARDS[1], *LITTLE)
    said = cli(*command, "--arms=mixup", flag.format(images))
    assert said.code == 2, said
    assert sentence in said.err


def test_a_class_of_theirs_that_the_source_lacks_is_named(cli: Cli, tmp_path: Path) -> None:
    samples = [sample | {"cls": b"11"} for sample in fashion(3, 80)]
    images = write_samples(tmp_path / "images.tar", samples)
    command = ("evaluate", SHARDS[0], tmp_path / "out", "--test", SHARDS[1], *LITTLE)
    said = cli(*command, "--arms=mixup", f"--further=a={images}")
    assert said.code == 2, said
    assert "a: no image of the source has the class 11" in said.err


def test_a_name_is_given_once(cli: Cli, tmp_path: Path) -> None:
    given = (f"--further=a={SHARDS[2]}", f"--control=a={SHARDS[2]}")
    said = cli("evaluate", SHARDS[0], tmp_path / "out", "--test", SHARDS[1], *given)
    assert said.code == 2, said
    assert "give each name once" in said.err

"""Copies of another class than their source's: what they are made of, called, and counted as."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import diffaug
from diffaug.audit.replay import replay_rows
from diffaug.editor import Source
from diffaug.errors import ConfigError
from diffaug.job.towards import shares, targets_in
from diffaug.manifest.part import Row, read_metadata
from diffaug.recipe import Recipe
from diffaug.shards.reading import Label
from tests.conftest import Cli
from tests.job.test_balance import shard
from tests.support.jobs import WHO, augmented, manifest, pixels, planned, webdataset
from tests.support.ridge import classify

CLASSES = [0, 0, 0, 0, 0, 0, 1, 1, 1, 2, None]
TOLD: dict[str, Any] = {
    "condition": "label",
    "detail": "none",
    "steps": 4,
    "sampler": "dpmsolver++",
    "strength": 0.8,
}
RARER = TOLD | {"to_class": "rarer", "copies": 4}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of class 0, three of 1, one of 2, and one without a class."""
    return shard(tmp_path_factory.mktemp("in") / "a.tar", CLASSES)


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("rarer")
    augmented([source], output, **RARER, judges=["label=tests.support.ridge:classify"])
    return output


def test_a_copy_is_what_its_picture_would_be_in_that_class(source: Path, tmp_path: Path) -> None:
    there = augmented([source], tmp_path / "there", **TOLD, to_class=2)
    alike = shard(tmp_path / "in/a.tar", [2] * len(CLASSES))
    own = augmented([alike], tmp_path / "own", **TOLD)
    columns = ["source_key", "sample_id", "output_sha256", "status"]
    pd.testing.assert_frame_equal(there[columns], own[columns])
    assert list(there["to_label"]) == [2] * len(CLASSES)
    assert [None if pd.isna(one) else one for one in there["label"]] == CLASSES


def test_it_is_given_that_class_and_keeps_its_source_beside_it(done: Path) -> None:
    rows = manifest(done)
    rows = rows[rows["status"] == "ok"].set_index("output_key")
    (tar,) = (done / "shards").iterdir()
    samples = webdataset(tar)
    assert len(samples) == len(rows) == 40
    for sample in samples:
        row = rows.loc[sample["__key__"]]
        assert (int(sample["cls"]), int(sample["from.cls"])) == (row["to_label"], row["label"])
        assert json.loads(sample["diffaug.json"])["to_label"] == row["to_label"]


def test_the_copies_are_drawn_towards_rarer_classes(done: Path, source: Path) -> None:
    rows = manifest(done)
    assert set(rows[rows["label"] == 0]["to_label"]) == {1, 2}
    assert set(rows[rows["label"] == 1]["to_label"]) == {2}
    assert set(rows[rows["label"] == 2]["to_label"]) == {2}, "none is rarer"
    nameless = rows[rows["label"].isna()]
    assert set(nameless["reason_code"]) == {"no_label"}
    assert nameless["to_label"].isna().all()
    assert json.loads((done / "run.json").read_text())["class_counts"] == {"0": 6, "1": 3, "2": 1}


def test_the_judge_of_classes_goes_by_the_class_it_is_given(done: Path) -> None:
    scores = manifest(done).dropna(subset="output_key").set_index("output_key")["score_label"]
    (tar,) = (done / "shards").iterdir()
    for sample in webdataset(tar):
        batch = torch.tensor(pixels(sample["png"])).float()[None, None] / 255
        is_so = int(classify(batch).argmax()) == int(sample["cls"])
        assert scores[sample["__key__"]] == float(is_so)
    assert set(scores) == {0.0, 1.0}


def test_rows_are_replayed_equal(done: Path) -> None:
    rows, metadata = made(done)
    assert [one.verdict for one in replay_rows(rows, metadata)] == ["equal"] * 40


def test_a_row_that_names_another_class_differs(done: Path) -> None:
    rows, metadata = made(done)
    wrong = [row | {"to_label": (row["to_label"] + 1) % 3} for row in rows[:3]]
    for one in replay_rows(wrong, metadata):
        assert one.verdict == "differs"
        assert "disagree on sample_id" in one.reason


def made(output: Path) -> tuple[list[Row], dict[str, Any]]:
    """The rows that have an image, and what their part says."""
    (part,) = (output / "manifest").glob("*.parquet")
    rows = [row for row in pq.read_table(part).to_pylist() if row["status"] == "ok"]
    return rows, read_metadata(part)


def test_it_does_not_depend_on_what_comes_later(done: Path, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    planned([source], output, **RARER)
    more = shard(tmp_path / "in/b.tar", [2] * 6 + [1] * 6, 11)
    frame = augmented([source, more], output, **RARER)
    columns = [*WHO, "sample_id", "to_label", "output_sha256"]
    first = frame[frame["source_shard"] == str(source)].reset_index(drop=True)
    pd.testing.assert_frame_equal(first[columns], manifest(done)[columns])


def test_the_shares_are_what_each_class_lacks() -> None:
    assert shares({0: 100, 1: 40, 2: 10}) == {
        0: {1: pytest.approx(60 / 150), 2: pytest.approx(90 / 150)},
        1: {2: 1.0},
        2: {2: 1.0},
    }
    assert shares({3: 5, 4: 5}) == {3: {3: 1.0}, 4: {4: 1.0}}


def test_many_copies_come_out_by_their_shares(tmp_path: Path) -> None:
    """Of 4,000 copies of a picture of the class 0, within four standard errors."""
    run = planned([shard(tmp_path / "in/a.tar", CLASSES)], tmp_path / "out", **RARER)
    targets = targets_in(run)
    assert targets is not None
    image = Image.new("L", (28, 28))
    of = Source(image=image, stored=image, label=Label(0))
    found = Counter(targets(of, range(4000)))
    assert found.keys() == {1, 2}
    assert found[1] == pytest.approx(4000 * 3 / 8, abs=4 * (4000 * 15 / 64) ** 0.5)


def test_a_dry_run_says_how_many_of_each_class(source: Path, tmp_path: Path, cli: Cli) -> None:
    flags = ["--model=fashion-mnist-32", "--condition=label", "--to-class=rarer"]
    flags += ["--detail=none", "--copies=3"]
    said = cli("augment", source, tmp_path / "out", *flags, "--dry-run")
    assert said.code == 0, said
    # of class 0, 18 copies: 3/8 of them towards 1 and 5/8 towards 2, and all 9 and 3 of the others
    assert "images of a class: 1 to 6; copies edited towards a class: about 0 to 23" in said.err


def test_a_class_that_the_model_has_not_fails_where_it_is_asked_for(
    tmp_path: Path,
) -> None:
    source = shard(tmp_path / "in/a.tar", [0, 0, 0, 12])
    rows = augmented([source], tmp_path / "out", **RARER)
    assert set(rows["reason_code"]) == {"unknown_label"}
    rows = augmented([source], tmp_path / "fixed", **TOLD, to_class=1)
    assert set(rows["status"]) == {"ok"}


def test_without_to_class_the_manifest_has_no_such_column(source: Path, tmp_path: Path) -> None:
    assert "to_label" not in augmented([source], tmp_path, **TOLD)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"to_class": "rarer"}, "to_class requires condition=label"),
        ({"to_class": 3, "condition": "label"}, "to_class requires detail=none"),
        (TOLD | {"to_class": 3, "layout": "paired"}, "use layout=each"),
        (TOLD | {"to_class": 3, "carry": ["from.cls"]}, "from.cls is where"),
        (TOLD | {"to_class": "rare"}, "to_class"),
        (TOLD | {"to_class": -1}, "to_class"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Recipe.of(fields)


def test_loaders_refuse_it() -> None:
    recipe = Recipe(model="fashion-mnist-32", condition="label", detail="none", to_class=3)
    with pytest.raises(ConfigError, match="only a job does"):
        diffaug.augment(Image.new("L", (28, 28)), recipe, labels=0)


def test_a_service_refuses_it(cli: Cli) -> None:
    flags = ["--model=fashion-mnist-32", "--condition=label", "--detail=none", "--to-class=3"]
    said = cli("serve", *flags)
    assert said.code == 2
    assert "only a job does" in said.err


def test_a_dataset_gives_copies_the_class_that_stands_beside_them(done: Path, source: Path) -> None:
    dataset = diffaug.AugmentedDataset(str(done), real=str(source), p=1.0, samples=60)
    given = manifest(done).dropna(subset="output_key").set_index("output_key")["to_label"]
    seen = {sample["__key__"]: sample["label"] for sample in dataset if "-a" in sample["__key__"]}
    assert len(seen) > 20
    assert {key: int(given[key]) for key in seen} == seen

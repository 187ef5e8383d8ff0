"""Copies by class: counted when a job is planned, and the same whatever comes later."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

import diffaug
from diffaug.errors import ConfigError
from diffaug.job.balance import copies_by_class
from diffaug.recipe import Recipe
from tests.conftest import Cli
from tests.support.hostile import fashion, png, write_samples
from tests.support.jobs import WHO, augmented, manifest, planned, tars
from tests.support.packing import as_folder


def shard(path: Path, classes: Sequence[int | None], start: int = 0) -> Path:
    """Real pictures of these classes, whatever they show; None has no class."""
    samples = []
    for sample, number in zip(fashion(len(classes), start), classes, strict=True):
        sample = {"__key__": sample["__key__"], "png": sample["png"]}
        samples.append(sample if number is None else sample | {"cls": b"%d" % number})
    return write_samples(path, samples)


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """Six images of class 0, three of 1, one of 2 and one of none, in two shards."""
    return [
        shard(tmp_path / "in/a.tar", [0, 0, 0, 0, 1, None]),
        shard(tmp_path / "in/b.tar", [2, 0, 1, 0, 1], 6),
    ]


def copies(frame: pd.DataFrame) -> dict[int | None, list[int]]:
    """How many rows each image has, by its class."""
    found: dict[int | None, list[int]] = {}
    for _, rows in frame.groupby(["source_shard", "source_key"]):
        label = rows["label"].iloc[0]
        found.setdefault(None if pd.isna(label) else int(label), []).append(len(rows))
        assert sorted(rows["copy"]) == list(range(len(rows)))
    return found


def counted(paths: Sequence[Path]) -> dict[str, int]:
    """The classes in tars, as Python's tarfile finds them."""
    found = Counter[str]()
    for path in paths:
        with tarfile.open(path) as tar:
            for info in tar:
                handle = tar.extractfile(info)
                if info.name.endswith(".cls") and handle is not None:
                    found[handle.read().decode()] += 1
    return dict(found)


def test_every_class_comes_out_as_often(sources: list[Path], tmp_path: Path) -> None:
    frame = augmented(sources, tmp_path / "out", balance="classes")
    assert copies(frame) == {0: [1] * 6, 1: [2] * 3, 2: [6], None: [1]}
    assert set(frame["status"]) == {"ok"}
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["class_counts"] == counted(sources) == {"0": 6, "1": 3, "2": 1}


def test_copies_are_those_of_the_most_frequent_class(sources: list[Path], tmp_path: Path) -> None:
    frame = augmented(sources, tmp_path, copies=2, balance="classes", max_copies=5)
    assert copies(frame) == {0: [2] * 6, 1: [4] * 3, 2: [5], None: [2]}


def test_a_copy_is_what_it_is_without_balance(sources: list[Path], tmp_path: Path) -> None:
    plain = augmented(sources, tmp_path / "plain", copies=6).set_index(WHO)
    frame = augmented(sources, tmp_path / "out", balance="classes").set_index(WHO)
    columns = ["sample_id", "recipe_digest", "output_sha256", "strength"]
    pd.testing.assert_frame_equal(frame[columns], plain.loc[frame.index, columns])


def test_shards_that_come_later_go_by_the_counts_of_the_plan(
    sources: list[Path], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    augmented(sources, output, balance="classes")
    more = shard(tmp_path / "in/c.tar", [2, 2, 2, 2, 7], 11)
    frame = augmented([*sources, more], output, balance="classes")
    later = frame[frame["source_shard"] == str(more)]
    assert copies(later) == {2: [6] * 4, 7: [1]}
    assert len(frame) == 19 + 25


def test_a_stopped_job_goes_on_with_them(sources: list[Path], tmp_path: Path) -> None:
    whole = augmented(sources, tmp_path / "whole", balance="classes")
    output = tmp_path / "out"
    run = planned(sources, output, balance="classes")
    reports = diffaug.augment_shards(run.sources[::-1], str(output), run=run)
    next(reports)
    reports.close()
    sources[0].touch()  # newer, but the same
    pd.testing.assert_frame_equal(augmented(sources, output, balance="classes"), whole)
    assert tars(output) == tars(tmp_path / "whole")


def test_images_that_cannot_be_read_have_as_many_rows(tmp_path: Path) -> None:
    torn = [{"__key__": b"torn", "png": png(0)[:60], "cls": b"1"}]
    good = [sample | {"cls": b"0"} for sample in fashion(3)]
    frame = augmented(
        [write_samples(tmp_path / "s0.tar", torn + good)], tmp_path / "out", balance="classes"
    )
    assert copies(frame) == {0: [1] * 3, 1: [3]}
    assert Counter(frame["status"]) == {"ok": 3, "failed": 3}


def test_without_a_class_nothing_is_balanced(tmp_path: Path, cli: Cli) -> None:
    source = shard(tmp_path / "s0.tar", [None] * 3)
    said = cli(
        *("augment", source, tmp_path / "out", "--balance=classes", "--model=fashion-mnist-32"),
        *("--sampler=one-step", "--batch-size=4"),
    )
    assert said.code == 0, said
    assert "no image has a class: each has as many copies as the recipe says" in said.err
    assert len(manifest(tmp_path / "out")) == 3


def test_a_dry_run_says_what_comes_out(sources: list[Path], tmp_path: Path, cli: Cli) -> None:
    flags = ["--balance=classes", "--model=fashion-mnist-32", "--sampler=one-step", "--dry-run"]
    said = cli("augment", *sources, tmp_path / "out", *flags)
    assert said.code == 0, said
    assert (
        "images of a class: 1 to 6; copies of an image: 1 to 6, of a class: 6, of all 3 classes: 18"
        in said.err
    )
    images = int(said.out.partition("about ")[2].partition(" images")[0])
    assert images == pytest.approx(19, abs=2)
    assert not (tmp_path / "out").exists()


def test_a_job_without_balance_says_nothing_of_it(sources: list[Path], tmp_path: Path) -> None:
    planned(sources, tmp_path)
    assert "class_counts" not in json.loads((tmp_path / "run.json").read_text())


def test_balance_is_part_of_what_a_job_is(sources: list[Path], tmp_path: Path) -> None:
    planned(sources, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"another recipe: balance \(none there, classes asked\)"):
        planned(sources, tmp_path / "out", balance="classes")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"max_copies": 5}, "max_copies does nothing without balance=classes"),
        ({"balance": "classes", "copies": 7, "max_copies": 5}, "the most frequent class has 7"),
        ({"balance": "classes", "copies": 4, "keep_best": 2, "keep_best_by": "ssim"}, "undoes"),
        ({"balance": "shards"}, "balance"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Recipe.of(fields)


def test_a_half_is_rounded_up() -> None:
    recipe = Recipe(balance="classes")
    assert copies_by_class(recipe, {0: 1000, 1: 400, 2: 286}) == {0: 1, 1: 3, 2: 3}


def test_a_list_of_strengths_goes_with_the_copies_of_rare_classes(
    sources: list[Path], tmp_path: Path, cli: Cli
) -> None:
    flags = ["--balance=classes", "--model=fashion-mnist-32", "--sampler=one-step"]
    flags += ["--strength=0.2,0.4", "--batch-size=4", "--layout=paired"]
    said = cli("augment", *sources, tmp_path / "out", *flags)
    assert said.code == 0, said
    frame = manifest(tmp_path / "out")
    assert copies(frame) == {0: [1] * 6, 1: [2] * 3, 2: [6], None: [1]}
    assert list(frame[frame["label"] == 2]["strength"]) == [0.2, 0.4] * 3


def test_a_pilot_makes_every_image_at_every_strength(
    sources: list[Path], tmp_path: Path, cli: Cli
) -> None:
    flags = ["--balance=classes", "--max-copies=2", "--model=fashion-mnist-32", "--pilot=4"]
    said = cli("augment", *sources, tmp_path / "out", *flags, "--steps=2", "--batch-size=4")
    assert said.code == 0, said
    assert "16 images tried" in said.out


def test_a_trial_of_pictures_says_that_it_does_not_count_them(tmp_path: Path, cli: Cli) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{balance: classes, max_copies: 2, sampler: one-step}")
    page = tmp_path / "page.html"
    said = cli("try", as_folder(tmp_path), "-o", page, "--recipe", recipe)
    assert said.code == 0, said
    assert "and more of rarer classes, which --dry-run counts" in said.out

"""A pilot: what it tries is what the job would make, and what it says is what came out."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diffaug
from diffaug.cli.pilot import tables
from diffaug.job.handful import look, spread
from diffaug.job.pilot import run_pilot
from diffaug.output.run import Run
from diffaug.shards.reading import Reading
from tests.conftest import BRACES, SHARDS, Cli
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import GREY, augmented

STRENGTHS = (0.1, 0.9)
FIELDS = {"model": GREY, "strength": STRENGTHS, "copies": 2, "sampler": "one-step"}


def planned(output: Path, source: str = BRACES, **fields: Any) -> Run:
    recipe = diffaug.Recipe.of(
        {**FIELDS, "judges": ["label=tests.support.ridge:classify"], **fields}
    )
    return diffaug.plan_run([source], str(output), recipe, batch_size=8)


def test_it_is_spread_over_classes_and_shards_and_makes_what_the_job_would(tmp_path: Path) -> None:
    output = tmp_path / "out"
    found = run_pilot(planned(output), str(output), 20)
    rows = found.rows
    assert rows.groupby("label").size().tolist() == [4] * 10  # two images, two strengths
    whole = augmented(SHARDS, tmp_path / "whole", **FIELDS)
    both = rows.merge(whole, on=["source_sha256", "strength"], suffixes=("", "_whole"))
    assert len(both) == 40
    assert (both["output_pixel_sha256"] == both["output_pixel_sha256_whole"]).all()
    assert both["source_shard_whole"].nunique() == 3
    assert sorted(path.name for path in output.rglob("*")) == ["pilot.png", "report"]
    assert found.sheet is not None
    with Image.open(found.sheet) as sheet:
        sheet.load()


def test_it_chooses_the_highest_strength_that_keeps_the_labels(tmp_path: Path) -> None:
    found = run_pilot(planned(tmp_path), str(tmp_path), 20)
    kept = found.rows.groupby("strength")["score_label"].mean()
    assert kept[0.1] >= 0.9 > kept[0.9]
    assert found.choice.strength == 0.1
    assert f"keeps {kept[0.1]:.0%} of the labels. At 0.9 it is" in found.choice.sentence
    _, by_class = tables(found)
    assert by_class.row_count == 11  # ten classes, and all
    assert list(by_class.columns[1].cells)[-1] == f"{kept[0.1]:.0%}"


@pytest.mark.parametrize(
    ("fields", "strengths"),
    [
        ({"strength": 0.5, "copies": 1}, [0.2, 0.4, 0.5, 0.6, 0.8]),
        ({"strength": "0.1:0.4", "copies": 3}, [0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_the_strengths_it_tries(
    fields: dict[str, Any], strengths: list[float], tmp_path: Path
) -> None:
    found = run_pilot(planned(tmp_path, **fields), str(tmp_path), 2)
    assert sorted(found.rows["strength"].unique()) == pytest.approx(strengths)


def test_bad_images_are_counted_and_shown(tmp_path: Path, cli: Cli) -> None:
    torn = {"__key__": b"torn", "png": fashion(1)[0]["png"][:80], "cls": b"3"}
    shard = write_samples(tmp_path / "s.tar", [*fashion(4), torn])
    said = cli(
        "augment", shard, tmp_path / "out", "--pilot", "5", "--strength", "0.1,0.9", "--steps", "2",
        "--model", GREY, "--copies", "2", "--filters", "ssim >= 0.99",
    )  # fmt: skip
    assert said.code == 0, said
    assert "10 images tried, 2 of them failed" in said.out
    assert "the whole job: about 10 images" in said.out
    assert "Nothing measures which of these still belong to their class" in said.out
    assert "with --strength S instead of --pilot 5 and of its --strength\n" in said.err
    (kept,) = (line for line in said.out.splitlines() if "kept by filters" in line)
    assert "0%" in kept
    assert not (tmp_path / "out/run.json").exists()
    cli("augment", shard, tmp_path / "out", "--pilot", "0").assert_mistake("at least 1, got 0")


def test_where_nothing_comes_out_there_is_no_picture(tmp_path: Path, cli: Cli) -> None:
    torn = [
        {"__key__": b"torn%d" % n, "png": sample["png"][:80], "cls": b"3"}
        for n, sample in enumerate(fashion(3))
    ]
    shard = write_samples(tmp_path / "s.tar", torn)
    said = cli("augment", shard, tmp_path / "out", "--pilot", "3")
    assert said.code == 0, said
    assert "12 images tried, 12 of them failed" in said.out
    assert "the first failed because the image cannot be decoded" in said.out
    assert "with --strength S instead of --pilot 3\n" in said.err
    assert "pictures:" not in said.out


def test_after_it_the_job_can_begin(tmp_path: Path) -> None:
    run_pilot(planned(tmp_path / "out"), str(tmp_path / "out"), 2)
    rows = augmented(SHARDS[:1], tmp_path / "out", **FIELDS)
    assert set(rows["status"]) == {"ok"}


def test_only_the_classes_of_what_is_looked_at_are_held(tmp_path: Path) -> None:
    """A handful of photographs, chosen from twenty times as many, which may be of any size."""
    picture = np.random.default_rng(0).bytes(200_000)
    samples = [
        {"__key__": b"%d" % number, "png": picture, "cls": b"%d" % (number % 3)}
        for number in range(100)
    ]
    shard = write_samples(tmp_path / "s.tar", samples)
    tracemalloc.start()
    found = look([str(shard)], Reading.of(diffaug.Recipe()), 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.shards[0]) == 100
    assert peak < 20 * len(picture)
    assert [place.label for place in spread(found.shards, 5)] == ["0", "1", "2", "0", "1"]

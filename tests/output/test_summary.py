"""The state of an output, against what pandas counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import diffaug
from diffaug.output.run import the_run
from diffaug.output.survey import ShardReport, survey
from tests.conftest import Cli
from tests.support.hostile import (
    broken_images,
    fashion,
    png,
    write_files,
    write_samples,
    zero_bytes,
)
from tests.support.jobs import GREY, augmented, planned, tars


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four planned shards of which the first three are committed: good, broken, empty."""
    folder = tmp_path_factory.mktemp("summary")
    write_samples(folder / "s0.tar", fashion(4))
    broken_images(folder / "s1.tar")
    zero_bytes(folder / "s2.tar")
    write_samples(folder / "s3.tar", fashion(4, 4))
    run = planned([folder / "s*.tar"], folder / "out")
    list(diffaug.augment_shards(run.sources[:3], str(folder / "out"), run=run))
    return folder


def test_counts_are_those_of_the_rows(folder: Path) -> None:
    summary = diffaug.summarise(str(folder / "out"))
    counts = pd.read_parquet(folder / "out/manifest")["status"].value_counts()
    assert (summary.shards, summary.committed) == (4, 3)
    assert (summary.ok, summary.filtered, summary.failed) == (counts["ok"], 0, counts["failed"])
    assert summary.planned == counts.sum()
    assert summary.output_bytes == sum(map(len, tars(folder / "out").values()))
    assert summary.failed_fraction == pytest.approx(counts["failed"] / counts.sum())


def test_an_unfinished_output_is_not_complete(folder: Path) -> None:
    run = planned([folder / "s*.tar"], folder / "out")
    assert [shard.stem for shard in survey(run.sources, str(folder / "out")).missing] == ["s3"]
    assert not diffaug.finish(run, str(folder / "out")).complete
    assert not (folder / "out/shards.txt").exists()


def test_finishing_twice_is_finishing_once(tmp_path: Path) -> None:
    sources = [write_samples(tmp_path / f"s{n}.tar", fashion(1, n)) for n in range(2)]
    run = planned(sources, tmp_path / "out")
    list(diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run))
    assert diffaug.finish(run, str(tmp_path / "out")) == diffaug.finish(run, str(tmp_path / "out"))
    listed = (tmp_path / "out/shards.txt").read_text()
    assert listed == "".join(f"shards/{name}\n" for name in tars(tmp_path / "out"))


def test_finish_counts_what_another_job_added_meanwhile(tmp_path: Path) -> None:
    sources = [write_samples(tmp_path / f"s{n}.tar", fashion(1, n)) for n in range(2)]
    mine = planned(sources[:1], tmp_path / "out")
    list(diffaug.augment_shards(mine.sources, str(tmp_path / "out"), run=mine))
    planned(sources, tmp_path / "out")
    assert not diffaug.finish(mine, str(tmp_path / "out")).complete


def test_the_sentence_adds_up(folder: Path) -> None:
    said = str(diffaug.summarise(str(folder / "out")))
    assert said == "10 planned = 6 made + 0 filtered + 4 failed; 3 of 4 shards committed"


def test_an_empty_job_has_no_failures(tmp_path: Path) -> None:
    run = planned([write_samples(tmp_path / "s.tar", [])], tmp_path / "out")
    list(diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run))
    summary = diffaug.finish(run, str(tmp_path / "out"))
    assert (summary.complete, summary.planned, summary.failed_fraction) == (True, 0, 0.0)
    assert (tmp_path / "out/shards.txt").read_text() == ""


def test_what_is_no_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(diffaug.ConfigError, match="is not an output of diffaug"):
        diffaug.summarise(str(tmp_path))


@pytest.mark.parametrize("data", [b"", b"PAR1 and then nothing", b"x" * 5000])
def test_a_broken_part_is_named_and_raises_no_arrow_error(tmp_path: Path, data: bytes) -> None:
    source = write_samples(tmp_path / "s.tar", fashion(1))
    run = planned([source], tmp_path / "out")
    list(diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run))
    (tmp_path / "out/manifest/s.parquet").write_bytes(data)
    with pytest.raises(diffaug.DiffaugError, match=r"s\.parquet"):
        diffaug.summarise(str(tmp_path / "out"))


def test_a_broken_footer_is_the_parts_fault_not_the_disks(tmp_path: Path) -> None:
    source = write_samples(tmp_path / "s.tar", fashion(1))
    run = planned([source], tmp_path / "out")
    list(diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run))
    part = tmp_path / "out/manifest/s.parquet"
    data = bytearray(part.read_bytes())
    data[-8 - int.from_bytes(data[-8:-4], "little")] ^= 255
    part.write_bytes(data)
    with pytest.raises(
        diffaug.UncommittedError, match=r"s\.parquet cannot be read .*if it is broken"
    ):
        diffaug.summarise(str(tmp_path / "out"))


def test_a_job_that_grows_is_not_complete_any_more(tmp_path: Path) -> None:
    sources = [write_samples(tmp_path / f"s{n}.tar", fashion(1, n)) for n in range(2)]
    run = planned(sources[:1], tmp_path / "out")
    list(diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run))
    assert diffaug.finish(run, str(tmp_path / "out")).complete
    planned(sources, tmp_path / "out")
    assert not (tmp_path / "out/shards.txt").exists()


def test_what_is_no_sample_is_counted_and_has_no_row(tmp_path: Path, cli: Cli) -> None:
    litter = [("README.txt", b"..."), ("Thumbs.db", b"...")]
    images = [(f"{number}.png", png(number)) for number in range(2)]
    write_files(tmp_path / "s0.tar", [litter[0], *images, litter[1]])
    write_files(tmp_path / "s1.tar", litter[:1])
    write_files(tmp_path / "clean.tar", images)
    flags = ("--model", GREY, "--sampler", "one-step", "--strength", "0.4", "--batch-size", "8")
    ran = cli("augment", tmp_path / "s0.tar", tmp_path / "s1.tar", tmp_path / "out", *flags)
    assert ran.code == 0
    assert "s0: 2 made, 0 failed, 2 passed over" in ran.err
    assert (
        "2 planned = 2 made + 0 filtered + 0 failed; 2 of 2 shards committed; passed over: 3\n"
        in ran.out
    )
    assert diffaug.summarise(str(tmp_path / "out")).passed_over == 3
    assert list(pd.read_parquet(tmp_path / "out/manifest")["source_key"]) == ["0", "1"]
    assert cli("verify", tmp_path / "out").code == 0
    augmented([tmp_path / "clean.tar"], tmp_path / "clean")
    (clean,), (mixed,) = tars(tmp_path / "clean").values(), tars(tmp_path / "out").values()
    assert clean == mixed
    nothing = cli("--log-json", "augment", tmp_path / "s1.tar", tmp_path / "none", *flags)
    assert nothing.code == 1
    events = [json.loads(line) for line in nothing.err.splitlines()]
    assert sum(one["event"] == "warning" and "README" in one["message"] for one in events) == 1
    assert "the source has no sample: check SOURCE, image_key and label_key" in nothing.err


def test_a_report_of_the_first_version_is_read(folder: Path) -> None:
    """It recorded neither what was passed over nor whether pixels moved."""
    report = next(
        iter(survey(the_run(str(folder / "out")).sources, str(folder / "out")).committed.values())
    )
    known = {"passed_over", "geometry"}
    written = {name: value for name, value in report.fields().items() if name not in known}
    read = ShardReport.of(written)
    assert read == replace(report, geometry=None)

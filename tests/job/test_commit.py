"""The part is the commit: written once, last, and saying what was done."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import diffaug
from diffaug.job.commit import ShardSink
from diffaug.job.copy import Copy
from diffaug.output.run import Run, SourceShard
from diffaug.output.survey import read_report
from diffaug.pictures.medium import IMAGE
from diffaug.storage import Fingerprint
from tests.support.hostile import broken_images, fashion, write_samples, zero_bytes
from tests.support.jobs import augmented, planned, tars, tree

SEEN = Fingerprint(1024, "0" * 64, datetime.now(UTC))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A planned job over one shard, in `out`, with nothing done."""
    source = write_samples(tmp_path / "s.tar", fashion(2))
    (tmp_path / "scratch").mkdir()
    return planned([source], tmp_path / "out")


def _sink(run: Run, folder: Path) -> ShardSink:
    return ShardSink(run.sources[0], run, str(folder / "out"), IMAGE, folder / "scratch")


def test_a_report_says_what_became_of_the_shard(tmp_path: Path) -> None:
    broken_images(tmp_path / "s.tar")
    run = planned([tmp_path / "s.tar"], tmp_path / "out", copies=2)
    begun = datetime.now(UTC).replace(microsecond=0)
    (report,) = diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run)
    assert report.source == str(tmp_path / "s.tar")
    assert (report.planned, report.ok, report.filtered, report.failed) == (10, 4, 0, 6)
    ((name, data),) = tars(tmp_path / "out").items()
    assert report.output_shard == f"shards/{name}"
    assert report.output_sha256 == hashlib.sha256(data).hexdigest()
    assert report.output_bytes == len(data)
    assert begun <= datetime.fromisoformat(report.started_at) <= datetime.now(UTC)
    assert (report.host, report.pid) == (socket.gethostname(), os.getpid())
    assert read_report(str(tmp_path / "out/manifest/s.parquet")) == report


def test_without_an_image_there_is_a_part_and_no_tar(tmp_path: Path) -> None:
    zero_bytes(tmp_path / "s.tar")
    run = planned([tmp_path / "s.tar"], tmp_path / "out")
    (report,) = diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run)
    assert (report.planned, report.failed) == (1, 1)
    assert (report.output_shard, report.output_sha256, report.output_bytes) == (None, None, 0)
    assert tars(tmp_path / "out") == {}
    assert (tmp_path / "out/manifest/s.parquet").exists()


def test_a_discarded_shard_leaves_nothing(run: Run, tmp_path: Path) -> None:
    before = tree(tmp_path / "out")
    sink = _sink(run, tmp_path)
    sink.add_failed(Copy(run.sources[0], {"status": "failed"}))
    sink.discard()
    assert tree(tmp_path / "out") == before
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_first_commit_counts_and_the_second_reports_it(run: Run, tmp_path: Path) -> None:
    first = _sink(run, tmp_path)
    first.add_failed(Copy(run.sources[0], {"status": "failed"}))
    report = first.commit(SEEN)
    before = tree(tmp_path / "out")
    second = _sink(run, tmp_path)
    assert second.commit(SEEN) == report  # though it has other rows
    assert tree(tmp_path / "out") == before


def test_the_loser_of_a_race_changes_nothing(run: Run, tmp_path: Path) -> None:
    """Two writers do the same shard; both are told of the one part and the one tar."""
    output = str(tmp_path / "out")
    shutil.copytree(output, tmp_path / "other")
    list(diffaug.augment_shards(run.sources, str(tmp_path / "other"), run=run))

    def shards() -> Iterator[SourceShard]:
        shutil.copytree(tmp_path / "other/manifest", tmp_path / "out/manifest")
        yield from run.sources  # the other writer was faster, after this one has begun

    (report,) = diffaug.augment_shards(shards(), output, run=run)
    assert report == read_report(str(tmp_path / "other/manifest/s.parquet"))
    assert tars(tmp_path / "out") == tars(tmp_path / "other")


def test_a_part_is_not_there_before_its_tar(tmp_path: Path) -> None:
    """A tar that cannot be published leaves no part that names it."""
    sources = [write_samples(tmp_path / f"s{n}.tar", fashion(1, n)) for n in range(2)]
    augmented(sources[:1], tmp_path / "out")
    run = planned(sources, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/shards")
    (tmp_path / "out/shards").write_text("in the way")
    with pytest.raises(OSError, match="shards"):
        list(diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run))
    assert [path.name for path in (tmp_path / "out/manifest").iterdir()] == ["s0.parquet"]

"""The manifest in a few large files: the same rows, for a reader that knows nothing of diffaug."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import diffaug
from diffaug.output import compact as module
from diffaug.output.compact import compact
from tests.conftest import Cli
from tests.support.hostile import broken_images, fashion, write_samples
from tests.support.jobs import augmented, by_identity, planned, tree


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Of three shards, one with failures."""
    for number in (0, 2):
        write_samples(tmp_path / f"in/s{number}.tar", fashion(4, 4 * number))
    broken_images(tmp_path / "in/s1.tar")
    augmented([tmp_path / "in/*.tar"], tmp_path / "out", copies=2)
    return tmp_path / "out"


def test_it_is_the_manifest_in_the_plans_order(output: Path) -> None:
    rows = list(compact(str(output)))
    assert rows == [8, 10, 8]
    merged = pd.read_parquet(output / "lineage")
    parts = pd.read_parquet(output / "manifest")
    pd.testing.assert_frame_equal(by_identity(merged), by_identity(parts))
    assert merged["source_shard"].is_monotonic_increasing
    assert [path.name for path in (output / "lineage").iterdir()] == ["00000.parquet"]


def test_it_is_the_same_again_and_follows_a_job_that_grew(output: Path, cli: Cli) -> None:
    list(compact(str(output)))
    before = tree(output / "lineage")
    said = cli("compact", output)
    assert (said.code, said.out) == (0, f"26 rows in 1 files: {output}/lineage\n")
    assert [what[1] for what in tree(output / "lineage").values()] == [
        what[1] for what in before.values()
    ]
    assert cli("verify", output).code == 0
    write_samples(output.parent / "in/s3.tar", fashion(5, 20))
    augmented([output.parent / "in/*.tar"], output, copies=2)
    said = cli("verify", output)
    assert said.code == 1
    assert "lineage/: it has 26 rows but the manifest has 36: run diffaug compact again" in said.out
    assert cli("compact", output).code == 0
    assert len(pd.read_parquet(output / "lineage")) == 36
    assert cli("verify", output).code == 0


def test_large_manifests_take_several_files(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS_A_GROUP", 8)
    monkeypatch.setattr(module, "_ROWS_A_FILE", 16)
    list(compact(str(output)))
    counts = [len(pd.read_parquet(path)) for path in sorted((output / "lineage").iterdir())]
    assert counts == [18, 8]
    monkeypatch.undo()
    list(compact(str(output)))
    assert [path.name for path in (output / "lineage").iterdir()] == ["00000.parquet"]
    assert len(pd.read_parquet(output / "lineage")) == 26


def test_an_unfinished_job_is_refused(output: Path, cli: Cli) -> None:
    write_samples(output.parent / "in/s3.tar", fashion(1))
    planned([output.parent / "in/*.tar"], output, copies=2)
    cli("compact", output).assert_mistake("1 of 4 shards of ")
    cli("compact", output.parent).assert_mistake("is not an output of diffaug")
    assert not (output / "lineage").exists()


def test_a_broken_part_is_named(output: Path) -> None:
    path = output / "manifest/s1.parquet"
    data = bytearray(path.read_bytes())
    data[data.index(b"PAR1") + 40] ^= 255
    path.write_bytes(data)
    with pytest.raises(
        diffaug.UncommittedError, match=r"s1\.parquet cannot be read .*if it is broken"
    ):
        list(compact(str(output)))
    assert not (output / "lineage").exists()

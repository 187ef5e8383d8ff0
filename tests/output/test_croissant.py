"""`diffaug export`: what mlcroissant, the format's own implementation, makes of it."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tarfile
from pathlib import Path

import mlcroissant
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from diffaug.output.croissant import _id
from tests.conftest import MLCROISSANT, SHARDS, Cli
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import augmented, manifest

pytestmark = MLCROISSANT


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of a few images, of which a filter turns some away."""
    folder = tmp_path_factory.mktemp("croissant")
    augmented(
        SHARDS[:2],
        folder / "out",
        sampler="one-step",
        strength=(0.2, 0.8),
        copies=2,
        filters=("ssim >= 0.4",),
    )
    return folder / "out"


@pytest.fixture
def dataset(output: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> mlcroissant.Dataset:
    monkeypatch.setenv("CROISSANT_CACHE", str(output.parent / "cache"))
    said = cli("export", output)
    assert said.code == 0, said
    assert f"wrote {output}/croissant.json" in said.out
    return mlcroissant.Dataset(output / "croissant.json")


def test_it_validates_and_names_the_images_as_synthetic(
    dataset: mlcroissant.Dataset, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        metadata = mlcroissant.Dataset(output / "croissant.json").metadata
    assert not metadata.ctx.issues.errors
    told = json.loads((output / "croissant.json").read_text())
    assert told["conformsTo"].startswith("http://mlcommons.org/croissant/1.")
    assert told["rai:dataCollectionType"] == "Synthetic data"
    assert told["description"].startswith("Synthetic images:")
    assert str(SHARDS[0]) in told["rai:dataCollectionRawData"]
    digest = manifest(output)["recipe_digest"].iloc[0]
    assert digest in told["rai:dataPreprocessingProtocol"]


def test_its_rows_are_the_manifest(dataset: mlcroissant.Dataset, output: Path) -> None:
    frame = pd.read_parquet(output / "manifest")
    rows = [
        {name.removeprefix("rows/"): value for name, value in record.items()}
        for record in dataset.records("rows")
    ]
    assert len(rows) == len(frame) == 160
    for row, (_, known) in zip(rows, frame.iterrows(), strict=True):
        assert set(row) == set(frame.columns)
        for name in ("sample_id", "status", "source_key", "output_pixel_sha256"):
            found = row[name].decode() if isinstance(row[name], bytes) else row[name]
            assert found == known[name]
        assert row["strength"] == pytest.approx(known["strength"])
        assert row["copy"] == known["copy"]


def test_its_pictures_are_those_that_are_ok(dataset: mlcroissant.Dataset, output: Path) -> None:
    frame = manifest(output)
    kept = frame[frame["status"] == "ok"]
    assert 0 < len(kept) < len(frame)
    found = {
        (name.decode() if isinstance(name, bytes) else name): picture
        for name, picture in (
            (record["pictures/filename"], record["pictures/content"])
            for record in dataset.records("pictures")
        )
    }
    assert set(found) == set(kept["output_member"])
    row = kept.iloc[-1]
    with tarfile.open(output / row["output_shard"]) as tar:
        handle = tar.extractfile(row["output_member"])
        assert handle is not None
        expected = Image.open(io.BytesIO(handle.read()))
    assert np.array_equal(np.asarray(found[row["output_member"]]), np.asarray(expected))


def test_each_tar_is_named_with_its_digest(output: Path, cli: Cli) -> None:
    assert cli("export", output).code == 0
    told = json.loads((output / "croissant.json").read_text())
    digests = {file["@id"]: file.get("sha256") for file in told["distribution"]}
    for tar in output.glob("shards/*.tar"):
        assert digests.pop(f"shards/{tar.name}") == hashlib.sha256(tar.read_bytes()).hexdigest()
    assert set(digests) == {"manifest", "images"}


def test_a_job_that_is_not_finished_is_refused(tmp_path: Path, cli: Cli) -> None:
    augmented(SHARDS[:1], tmp_path / "out", sampler="one-step")
    (part,) = (tmp_path / "out/manifest").glob("*.parquet")
    part.unlink()
    cli("export", tmp_path / "out").assert_mistake("finish the job, then export it")
    cli("export", tmp_path / "none").assert_mistake("is not an output of diffaug")


def test_names_are_no_identifiers(tmp_path: Path, cli: Cli) -> None:
    """mlcroissant takes no blank in one; OUTPUTs of 0.1.0 have them in the names of tars."""
    source = write_samples(tmp_path / "a b [x](y) #1.tar", fashion(2))
    output = tmp_path / "out :b: <b> & %20"
    augmented([source], output)
    assert cli("export", output).code == 0
    dataset = mlcroissant.Dataset(output / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    assert dataset.metadata.name == output.name
    assert len(list(dataset.records("rows"))) == len(list(dataset.records("pictures"))) == 2


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("shards/a_b-1.2.tar", "shards/a_b-1.2.tar"),
        ("shards/a b.tar", "tar-7"),
        ("shards/a%20b.tar", "tar-7"),
        ("shards/手袋.tar", "tar-7"),
    ],
)
def test_the_identifier_of_a_tar(name: str, identifier: str) -> None:
    assert _id(name, 7) == identifier

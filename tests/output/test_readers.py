"""An output as other libraries open it: each counts what the manifest counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT, blocks
from tests.support.clusters import ray_cluster
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import augmented, manifest, output_bytes, pixels

PAGE = (ROOT / "docs/manifest.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two shards, with images that were made, filtered and failed."""
    folder = tmp_path_factory.mktemp("readers")
    samples = fashion(20)
    samples[3]["png"] = b"no picture"
    for number in range(2):
        write_samples(folder / f"in/{number}.tar", samples[10 * number : 10 * number + 10])
    output = folder / "read"
    augmented([folder / "in/*.tar"], output, copies=2, strength="0.2:0.6", filters=["ssim >= 0.6"])
    return output


@pytest.fixture
def rows(output: Path) -> pd.DataFrame:
    rows = manifest(output)
    assert set(rows["status"]) == {"ok", "filtered", "failed"}
    return rows


@pytest.fixture
def made(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["status"] == "ok"]


def tars(output: Path) -> list[str]:
    return [f"{output}/{line}" for line in (output / "shards.txt").read_text().splitlines()]


def counted(rows: pd.DataFrame) -> dict[Any, int]:
    return dict(Counter(rows["status"]))


def names(library: str, output: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the page's lines for a library leave."""
    (code,) = [code for code in blocks(PAGE, "python") if f"import {library}" in code]
    monkeypatch.chdir(output.parent)
    found: dict[str, Any] = {}
    exec(compile(code, "docs/manifest.md", "exec"), found)
    return found


def test_datasets_of_hugging_face(
    output: Path, made: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list(names("datasets", output, monkeypatch)["images"])
    assert sorted(sample["__key__"] for sample in found) == sorted(made["output_key"])
    by_key = made.set_index("output_key")
    for sample in found:
        row = by_key.loc[sample["__key__"]]
        assert sample["cls"] == row["label"]
        np.testing.assert_array_equal(
            np.asarray(sample["png"].convert("L")), pixels(output_bytes(output, row))
        )


def test_duckdb(output: Path, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dict(names("duckdb", output, monkeypatch)["counts"].fetchall()) == counted(rows)


def test_polars(output: Path, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    found = names("polars", output, monkeypatch)["counts"]
    assert dict(found.iter_rows()) == counted(rows)


RAY = """\
import json, sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
images = ray.data.read_webdataset(sys.argv[3:], decoder=False)
rows = ray.data.read_parquet(sys.argv[2] + "/manifest")
keys = [sample["__key__"] for sample in images.take_all()]
print(json.dumps([keys, rows.count()]))
"""


@pytest.mark.services
@pytest.mark.proof
@pytest.mark.timeout(1800)  # it may wait for another cluster to go
def test_ray_data(output: Path, rows: pd.DataFrame, made: pd.DataFrame) -> None:
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    with ray_cluster(environment) as address:
        done = subprocess.run(
            [sys.executable, "-c", RAY, address, str(output), *tars(output)],
            env=environment,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    keys, count = json.loads(done.stdout.splitlines()[-1])
    assert sorted(keys) == sorted(made["output_key"])
    assert count == len(rows)

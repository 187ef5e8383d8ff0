"""The lineage contract as data: columns as they are written, and rows as they were written."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pandas as pd
import pytest

from diffaug.audit.replay import replay_parts
from diffaug.execution import device_class, versions
from diffaug.manifest.part import SCHEMA_VERSION
from diffaug.output.run import the_run
from diffaug.output.select import picked_rows
from tests.conftest import ROOT, Cli

FOLDER = ROOT / "manifests"
GOLDEN = FOLDER / "golden"

OF_THE_MACHINE = [
    *("device", "torch_version", "diffusers_version", "pillow_version", "diffaug_version"),
    *("output_shard", "output_offset", "output_bytes", "output_sha256", "output_pixel_sha256"),
]
"""Columns that may differ where another processor or other versions made the images."""


def like_the_golden(row: pd.Series) -> bool:
    here = versions() | {"device": device_class("cpu")}
    names = ["device", *(name for name in row.index if name.endswith("_version"))]
    return all(row[name] == here[name.removesuffix("_version")] for name in names)


def test_column_dictionary_is_current() -> None:
    script = runpy.run_path(str(FOLDER / "write_readme.py"))
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == script["dictionary"]()


@pytest.mark.numerics
def test_the_golden_rows_are_made_again(tmp_path: Path) -> None:
    runpy.run_path(str(FOLDER / "write_golden.py"))["make"](str(tmp_path))
    golden = pd.read_parquet(GOLDEN / "manifest")
    made = pd.read_parquet(tmp_path / "manifest")
    assert len(golden) == 120
    assert list(made.columns) == list(golden.columns)
    assert (made.dtypes == golden.dtypes).all()
    if like_the_golden(golden.iloc[0]):
        pd.testing.assert_frame_equal(made, golden)
    scores = [name for name in golden.columns if name.startswith("score_")]
    same = [name for name in golden.columns if name not in {*OF_THE_MACHINE, *scores}]
    pd.testing.assert_frame_equal(made[same], golden[same])
    pd.testing.assert_frame_equal(made[scores], golden[scores], atol=0.05, rtol=0.01)


def test_rows_of_the_first_version_are_still_read_and_replayed() -> None:
    """What a version has written, every later one makes again."""
    script = runpy.run_path(str(FOLDER / "write_golden.py"))
    script["place"]()
    assert the_run(str(GOLDEN)).schema_version == 1
    (part,) = (GOLDEN / "manifest").glob("*.parquet")
    found = list(replay_parts(picked_rows(str(GOLDEN), {part.stem: [0, 50, 119]}), str(GOLDEN)))
    assert len(found) == 3
    alike = like_the_golden(pd.Series(found[0].row))
    assert {one.verdict for one in found} == {"equal" if alike else "near"}


def test_a_version_to_come_is_refused_in_a_sentence(tmp_path: Path, cli: Cli) -> None:
    output = Path(shutil.copytree(GOLDEN, tmp_path / "output"))
    run = (output / "run.json").read_text()
    was, will_be = '"schema_version": 1', f'"schema_version": {SCHEMA_VERSION + 1}'
    assert was in run
    (output / "run.json").write_text(run.replace(was, will_be))
    cli("verify", output).assert_mistake("is not a run.json this diffaug reads")

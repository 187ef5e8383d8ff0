"""The contact sheet shows what it says, where it says."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from diffaug.report import contact_sheet
from tests.conftest import SHARDS, Cli
from tests.jobs import augmented


@pytest.fixture
def output(tmp_path: Path) -> Path:
    augmented([SHARDS[0]], tmp_path / "out", copies=2, strength=(0.2, 0.6))
    return tmp_path / "out"


def member(tar: Path, name: str) -> np.ndarray:
    with tarfile.open(tar) as opened:
        handle = opened.extractfile(name)
        assert handle is not None
        return np.asarray(Image.open(io.BytesIO(handle.read())))


def test_source_stands_beside_its_copies(output: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert contact_sheet(str(output), sheet, sources=4, columns=1) == 4
    drawn = np.asarray(Image.open(sheet).convert("L"))
    row = pd.read_parquet(output / "manifest").iloc[0]
    expected = [
        member(SHARDS[0], "00000.png"),
        member(output / row["output_shard"], "00000-a0.png"),
        member(output / row["output_shard"], "00000-a1.png"),
    ]
    scale, gap = 140 // 28, 10
    for place, picture in enumerate(expected):
        left = gap + place * (140 + gap)
        shown = drawn[gap : gap + 140 : scale, left : left + 140 : scale]
        assert np.array_equal(shown, picture)


def test_nothing_to_show_writes_nothing(tmp_path: Path) -> None:
    assert contact_sheet(str(tmp_path), tmp_path / "sheet.png") == 0
    assert not (tmp_path / "sheet.png").exists()


def test_the_page_says_what_the_manifest_says(tmp_path: Path, cli: Cli) -> None:
    """It stands alone: no address of anything but itself."""
    output = tmp_path / "out"
    augmented([SHARDS[0]], output, copies=2, strength=(0.2, 0.6), filters=("ssim >= 0.6",))
    rows = pd.read_parquet(output / "manifest")
    said = cli("report", output)
    assert said.code == 0, said
    page = (output / "report/index.html").read_text(encoding="utf-8")
    assert f"80 planned = {(rows['status'] == 'ok').sum()} ok" in page
    medians = rows.groupby("strength")["score_ssim"].median()
    for strength, median in medians.items():
        assert f"<td>{strength:g}</td><td>40</td><td>{median:.3g}</td>" in page
    filtered = int((rows["status"] == "filtered").sum())
    assert filtered
    assert f"<td>filtered</td><td>bound</td><td>{filtered}</td>" in page
    assert 'src="data:image/png;base64,' in page
    assert "http" not in page
    said = cli("verify", output, "--clean")
    assert said.code == 0, said
    assert (output / "report/index.html").is_file()


def test_a_page_of_nothing_is_a_mistake(tmp_path: Path, cli: Cli) -> None:
    cli("report", tmp_path).assert_mistake("is no output of diffaug")

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
from tests.conftest import SHARDS
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

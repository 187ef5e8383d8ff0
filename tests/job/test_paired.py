"""The paired layout: a source and its copies, one webdataset sample."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

import diffaug
from diffaug.audit.replay import replay_parts
from diffaug.output.select import image_counts, picked_rows, spread
from tests.support.hostile import encoded, fashion, write_files, write_samples
from tests.support.jobs import augmented, differences, manifest, members, output_bytes, webdataset


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real images; one is a JPEG, one is broken, one has members named as copies are."""
    samples = fashion(6)
    picture = Image.open(io.BytesIO(samples[1].pop("png")))
    samples[1]["JPG"] = encoded(picture, "JPEG")
    samples[3]["png"] = b"no image"
    samples[4] |= {"aug0.png": b"an older one", "aug0.diffaug.json": b"{}"}
    return write_samples(tmp_path_factory.mktemp("paired") / "s.tar", samples)


FIELDS: dict[str, Any] = {"layout": "paired", "copies": 3, "strength": "0.2,0.5,0.8"}


@pytest.fixture(scope="module")
def output(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layout") / "out"
    augmented([source], folder, **FIELDS, filters="ssim >= 0.65", carry="txt")
    return folder


def shard(output: Path) -> Path:
    (path,) = output.glob("shards/*.tar")
    return path


def test_a_sample_is_a_source_with_its_kept_copies(source: Path, output: Path) -> None:
    rows, theirs = manifest(output), members(source)
    found = {sample["__key__"]: sample for sample in webdataset(shard(output))}
    assert list(found) == [f"{n:05}" for n in (0, 1, 2, 4, 5)]  # 3 is broken
    for key, sample in found.items():
        extension, made = ("JPG", "jpg") if key == "00001" else ("png", "png")
        assert sample[extension.lower()] == theirs[f"{key}.{extension}"]
        assert (sample["cls"], sample["txt"]) == (theirs[f"{key}.cls"], theirs[f"{key}.txt"])
        kept = rows[(rows["source_key"] == key) & (rows["status"] == "ok")]
        names = {
            f"aug{copy}.{ending}" for copy in kept["copy"] for ending in (made, "diffaug.json")
        }
        own = {"cls", "txt", extension.lower()}
        assert {name for name in sample if not name.startswith("__")} == names | own
        for row in kept.itertuples():
            data = sample[f"aug{row.copy}.{made}"]
            assert hashlib.sha256(data).hexdigest() == row.output_sha256
            lineage = json.loads(sample[f"aug{row.copy}.diffaug.json"])
            assert lineage["sample_id"] == row.sample_id
            assert data == output_bytes(output, row)
            assert (row.output_key, row.output_member) == (key, f"{key}.aug{row.copy}.{made}")
    counts = [sum(".png" in name for name in sample) for sample in found.values()]
    assert len(set(counts)) > 1


def test_the_images_are_those_of_the_other_layout(
    source: Path, output: Path, tmp_path: Path
) -> None:
    fields = {**FIELDS, "layout": "each", "filters": "ssim >= 0.65", "carry": "txt"}
    rows, each = manifest(output), augmented([source], tmp_path / "each", **fields)
    place = ["output_shard", "output_key", "output_member", "output_offset"]
    rest = [name for name in rows.columns if name not in place]
    pd.testing.assert_frame_equal(rows[rest], each[rest])
    turned_away = rows["status"] == "filtered"
    assert turned_away.any()
    named = ["output_key", "output_member"]
    pd.testing.assert_frame_equal(rows.loc[turned_away, named], each.loc[turned_away, named])
    (mine,), (theirs,) = (list(one.glob("rejects/*")) for one in (output, tmp_path / "each"))
    assert (mine.name, mine.read_bytes()) == (theirs.name, theirs.read_bytes())


def test_names_are_in_order_and_bytes_stable(source: Path, output: Path, tmp_path: Path) -> None:
    names = list(members(shard(output)))
    assert names[:3] == ["00000.png", "00000.cls", "00000.txt"]
    assert len(names) == len(set(names))
    augmented([source], tmp_path / "out", **FIELDS, filters="ssim >= 0.65", carry="txt")
    assert shard(tmp_path / "out").read_bytes() == shard(output).read_bytes()
    assert shard(tmp_path / "out").name == shard(output).name


def test_verify_and_replay(output: Path) -> None:
    assert differences(output) == []
    picks = spread(image_counts(str(output), ["s"]), 9)
    found = list(replay_parts(picked_rows(str(output), picks), str(output)))
    assert len(found) == 9
    assert {one.verdict for one in found} == {"equal"}


def test_a_spoilt_copy_is_named(output: Path, tmp_path: Path) -> None:
    spoilt = Path(shutil.copytree(output, tmp_path / "out"))
    row = next(manifest(spoilt).query("status == 'ok'").itertuples())
    data = bytearray(shard(spoilt).read_bytes())
    data[int(str(row.output_offset)) + 60] ^= 1
    shard(spoilt).write_bytes(data)
    said = differences(spoilt)
    assert any(f"{row.output_member}: its bytes or offset" in line for line in said)


def test_a_source_is_there_once_one_of_its_copies_came_out(tmp_path: Path) -> None:
    """All copies turned away: it is there alone. All failed: it is not, and its rows say why."""
    samples = fashion(2)
    samples[1].pop("cls")
    source = write_samples(tmp_path / "s.tar", samples)
    fields = {"layout": "paired", "condition": "label", "filters": "ssim > 2"}
    rows = augmented([source], tmp_path / "out", **fields)
    assert list(rows["status"]) == ["filtered", "failed"]
    (sample,) = webdataset(shard(tmp_path / "out"))
    assert sample["__key__"] == "00000"
    assert sample.keys() & {"png", "cls", "aug0.png"} == {"png", "cls"}


def test_the_output_is_a_source_again(output: Path, tmp_path: Path) -> None:
    rows = augmented([shard(output)], tmp_path / "again", layout="paired")
    assert set(rows["status"]) == {"ok"}
    assert set(rows["source_member"].str.partition(".")[2]) == {"png", "JPG".lower()}
    first = webdataset(shard(tmp_path / "again"))[0]
    assert {"png", "aug0.png", "cls"} <= first.keys()


def test_a_picture_that_is_carried_too_is_there_once(tmp_path: Path) -> None:
    (sample,) = fashion(1)
    source = write_samples(tmp_path / "s.tar", [sample])
    augmented([source], tmp_path / "out", layout="paired", carry="png,txt")
    assert list(members(shard(tmp_path / "out"))) == [
        *("00000.png", "00000.cls", "00000.txt", "00000.aug0.png", "00000.aug0.diffaug.json")
    ]
    assert webdataset(shard(tmp_path / "out"))[0]["png"] == sample["png"]


def test_keys_with_folders(tmp_path: Path) -> None:
    (sample,) = fashion(1)
    source = write_files(
        tmp_path / "s.tar", [("deep/a.b.png", b"x"), ("deep/a.png", sample["png"])]
    )
    rows = augmented([source], tmp_path / "out", layout="paired")
    assert list(rows["output_member"]) == ["deep/a.aug0.png"]
    assert diffaug.summarise(str(tmp_path / "out")).ok == 1
    assert differences(tmp_path / "out") == []

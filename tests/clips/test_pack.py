"""Folders of clips become shards, whose clips a job takes."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.conftest import Cli
from tests.support.clips import container, moving
from tests.support.jobs import GREY, manifest, members


def folder(path: Path) -> Path:
    for name, frames in (
        ("walk/1", moving(3)),
        ("walk/2", moving(4, seed=1)),
        ("run/1", moving(2)),
    ):
        file = path / f"{name}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(container(frames))
    return path


def test_class_folders_of_clips(tmp_path: Path, cli: Cli) -> None:
    source = folder(tmp_path / "clips")
    (source / "walk/broken.mp4").write_bytes(container(moving(3))[:300])
    said = cli("pack", source, tmp_path / "shards", "--name", "moves", "--max-failed", "0.5")
    assert "3 packed + 1 left out" in str(said)
    found = members(tmp_path / "shards/moves-000000.tar")
    assert sum(name.endswith(".mp4") for name in found) == 3
    entry = yaml.safe_load((tmp_path / "shards/moves.yaml").read_text())
    assert entry["classes"] == ["run", "walk"]


def test_a_folder_of_clips_is_augmented_as_it_is(tmp_path: Path, cli: Cli) -> None:
    source, out = folder(tmp_path / "clips"), tmp_path / "out"
    assert cli("augment", source, out, "--model", GREY, "--strength", "0.2").code == 0
    rows = manifest(out)
    assert sorted(rows["output_frames"]) == [2, 3, 4]
    assert sorted(rows["label_text"]) == ["run", "walk", "walk"]


def test_among_pictures_a_video_is_left_out(tmp_path: Path, cli: Cli) -> None:
    from PIL import Image

    source = folder(tmp_path / "clips")
    Image.new("L", (8, 8)).save(source / "walk/still.png")
    said = cli("pack", source, tmp_path / "shards", "--name", "one")
    assert "1 packed" in str(said)
    assert "3 files do not have an image's extension: .mp4" in str(said)

"""Which samples are clips and which are images, and the fields that are for one of them alone."""

from __future__ import annotations

from pathlib import Path

import pytest

import diffaug
from diffaug.errors import ConfigError
from diffaug.output.run import the_run
from tests.support.clips import animated, container, moving, npy, write_clips
from tests.support.hostile import png, write_files
from tests.support.jobs import augmented, planned

VIDEO = container(moving(5), sound=True)


@pytest.mark.parametrize(
    ("extension", "data"),
    [
        ("gif", animated(moving(), "GIF")),
        ("apng", animated(moving(), "PNG")),
        ("npy", npy(moving())),
    ],
)
def test_animations_are_clips_only_if_the_recipe_says_so(
    extension: str, data: bytes, tmp_path: Path
) -> None:
    tar = write_clips(tmp_path / "clips.tar", {"a": data}, extension)
    rows = augmented([tar], tmp_path / "clips", medium="clip", format="apng")
    assert rows["output_frames"].tolist() == [6]
    assert rows["output_member"].tolist() == ["a-a0.apng"]
    if extension != "npy":
        still = augmented([tar], tmp_path / "images")
        assert "frames" not in still
        assert still["output_member"].tolist() == ["a-a0.png"]


def test_a_sample_with_a_picture_and_a_video_is_a_picture(tmp_path: Path) -> None:
    tar = write_files(tmp_path / "both.tar", [("a.png", png(0)), ("a.mp4", VIDEO)])
    rows = augmented([tar], tmp_path / "out")
    assert rows["source_member"].tolist() == ["a.png"]
    assert the_run(str(tmp_path / "out")).schema_version == 1
    assert '"medium"' not in (tmp_path / "out/run.json").read_text()


def test_a_video_among_pictures_says_what_to_do(tmp_path: Path) -> None:
    files = [("a.png", png(0)), ("b.mp4", VIDEO), ("b.cls", b"1")]
    rows = augmented([write_files(tmp_path / "mixed.tar", files)], tmp_path / "out")
    assert rows["status"].tolist() == ["ok", "failed"]
    assert "If its clip is meant, give medium=clip" in rows["reason"].tolist()[1]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"medium": "image", "fps": 5}, "fps is for clips, and these are images"),
        ({"medium": "image", "format": "mp4"}, "format=mp4 is for clips"),
        ({"medium": "clip", "format": "png"}, "format=png is for images"),
        ({"noise_time": "own"}, "noise_time must be shared, independent or mixed:RHO"),
        ({"window": "3:1"}, "window must be begin:end in seconds"),
        ({"fps": "0"}, "fps must be a number above 0"),
        ({"medium": "image", "filters": "flicker < 2"}, "score_flicker is a score of clips"),
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        diffaug.Recipe.of(fields)


def test_fields_of_clips_are_refused_for_pictures(tmp_path: Path) -> None:
    tar = write_files(tmp_path / "one.tar", [("a.png", png(0))])
    for fields, said in (
        ({"frames": 3}, "frames is for clips"),
        ({"filters": "flicker < 2"}, "flicker"),
    ):
        with pytest.raises(ConfigError, match=said):
            planned([tar], tmp_path / "out", **fields)


def test_images_go_on_as_images(tmp_path: Path) -> None:
    tar = write_files(tmp_path / "one.tar", [("a.png", png(0))])
    planned([tar], tmp_path / "out", medium="image")
    assert '"medium"' not in (tmp_path / "out/run.json").read_text()
    planned([tar], tmp_path / "out", medium="image")
    planned([tar], tmp_path / "out")

"""Folders as a source: which files are images, and of which class."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffaug import ConfigError
from diffaug.pack import Outcome, open_source
from tests.support.hostile import encoded, png
from tests.support.jobs import members
from tests.support.packing import (
    as_folder,
    contents,
    entry_of,
    packed,
    picture,
    write,
)


def test_class_folders_are_numbered_as_they_sort(tmp_path: Path) -> None:
    files = {"b/1.PNG": 1, "b/deep/er/a.b.png": 1, "B/x.png": 0, "café/2.png": 3, "c c/0.png": 2}
    for number, name in enumerate(files):
        write(tmp_path / f"in/{name}", png(number))
    source = open_source(str(tmp_path / "in"))
    assert source.classes == ("B", "b", "c c", "café")
    packed(source, tmp_path / "out")
    expected = {png(number): label for number, label in enumerate(files.values())}
    found = contents(tmp_path / "out")
    assert {data: label for data, label, _ in found} == expected
    assert [name for *_, name in found] == ["B", "b", "b", "c c", "café"]
    assert {name.partition(".")[2] for name in members(tmp_path / "out/set-000000.tar")} == {
        "png",
        "cls",
        "txt",
    }


def test_a_folder_without_class_folders_has_no_labels(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"in/{number}.png", png(number))
    (tmp_path / "in/notes").mkdir()
    packed(tmp_path / "in", tmp_path / "out")
    assert contents(tmp_path / "out") == [(png(number), None, None) for number in range(3)]
    assert (
        entry_of(tmp_path / "out")["classes"],
        entry_of(tmp_path / "out")["images_per_class"],
    ) == (
        0,
        {},
    )


def test_images_inside_and_outside_of_class_folders_are_refused(tmp_path: Path) -> None:
    for name in ("a/1.png", "2.png"):
        write(tmp_path / name, png(0))
    with pytest.raises(
        ValueError, match=r"outside class folders \(2\.png\) and in them \(a/1\.png"
    ):
        open_source(str(tmp_path))


def test_what_is_passed_over_is_said(tmp_path: Path) -> None:
    for name in (
        "a/1.png",
        "b/readme.md",
        "b/labels.json",
        "list.txt",
        ".hidden/2.png",
        "a/.3.png",
    ):
        write(tmp_path / f"in/{name}", png(0))
    os.mkfifo(tmp_path / "in/a/pipe.png")
    source = open_source(str(tmp_path / "in"))
    assert source.notes == [
        "3 files do not have an image's extension: .json, .md and .txt",
        "classes without an image: b",
    ]
    assert source.classes == ("a", "b")
    assert len(source) == 1


def test_names_of_classes_give_their_order(tmp_path: Path) -> None:
    source = as_folder(tmp_path)
    opened = open_source(str(source), classes=("cat", "none", "bee", "ape"))
    assert opened.notes == ["classes without an image: none"]
    packed(opened, tmp_path / "out")
    assert {(label, name) for _, label, name in contents(tmp_path / "out")} == {
        (0, "cat"),
        (2, "bee"),
        (3, "ape"),
    }
    with pytest.raises(ValueError, match="1 classes that --classes lacks: ape"):
        open_source(str(source), classes=("cat", "bee"))


def test_links_are_followed_and_loops_refused(tmp_path: Path) -> None:
    write(tmp_path / "store/x/1.png", png(1))
    write(tmp_path / "in/a/0.png", png(0))
    (tmp_path / "in/b").symlink_to(tmp_path / "store")
    packed(tmp_path / "in", tmp_path / "out")
    assert contents(tmp_path / "out") == [(png(0), 0, "a"), (png(1), 1, "b")]
    (tmp_path / "in/a/up").symlink_to(tmp_path / "in")
    with pytest.raises(ValueError, match="links to a folder that contains it"):
        open_source(str(tmp_path / "in"))


def test_a_name_that_is_not_utf_8_is_no_obstacle_but_for_a_class(tmp_path: Path) -> None:
    write(tmp_path / "in/a" / os.fsdecode(b"caf\xe9.png"), png(0))
    (outcome,) = packed(tmp_path / "in", tmp_path / "out")
    assert outcome == Outcome("a/caf?.png", None)
    write(tmp_path / "in" / os.fsdecode(b"caf\xe9/1.png"), png(0))
    with pytest.raises(ValueError, match=r"the class folder caf\? is not UTF-8"):
        open_source(str(tmp_path / "in"))


def test_whole_numbers_are_numbered_as_numbers(tmp_path: Path) -> None:
    """As `diffaug sample` and others name the folders of classes."""
    for number in range(12):
        write(tmp_path / f"in/{number}/x.png", png(number))
    source = open_source(str(tmp_path / "in"))
    assert source.classes == tuple(map(str, range(12)))
    assert source.notes == []
    packed(source, tmp_path / "out")
    assert contents(tmp_path / "out") == [(png(n), n, str(n)) for n in range(12)]
    assert entry_of(tmp_path / "out")["class_numbers"] == {str(n): n for n in range(12)}


@pytest.mark.parametrize(
    ("names", "order", "note"),
    [
        (["10", "9", "1", "3"], ["1", "3", "9", "10"], ["1 is class 0"]),
        (["01", "00", "10"], ["00", "01", "10"], ["10 is class 2"]),
        (["1", "01", "0"], ["0", "01", "1"], ["1 is class 2"]),
        (["10", "9", "x"], ["10", "9", "x"], []),
        (["-1", "10", "9"], ["-1", "10", "9"], []),
        (["\u0663", "1"], ["1", "\u0663"], []),
    ],
)
def test_only_whole_numbers_sort_as_numbers(
    tmp_path: Path, names: list[str], order: list[str], note: list[str]
) -> None:
    for name in names:
        write(tmp_path / f"in/{name}/x.png", png(0))
    source = open_source(str(tmp_path / "in"))
    assert source.classes == tuple(order)
    assert [said.partition(": ")[2].partition(",")[0] for said in source.notes] == note


SPELLINGS = {
    "PNG": ("png", "apng"),
    "JPEG": ("jpg", "jpeg", "jpe", "jfif", "JFIF"),
    "WEBP": ("webp",),
    "BMP": ("bmp", "dib"),
    "TIFF": ("tif", "tiff"),
    "PPM": ("ppm", "pgm", "pnm", "pbm"),
    "AVIF": ("avif",),
    "JPEG2000": ("jp2", "j2k", "jpx"),
}


def test_every_spelling_of_every_format_is_an_image(tmp_path: Path) -> None:
    """In shards, formats have the names that readers know; those that had them keep theirs."""
    for seed, (format, spellings) in enumerate(SPELLINGS.items()):
        for spelling in spellings:
            file = tmp_path / f"in/a/{spelling}-{format}.{spelling}"
            write(file, encoded(picture(seed), format))
    source = open_source(str(tmp_path / "in"))
    assert len(source) == sum(map(len, SPELLINGS.values()))
    assert source.notes == []
    assert {outcome.reason for outcome in packed(source, tmp_path / "out")} == {None}
    found = members(tmp_path / "out/set-000000.tar")
    kept = [name.partition(".")[2] for name in found if not name.endswith(("cls", "txt"))]
    usual = ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "ppm", "pgm", "avif", "jp2")
    instead = {"PNG": "png", "JPEG": "jpg", "BMP": "bmp", "PPM": "ppm", "JPEG2000": "jp2"}
    paths = sorted(tmp_path.glob("in/a/*"), key=str)
    assert kept == [
        path.suffix[1:] if path.suffix[1:] in usual else instead[path.stem.partition("-")[2]]
        for path in paths
    ]
    assert [data for name, data in found.items() if name.partition(".")[2] in usual] == [
        path.read_bytes() for path in paths
    ]


def with_images(folder: Path, *names: str) -> str:
    for number, name in enumerate(names):
        write(folder / name, png(number))
    return str(folder)


@pytest.mark.parametrize(
    ("names", "commands"),
    [
        (("train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "test/dog/4.png"), ("", "")),
        (("Train/cat/1.png", "valid/cat/3.png", "test/cat/3.png"), ("", "", "")),
        (("train2017/1.png", "val2017/2.png"), ("", "")),
        (("training_set/a/1.png", "held-out/a/b/c/2.png"), ("", "")),
        (("validation/10/1.png", "dev/9/2.png"), (" --classes 9,10", " --classes 9,10")),
        (("train/a b/1.png",), ("",)),
    ],
)
def test_parts_of_a_dataset_are_not_its_classes(
    tmp_path: Path, names: tuple[str, ...], commands: tuple[str, ...]
) -> None:
    folder = with_images(tmp_path / "in", *names)
    (tmp_path / "in/notes").mkdir()
    with pytest.raises(ConfigError) as refused:
        open_source(folder)
    parts = sorted({name.partition("/")[0] for name in names})
    given = [
        f"diffaug pack {folder}/{part} OUTPUT{flag}"
        for part, flag in zip(parts, commands, strict=True)
    ]
    assert f"pack each of them, with {' and '.join(given)}; if" in str(refused.value)
    for part in parts:  # and the commands do what they promise
        open_source(f"{folder}/{part}")
    asked = str(refused.value).rpartition("--classes ")[2]
    assert open_source(folder, classes=tuple(asked.split(","))).classes == (
        *sorted([*parts, "notes"]),
    )


def test_a_class_may_be_called_like_a_part(tmp_path: Path) -> None:
    source = open_source(with_images(tmp_path, "train/1.png", "bus/2.png", "tested/3.png"))
    assert source.classes == ("bus", "tested", "train")


def test_folders_that_may_be_above_the_classes_are_asked_about(tmp_path: Path) -> None:
    source = open_source(with_images(tmp_path, "pets/cat/1.png", "pets/dog/2.png"))
    assert source.notes == [
        "every image lies deeper than a class folder, as in pets/cat: are those the classes?"
    ]


def test_outputs_of_diffaug_are_no_pictures(tmp_path: Path) -> None:
    """Their reports hold pictures, and their folders would become classes."""
    write(tmp_path / "in/a/1.png", png(0))
    for output, mark in (("in/made", "run.json"), ("in/a/made", "run.json"), ("in/eval", "x")):
        write(tmp_path / output / mark, b"{}")
        write(tmp_path / output / "shards/a.tar", b"")
        write(tmp_path / output / "report/contact-sheet.png", png(1))
    write(tmp_path / "in/eval/evaluation.json", b"{}")
    write(tmp_path / "in/b/run.json", b"{}")  # a name that others use too
    write(tmp_path / "in/b/2.png", png(2))
    source = open_source(str(tmp_path / "in"))
    assert source.classes == ("a", "b")
    assert [note for note in source.notes if "output" in note] == [
        f"left out {tmp_path}/in/{name}, an output of diffaug"
        for name in ("a/made", "eval", "made")
    ]
    packed(source, tmp_path / "out")
    assert [data for data, *_ in contents(tmp_path / "out")] == [png(0), png(2)]
    with pytest.raises(ConfigError, match="made is an output of diffaug"):
        open_source(str(tmp_path / "in/made"))


def test_an_output_inside_its_source_is_refused_behind_a_link(tmp_path: Path) -> None:
    write(tmp_path / "in/a/1.png", png(0))
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for output in ("link/out", "in/a/../out", "./in//out"):
        with pytest.raises(ConfigError, match="would become part of the source"):
            packed(tmp_path / "in", f"{tmp_path}/{output}")

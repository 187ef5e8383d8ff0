"""Folders as a source: which files are images, and of which class."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffaug.errors import ConfigError
from diffaug.pack import Outcome, open_source
from tests.support.hostile import png
from tests.support.jobs import members
from tests.support.packing import (
    as_folder,
    contents,
    entry_of,
    packed,
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
        "3 files do not have an image's extension",
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

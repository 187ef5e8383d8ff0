"""Folders and tables of texts become shards, whose texts a job takes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.conftest import Cli
from tests.support.jobs import manifest, members
from tests.support.language_models import bert

TEXTS = {
    "ask/1": "What is the capital of Yugoslavia ?",
    "ask/2": "Where can one find a good restaurant near the river, please?",
    "tell/1": "The battery lasts all day; the camera is slow to charge.",
}


def folder(path: Path) -> Path:
    for name, text in TEXTS.items():
        file = path / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def test_class_folders_of_texts(tmp_path: Path, cli: Cli) -> None:
    source = folder(tmp_path / "texts")
    (source / "tell/latin.txt").write_bytes(b"caf\xe9")
    (source / "tell/empty.txt").write_bytes(b" \n")
    (source / "README.txt").write_text("of the folder, and no text of it")
    said = cli("pack", source, tmp_path / "shards", "--max-failed", "0.5")
    assert said.code == 0, said
    assert "5 found = 3 packed + 2 left out" in said.out
    assert "tell/latin.txt: the text is not UTF-8" in said.err
    assert "tell/empty.txt: the text is empty" in said.err
    assert members(tmp_path / "shards/texts-000000.tar") == {
        f"{number:08d}.{ending}": data
        for number, (name, text) in enumerate(TEXTS.items())
        for ending, data in (("txt", text.encode()), ("cls", b"1" if name[:4] == "tell" else b"0"))
    }
    entry = yaml.safe_load((tmp_path / "shards/texts.yaml").read_text())
    assert (entry["texts"], entry["classes"]) == (3, ["ask", "tell"])
    assert entry["texts_per_class"] == {0: 2, 1: 1}
    assert not {"images", "colour", "width"} & set(entry)
    again = cli("pack", source, tmp_path / "shards", "--max-failed", "0.5")
    assert "0 of 2 files written" in again.out


def test_a_folder_is_augmented_as_it_is(tmp_path: Path, cli: Cli) -> None:
    source, out = folder(tmp_path / "texts"), tmp_path / "out"
    job = ["augment", source, out, "--model", bert(tmp_path / "bert"), "--steps", "3"]
    said = cli(*job)
    assert said.code == 0, said
    assert "texts: 3 texts packed into" in said.err
    rows = manifest(out)
    assert sorted(rows["label"]) == [0, 0, 1]
    assert set(rows["status"]) == {"ok"}
    assert "its 3 texts are packed already" in cli(*job).err


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table_of_texts(form: str, tmp_path: Path, cli: Cli) -> None:
    table = pd.DataFrame(
        {"sentence": [*TEXTS.values(), None], "label": [name[:-2] for name in TEXTS] + ["ask"]}
    )
    path = tmp_path / f"t.{form}"
    table.to_csv(path, index=False) if form == "csv" else table.to_parquet(path)
    asked = ["pack", path, tmp_path / "shards", "--text-column", "sentence", "--max-failed", "0.5"]
    said = cli(*asked)
    assert said.code == 0, said
    assert "row 4: its row has no text" in said.err
    found = members(tmp_path / "shards/t-000000.tar")
    assert [found[f"{number:08d}.txt"].decode() for number in range(3)] == list(TEXTS.values())
    assert [found[f"{number:08d}.cls"] for number in range(3)] == [b"0", b"0", b"1"]
    assert len(found) == 6


def test_a_column_of_something_else(tmp_path: Path, cli: Cli) -> None:
    pd.DataFrame({"n": [1, 2], "text": ["a", "b"]}).to_parquet(tmp_path / "t.parquet")
    asked = ["pack", tmp_path / "t.parquet", tmp_path / "shards", "--text-column"]
    cli(*asked, "n").assert_mistake("the column n holds no texts")
    cli(*asked, "m").assert_mistake("has no column m: its columns are n, text")
    cli(*asked, "text", "--image-column", "n").assert_mistake("a table is of one of the two")
    cli(
        "pack", folder(tmp_path / "texts"), tmp_path / "shards", "--text-column", "text"
    ).assert_mistake("are for .csv and .parquet tables")


def test_a_table_of_images_has_no_texts(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "a.txt").write_text("no image")
    pd.DataFrame({"path": ["a.txt"]}).to_csv(tmp_path / "t.csv", index=False)
    said = cli("pack", tmp_path / "t.csv", tmp_path / "shards")
    assert said.code != 0
    assert "none of 1 images can be packed" in said.err


def test_where_other_things_lie_too_there_are_no_texts(tmp_path: Path, cli: Cli) -> None:
    source = folder(tmp_path / "texts")
    (source / "tell/photo.heic").write_bytes(b"a picture that is not read")
    cli("pack", source, tmp_path / "shards").assert_mistake("holds no image")
    loose = tmp_path / "loose"
    loose.mkdir()
    (loose / "README.txt").write_text("of nothing")
    cli("pack", loose, tmp_path / "shards").assert_mistake("holds no image")

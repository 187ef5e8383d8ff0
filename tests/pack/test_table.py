"""Tables as a source: columns, labels, paths and bytes."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import fsspec
import pandas as pd
import pyarrow.parquet as pq
import pytest

from diffaug import ConfigError, DiffaugError
from diffaug.pack import Totals, open_source, safe_name
from tests.support.hostile import encoded, png
from tests.support.jobs import members
from tests.support.packing import (
    NAMES,
    as_struct,
    contents,
    entry_of,
    files,
    packed,
    picture,
    write,
)


def test_labels_of_text_are_classes_as_they_sort(tmp_path: Path) -> None:
    words = ["10", "bee", "9", "bee", "Ape", "10"]
    frame = pd.DataFrame({"path": files(tmp_path), "label": words})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.astype({"label": "category"}).to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        source = open_source(str(tmp_path / name))
        packed(source, tmp_path / f"out-{name}")
        assert source.classes == ("10", "9", "Ape", "bee")
        assert [found[1:] for found in contents(tmp_path / f"out-{name}")] == [
            (source.classes.index(word), word) for word in words
        ]
        mixed = ["the labels are read as text, since Ape is not an integer"]
        assert source.notes == (mixed if name == "t.csv" else [])


def test_digits_are_integers_in_a_csv_and_text_in_parquet(tmp_path: Path) -> None:
    words = ["10", "9", "2", "2", "10", "9"]
    frame = pd.DataFrame({"path": files(tmp_path), "label": words})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    for name, labels in (("t.csv", [10, 9, 2]), ("t.parquet", [2, 1, 0])):
        packed(tmp_path / name, tmp_path / f"out-{name}")
        found = contents(tmp_path / f"out-{name}")
        assert [label for _, label, _ in found][:3] == labels


def test_names_that_look_like_python_numbers_are_text(tmp_path: Path) -> None:
    words = ["1_0", "1_1", "\u0663", "1e1", "0x1", "."]
    frame = pd.DataFrame({"path": files(tmp_path), "label": words})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert open_source(str(tmp_path / "t.csv")).classes == tuple(sorted(set(words)))


def test_integers_are_named_by_the_caller_or_by_hugging_face(tmp_path: Path) -> None:
    table = pq.read_table(as_struct(tmp_path))
    said = {"info": {"features": {"label": {"names": list(NAMES), "_type": "ClassLabel"}}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(said)})
    pq.write_table(table, tmp_path / "hub.parquet")
    assert open_source(str(tmp_path / "hub.parquet")).classes == NAMES
    named = open_source(str(tmp_path / "all.parquet"), classes=("x", "y", "z", "unused"))
    packed(named, tmp_path / "out")
    assert [name for *_, name in contents(tmp_path / "out")] == ["x", "y", "z"] * 2
    assert entry_of(tmp_path / "out")["images_per_class"] == {0: 2, 1: 2, 2: 2, 3: 0}
    with pytest.raises(ValueError, match="labels up to 2, but 2 classes are named: name 3"):
        open_source(str(tmp_path / "all.parquet"), classes=("x", "y"))


def test_columns_are_found_by_name_or_asked_for(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"file": files(tmp_path), "image": "gone.png", "label": 1, "kind": list("xyxyxy")}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    path = str(tmp_path / "t.csv")
    with pytest.raises(DiffaugError, match="none of 6"):
        packed(path, tmp_path / "none")
    source = open_source(path, image_column="file", label_column="kind")
    packed(source, tmp_path / "asked")
    assert [label for _, label, _ in contents(tmp_path / "asked")] == [0, 1] * 3
    packed(open_source(path, image_column="file", label_column=""), tmp_path / "bare")
    assert {label for _, label, _ in contents(tmp_path / "bare")} == {None}


def test_an_extension_comes_from_the_bytes_where_there_is_none(tmp_path: Path) -> None:
    kinds = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "BMP": "bmp", "GIF": "gif", "TIFF": "tif"}
    kinds |= {"PPM": "ppm", "JPEG2000": "jp2", "AVIF": "avif"}
    images = [encoded(picture(n), kind) for n, kind in enumerate(kinds)]
    pd.DataFrame({"image": images}).to_parquet(tmp_path / "bytes.parquet")
    files = [f"f{n}{'.JPG' if n == 1 else ''}" for n in range(len(images))]
    for name, data in zip(files, images, strict=True):
        write(tmp_path / name, data)
    pd.DataFrame({"path": files}).to_csv(tmp_path / "paths.csv", index=False)
    for source in ("bytes.parquet", "paths.csv"):
        outcomes = packed(tmp_path / source, tmp_path / f"out-{source}")
        assert [outcome.reason for outcome in outcomes if outcome.reason] == []
        found = members(tmp_path / f"out-{source}/set-000000.tar")
        assert list(found.values()) == images
        assert [name.partition(".")[2] for name in found] == [*kinds.values()]


def test_paths_are_absolute_or_below_the_table(tmp_path: Path) -> None:
    store = f"memory://{uuid.uuid4()}"
    fsspec.filesystem("memory").pipe_file(f"{store}/3.png", png(3))
    for number, name in enumerate(("t/0.png", "1.png", "t/a b,c/2.png")):
        write(tmp_path / name, png(number))
    paths = ["./0.png", str(tmp_path / "1.png"), "a b,c/2.png", f"{store}/3.png", "../1.png"]
    paths.append("foo://nowhere/x.png")
    pd.DataFrame({"image": paths}).to_csv(tmp_path / "t/t.csv", index=False)
    outcomes = packed(tmp_path / "t/t.csv", tmp_path / "out")
    assert [data for data, *_ in contents(tmp_path / "out")] == [png(n) for n in (0, 1, 2, 3, 1)]
    assert "Protocol not known: foo" in (outcomes[-1].reason or "")


def test_a_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    files(tmp_path)
    text = '\ufeffpath,caption,label\r\nfiles/0.png,"two\r\nlines, one ""quote""",3\r\n\r\n'
    write(tmp_path / "t.csv", text.encode() + b"files/1.png,,4\r\n")
    packed(tmp_path / "t.csv", tmp_path / "out")
    assert contents(tmp_path / "out") == [(png(0), 3, None), (png(1), 4, None)]


def test_rows_without_image_or_label_are_left_out(tmp_path: Path) -> None:
    paths = [*files(tmp_path)[:3], "files/none.png", "", "files/5.png", "files", "a\0b.png"]
    labels = pd.array([0, None, -1, 1, 1, 1, 1, 1], dtype="Int64")
    frame = pd.DataFrame({"path": paths, "label": labels})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.astype({"label": "Float64"}).to_parquet(tmp_path / "float.parquet")
    for name in ("t.csv", "t.parquet", "float.parquet"):
        tally = Totals()
        outcomes = packed(tmp_path / name, tmp_path / f"out-{name}", tally=tally)
        assert [outcome.name for outcome in outcomes] == [
            f"row {number} ({path})" if path else f"row {number}"
            for number, path in enumerate(paths, 1)
        ]
        reasons = [outcome.reason for outcome in outcomes]
        assert reasons[:-1] == [
            None,
            "its row has no label",
            f"its label, {'-1.0' if name == 'float.parquet' else '-1'}, is not a class from 0 on",
            f"there is no file {tmp_path}/files/none.png",
            "its row has no image",
            None,
            f"there is no file {tmp_path}/files",
        ]
        assert "cannot be read: embedded null byte" in (reasons[-1] or "")
        assert (tally.found, tally.packed, tally.left_out) == (8, 2, 6)
        assert [found[:2] for found in contents(tmp_path / f"out-{name}")] == [
            (png(0), 0),
            (png(5), 1),
        ]


# --- tables of several files


def dataset(folder: Path, files: int = 3) -> tuple[Path, list[bytes]]:
    """Six images with labels 0 to 5, in as many Parquet files; and the images."""
    images = [png(number) for number in range(6)]
    each = 6 // files
    for part in range(files):
        rows = slice(part * each, (part + 1) * each)
        frame = pd.DataFrame({"image": images[rows], "label": [*range(6)][rows]})
        path = write(folder / f"part-{part}.parquet", b"")
        frame.to_parquet(path)
    return folder, images


def test_a_folder_of_parquet_files_is_one_table(tmp_path: Path) -> None:
    folder, images = dataset(tmp_path / "all.parquet")
    for name in ("_SUCCESS", "_metadata.parquet", "README.md", ".part-9.parquet.crc"):
        write(folder / name, b"")
    for source in (
        str(folder),
        f"{folder}/",
        f"{folder}/part-*.parquet",
        f"{folder}/part-{{0..2}}.parquet",
        f"{folder}/part-{{0,1,2}}.parquet",
    ):
        output = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        packed(source, output)
        assert contents(output) == [(data, n, None) for n, data in enumerate(images)]
    assert safe_name(str(folder)) == "all"
    assert safe_name(f"{folder}/part-*.parquet") == "part"


def test_folders_named_for_a_column_are_that_column(tmp_path: Path) -> None:
    """As pandas, Spark and Hive partition a table."""
    frame = pd.DataFrame({"image": [png(n) for n in range(6)], "label": [11, 2, 11, 3, 2, 3]})
    frame.to_parquet(tmp_path / "numbers", partition_cols=["label"])
    packed(tmp_path / "numbers", tmp_path / "out")
    by_image = dict(zip(frame["image"], frame["label"], strict=True))
    assert {image: label for image, label, _ in contents(tmp_path / "out")} == by_image
    words = frame.assign(label=pd.Series(["a/b", "c", None, "c", "a/b", "c"]))
    words.to_parquet(tmp_path / "words", partition_cols=["label"])
    outcomes = packed(tmp_path / "words", tmp_path / "named")
    assert [one.reason for one in outcomes if one.reason] == ["its row has no label"]
    assert {(label, name) for _, label, name in contents(tmp_path / "named")} == {
        (0, "a/b"),
        (1, "c"),
    }
    (part,) = (tmp_path / "numbers/label=3").iterdir()
    assert open_source(str(part)).classes is None  # alone, it is a table without labels
    packed(part, tmp_path / "alone")
    assert {label for _, label, _ in contents(tmp_path / "alone")} == {None}


def test_a_table_of_several_files_may_be_anywhere(tmp_path: Path) -> None:
    folder, images = dataset(tmp_path / "all", files=2)
    store = f"memory://{uuid.uuid4()}/all"
    for path in folder.iterdir():
        fsspec.filesystem("memory").pipe_file(f"{store}/deep/{path.name}", path.read_bytes())
    packed(store, tmp_path / "out")
    assert [data for data, *_ in contents(tmp_path / "out")] == images


def test_files_that_are_not_one_table_are_refused(tmp_path: Path) -> None:
    folder, _ = dataset(tmp_path / "all", files=2)
    pd.DataFrame({"image": [png(0)], "label": ["cat"]}).to_parquet(folder / "part-2.parquet")
    with pytest.raises(ConfigError, match=r"part-2.parquet holds text in the column label, and"):
        open_source(str(folder))
    pd.DataFrame({"image": [png(0)]}).to_parquet(folder / "part-2.parquet")
    with pytest.raises(ConfigError, match=r"part-2.parquet holds nothing in the column label"):
        open_source(str(folder))
    write(folder / "a.csv", b"path\n")
    with pytest.raises(ConfigError, match=r"only \.parquet files make one table"):
        open_source(f"{folder}/*")


@pytest.mark.parametrize(
    ("names", "commands"),
    [
        (
            ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"),
            ("'{}/train-0000*.parquet'", "{}/test-00000-of-00001.parquet"),
        ),
        (("train/0", "train/1", "validation/0"), ("{}/train", "{}/validation")),
        (("data/val_0", "data/train_0"), ("{}/data/train_0.parquet", "{}/data/val_0.parquet")),
    ],
)
def test_parts_of_a_dataset_are_not_mixed(
    tmp_path: Path, names: tuple[str, ...], commands: tuple[str, ...]
) -> None:
    for name in names:
        write(tmp_path / f"in/{name}.parquet", b"")
        pd.DataFrame({"image": [png(0)]}).to_parquet(tmp_path / f"in/{name}.parquet")
    with pytest.raises(ConfigError, match="which would be mixed") as refused:
        open_source(str(tmp_path / "in"))
    for command in commands:
        source = command.format(tmp_path / "in")
        assert f"diffaug pack {source} OUTPUT" in str(refused.value)
        assert len(open_source(source.strip("'"))) == sum(
            name.startswith(source.strip("'").removeprefix(f"{tmp_path}/in/").rstrip("*.parquet"))
            for name in names
        )

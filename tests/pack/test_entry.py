"""The entry that describes packed shards."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import pandas as pd
import pytest
import webdataset as wds
import yaml

from diffaug import ConfigError
from diffaug.pack import Limits, Totals, open_source, pack, safe_name
from diffaug.train.data import Position
from tests.support.hostile import encoded
from tests.support.packing import (
    as_csv,
    as_folder,
    entry_of,
    packed,
    picture,
    tars,
    write,
)
from tests.support.training import taken, tiny


def test_the_entry_says_what_is_in_the_shards(tmp_path: Path) -> None:
    sizes = {"a/1.png": (3, 9), "a/2.png": (12, 4), "b/3.jpg": (7, 7)}
    for seed, (name, size) in enumerate(sizes.items()):
        mode = "L" if name == "a/1.png" else "RGB"
        kind = "PNG" if name.endswith("png") else "JPEG"
        write(tmp_path / f"My set/{name}", encoded(picture(seed, size, mode), kind))
    tally = Totals()
    out = tmp_path / "out"
    list(pack(open_source(f"{tmp_path}/My set/"), str(out), "n", tally=tally, limits=Limits(2)))
    entry = yaml.safe_load((out / "n.yaml").read_text())
    shards = tars(out)
    assert entry == {
        "name": "n",
        "licence": None,
        "source": "My set",
        "shards": "n-{000000..000001}.tar",
        "images": 3,
        "left_out": 0,
        "bytes": sum(map(len, shards.values())),
        "colour": "mixed",
        "width": {"min": 3, "max": 12},
        "height": {"min": 4, "max": 9},
        "classes": ["a", "b"],
        "class_numbers": {"a": 0, "b": 1},
        "images_per_class": {0: 2, 1: 1},
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in shards.items()},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files open
        read = wds.WebDataset(str(out / entry["shards"]), shardshuffle=False).decode("pil")
        assert [sample["cls"] for sample in read] == [0, 0, 1]


def test_a_single_shard_has_no_braces_and_unnamed_classes_are_counted(tmp_path: Path) -> None:
    packed(as_csv(tmp_path), tmp_path / "out")
    entry = entry_of(tmp_path / "out")
    assert (entry["shards"], entry["classes"]) == ("set-000000.tar", 3)
    assert (entry["images_per_class"], entry["colour"]) == ({0: 2, 1: 2, 2: 2}, "grey")


def test_classes_without_names_are_as_many_as_a_training_requires(tmp_path: Path) -> None:
    """Classes are counted from 0, so that a label of 7 takes eight of them."""
    images = sorted(as_folder(tmp_path).glob("**/*.png"))
    for name, labels in {"gap": [3, 7] * 3, "none": [None] * 6}.items():
        frame = pd.DataFrame({"path": list(map(str, images)), "label": labels})
        frame.dropna(axis=1).to_csv(tmp_path / f"{name}.csv", index=False)
        packed(tmp_path / f"{name}.csv", tmp_path / name)
    assert entry_of(tmp_path / "gap")["images_per_class"] == {3: 3, 7: 3}
    classes = entry_of(tmp_path / "gap")["classes"]
    assert classes == 8
    (batch,) = taken(
        [str(tmp_path / "gap/set-000000.tar")], tiny(classes=classes, batch_size=6), 1, Position()
    )
    assert (sorted(batch.labels.tolist()), batch.skips) == ([3, 3, 3, 7, 7, 7], 0)
    assert entry_of(tmp_path / "none")["classes"] == 0


def test_an_entry_of_the_first_version_is_not_another_one(tmp_path: Path) -> None:
    """It has no class_numbers."""
    source, tally = as_folder(tmp_path), Totals()
    packed(source, tmp_path / "out")
    entry = entry_of(tmp_path / "out")
    assert entry.pop("class_numbers") == {"ape": 0, "bee": 1, "cat": 2}
    (tmp_path / "out/set.yaml").write_text(yaml.safe_dump(entry))
    packed(source, tmp_path / "out", tally=tally)
    assert tally.written == 0
    (tmp_path / "out/set.yaml").write_text(yaml.safe_dump(entry | {"class_numbers": {"ape": 1}}))
    with pytest.raises(ConfigError, match="differs in class_numbers"):
        packed(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/data/train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"),
        ("/data/Birds.CSV", "Birds"),
        ("/data/birds v1.2/", "birds-v1.2"),
        ("/data/.hidden", "hidden"),
        ("/data/{a,b}.parquet", "a-b"),
        ("/data/фото", "фото"),
        ("/", "dataset"),
        ("memory://bucket/set.csv", "set"),
    ],
)
def test_a_name_is_the_source_s_made_safe(url: str, name: str) -> None:
    assert safe_name(url) == name

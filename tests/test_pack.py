"""Shards packed from folders, tables and idx files, read back by others' readers."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import shutil
import struct
import sys
import tarfile
import tracemalloc
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import webdataset as wds
import yaml
from PIL import Image

import diffaug.pack
from diffaug import ConfigError, DiffaugError
from diffaug.cli import main
from diffaug.pack import Limits, Outcome, Picture, Source, Tally, open_source, pack, safe_name
from diffaug.pack.source import order
from diffaug.shards import read_samples
from tests.conftest import diffaug_command
from tests.hostile import encoded, png
from tests.jobs import members, pixels, tree, webdataset

Cli = Callable[..., tuple[int, str, str]]

KINDS = ("folder", "csv", "paths", "bytes", "struct", "idx")


def _picture(seed: int, size: tuple[int, int] = (6, 5), mode: str = "RGB") -> Image.Image:
    """A picture that no other seed gives."""
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _packed(source: str | Path | Source, output: str | Path, **options: Any) -> list[Outcome]:
    """Pack all of a source under the name `set`."""
    opened = open_source(str(source)) if isinstance(source, (str, Path)) else source
    return list(pack(opened, str(output), "set", tally=options.pop("tally", Tally()), **options))


def _tars(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.glob("*.tar"))}


def _samples(output: Path) -> list[dict[str, Any]]:
    return [sample for path in sorted(output.glob("*.tar")) for sample in webdataset(path)]


def _contents(output: Path) -> list[tuple[bytes, int | None, str | None]]:
    """(image bytes, class, class name) of every sample, as webdataset reads them."""
    found = []
    for sample in _samples(output):
        image = next(
            sample[extension] for extension in ("png", "jpg", "gif") if extension in sample
        )
        label, name = sample.get("cls"), sample.get("txt")
        found.append((image, int(label) if label else None, name.decode() if name else None))
    return found


def _entry(output: Path) -> dict[str, Any]:
    entry = yaml.safe_load((output / "set.yaml").read_text(encoding="utf-8"))
    assert isinstance(entry, dict)
    return entry


# --- the same six images, in every form a source may have

IMAGES = [(png(index), index % 3) for index in range(6)]
NAMES = ("ape", "bee", "cat")
LABELS = [label for _, label in IMAGES]


def _as_folder(folder: Path) -> Path:
    for index, (data, label) in enumerate(IMAGES):
        _write(folder / f"all/{NAMES[label]}/deeper/{index}.png", data)
    return folder / "all"


def _files(folder: Path) -> list[str]:
    return [
        str(_write(folder / f"files/{n}.png", data).relative_to(folder))
        for n, (data, _) in enumerate(IMAGES)
    ]


def _as_csv(folder: Path) -> Path:
    path = folder / "all.csv"
    pd.DataFrame({"path": _files(folder), "label": LABELS}).to_csv(path, index=False)
    return path


def _as_paths(folder: Path) -> Path:
    path = folder / "all.parquet"
    pd.DataFrame({"file_name": _files(folder), "cls": LABELS}).to_parquet(path)
    return path


def _as_bytes(folder: Path) -> Path:
    path = _write(folder / "all.parquet", b"")
    pd.DataFrame({"image": [data for data, _ in IMAGES], "label": LABELS}).to_parquet(path)
    return path


def _as_struct(folder: Path) -> Path:
    path = _write(folder / "all.parquet", b"")
    images = [{"bytes": data, "path": f"{n}.png"} for n, (data, _) in enumerate(IMAGES)]
    pd.DataFrame({"image": images, "label": LABELS}).to_parquet(path)
    return path


def _idx(path: Path, array: np.ndarray[Any, Any], magic: int) -> Path:
    header = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    return _write(path, gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def _as_idx(folder: Path, zipped: str = ".gz") -> Path:
    _idx(folder / f"all-labels-idx1-ubyte{zipped}", np.array(LABELS), 0x801)
    images = np.stack([pixels(data) for data, _ in IMAGES])
    return _idx(folder / f"all-images-idx3-ubyte{zipped}", images, 0x803)


MAKE: dict[str, Callable[[Path], Path]] = {
    "folder": _as_folder,
    "csv": _as_csv,
    "paths": _as_paths,
    "bytes": _as_bytes,
    "struct": _as_struct,
    "idx": _as_idx,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_source_gives_its_images_and_labels(kind: str, tmp_path: Path) -> None:
    outcomes = _packed(MAKE[kind](tmp_path), tmp_path / "out")
    assert [outcome.reason for outcome in outcomes] == [None] * 6
    expected = sorted(IMAGES, key=lambda pair: pair[1]) if kind == "folder" else IMAGES
    found = _contents(tmp_path / "out")
    assert [label for _, label, _ in found] == [label for _, label in expected]
    for (data, label, name), (original, _) in zip(found, expected, strict=True):
        assert name == (NAMES[label or 0] if kind == "folder" else None)
        if kind == "idx":
            assert np.array_equal(pixels(data), pixels(original))
        else:
            assert data == original


@pytest.mark.parametrize("kind", KINDS)
def test_packing_twice_gives_the_same_bytes_wherever_it_is(kind: str, tmp_path: Path) -> None:
    for place in ("here", "there/below"):
        _packed(MAKE[kind](tmp_path / place), tmp_path / place / "out", limits=Limits(4))
    here = {p.name: p.read_bytes() for p in (tmp_path / "here/out").iterdir()}
    there = {p.name: p.read_bytes() for p in (tmp_path / "there/below/out").iterdir()}
    assert here == there
    assert here.keys() == {"set-000000.tar", "set-000001.tar", "set.yaml"}


def test_shards_are_as_tarfile_diffaug_and_webdataset_read_them(tmp_path: Path) -> None:
    _packed(_as_folder(tmp_path), tmp_path / "out")
    path = tmp_path / "out/set-000000.tar"
    assert list(members(path))[:4] == [
        "00000000.png",
        "00000000.cls",
        "00000000.txt",
        "00000001.png",
    ]
    with tarfile.open(path) as tar:
        assert {(info.mtime, info.mode, info.uid, info.uname) for info in tar} == {
            (0, 0o644, 0, "")
        }
    with path.open("rb") as stream:
        ours = list(read_samples(stream, lambda extension: True))
    theirs = webdataset(path)
    assert [sample.key for sample in ours] == [f"{n:08d}" for n in range(6)]
    for sample, other in zip(ours, theirs, strict=True):
        assert sample.defect is None
        data = {name: member.data for name, member in sample.members.items()}
        assert data == {name: other[name] for name in ("png", "cls", "txt")}


# --- shards, order, publication


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of 25 images in two classes, of sizes from 1 to 3 blocks."""
    for index in range(25):
        size = (1 + 4 * index % 13, 9)
        data = encoded(_picture(index, size), "PNG")
        _write(tmp_path / f"many/{'ab'[index % 2]}/{index:02d}.png", data)
    return tmp_path / "many"


@pytest.mark.parametrize(("count", "sizes"), [(10, [10, 10, 5]), (25, [25]), (24, [24, 1])])
def test_a_shard_ends_at_a_number_of_images(
    count: int, sizes: list[int], many: Path, tmp_path: Path
) -> None:
    _packed(many, tmp_path / "out", limits=Limits(count))
    shards = [webdataset(path) for path in sorted((tmp_path / "out").glob("*.tar"))]
    assert [len(shard) for shard in shards] == sizes
    keys = [sample["__key__"] for shard in shards for sample in shard]
    assert keys == [f"{n:08d}" for n in range(25)]


@pytest.mark.parametrize("limit", [20_479, 20_480, 30_720])
def test_a_shard_ends_before_a_size_and_not_much_before(
    limit: int, many: Path, tmp_path: Path
) -> None:
    tally = Tally()
    _packed(many, tmp_path / "out", limits=Limits(bytes=limit), tally=tally)
    tars = sorted((tmp_path / "out").glob("*.tar"))
    assert len(_samples(tmp_path / "out")) == 25
    assert sum(path.stat().st_size for path in tars) == tally.bytes
    for path in tars:
        assert path.stat().st_size <= limit
    for path, following in itertools.pairwise(tars):
        first = list(members(following).items())[:3]
        rest = sum(512 + -(-len(data) // 512) * 512 for _, data in first)
        with tarfile.open(path) as tar:
            tar.getmembers()
            assert tar.offset + rest + 1024 > limit // 10_240 * 10_240


def test_whichever_limit_is_reached_first_ends_a_shard(many: Path, tmp_path: Path) -> None:
    _packed(many, tmp_path / "out", limits=Limits(3, 20_480))
    sizes = [len(webdataset(path)) for path in sorted((tmp_path / "out").glob("*.tar"))]
    assert sum(sizes) == 25
    assert set(sizes[:-1]) == {3}


def test_an_image_larger_than_a_shard_may_be_has_its_own(tmp_path: Path) -> None:
    for name, side in (("a", 8), ("b", 90), ("c", 8)):
        _write(tmp_path / f"in/{name}.png", encoded(_picture(side, (side, side)), "PNG"))
    _packed(tmp_path / "in", tmp_path / "out", limits=Limits(bytes=10_240))
    sizes = [len(webdataset(path)) for path in sorted((tmp_path / "out").glob("*.tar"))]
    assert sizes == [1, 1, 1]


@pytest.mark.parametrize("kind", ["folder", "csv", "paths", "idx"])
def test_a_shuffle_is_a_permutation_by_its_seed(kind: str, tmp_path: Path) -> None:
    source = MAKE[kind](tmp_path)
    orders = {}
    for name, seed in (("none", None), ("0", 0), ("1", 1), ("again", 1)):
        _packed(source, tmp_path / name, shuffle=seed)
        orders[name] = _contents(tmp_path / name)
    assert all(Counter(found) == Counter(orders["none"]) for found in orders.values())
    assert orders["1"] == orders["again"]
    assert len({str(found) for found in orders.values()}) == 3


def test_the_order_of_a_seed_never_changes() -> None:
    words = np.random.Philox(key=5).random_raw(8).tolist()
    assert order(8, 5) == sorted(range(8), key=words.__getitem__) == [2, 4, 3, 1, 5, 0, 6, 7]
    assert sorted(order(1000, 2**64 - 1)) == list(range(1000))


def test_a_shuffle_mixes_classes(many: Path, tmp_path: Path) -> None:
    _packed(many, tmp_path / "out", shuffle=0, limits=Limits(9))
    for path in (tmp_path / "out").glob("*.tar"):
        assert {sample["cls"] for sample in webdataset(path)} == {b"0", b"1"}


@pytest.mark.parametrize("kind", ["bytes", "struct"])
def test_a_table_of_bytes_is_not_shuffled(kind: str, tmp_path: Path) -> None:
    source = open_source(str(MAKE[kind](tmp_path)))
    with pytest.raises(ValueError, match="without --shuffle"):
        _packed(source, tmp_path / "out", shuffle=0)
    assert not (tmp_path / "out").exists()


def test_packing_again_changes_nothing_and_finishes_what_is_missing(
    many: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first, again, repaired = Tally(), Tally(), Tally()
    _packed(many, out, limits=Limits(10), tally=first)
    before = tree(out)
    _packed(many, out, limits=Limits(10), tally=again)
    assert tree(out) == before
    (out / "set-000001.tar").unlink()
    (out / "set.yaml").unlink()
    _packed(many, out, limits=Limits(10), tally=repaired)
    assert {name: what[1] for name, what in tree(out).items()} == {
        name: what[1] for name, what in before.items()
    }
    assert [tally.written for tally in (first, again, repaired)] == [4, 0, 2]


def test_what_a_person_says_of_licence_and_source_stays(many: Path, tmp_path: Path) -> None:
    _packed(many, tmp_path / "out")
    path = tmp_path / "out/set.yaml"
    text = path.read_text().replace("licence: null", "licence: MIT  # asked the author")
    path.write_text(text)
    _packed(many, tmp_path / "out")
    assert path.read_text() == text


def test_other_bytes_under_the_same_name_are_refused(many: Path, tmp_path: Path) -> None:
    _packed(many, tmp_path / "out", limits=Limits(10))
    before = tree(tmp_path / "out")
    (many / "a/00.png").write_bytes(png(0))
    with pytest.raises(ValueError, match=r"set-000000\.tar is there already with other bytes"):
        _packed(many, tmp_path / "out", limits=Limits(10))
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize("limits", [Limits(25), Limits(bytes=10**6)])
def test_more_shards_of_the_same_name_are_refused(
    limits: Limits, many: Path, tmp_path: Path
) -> None:
    """Before anything is written where the number of shards is known; else before the entry."""
    stray = _write(tmp_path / "out/set-000003.tar", b"of another pack")
    other = _write(tmp_path / "out/set-b-000007.tar", b"of another set")
    with pytest.raises(ValueError, match=r"\(1, from set-000003\.tar on\)"):
        _packed(many, tmp_path / "out", limits=limits)
    assert stray.read_bytes() == b"of another pack"
    assert not (tmp_path / "out/set.yaml").exists()
    assert (tmp_path / "out/set-000000.tar").exists() == (limits.bytes is not None)
    stray.unlink()
    _packed(many, tmp_path / "out", limits=limits)
    assert other.exists()


def test_another_entry_of_the_same_name_is_refused(many: Path, tmp_path: Path) -> None:
    _write(tmp_path / "out/set.yaml", b"name: set\nimages: 3\n")
    with pytest.raises(ValueError, match=r"set\.yaml is there already and differs in shards, ima"):
        _packed(many, tmp_path / "out")


def test_an_output_inside_its_source_is_refused(many: Path, tmp_path: Path) -> None:
    for output in (many, many / "out", f"file://{many}/a/b"):
        with pytest.raises(ValueError, match="choose another OUTPUT"):
            _packed(many, output)
    assert {path.name for path in many.iterdir()} == {"a", "b"}
    _packed(many, tmp_path / "many-out")  # beside it, not inside


def test_a_pack_that_is_given_up_leaves_whole_shards_only(many: Path, tmp_path: Path) -> None:
    outcomes = pack(
        open_source(str(many)), str(tmp_path / "out"), "set", tally=Tally(), limits=Limits(4)
    )
    for _ in range(10):
        next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [
        "set-000000.tar",
        "set-000001.tar",
    ]


def test_object_stores_on_either_side(tmp_path: Path) -> None:
    store = f"memory://{uuid.uuid4()}"
    fs = fsspec.filesystem("memory")
    _as_folder(tmp_path), _as_csv(tmp_path), _as_idx(tmp_path)
    fs.put(str(tmp_path), store, recursive=True)
    for name in ("all", "all.csv", "all-images-idx3-ubyte.gz"):
        source, local = f"{store}/{name}", tmp_path / name
        here, there = tmp_path / uuid.uuid4().hex, f"memory://{uuid.uuid4()}"
        _packed(local, here)
        _packed(source, there)
        assert fs.cat_file(f"{there}/set-000000.tar") == (here / "set-000000.tar").read_bytes()
        entry = yaml.safe_load(fs.cat_file(f"{there}/set.yaml"))
        assert entry == _entry(here) | {"source": source}


# --- what is left out


def test_counts_add_up_when_images_are_broken(many: Path, tmp_path: Path) -> None:
    broken = {
        "a/half.png": encoded(_picture(3, (40, 40)), "PNG")[:900],
        "a/text.jpg": b"this is no image",
        "b/none.png": b"",
        "b/wide.png": encoded(_picture(4, (300, 1)), "PNG"),
    }
    for name, data in broken.items():
        _write(many / name, data)
    (many / "b/gone.png").symlink_to(many / "nowhere.png")
    tally = Tally()
    outcomes = _packed(many, tmp_path / "out", tally=tally, max_pixels=200)
    reasons = {outcome.name: outcome.reason for outcome in outcomes if outcome.reason}
    assert reasons.keys() == {*broken, "b/gone.png"}
    assert "no image format" in reasons["a/text.jpg"]
    assert "zero bytes" in reasons["b/none.png"]
    assert "300x1 pixels, more than max_pixels=200" in reasons["b/wide.png"]
    assert "there is no file" in reasons["b/gone.png"]
    assert len(outcomes) == 30
    assert (tally.found, tally.packed, tally.left_out) == (30, 25, 5)
    assert [sample["__key__"] for sample in _samples(tmp_path / "out")][-1] == "00000024"
    assert (_entry(tmp_path / "out")["images"], _entry(tmp_path / "out")["left_out"]) == (25, 5)


def test_rows_without_image_or_label_are_left_out(tmp_path: Path) -> None:
    files = [*_files(tmp_path)[:3], "files/none.png", "", "files/5.png", "files", "a\0b.png"]
    labels = pd.array([0, None, -1, 1, 1, 1, 1, 1], dtype="Int64")
    frame = pd.DataFrame({"path": files, "label": labels})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.astype({"label": "Float64"}).to_parquet(tmp_path / "float.parquet")
    for name in ("t.csv", "t.parquet", "float.parquet"):
        tally = Tally()
        outcomes = _packed(tmp_path / name, tmp_path / f"out-{name}", tally=tally)
        assert [outcome.name for outcome in outcomes] == [
            f"row {number} ({path})" if path else f"row {number}"
            for number, path in enumerate(files, 1)
        ]
        reasons = [outcome.reason for outcome in outcomes]
        assert reasons[:-1] == [
            None,
            "its row has no label",
            f"its label, {'-1.0' if name == 'float.parquet' else '-1'}, is no class from 0 on",
            f"there is no file {tmp_path}/files/none.png",
            "its row has no image",
            None,
            f"there is no file {tmp_path}/files",
        ]
        assert "cannot be read: embedded null byte" in (reasons[-1] or "")
        assert (tally.found, tally.packed, tally.left_out) == (8, 2, 6)
        assert [found[:2] for found in _contents(tmp_path / f"out-{name}")] == [
            (png(0), 0),
            (png(5), 1),
        ]


def test_a_source_of_no_good_image_is_an_error(tmp_path: Path) -> None:
    _write(tmp_path / "in/a.png", b"broken")
    with pytest.raises(DiffaugError, match="not one of 1 images can be packed"):
        _packed(tmp_path / "in", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_source_that_changes_meanwhile_is_an_error(tmp_path: Path) -> None:
    source = open_source(str(_as_csv(tmp_path)))
    with (tmp_path / "all.csv").open("a") as stream:
        stream.write("files/0.png,1\n")
    with pytest.raises(ValueError, match="changed while it was packed, from 6 images to 7"):
        _packed(source, tmp_path / "out")
    assert not (tmp_path / "out/set.yaml").exists()


def test_a_fault_of_storage_is_no_defect_of_an_image(tmp_path: Path) -> None:
    def fault() -> bytes:
        raise ConnectionResetError("the network went away")

    class Faulty:
        def __init__(self) -> None:
            self.url = str(tmp_path / "faulty")
            self.classes: tuple[str, ...] | None = None
            self.notes: list[str] = []

        def __len__(self) -> int:
            return 30

        def pictures(self, shuffle: int | None) -> Iterator[Picture]:
            for number in range(30):
                yield Picture(f"{number}", fault if number == 20 else lambda: png(0), "png")

    with pytest.raises(ConnectionResetError, match="went away"):
        _packed(Faulty(), tmp_path / "out", limits=Limits(4))
    assert not (tmp_path / "out/set.yaml").exists()
    assert not list((tmp_path / "out").glob(".*"))


# --- folders


def test_class_folders_are_numbered_as_they_sort(tmp_path: Path) -> None:
    files = {"b/1.PNG": 1, "b/deep/er/a.b.png": 1, "B/x.png": 0, "café/2.png": 3, "c c/0.png": 2}
    for number, name in enumerate(files):
        _write(tmp_path / f"in/{name}", png(number))
    source = open_source(str(tmp_path / "in"))
    assert source.classes == ("B", "b", "c c", "café")
    _packed(source, tmp_path / "out")
    expected = {png(number): label for number, label in enumerate(files.values())}
    found = _contents(tmp_path / "out")
    assert {data: label for data, label, _ in found} == expected
    assert [name for *_, name in found] == ["B", "b", "b", "c c", "café"]
    assert {name.partition(".")[2] for name in members(tmp_path / "out/set-000000.tar")} == {
        "png",
        "cls",
        "txt",
    }


def test_a_folder_without_class_folders_has_no_labels(tmp_path: Path) -> None:
    for number in range(3):
        _write(tmp_path / f"in/{number}.png", png(number))
    (tmp_path / "in/notes").mkdir()
    _packed(tmp_path / "in", tmp_path / "out")
    assert _contents(tmp_path / "out") == [(png(number), None, None) for number in range(3)]
    assert (_entry(tmp_path / "out")["classes"], _entry(tmp_path / "out")["images_per_class"]) == (
        0,
        {},
    )


def test_images_inside_and_outside_of_class_folders_are_refused(tmp_path: Path) -> None:
    for name in ("a/1.png", "2.png"):
        _write(tmp_path / name, png(0))
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
        _write(tmp_path / f"in/{name}", png(0))
    os.mkfifo(tmp_path / "in/a/pipe.png")
    source = open_source(str(tmp_path / "in"))
    assert source.notes == [
        "3 files are no images by their extension",
        "classes without an image: b",
    ]
    assert source.classes == ("a", "b")
    assert len(source) == 1


def test_names_of_classes_give_their_order(tmp_path: Path) -> None:
    source = _as_folder(tmp_path)
    opened = open_source(str(source), classes=("cat", "none", "bee", "ape"))
    assert opened.notes == ["classes without an image: none"]
    _packed(opened, tmp_path / "out")
    assert {(label, name) for _, label, name in _contents(tmp_path / "out")} == {
        (0, "cat"),
        (2, "bee"),
        (3, "ape"),
    }
    with pytest.raises(ValueError, match="1 classes that --classes lacks: ape"):
        open_source(str(source), classes=("cat", "bee"))


def test_links_are_followed_and_loops_refused(tmp_path: Path) -> None:
    _write(tmp_path / "store/x/1.png", png(1))
    _write(tmp_path / "in/a/0.png", png(0))
    (tmp_path / "in/b").symlink_to(tmp_path / "store")
    _packed(tmp_path / "in", tmp_path / "out")
    assert _contents(tmp_path / "out") == [(png(0), 0, "a"), (png(1), 1, "b")]
    (tmp_path / "in/a/up").symlink_to(tmp_path / "in")
    with pytest.raises(ValueError, match="links to a folder that it lies in"):
        open_source(str(tmp_path / "in"))


def test_a_name_that_is_not_utf_8_is_no_obstacle_but_for_a_class(tmp_path: Path) -> None:
    _write(tmp_path / "in/a" / os.fsdecode(b"caf\xe9.png"), png(0))
    (outcome,) = _packed(tmp_path / "in", tmp_path / "out")
    assert outcome == Outcome("a/caf?.png", None)
    _write(tmp_path / "in" / os.fsdecode(b"caf\xe9/1.png"), png(0))
    with pytest.raises(ValueError, match=r"the class folder caf\? is not UTF-8"):
        open_source(str(tmp_path / "in"))


# --- tables


def test_labels_of_text_are_classes_as_they_sort(tmp_path: Path) -> None:
    words = ["10", "bee", "9", "bee", "Ape", "10"]
    frame = pd.DataFrame({"path": _files(tmp_path), "label": words})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.astype({"label": "category"}).to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        source = open_source(str(tmp_path / name))
        _packed(source, tmp_path / f"out-{name}")
        assert source.classes == ("10", "9", "Ape", "bee")
        assert [found[1:] for found in _contents(tmp_path / f"out-{name}")] == [
            (source.classes.index(word), word) for word in words
        ]
        mixed = ["the labels are read as text, since Ape is no integer"]
        assert source.notes == (mixed if name == "t.csv" else [])


def test_digits_are_integers_in_a_csv_and_text_in_parquet(tmp_path: Path) -> None:
    words = ["10", "9", "2", "2", "10", "9"]
    frame = pd.DataFrame({"path": _files(tmp_path), "label": words})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    for name, labels in (("t.csv", [10, 9, 2]), ("t.parquet", [0, 2, 1])):
        _packed(tmp_path / name, tmp_path / f"out-{name}")
        found = _contents(tmp_path / f"out-{name}")
        assert [label for _, label, _ in found][:3] == labels


def test_names_that_look_like_python_numbers_are_text(tmp_path: Path) -> None:
    words = ["1_0", "1_1", "\u0663", "1e1", "0x1", "."]
    frame = pd.DataFrame({"path": _files(tmp_path), "label": words})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert open_source(str(tmp_path / "t.csv")).classes == tuple(sorted(set(words)))


def test_integers_are_named_by_the_caller_or_by_hugging_face(tmp_path: Path) -> None:
    table = pq.read_table(_as_struct(tmp_path))
    said = {"info": {"features": {"label": {"names": list(NAMES), "_type": "ClassLabel"}}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps(said)})
    pq.write_table(table, tmp_path / "hub.parquet")
    assert open_source(str(tmp_path / "hub.parquet")).classes == NAMES
    named = open_source(str(tmp_path / "all.parquet"), classes=("x", "y", "z", "unused"))
    _packed(named, tmp_path / "out")
    assert [name for *_, name in _contents(tmp_path / "out")] == ["x", "y", "z"] * 2
    assert _entry(tmp_path / "out")["images_per_class"] == {0: 2, 1: 2, 2: 2, 3: 0}
    with pytest.raises(ValueError, match="labels up to 2, but 2 classes are named: name 3"):
        open_source(str(tmp_path / "all.parquet"), classes=("x", "y"))


def test_columns_are_found_by_name_or_asked_for(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"file": _files(tmp_path), "image": "gone.png", "label": 1, "kind": list("xyxyxy")}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    path = str(tmp_path / "t.csv")
    with pytest.raises(DiffaugError, match="not one of 6"):
        _packed(path, tmp_path / "none")
    source = open_source(path, image_column="file", label_column="kind")
    _packed(source, tmp_path / "asked")
    assert [label for _, label, _ in _contents(tmp_path / "asked")] == [0, 1] * 3
    _packed(open_source(path, image_column="file", label_column=""), tmp_path / "bare")
    assert {label for _, label, _ in _contents(tmp_path / "bare")} == {None}


def test_an_extension_comes_from_the_bytes_where_there_is_none(tmp_path: Path) -> None:
    kinds = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "BMP": "bmp", "GIF": "gif", "TIFF": "tif"}
    images = [encoded(_picture(n), kind) for n, kind in enumerate([*kinds, "PPM", "ICO"])]
    pd.DataFrame({"image": images}).to_parquet(tmp_path / "bytes.parquet")
    files = [f"f{n}{'.JPG' if n == 1 else ''}" for n in range(len(images))]
    for name, data in zip(files, images, strict=True):
        _write(tmp_path / name, data)
    pd.DataFrame({"path": files}).to_csv(tmp_path / "paths.csv", index=False)
    for source in ("bytes.parquet", "paths.csv"):
        outcomes = _packed(tmp_path / source, tmp_path / f"out-{source}")
        assert [outcome.reason for outcome in outcomes if outcome.reason] == [
            "images of format ICO have no place in a shard"
        ]
        found = members(tmp_path / f"out-{source}/set-000000.tar")
        assert list(found.values()) == images[:-1]
        assert [name.partition(".")[2] for name in found] == [*kinds.values(), "ppm"]


def test_paths_are_absolute_or_below_the_table(tmp_path: Path) -> None:
    store = f"memory://{uuid.uuid4()}"
    fsspec.filesystem("memory").pipe_file(f"{store}/3.png", png(3))
    for number, name in enumerate(("t/0.png", "1.png", "t/a b,c/2.png")):
        _write(tmp_path / name, png(number))
    paths = ["./0.png", str(tmp_path / "1.png"), "a b,c/2.png", f"{store}/3.png", "../1.png"]
    paths.append("foo://nowhere/x.png")
    pd.DataFrame({"image": paths}).to_csv(tmp_path / "t/t.csv", index=False)
    outcomes = _packed(tmp_path / "t/t.csv", tmp_path / "out")
    assert [data for data, *_ in _contents(tmp_path / "out")] == [png(n) for n in (0, 1, 2, 3, 1)]
    assert "Protocol not known: foo" in (outcomes[-1].reason or "")


def test_a_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    _files(tmp_path)
    text = '\ufeffpath,caption,label\r\nfiles/0.png,"two\r\nlines, one ""quote""",3\r\n\r\n'
    _write(tmp_path / "t.csv", text.encode() + b"files/1.png,,4\r\n")
    _packed(tmp_path / "t.csv", tmp_path / "out")
    assert _contents(tmp_path / "out") == [(png(0), 3, None), (png(1), 4, None)]


# --- idx


@pytest.mark.parametrize("zipped", ["", ".gz"])
def test_idx_labels_lie_beside_or_are_asked_for(zipped: str, tmp_path: Path) -> None:
    images = _as_idx(tmp_path, zipped)
    beside = tmp_path / f"all-labels-idx1-ubyte{zipped}"
    other = _idx(tmp_path / "other", np.arange(6), 0x801)
    _packed(open_source(str(images), labels=str(other)), tmp_path / "asked")
    assert [label for _, label, _ in _contents(tmp_path / "asked")] == list(range(6))
    beside.unlink()
    _packed(images, tmp_path / "none")
    assert {label for _, label, _ in _contents(tmp_path / "none")} == {None}
    named = open_source(str(images), labels=str(other), classes=tuple("abcdef"))
    _packed(named, tmp_path / "named")
    assert [name for *_, name in _contents(tmp_path / "named")] == list("abcdef")
    with pytest.raises(ValueError, match="labels up to 5, but 3 classes are named: name 6"):
        open_source(str(images), labels=str(other), classes=NAMES)


def test_the_other_usual_spelling_of_idx_files_is_known(tmp_path: Path) -> None:
    shutil.move(_as_idx(tmp_path, ""), tmp_path / "train-images.idx3-ubyte")
    shutil.move(tmp_path / "all-labels-idx1-ubyte", tmp_path / "train-labels.idx1-ubyte")
    _packed(tmp_path / "train-images.idx3-ubyte", tmp_path / "out")
    assert [label for _, label, _ in _contents(tmp_path / "out")] == LABELS


def test_idx_images_may_be_rgb(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 7, 3), np.uint8)
    _packed(_idx(tmp_path / "rgb.idx", images, 0x804), tmp_path / "out")
    found = np.stack([pixels(data) for data, *_ in _contents(tmp_path / "out")])
    assert np.array_equal(found, images)
    entry = _entry(tmp_path / "out")
    assert (entry["colour"], entry["width"]) == ("RGB", {"min": 7, "max": 7})


GREY = struct.pack(">4I", 0x803, 2, 3, 5)
HOSTILE_IDX: dict[str, tuple[bytes, str]] = {
    "labels as images": (
        struct.pack(">2I", 0x801, 2) + b"ab",
        "expected it to begin with 0x00000803 or 0x00000804, found 0x00000801",
    ),
    "floats": (struct.pack(">4I", 0xD03, 2, 3, 5) + bytes(120), "found 0x00000d03"),
    "no idx": (b"hello, world", "found 0x68656c6c"),
    "empty": (b"", "found 0x"),
    "cut in the header": (GREY[:10], "in its header: expected 16 bytes, found 10"),
    "cut in the data": (GREY + bytes(29), "expected 30 bytes after it, found 29"),
    "too long": (GREY + bytes(31), "expected 30 bytes after it, found 31"),
    "huge": (
        struct.pack(">4I", 0x803, *[2**32 - 1] * 3),
        f"expected {(2**32 - 1) ** 3} bytes after it, found 0",
    ),
    "no images": (struct.pack(">4I", 0x803, 0, 3, 5), "its dimensions are 0x3x5"),
    "no width": (struct.pack(">4I", 0x803, 3, 3, 0), "its dimensions are 3x3x0"),
    "four channels": (
        struct.pack(">5I", 0x804, 1, 1, 1, 4) + bytes(4),
        "dimension of 4: expected 3",
    ),
}


@pytest.mark.parametrize("zipped", ["", ".gz"])
@pytest.mark.parametrize("case", HOSTILE_IDX)
def test_a_hostile_idx_file_is_refused_with_numbers(case: str, zipped: str, tmp_path: Path) -> None:
    data, sentence = HOSTILE_IDX[case]
    path = _write(tmp_path / f"x{zipped}", gzip.compress(data) if zipped else data)
    with pytest.raises(ConfigError) as raised:
        open_source(str(path))
    assert sentence in str(raised.value)


@pytest.mark.parametrize("keep", [5, 200, -4])
def test_a_gzip_stream_cut_short_is_refused(keep: int, tmp_path: Path) -> None:
    path = _as_idx(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="cut short"):
        open_source(str(path))


def test_a_gzip_stream_cut_after_its_last_pixel_is_refused(tmp_path: Path) -> None:
    """What is missing is the checksum, without which nothing says that the pixels are right."""
    path = _idx(tmp_path / "x.gz", np.zeros((1, 256, 256)), 0x803)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(
        ValueError, match="expected 65536 bytes after its header, found about 65536"
    ):
        open_source(str(path))


def test_a_gzip_stream_that_is_corrupt_is_refused(tmp_path: Path) -> None:
    path = _as_idx(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"broken gzip file|cut short"):
        open_source(str(path))
    path.write_bytes(b"not gzip at all")
    with pytest.raises(ValueError, match="broken gzip file"):
        open_source(str(path))


def test_labels_must_be_as_many_as_images(tmp_path: Path) -> None:
    images = _as_idx(tmp_path)
    _idx(tmp_path / "all-labels-idx1-ubyte.gz", np.arange(5), 0x801)
    with pytest.raises(ValueError, match="holds 5 labels, but there are 6 images"):
        open_source(str(images))
    cut = _write(tmp_path / "cut", struct.pack(">2I", 0x801, 6) + b"abc")
    with pytest.raises(ValueError, match="expected 6 bytes after it, found 3"):
        open_source(str(images), labels=str(cut))


def test_a_zipped_idx_file_is_packed_in_constant_memory(tmp_path: Path) -> None:
    """Some 54 MB of pixels; a shard's headers and the pictures under way are all that is held."""
    path = tmp_path / "big-images-idx3-ubyte.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(struct.pack(">4I", 0x803, 600, 300, 300))
        for _ in range(600):
            stream.write(bytes(300 * 300))
    tracemalloc.start()
    try:
        _packed(path, tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6


# --- the entry of the dataset


def test_the_entry_says_what_is_in_the_shards(tmp_path: Path) -> None:
    sizes = {"a/1.png": (3, 9), "a/2.png": (12, 4), "b/3.jpg": (7, 7)}
    for seed, (name, size) in enumerate(sizes.items()):
        mode = "L" if name == "a/1.png" else "RGB"
        kind = "PNG" if name.endswith("png") else "JPEG"
        _write(tmp_path / f"My set/{name}", encoded(_picture(seed, size, mode), kind))
    tally = Tally()
    out = tmp_path / "out"
    list(pack(open_source(f"{tmp_path}/My set/"), str(out), "n", tally=tally, limits=Limits(2)))
    entry = yaml.safe_load((out / "n.yaml").read_text())
    tars = _tars(out)
    assert entry == {
        "name": "n",
        "licence": None,
        "source": "My set",
        "shards": "n-{000000..000001}.tar",
        "images": 3,
        "left_out": 0,
        "bytes": sum(map(len, tars.values())),
        "colour": "mixed",
        "width": {"min": 3, "max": 12},
        "height": {"min": 4, "max": 9},
        "classes": ["a", "b"],
        "images_per_class": {0: 2, 1: 1},
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in tars.items()},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files open
        read = wds.WebDataset(str(out / entry["shards"]), shardshuffle=False).decode("pil")
        assert [sample["cls"] for sample in read] == [0, 0, 1]


def test_a_single_shard_has_no_braces_and_unnamed_classes_are_counted(tmp_path: Path) -> None:
    _packed(_as_csv(tmp_path), tmp_path / "out")
    entry = _entry(tmp_path / "out")
    assert (entry["shards"], entry["classes"]) == ("set-000000.tar", 3)
    assert (entry["images_per_class"], entry["colour"]) == ({0: 2, 1: 2, 2: 2}, "grey")


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


# --- the command


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cli(…)`: `diffaug pack …`, in this process; gives exit code, stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["diffaug", "pack", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return run


def test_the_command_packs_and_a_rerun_says_that_it_did_nothing(tmp_path: Path) -> None:
    source = _as_folder(tmp_path)
    arguments = ["pack", "all", "out", "--shard-count", "2", "--shuffle", "3", "--name", "s"]
    ran = diffaug_command(*arguments, cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == (
        "6 found = 6 packed + 0 left out\n"
        "4 of 4 files written: out/s-{000000..000002}.tar and out/s.yaml\n"
    )
    again = diffaug_command("pack", source, tmp_path / "out", *arguments[3:])
    assert again.returncode == 0
    assert (
        "0 of 4 files written; the others were there already, with the same content: "
        in again.stdout
    )


def test_the_command_names_what_it_leaves_out(tmp_path: Path, cli: Cli) -> None:
    source = _as_folder(tmp_path)
    _write(source / "ape/broken.png", b"no image")
    _write(source / "ape/readme.txt", b"no image")
    code, out, err = cli(source, tmp_path / "out")
    assert code == 1
    assert "7 found = 6 packed + 1 left out" in out
    assert "left out ape/broken.png: the bytes are of no image format known" in err
    assert "1 file is no image by its extension" in err
    assert "1 of 7 left out, more than --max-failed 0.01" in err
    assert cli(source, tmp_path / "out", "--max-failed", "0.15")[0] == 0
    assert (tmp_path / "out/all-000000.tar").exists()


def test_the_command_takes_every_option(tmp_path: Path, cli: Cli) -> None:
    _as_csv(tmp_path)
    frame = pd.read_csv(tmp_path / "all.csv").rename(columns={"path": "p", "label": "l"})
    frame.to_csv(tmp_path / "all.csv", index=False)
    flags = ["--image-column", "p", "--label-column", "l", "--classes", "x, y,z"]
    code, *_ = cli(tmp_path / "all.csv", tmp_path / "out", *flags, "--shard-bytes", "10.24kB")
    assert code == 0
    sizes = [path.stat().st_size for path in (tmp_path / "out").glob("*.tar")]
    assert (max(sizes), len(sizes) > 1) == (10_240, True)
    assert {sample["txt"] for sample in _samples(tmp_path / "out")} == {b"x", b"y", b"z"}
    images = _as_idx(tmp_path)
    other = _idx(tmp_path / "other", np.arange(6), 0x801)
    code, *_ = cli(images, tmp_path / "idx", "--labels", other, "--max-pixels", "784")
    assert code == 0
    assert [int(sample["cls"]) for sample in _samples(tmp_path / "idx")] == list(range(6))


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no such source": (["{tmp}/none", "{tmp}/out"], "no such source: "),
    "no such table": (["{tmp}/none.csv", "{tmp}/out"], "no such source: "),
    "unknown protocol": (["pigeon://x", "{tmp}/out"], "no URL diffaug can open"),
    "output under a file": (["{all}", "{csv}/out"], "cannot write to "),
    "output of no protocol": (["{all}", "pigeon://x"], "no URL diffaug can open"),
    "output in the source": (["{all}", "{all}/out"], "choose another OUTPUT"),
    "a folder of no image": (["{tmp}/empty", "{tmp}/out"], "holds no image; 1 file is no image"),
    "a table of no row": (["{tmp}/none-in.csv", "{tmp}/out"], "holds no image"),
    "an empty table": (["{tmp}/empty.csv", "{tmp}/out"], "its columns are (none)"),
    "a Parquet that is none": (["{tmp}/bad.parquet", "{tmp}/out"], "cannot be read as Parquet: "),
    "a CSV not in UTF-8": (["{tmp}/latin.csv", "{tmp}/out"], "cannot be read as CSV: 'utf-8'"),
    "a CSV of ragged rows": (
        ["{tmp}/ragged.csv", "{tmp}/out"],
        "line 3 has 3 fields, but the head",
    ),
    "a CSV of an open quote": (["{tmp}/quote.csv", "{tmp}/out"], "unexpected end of data"),
    "an image": (["{all}/ape/deeper/0.png", "{tmp}/out"], "no idx file of images: expected"),
    "no such image column": (
        ["{csv}", "{tmp}/out", "--image-column", "img"],
        "has no column img: its columns are path, label",
    ),
    "no such label column": (
        ["{csv}", "{tmp}/out", "--label-column", "lab"],
        "has no column lab: its columns are path, label",
    ),
    "no usual image column": (["{tmp}/odd.csv", "{tmp}/out"], "its columns are img, label"),
    "numbers as images": (
        ["{tmp}/odd.parquet", "{tmp}/out", "--image-column", "label"],
        "the column label holds neither paths nor images",
    ),
    "images as labels": (
        ["{tmp}/odd.parquet", "{tmp}/out", "--image-column", "img", "--label-column", "raw"],
        "the column raw holds neither integers nor text",
    ),
    "labels for a folder": (["{all}", "{tmp}/out", "--labels", "{csv}"], "--labels is for idx"),
    "a column of a folder": (["{all}", "{tmp}/out", "--image-column", "x"], "are for .csv and"),
    "no such labels": (["{idx}", "{tmp}/out", "--labels", "{tmp}/none"], "no such file: "),
    "classes too few": (
        ["{csv}", "{tmp}/out", "--classes", "a,b"],
        "name 3, for the labels 0 to 2",
    ),
    "classes twice": (["{csv}", "{tmp}/out", "--classes", "a,b,a"], "names a twice"),
    "classes empty": (["{csv}", "{tmp}/out", "--classes", "a,,b"], "an empty name"),
    "classes of none": (["{all}/ape/deeper", "{tmp}/out", "--classes", "a"], "no class folders"),
    "shards of none": (["{all}", "{tmp}/out", "--shard-count", "0"], "--shard-count is 1 or more"),
    "shards of no byte": (["{all}", "{tmp}/out", "--shard-bytes", "0"], "--shard-bytes is 1 or"),
    "bytes in words": (["{all}", "{tmp}/out", "--shard-bytes", "much"], "got 'much'"),
    "a seed below 0": (["{all}", "{tmp}/out", "--shuffle", "-1"], "--shuffle is a seed"),
    "a name with a slash": (["{all}", "{tmp}/out", "--name", "a/b"], "--name begins with a letter"),
    "a hidden name": (["{all}", "{tmp}/out", "--name", ".a"], "--name begins with a letter"),
    "max-pixels 0": (["{all}", "{tmp}/out", "--max-pixels", "0"], "--max-pixels"),
    "max-failed 2": (["{all}", "{tmp}/out", "--max-failed", "2"], "fraction in [0, 1], got 2"),
    "one argument": (["{all}"], "--output requires an argument"),
    "secret": (["https://me:hush@h.invalid/a.csv", "{tmp}/out"], "https://h.invalid/a.csv"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_exit_2(mistake: str, tmp_path: Path, cli: Cli) -> None:
    places = {"tmp": tmp_path, "all": _as_folder(tmp_path), "csv": _as_csv(tmp_path)}
    places["idx"] = _as_idx(tmp_path)
    files = {
        "empty/readme.md": b"",
        "none-in.csv": b"path,label\n",
        "empty.csv": b"",
        "bad.parquet": b"PAR1 is how it begins",
        "latin.csv": "path\ncaf\xe9.png\n".encode("latin-1"),
        "ragged.csv": b"path,label\na.png,1\na.png,1,2\n",
        "quote.csv": b'path,label\n"a.png,1\nb.png,2\n',
        "odd.csv": b"img,label\na.png,1\n",
    }
    for name, data in files.items():
        _write(tmp_path / name, data)
    odd = pd.DataFrame({"img": ["a.png"], "label": [1], "raw": [b"x"]})
    odd.to_parquet(tmp_path / "odd.parquet")
    before = tree(tmp_path)
    arguments, sentence = MISTAKES[mistake]
    code, out, err = cli(*(part.format(**places) for part in arguments))
    assert code == 2
    assert sentence in out + err
    assert "Traceback" not in out + err
    assert "hush" not in out + err
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "size"),
    [("5", 5), ("200MB", 200_000_000), ("1.5 GiB", 3 * 2**29), ("10k", 10_000), ("7b", 7)],
)
def test_a_size_is_a_number_with_or_without_a_unit(
    text: str, size: int, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def limits(images: int, size: int) -> Limits:
        asked.append(size)
        return Limits(images)

    monkeypatch.setattr(diffaug.pack, "Limits", limits)
    assert cli(_as_folder(tmp_path), tmp_path / "out", "--shard-bytes", text)[0] == 0
    assert asked == [size]

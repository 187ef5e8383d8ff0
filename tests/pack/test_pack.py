"""Shards packed from every kind of source, read back by others' readers."""

from __future__ import annotations

import itertools
import tarfile
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import yaml

from diffaug import DiffaugError
from diffaug.pack import Limits, Listed, Totals, open_source, pack
from diffaug.pack.source import order
from diffaug.shards import read_samples
from tests.support.hostile import encoded, png
from tests.support.jobs import members, pixels, tree, webdataset
from tests.support.packing import (
    IMAGES,
    KINDS,
    MAKE,
    NAMES,
    as_csv,
    as_folder,
    as_idx,
    contents,
    entry_of,
    packed,
    picture,
    samples,
    write,
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_source_gives_its_images_and_labels(kind: str, tmp_path: Path) -> None:
    outcomes = packed(MAKE[kind](tmp_path), tmp_path / "out")
    assert [outcome.reason for outcome in outcomes] == [None] * 6
    expected = sorted(IMAGES, key=lambda pair: pair[1]) if kind == "folder" else IMAGES
    found = contents(tmp_path / "out")
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
        packed(MAKE[kind](tmp_path / place), tmp_path / place / "out", limits=Limits(4))
    here = {p.name: p.read_bytes() for p in (tmp_path / "here/out").iterdir()}
    there = {p.name: p.read_bytes() for p in (tmp_path / "there/below/out").iterdir()}
    assert here == there
    assert here.keys() == {"set-000000.tar", "set-000001.tar", "set.yaml"}


def test_shards_are_as_tarfile_diffaug_and_webdataset_read_them(tmp_path: Path) -> None:
    packed(as_folder(tmp_path), tmp_path / "out")
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
        data = encoded(picture(index, size), "PNG")
        write(tmp_path / f"many/{'ab'[index % 2]}/{index:02d}.png", data)
    return tmp_path / "many"


@pytest.mark.parametrize(("count", "sizes"), [(10, [10, 10, 5]), (25, [25]), (24, [24, 1])])
def test_a_shard_ends_at_a_number_of_images(
    count: int, sizes: list[int], many: Path, tmp_path: Path
) -> None:
    packed(many, tmp_path / "out", limits=Limits(count))
    shards = [webdataset(path) for path in sorted((tmp_path / "out").glob("*.tar"))]
    assert [len(shard) for shard in shards] == sizes
    keys = [sample["__key__"] for shard in shards for sample in shard]
    assert keys == [f"{n:08d}" for n in range(25)]


@pytest.mark.parametrize("limit", [20_479, 20_480, 30_720])
def test_a_shard_ends_before_a_size_and_not_much_before(
    limit: int, many: Path, tmp_path: Path
) -> None:
    tally = Totals()
    packed(many, tmp_path / "out", limits=Limits(bytes=limit), tally=tally)
    tars = sorted((tmp_path / "out").glob("*.tar"))
    assert len(samples(tmp_path / "out")) == 25
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
    packed(many, tmp_path / "out", limits=Limits(3, 20_480))
    sizes = [len(webdataset(path)) for path in sorted((tmp_path / "out").glob("*.tar"))]
    assert sum(sizes) == 25
    assert set(sizes[:-1]) == {3}


def test_an_image_larger_than_a_shard_may_be_has_its_own(tmp_path: Path) -> None:
    for name, side in (("a", 8), ("b", 90), ("c", 8)):
        write(tmp_path / f"in/{name}.png", encoded(picture(side, (side, side)), "PNG"))
    packed(tmp_path / "in", tmp_path / "out", limits=Limits(bytes=10_240))
    sizes = [len(webdataset(path)) for path in sorted((tmp_path / "out").glob("*.tar"))]
    assert sizes == [1, 1, 1]


@pytest.mark.parametrize("kind", ["folder", "csv", "paths", "idx"])
def test_a_shuffle_is_a_permutation_by_its_seed(kind: str, tmp_path: Path) -> None:
    source = MAKE[kind](tmp_path)
    orders = {}
    for name, seed in (("none", None), ("0", 0), ("1", 1), ("again", 1)):
        packed(source, tmp_path / name, shuffle=seed)
        orders[name] = contents(tmp_path / name)
    assert all(Counter(found) == Counter(orders["none"]) for found in orders.values())
    assert orders["1"] == orders["again"]
    assert len({str(found) for found in orders.values()}) == 3


def test_the_order_of_a_seed_never_changes() -> None:
    words = np.random.Philox(key=5).random_raw(8).tolist()
    assert order(8, 5) == sorted(range(8), key=words.__getitem__) == [2, 4, 3, 1, 5, 0, 6, 7]
    assert sorted(order(1000, 2**64 - 1)) == list(range(1000))


def test_a_shuffle_mixes_classes(many: Path, tmp_path: Path) -> None:
    packed(many, tmp_path / "out", shuffle=0, limits=Limits(9))
    for path in (tmp_path / "out").glob("*.tar"):
        assert {sample["cls"] for sample in webdataset(path)} == {b"0", b"1"}


@pytest.mark.parametrize("kind", ["bytes", "struct"])
def test_a_table_of_bytes_is_not_shuffled(kind: str, tmp_path: Path) -> None:
    source = open_source(str(MAKE[kind](tmp_path)))
    with pytest.raises(ValueError, match="without --shuffle"):
        packed(source, tmp_path / "out", shuffle=0)
    assert not (tmp_path / "out").exists()


def test_packing_again_changes_nothing_and_finishes_what_is_missing(
    many: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first, again, repaired = Totals(), Totals(), Totals()
    packed(many, out, limits=Limits(10), tally=first)
    before = tree(out)
    packed(many, out, limits=Limits(10), tally=again)
    assert tree(out) == before
    (out / "set-000001.tar").unlink()
    (out / "set.yaml").unlink()
    packed(many, out, limits=Limits(10), tally=repaired)
    assert {name: what[1] for name, what in tree(out).items()} == {
        name: what[1] for name, what in before.items()
    }
    assert [tally.written for tally in (first, again, repaired)] == [4, 0, 2]


def test_what_a_person_says_of_licence_and_source_stays(many: Path, tmp_path: Path) -> None:
    packed(many, tmp_path / "out")
    path = tmp_path / "out/set.yaml"
    text = path.read_text().replace("licence: null", "licence: MIT  # asked the author")
    path.write_text(text)
    packed(many, tmp_path / "out")
    assert path.read_text() == text


def test_other_bytes_under_the_same_name_are_refused(many: Path, tmp_path: Path) -> None:
    packed(many, tmp_path / "out", limits=Limits(10))
    before = tree(tmp_path / "out")
    (many / "a/00.png").write_bytes(png(0))
    with pytest.raises(ValueError, match=r"set-000000\.tar already exists with other bytes"):
        packed(many, tmp_path / "out", limits=Limits(10))
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize("limits", [Limits(25), Limits(bytes=10**6)])
def test_more_shards_of_the_same_name_are_refused(
    limits: Limits, many: Path, tmp_path: Path
) -> None:
    """Before anything is written where the number of shards is known; else before the entry."""
    stray = write(tmp_path / "out/set-000003.tar", b"of another pack")
    other = write(tmp_path / "out/set-b-000007.tar", b"of another set")
    with pytest.raises(
        ValueError,
        match=r"holds 1 shards of that name that are not this dataset's, from set-000003\.tar on",
    ):
        packed(many, tmp_path / "out", limits=limits)
    assert stray.read_bytes() == b"of another pack"
    assert not (tmp_path / "out/set.yaml").exists()
    assert (tmp_path / "out/set-000000.tar").exists() == (limits.bytes is not None)
    stray.unlink()
    packed(many, tmp_path / "out", limits=limits)
    assert other.exists()


def test_another_entry_of_the_same_name_is_refused(many: Path, tmp_path: Path) -> None:
    write(tmp_path / "out/set.yaml", b"name: set\nimages: 3\n")
    with pytest.raises(ValueError, match=r"set\.yaml already exists and differs in shards, ima"):
        packed(many, tmp_path / "out")


def test_an_output_inside_its_source_is_refused(many: Path, tmp_path: Path) -> None:
    for output in (many, many / "out", f"file://{many}/a/b"):
        with pytest.raises(ValueError, match="choose another OUTPUT"):
            packed(many, output)
    assert {path.name for path in many.iterdir()} == {"a", "b"}
    packed(many, tmp_path / "many-out")  # beside it, not inside


def test_a_pack_that_is_given_up_leaves_whole_shards_only(many: Path, tmp_path: Path) -> None:
    outcomes = pack(
        open_source(str(many)), str(tmp_path / "out"), "set", tally=Totals(), limits=Limits(4)
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
    as_folder(tmp_path), as_csv(tmp_path), as_idx(tmp_path)
    fs.put(str(tmp_path), store, recursive=True)
    for name in ("all", "all.csv", "all-images-idx3-ubyte.gz"):
        source, local = f"{store}/{name}", tmp_path / name
        here, there = tmp_path / uuid.uuid4().hex, f"memory://{uuid.uuid4()}"
        packed(local, here)
        packed(source, there)
        assert fs.cat_file(f"{there}/set-000000.tar") == (here / "set-000000.tar").read_bytes()
        entry = yaml.safe_load(fs.cat_file(f"{there}/set.yaml"))
        assert entry == entry_of(here) | {"source": source}


# --- what is left out


def test_counts_add_up_when_images_are_broken(many: Path, tmp_path: Path) -> None:
    broken = {
        "a/half.png": encoded(picture(3, (40, 40)), "PNG")[:900],
        "a/text.jpg": b"this is no image",
        "b/none.png": b"",
        "b/wide.png": encoded(picture(4, (300, 1)), "PNG"),
    }
    for name, data in broken.items():
        write(many / name, data)
    (many / "b/gone.png").symlink_to(many / "nowhere.png")
    tally = Totals()
    outcomes = packed(many, tmp_path / "out", tally=tally, max_pixels=200)
    reasons = {outcome.name: outcome.reason for outcome in outcomes if outcome.reason}
    assert reasons.keys() == {*broken, "b/gone.png"}
    assert "not in a known image format" in reasons["a/text.jpg"]
    assert "zero bytes" in reasons["b/none.png"]
    assert "300x1 pixels, more than max_pixels=200" in reasons["b/wide.png"]
    assert "there is no file" in reasons["b/gone.png"]
    assert len(outcomes) == 30
    assert (tally.found, tally.packed, tally.left_out) == (30, 25, 5)
    assert [sample["__key__"] for sample in samples(tmp_path / "out")][-1] == "00000024"
    assert (entry_of(tmp_path / "out")["images"], entry_of(tmp_path / "out")["left_out"]) == (25, 5)


def test_a_source_of_no_good_image_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "in/a.png", b"broken")
    with pytest.raises(DiffaugError, match="none of 1 images can be packed"):
        packed(tmp_path / "in", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_source_that_changes_meanwhile_is_an_error(tmp_path: Path) -> None:
    source = open_source(str(as_csv(tmp_path)))
    with (tmp_path / "all.csv").open("a") as stream:
        stream.write("files/0.png,1\n")
    with pytest.raises(ValueError, match="changed while it was being packed, from 6 images to 7"):
        packed(source, tmp_path / "out")
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

        def pictures(self, shuffle: int | None) -> Iterator[Listed]:
            for number in range(30):
                yield Listed(f"{number}", fault if number == 20 else lambda: png(0), "png")

    with pytest.raises(ConnectionResetError, match="went away"):
        packed(Faulty(), tmp_path / "out", limits=Limits(4))
    assert not (tmp_path / "out/set.yaml").exists()
    assert not list((tmp_path / "out").glob(".*"))

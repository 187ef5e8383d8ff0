"""Folders of pictures as SOURCE: packed once beside the OUTPUT, and what a changed folder does."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

from diffaug import ConfigError
from diffaug.pack import Totals
from diffaug.pack.beside import pack_folders, source_place
from diffaug.pack.packing import Packed
from tests.support.hostile import png, write_samples
from tests.support.jobs import tree, webdataset
from tests.support.packing import as_bytes, as_folder, picture, write


def take(folder: str | Path, output: str | Path) -> Packed:
    """Pack one folder beside an output."""
    _, (packed,) = pack_folders([[str(folder)]], str(output))
    return packed


def pictures(packed: Packed) -> Counter[tuple[bytes, bytes | None, bytes | None]]:
    """(image, class, class name) of every sample, as webdataset reads them."""
    samples = [sample for shard in packed.shards for sample in webdataset(Path(shard))]
    return Counter((one["png"], one.get("cls"), one.get("txt")) for one in samples)


def test_a_folder_is_packed_once_however_it_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, output = as_folder(tmp_path), tmp_path / "out"
    packed = take(folder, output)
    assert (packed.images, packed.new, packed.classes) == (6, 6, ("ape", "bee", "cat"))
    assert packed.shards == (f"{output}-source/all-000000.tar",)
    names = (b"ape", b"bee", b"cat")
    assert pictures(packed) == Counter(
        (png(index), str(index % 3).encode(), names[index % 3]) for index in range(6)
    )
    before = tree(tmp_path / "out-source")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(folder)
    for spelled in ("all", "./all/", f"file://{folder}", "link", "all/../all"):
        again = take(spelled, f"{output}/")
        assert (again.shards, again.images, again.new) == (packed.shards, 6, 0), spelled
    assert tree(tmp_path / "out-source") == before


def test_patterns_of_shards_stay_as_they_are(tmp_path: Path) -> None:
    folder = as_folder(tmp_path)
    given = [[f"{tmp_path}/s-{{000..001}}.tar", str(folder)], [], ["none/*.tar"]]
    shards, packed = pack_folders(given, f"{tmp_path}/out")
    assert shards == [[given[0][0], *packed[0].shards], [], ["none/*.tar"]]
    assert pack_folders([given[2]], f"{tmp_path}/other") == ([given[2]], [])
    assert not (tmp_path / "other-source").exists()


def test_the_record_says_which_file_is_which_sample(tmp_path: Path) -> None:
    folder = as_folder(tmp_path)
    write(folder / "ape/torn.png", png(7)[:50])
    packed = take(folder, tmp_path / "out")
    record = json.loads((tmp_path / "out-source/all.json").read_text())
    samples = {one["__key__"]: one["png"] for one in webdataset(Path(packed.shards[0]))}
    found = {path: one for path, one in record["pictures"].items() if "key" in one}
    assert len(found) == len(samples) == 6
    for path, one in found.items():
        data = (folder / path).read_bytes()
        assert samples[one["key"]] == data
        assert one["sha256"] == hashlib.sha256(data).hexdigest()
    assert packed.left_out == {"ape/torn.png": record["pictures"]["ape/torn.png"]["left_out"]}
    assert "1 left out (ape/torn.png: " in str(packed)
    assert packed.failed_fraction == 1 / 7


def test_new_pictures_get_shards_of_their_own(tmp_path: Path) -> None:
    folder, output = as_folder(tmp_path), tmp_path / "out"
    first = take(folder, output)
    before = tree(tmp_path / "out-source")
    write(folder / "aaa.txt", b"no picture")
    for number in (6, 7):
        write(folder / f"bee/0{number}.png", png(number))
    grown = take(folder, output)
    assert (grown.images, grown.new) == (8, 2)
    assert "2 pictures added to 6 packed" in str(grown)
    assert grown.shards[0] == first.shards[0]
    assert len(grown.shards) == 2
    assert pictures(grown) - pictures(first) == Counter(
        (png(number), b"1", b"bee") for number in (6, 7)
    )
    after = tree(tmp_path / "out-source")
    assert {name: after[name] for name in before} == before
    assert take(folder, output).new == 0
    write(folder / "cat/08.png", png(8))
    assert len(take(folder, output).shards) == 3


def test_new_pictures_that_are_all_broken_are_left_out_for_good(tmp_path: Path) -> None:
    folder, output = as_folder(tmp_path), tmp_path / "out"
    first = take(folder, output)
    write(folder / "bee/torn.png", b"no picture")
    for _ in range(2):
        grown = take(folder, output)
        assert (grown.shards, grown.new, list(grown.left_out)) == (
            first.shards,
            0,
            ["bee/torn.png"],
        )
    write(folder / "bee/torn.png", png(9))  # mended
    mended = take(folder, output)
    assert (mended.images, mended.new, mended.left_out) == (7, 1, {})
    assert pictures(mended) - pictures(first) == Counter([(png(9), b"1", b"bee")])


def test_a_left_out_picture_may_go(tmp_path: Path) -> None:
    folder, output = as_folder(tmp_path), tmp_path / "out"
    torn = write(folder / "bee/torn.png", b"no picture")
    assert take(folder, output).left_out
    torn.unlink()
    assert take(folder, output).left_out == {}


def test_lost_and_changed_pictures_are_refused(tmp_path: Path) -> None:
    folder, output = as_folder(tmp_path), tmp_path / "out"
    take(folder, output)
    picture = folder / "ape/deeper/0.png"
    os.utime(picture, (1, 1))  # as a copy of the folder has it
    assert take(folder, output).new == 0
    data = picture.read_bytes()
    picture.write_bytes(png(9))
    with pytest.raises(ConfigError, match=r"has changed 1 picture since .* choose a new OUTPUT"):
        take(folder, output)
    picture.write_bytes(data)
    assert take(folder, output).new == 0
    picture.unlink()
    with pytest.raises(ConfigError, match=r"has lost 1 picture .*ape/deeper/0\.png.*go on with"):
        take(folder, output)
    assert take(folder, tmp_path / "new").images == 5


def test_the_folders_of_a_command_are_numbered_alike(tmp_path: Path) -> None:
    for number, name in enumerate(("train/cat", "train/dog", "train/owl", "test/cat", "test/owl")):
        write(tmp_path / f"data/{name}/0.png", png(number))
    given = [[f"{tmp_path}/data/train"], [f"{tmp_path}/data/test"]]
    _, (train, test) = pack_folders(given, f"{tmp_path}/out")
    assert pictures(train)[png(2), b"2", b"owl"] == 1
    assert pictures(test)[png(4), b"2", b"owl"] == 1
    alone = take(tmp_path / "data/test", tmp_path / "alone")
    assert pictures(alone)[png(4), b"1", b"owl"] == 1
    later = write(tmp_path / "more/owl/0.png", png(5)).parent.parent
    assert pictures(take(later, tmp_path / "out"))[png(5), b"2", b"owl"] == 1
    write(later / "yak/0.png", png(6))
    with pytest.raises(ConfigError, match=r"has the class yak, which is new.*cat, dog, owl"):
        take(later, tmp_path / "out")


def test_parts_of_a_dataset_are_no_classes(tmp_path: Path) -> None:
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        write(tmp_path / f"data/{name}/0.png", png(0))
    with pytest.raises(ConfigError, match="test, train are parts of a dataset"):
        take(tmp_path / "data", tmp_path / "out")


def test_folders_of_one_name_keep_apart(tmp_path: Path) -> None:
    for number, name in enumerate(("a/images", "b/images")):
        write(tmp_path / name / "1.png", png(number))
    given = [[f"{tmp_path}/a/images", f"{tmp_path}/b/images"]]
    (shards,), packed = pack_folders(given, f"{tmp_path}/out")
    assert [Path(shard).name for shard in shards] == ["images-000000.tar", "images-2-000000.tar"]
    assert [pictures(one) for one in packed] == [
        Counter([(png(number), None, None)]) for number in (0, 1)
    ]
    assert pack_folders([given[0][::-1]], f"{tmp_path}/out")[0] == [shards[::-1]]


def test_a_folder_that_moved_is_the_same(tmp_path: Path) -> None:
    folder, output = as_folder(tmp_path), tmp_path / "out"
    first = take(folder, output)
    assert "its 6 pictures are packed already" in str(take(folder, output))
    (tmp_path / "elsewhere").mkdir()
    shutil.move(folder, tmp_path / "elsewhere/all")
    assert take(tmp_path / "elsewhere/all", output).shards == first.shards
    assert len(list((tmp_path / "out-source").glob("*.tar"))) == 1


def test_an_interrupted_packing_is_finished(tmp_path: Path) -> None:
    folder, output = as_folder(tmp_path), tmp_path / "out"
    whole = take(folder, tmp_path / "whole")
    shutil.copytree(f"{tmp_path}/whole-source", f"{output}-source", dirs_exist_ok=True)
    (tmp_path / "out-source/all.json").unlink()  # as if killed before it was written
    assert pictures(take(folder, output)) == pictures(whole)
    (tmp_path / "out-source/all.json").unlink()
    write(folder / "ape/more.png", png(8))
    with pytest.raises(ConfigError, match=r"interrupted began to pack other pictures of"):
        take(folder, output)


def test_what_an_interrupted_addition_left_is_named_and_nothing_else(tmp_path: Path) -> None:
    """To delete the whole place would delete the sources of what was made."""
    folder, output, place = as_folder(tmp_path), tmp_path / "out", tmp_path / "out-source"
    first = take(folder, output)
    write(folder / "ape/more.png", png(8))
    take(folder, output)
    (place / "all-added-2.json").unlink()  # as if killed before it was written
    write(folder / "ape/another.png", png(9))
    before = {path.name for path in place.iterdir()}
    with pytest.raises(ConfigError, match="delete what that run left") as error:
        take(folder, output)
    named = re.findall(rf"({re.escape(str(place))}/\S+?)(?=,| and )", str(error.value))
    for pattern in named:
        for path in place.glob(Path(pattern).name):
            path.unlink()
    gone = before - {path.name for path in place.iterdir()}
    assert gone == {"all-added-2-000000.tar", "all-added-2.yaml"}
    grown = take(folder, output)
    assert (grown.images, grown.new, len(grown.shards)) == (8, 2, 2)
    assert grown.shards[0] == first.shards[0]


def test_a_renamed_folder_is_the_same(tmp_path: Path) -> None:
    folder, output = as_folder(tmp_path), tmp_path / "out"
    first = take(folder, output)
    folder = folder.rename(tmp_path / "beasts")
    again = take(folder, output)
    assert (again.shards, again.new) == (first.shards, 0)
    write(folder / "bee/new.png", png(9))
    assert (take(folder, output).images, take(folder, output).new) == (7, 0)
    folder = folder.rename(tmp_path / "creatures")
    os.utime(folder / "bee/new.png", (1, 1))
    assert (take(folder, output).images, take(folder, output).new) == (7, 0)


def test_a_copied_folder_beside_the_first_is_refused(tmp_path: Path) -> None:
    folder, output = as_folder(tmp_path), tmp_path / "out"
    take(folder, output)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    with pytest.raises(ConfigError, match=r"copy holds the pictures of .*all, which are packed"):
        take(copy, output)
    data = (copy / "ape/deeper/0.png").read_bytes()
    other = bytes([*data[:-1], data[-1] ^ 1])  # the same size and time, and other bytes
    stat = (copy / "ape/deeper/0.png").stat()
    (copy / "ape/deeper/0.png").write_bytes(other)
    os.utime(copy / "ape/deeper/0.png", (stat.st_atime, stat.st_mtime))
    assert take(copy, output).shards[0].endswith("copy-000000.tar")


def test_a_picture_that_declares_too_much_is_packed_once_it_may(tmp_path: Path) -> None:
    folder, output = as_folder(tmp_path), tmp_path / "out"
    large = io.BytesIO()
    picture(1, (40, 30)).save(large, "PNG")
    write(folder / "bee/large.png", large.getvalue())

    def packed(limit: int) -> Packed:
        return pack_folders([[str(folder)]], str(output), max_pixels=limit)[1][0]

    first = packed(1000)
    assert (first.images, list(first.left_out)) == (6, ["bee/large.png"])
    assert (packed(900).new, packed(1100).new) == (0, 0)
    risen = packed(1200)
    assert (risen.images, risen.new, risen.left_out) == (7, 1, {})
    assert pictures(risen)[large.getvalue(), b"1", b"bee"] == 1
    assert (packed(1000).images, packed(1000).new, packed(1000).left_out) == (7, 0, {})


def test_ten_additions_are_read_as_they_were_made(tmp_path: Path) -> None:
    """The tenth comes after the second, though not by its letters."""
    folder, output = as_folder(tmp_path), tmp_path / "out"
    take(folder, output)
    for number in range(2, 12):  # a torn picture, and its next state at every later addition
        write(folder / "bee/torn.png", b"x" * number)
        write(folder / f"bee/{number}.png", png(number + 10))
        packed = take(folder, output)
    names = [Path(shard).name for shard in packed.shards]
    assert names == ["all-000000.tar"] + [f"all-added-{n}-000000.tar" for n in range(2, 12)]
    again = take(folder, output)
    assert (again.shards, again.new) == (packed.shards, 0)
    assert not list((tmp_path / "out-source").glob("all-added-12*"))


def test_a_new_folder_without_a_picture_is_no_class(tmp_path: Path) -> None:
    folder, output = as_folder(tmp_path), tmp_path / "out"
    first = take(folder, output)
    (folder / "owl").mkdir()
    write(folder / "@eaDir/SYNOINDEX", b"x")
    again = take(folder, output)
    assert (again.shards, again.classes, again.new) == (first.shards, first.classes, 0)
    write(folder / "owl/1.png", png(9))
    with pytest.raises(ConfigError, match="has the class owl, which is new"):
        take(folder, output)


@pytest.mark.parametrize("name", ["g{1,2}out", "g{1..3}", "out}"])
def test_braces_in_an_output_are_refused_before_anything_is_packed(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="choose an OUTPUT without braces"):
        take(as_folder(tmp_path), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["all"]


def test_a_folder_and_shards_number_their_classes_alike(tmp_path: Path) -> None:
    folder = as_folder(tmp_path)
    for number, name in enumerate(("boot", "dress")):
        write(tmp_path / f"clothes/{name}/1.png", png(number))
    clothes = take(tmp_path / "clothes", tmp_path / "a").shards[0]
    says = rf"no class of {folder} is that of .* of {clothes}: 0 ape.*, 0 boot, 1 dress"
    with pytest.raises(ConfigError, match=says):
        pack_folders([[str(folder), clothes]], f"{tmp_path}/out")
    assert not (tmp_path / "out-source").exists()
    beasts = take(folder, tmp_path / "b").shards[0]
    write(tmp_path / "more/bee/1.png", png(8))
    write(tmp_path / "more/ant/1.png", png(9))  # of which at least bee has the same number
    pack_folders([[str(tmp_path / "more"), beasts]], f"{tmp_path}/out")


def test_the_last_class_folder_of_a_glob_is_no_output(tmp_path: Path) -> None:
    """`augment photos/*` would write into the pictures of the last class."""
    for number, name in enumerate(("cat", "dog", "owl")):
        write(tmp_path / f"photos/{name}/1.png", png(number))
    cat, dog, owl = (str(tmp_path / f"photos/{name}") for name in ("cat", "dog", "owl"))
    before = tree(tmp_path)
    says = rf"owl would be written to as OUTPUT.*1\.png.*name {tmp_path}/photos instead"
    with pytest.raises(ConfigError, match=says):
        pack_folders([[cat, dog]], owl)
    assert tree(tmp_path) == before
    _, (one, other) = pack_folders([[cat, dog]], f"{tmp_path}/out")
    assert one.notes == ()
    assert f"name {tmp_path}/photos instead" in str(other)


def test_an_output_that_holds_pictures_of_its_own_stays_one(tmp_path: Path) -> None:
    folder = as_folder(tmp_path)
    for name in ("run.json", "evaluation.json", "training/recipe.yaml"):
        output = tmp_path / name.partition("/")[0]
        write(output / name, b"{}")
        write(output / "plot.png", png(0))
        assert take(folder, output).images == 6


def test_one_picture_is_one(tmp_path: Path) -> None:
    folder = write(tmp_path / "in/1.png", png(1)).parent
    assert "in: 1 picture packed into" in str(take(folder, tmp_path / "out"))
    assert "its 1 picture is packed already" in str(take(folder, tmp_path / "out"))


def test_two_jobs_at_one_output_pack_the_same(tmp_path: Path) -> None:
    folder = as_folder(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        packed = list(pool.map(lambda _: take(folder, tmp_path / "out"), range(4)))
    assert len({one.shards for one in packed}) == 1
    assert take(folder, tmp_path / "out").new == 0
    assert pictures(packed[0]).total() == 6


def test_progress_sees_every_picture(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    def watch(outcomes, total: int, tally: Totals):  # type: ignore[no-untyped-def]
        for outcome in outcomes:
            seen.append((outcome.name, total, tally.found))
            yield outcome

    pack_folders([[str(as_folder(tmp_path))]], f"{tmp_path}/out", watch)
    assert [(total, found) for _, total, found in seen] == [(6, number + 1) for number in range(6)]


def test_folders_and_outputs_in_a_store(tmp_path: Path) -> None:
    store, name = fsspec.filesystem("memory"), tmp_path.name
    store.put(str(as_folder(tmp_path)), f"/{name}/all", recursive=True)
    packed = take(f"memory://{name}/all", f"memory://{name}/out")
    assert packed.shards == (f"memory://{name}/out-source/all-000000.tar",)
    assert store.exists(f"/{name}/out-source/all.json")
    store.get(f"/{name}/out-source", f"{tmp_path}/got", recursive=True)
    local = take(tmp_path / "all", tmp_path / "out")
    assert (tmp_path / "got/all-000000.tar").read_bytes() == Path(local.shards[0]).read_bytes()
    assert take(f"memory://{name}/all", f"memory://{name}/out").new == 0
    store.pipe_file(f"/{name}/all/ape/new.png", png(9))
    assert take(f"memory://{name}/all", f"memory://{name}/out").new == 1
    store.rm(f"/{name}", recursive=True)


@pytest.mark.parametrize(
    ("output", "place"),
    [
        ("out", "out-source"),
        ("a/out//", "a/out-source"),
        (".", "{cwd}-source"),
        ("a/..", "{cwd}-source"),
        ("s3://bucket/out", "s3://bucket/out-source"),
        ("memory://out", "memory://out-source"),
    ],
)
def test_where_it_is_packed(
    output: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert source_place(output) == place.format(cwd=tmp_path)


def empty(tmp: Path) -> str:
    (tmp / "in").mkdir()
    return f"{tmp}/in"


def documents(tmp: Path) -> str:
    write(tmp / "in/a.heic", b"x")
    write(tmp / "in/notes.txt", b"x")
    return f"{tmp}/in"


def shards(tmp: Path) -> str:
    (tmp / "in").mkdir()
    write_samples(tmp / "in/s.tar", [])
    return f"{tmp}/in"


def tables(tmp: Path) -> str:
    (tmp / "in").mkdir()
    as_bytes(tmp).rename(tmp / "in/all.parquet")
    return f"{tmp}/in"


def output_of_a_job(tmp: Path) -> str:
    write(tmp / "in/run.json", b"{}")
    write(tmp / "in/shards/a.png", png(0))
    return f"{tmp}/in"


def one_picture(tmp: Path) -> str:
    return str(write(tmp / "in/a.JPG", png(0)))


def broken(tmp: Path) -> str:
    write(tmp / "in/a.png", b"x")
    return f"{tmp}/in"


def mixed(tmp: Path) -> str:
    write(tmp / "in/a.png", png(0))
    write(tmp / "in/cat/b.png", png(1))
    return f"{tmp}/in"


def loop(tmp: Path) -> str:
    write(tmp / "in/cat/b.png", png(1))
    (tmp / "in/cat/again").symlink_to(tmp / "in")
    return f"{tmp}/in"


def above_its_output(tmp: Path) -> str:
    write(tmp / "a.png", png(0))
    return str(tmp)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (empty, "holds no picture"),
        (documents, "holds no picture; 2 files do not have an image's extension: .heic and .txt"),
        (shards, r"is a folder: name its shards, .*in/\*\.tar"),
        (tables, "pack it first, with diffaug pack .*in SHARDS"),
        (output_of_a_job, r"is an output of diffaug.*name its shards, .*in/shards/\*\.tar"),
        (
            one_picture,
            r"a\.JPG is a picture, and not a shard: name the folder that it lies in, .*in",
        ),
        (broken, r"no picture of .*in can be read: the first one, a\.png: the bytes are not in"),
        (mixed, "both outside class folders"),
        (loop, "links to a folder that contains it"),
        (above_its_output, "among the pictures: choose an OUTPUT outside that folder"),
    ],
)
def test_what_cannot_be_packed_is_refused_in_a_sentence(make, says: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=says):
        pack_folders([[make(tmp_path)]], f"{tmp_path}/out")
    assert not list(tmp_path.glob("out*/*.tar"))


def test_links_to_pictures_and_names_of_every_kind(tmp_path: Path) -> None:
    store = write(tmp_path / "store/x.png", png(1))
    for name in ("a b/ü.png", "a b/deep/ü.png", "-x/ü.png", "日本/ü.png"):
        write(tmp_path / f"in/{name}", png(0))
    (tmp_path / "in/a b/link.png").symlink_to(store)
    (tmp_path / "in/a b/nowhere.png").symlink_to(tmp_path / "none")
    packed = take(tmp_path / "in", tmp_path / "out")
    assert packed.images == 5
    assert packed.classes == ("-x", "a b", "日本")
    assert list(packed.left_out) == ["a b/nowhere.png"]
    assert take(tmp_path / "in", tmp_path / "out").new == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_picture_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    folder = as_folder(tmp_path)
    picture = folder / "ape/deeper/0.png"
    picture.chmod(0)
    with pytest.raises(ConfigError, match=r"0\.png cannot be read"):
        take(folder, tmp_path / "out")
    picture.chmod(0o600)


def test_a_whole_bucket_has_nothing_beside_it() -> None:
    with pytest.raises(ConfigError, match="name a folder in it"):
        source_place("s3://bucket/")

"""Images made again from their manifest part alone: the very same, or it is said why not."""

from __future__ import annotations

import gzip
import io
import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import diffaug
from diffaug import storage
from diffaug.audit.replay import replay_parts, replay_rows
from diffaug.audit.verdicts import TOLERANCE, Replayed, Verdicts
from diffaug.errors import DefectError
from diffaug.manifest.part import Row, read_metadata
from diffaug.output.select import find_sample, image_counts, picked_rows, spread
from diffaug.shards.members import Members
from tests.conftest import SHARDS, Cli
from tests.support.forks import Forks
from tests.support.hostile import fashion, kinds_of_image, write_samples
from tests.support.jobs import (
    GREY,
    augmented,
    differences,
    output_bytes,
    part,
    pixels,
    read_rows,
    rewrite,
    threads,
    with_versions,
)

STEMS = ["s0", "s1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of 120 rows at three strengths, one of its two sources compressed."""
    folder = tmp_path_factory.mktemp("replay")
    write_samples(folder / "s0.tar", fashion(15))
    plain = write_samples(folder / "plain.tar", fashion(25, 15))
    (folder / "s1.tar.gz").write_bytes(gzip.compress(plain.read_bytes()))
    sources = [folder / "s0.tar", folder / "s1.tar.gz"]
    augmented(sources, folder / "out", copies=3, strength=(0.2, 0.4, 0.6))
    return folder / "out"


@pytest.fixture
def output(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to spoil; its sources are where they were."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def one(output: Path, metadata: dict[str, Any] | None = None, /, **columns: Any) -> Replayed:
    """The first row replayed, after these changes to it or to what its part says."""
    rows, own = part(output)
    (replayed,) = replay_rows([rows[0] | columns], metadata or own, str(output))
    return replayed


def everything(output: Path) -> list[Replayed]:
    picks = spread(image_counts(str(output), STEMS), 10_000)
    return list(replay_parts(picked_rows(str(output), picks), str(output)))


def test_120_rows_come_out_the_very_same(finished: Path) -> None:
    found = everything(finished)
    assert len(found) == 120
    assert {replayed.row["strength"] for replayed in found} == {0.2, 0.4, 0.6}
    assert {Path(replayed.row["source_shard"]).suffix for replayed in found} == {".tar", ".gz"}
    for replayed in found:
        stored = output_bytes(finished, pd.Series(replayed.row))
        assert (replayed.verdict, replayed.reason) == ("equal", "")
        assert replayed.data == stored
        assert np.array_equal(np.asarray(replayed.image), pixels(stored))


def test_a_part_and_its_source_are_enough(finished: Path, tmp_path: Path) -> None:
    """No run.json, no tar, and no other part."""
    path = Path(shutil.copy(finished / "manifest/s1.parquet", tmp_path))
    rows = read_rows(path)[::9]
    found = list(replay_rows(rows, read_metadata(path)))
    assert [replayed.row for replayed in found] == rows
    assert {replayed.verdict for replayed in found} == {"equal"}


@pytest.mark.parametrize(
    "fields",
    [
        {"condition": "label", "copies": 2},
        {"sampler": "ddim", "steps": 5, "strength": "0.3:0.7"},
        {"format": "jpg", "fit": "resize"},
    ],
)
def test_recipes_of_every_kind_are_replayed(fields: dict[str, Any], tmp_path: Path) -> None:
    augmented([write_samples(tmp_path / "s0.tar", fashion(4))], tmp_path / "out", **fields)
    rows, metadata = part(tmp_path / "out")
    found = list(replay_rows(rows[::-1], metadata))
    assert [replayed.verdict for replayed in found] == ["equal"] * len(rows)


def test_images_of_every_kind_are_replayed(tmp_path: Path) -> None:
    kinds_of_image(tmp_path / "s0.tar")
    augmented([tmp_path / "s0.tar"], tmp_path / "out")
    rows, metadata = part(tmp_path / "out")
    found = list(replay_rows(rows, metadata))
    assert [replayed.verdict for replayed in found] == [
        "equal" if row["status"] == "ok" else "differs" for row in rows
    ]
    failed = [replayed.reason for replayed in found if replayed.row["status"] == "failed"]
    assert failed == ["the row is failed and has no image"] * 2


def test_rows_are_read_only_as_they_are_needed(finished: Path) -> None:
    rows, metadata = part(finished)
    taken = 0

    def endless() -> Iterator[Row]:
        nonlocal taken
        for row in itertools.cycle(rows[:3]):
            taken += 1
            yield row

    replayed = replay_rows(endless(), metadata)
    with threads(1):
        assert {next(replayed).verdict for _ in range(4)} == {"equal"}
    assert taken <= 3 * 8


# --- made elsewhere


@pytest.mark.parametrize(
    ("versions", "columns", "said"),
    [
        ({"torch": "2.0.0"}, {"torch_version": "2.0.0"}, "torch 2.0.0"),
        ({}, {"pillow_version": "9.1"}, "pillow 9.1"),
        ({"numpy": "1.26.4"}, {}, "numpy 1.26.4"),
        ({}, {"device": "cpu/abacus"}, "cpu/abacus"),
        ({}, {"device": "cuda/Z9000"}, "cuda/Z9000"),
    ],
)
def test_what_was_made_elsewhere_is_near_and_never_equal(
    versions: dict[str, str], columns: dict[str, Any], said: str, output: Path
) -> None:
    rewrite(output, "s0", versions, **columns)
    assert differences(output) == []
    rows, metadata = part(output)
    for replayed in replay_rows(rows[:3], metadata, str(output)):
        assert replayed.verdict == "near"
        assert said in replayed.reason
        assert said in replayed.elsewhere
        assert "bytes and pixels are the same" in replayed.reason


def test_versions_that_change_no_pixel_are_no_matter(output: Path) -> None:
    _, metadata = part(output)
    other = with_versions(metadata, python="3.99", pyarrow="1.0", **{"scikit-image": "0.1"})
    assert one(output, other).verdict == "equal"


@pytest.fixture(scope="module")
def rounded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures made in float32: replayed in bfloat16 they round otherwise, as elsewhere."""
    folder = tmp_path_factory.mktemp("sums")
    source = write_samples(folder / "s0.tar", fashion(8))
    recipe, output = diffaug.Recipe(model=GREY, sampler="one-step", copies=2), str(folder / "out")
    run = diffaug.plan_run([str(source)], output, recipe, batch_size=8, dtype="float32")
    list(diffaug.augment_shards(diffaug.freeze(run, output).sources, output))
    return folder / "out"


ROUNDED = {"dtype": "bfloat16"}
ELSEWHERE = {"device": "cpu/abacus", **ROUNDED}


def test_within_the_tolerance_is_near_and_says_how_far(rounded: Path) -> None:
    rows, metadata = part(rounded)
    found = list(replay_rows([row | ELSEWHERE for row in rows], metadata, str(rounded)))
    assert {replayed.verdict for replayed in found} == {"near"}
    measured = [replayed for replayed in found if "of 255 levels apart" in replayed.reason]
    assert measured
    for replayed in measured:
        stored = pixels(output_bytes(rounded, pd.Series(replayed.row))).astype(float)
        apart = np.sqrt(np.mean((np.asarray(replayed.image) - stored) ** 2))
        assert 0 < apart <= TOLERANCE["bfloat16"]
        assert f"pixels are {apart:.2g} of 255 levels apart" in replayed.reason


def test_the_same_differs_where_nothing_is_otherwise(rounded: Path) -> None:
    rows, metadata = part(rounded)
    found = list(replay_rows([row | ROUNDED for row in rows], metadata, str(rounded)))
    reasons = [replayed.reason for replayed in found if replayed.verdict == "differs"]
    assert set(reasons) == {"pixels differ, though device and versions are the same"}
    assert {replayed.verdict for replayed in found} <= {"differs", "equal"}


def test_the_same_pixels_in_other_bytes_are_near_elsewhere(finished: Path) -> None:
    """As an encoder of another version would write them; no stored image is needed to say so."""
    rows, metadata = part(finished)
    said = rows[0] | {"output_sha256": "0" * 64, "pillow_version": "9.1"}
    (replayed,) = replay_rows([said], metadata)
    assert replayed.verdict == "near"
    assert "bytes differ, pixels are 0 of 255 levels apart" in replayed.reason


def test_a_stored_image_that_is_not_the_rows_is_no_measure(output: Path) -> None:
    digests = ("output_pixel_sha256", "output_sha256")
    columns: dict[str, Any] = {**dict.fromkeys(digests, "0" * 64), "device": "cpu/abacus"}
    replayed = one(output, **columns)
    assert replayed.verdict == "differs"
    assert "is not the row's: verify the output" in replayed.reason
    shutil.rmtree(output / "shards")
    assert "the stored image cannot be read from shards/" in one(output, **columns).reason


def test_the_picture_of_another_copy_is_beyond_the_tolerance(output: Path) -> None:
    rows, _ = part(output)
    theirs = {name: value for name, value in rows[1].items() if name.startswith("output_")}
    replayed = one(output, **theirs, device="cpu/abacus")
    assert replayed.verdict == "differs"
    assert "beyond the tolerance" in replayed.reason


def test_made_elsewhere_with_nothing_to_measure_against_differs(rounded: Path) -> None:
    rows, metadata = part(rounded)
    found = list(replay_rows([row | ELSEWHERE for row in rows], metadata))
    (reason,) = {replayed.reason for replayed in found if replayed.verdict == "differs"}
    assert "there is no OUTPUT to compare it with" in reason


# --- what differs

ROW_DIFFERS: dict[str, tuple[dict[str, Any], str]] = {
    "bytes": ({"output_sha256": "0" * 64}, "pixels are the same, bytes differ"),
    "pixels": (
        {"output_sha256": "0" * 64, "output_pixel_sha256": "0" * 64},
        "pixels differ, though device and versions are the same",
    ),
    "pixels' digest alone": (
        {"output_pixel_sha256": "0" * 64},
        "bytes are the same, but output_pixel_sha256 does not match their pixels",
    ),
    "the same, elsewhere": (
        {"output_pixel_sha256": "0" * 64, "device": "cpu/abacus"},
        "bytes are the same, but output_pixel_sha256 does not match their pixels",
    ),
    "sample_id": (
        {"sample_id": "0" * 32},
        "the row and its recipe disagree on sample_id for this source",
    ),
    "copy": ({"copy": 1}, "disagree on sample_id, strength, t_start, log_snr"),
    "seed": ({"seed": 5}, "the row and its recipe disagree on seed"),
    "recipe": ({"recipe_digest": "f" * 64}, "recipe_digest of the row is ffffffff"),
    "weights": ({"model_digest": "f" * 64}, "and ffffffff… there"),
    "no model": ({"model": "gone/"}, "no such model: gone/"),
    "dtype": ({"dtype": "float8"}, "dtype float32 or bfloat16"),
    "batch size": ({"batch_size": 0}, "batch_size must be at least 1"),
    "source digest": ({"source_sha256": "0" * 64}, "the source has changed: the bytes at 512 of"),
    "source offset": ({"source_offset": 3}, "the source has changed: "),
    "source far offset": ({"source_offset": 10**9}, "the source has changed: "),
    "source in data": ({"source_offset": 512 + 100}, "has no member at 612"),
    "source gone": ({"source_shard": "/nowhere/s.tar"}, "/nowhere/s.tar no longer exists"),
    "source protocol": (
        {"source_shard": "s4://a/s.tar"},
        "cannot be read: s4://a/s.tar is not a URL",
    ),
    "failed": ({"status": "failed", "output_sha256": None}, "the row is failed and has no image"),
}


@pytest.mark.parametrize("what", ROW_DIFFERS)
def test_what_differs_is_said(what: str, finished: Path) -> None:
    columns, sentence = ROW_DIFFERS[what]
    replayed = one(finished, **columns)
    assert replayed.verdict == "differs"
    assert sentence in replayed.reason
    assert str(replayed) == (
        f"{replayed.row['source_shard']} 00000 copy {replayed.row['copy']}: {replayed.reason}"
    )


METADATA_DIFFERS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no recipe": (lambda said: said.pop("recipe"), "the part's metadata is incomplete"),
    "no environment": (lambda said: said.pop("environment"), "the part's metadata is incomplete"),
    "later recipe": (lambda said: said["recipe"].update(magic=1), "magic: no such field"),
    "other recipe": (
        lambda said: said["recipe"].update(steps=9),
        "the recipe recorded next to it has the digest",
    ),
    "other noise": (
        lambda said: said["environment"].update(noise="dice-2"),
        "the noise of the row was drawn by dice-2",
    ),
}


@pytest.mark.parametrize("what", METADATA_DIFFERS)
def test_what_differs_in_a_part_is_said(what: str, finished: Path) -> None:
    rows, metadata = part(finished)
    change, sentence = METADATA_DIFFERS[what]
    change(metadata)
    found = list(replay_rows(rows[:2], metadata))
    assert [replayed.verdict for replayed in found] == ["differs", "differs"]
    assert all(sentence in replayed.reason for replayed in found)


def test_one_bad_row_does_not_stop_the_others(finished: Path) -> None:
    rows, metadata = part(finished)
    rows[2] |= {"model_digest": "f" * 64}
    rows[4] |= {"source_shard": "/nowhere"}
    rows[6] |= {"batch_size": -1}
    found = list(replay_rows(rows[:9], metadata))
    verdicts = [replayed.verdict for replayed in found]
    assert [place for place, verdict in enumerate(verdicts) if verdict == "differs"] == [2, 4, 6]
    assert [replayed.row for replayed in found] == rows[:9]


@pytest.mark.parametrize("zipped", [False, True])
def test_a_changed_source_is_named(zipped: bool, tmp_path: Path) -> None:
    source = tmp_path / ("s0.tar.gz" if zipped else "s0.tar")

    def put(data: bytes) -> None:
        source.write_bytes(gzip.compress(data) if zipped else data)

    tar = write_samples(tmp_path / "plain.tar", fashion(2)).read_bytes()
    put(tar)
    augmented([source], tmp_path / "out")
    rows, metadata = part(tmp_path / "out")
    changed = bytearray(tar)
    changed[rows[1]["source_offset"] + 50] ^= 1
    put(bytes(changed))
    same, other = replay_rows(rows, metadata)
    assert same.verdict == "equal"
    assert other.verdict == "differs"
    assert f"the source has changed: the bytes at {rows[1]['source_offset']} of {source}" in (
        other.reason
    )
    source.write_bytes(b"\x1f\x8b no gzip" if zipped else tar[:300])
    for replayed in replay_rows(rows, metadata):
        assert replayed.verdict == "differs"
        assert f"the source has changed: {source} has no member at" in replayed.reason


# --- picking


@pytest.mark.parametrize("number", [1, 2, 3, 7, 15, 29, 30, 31])
def test_picks_are_spread_evenly(number: int) -> None:
    counts = {"a": 10, "none": 0, "b": 1, "c": 19}
    first = {"a": 0, "b": 10, "c": 11}
    picks = spread(counts, number)
    places = [first[stem] + place for stem, among in picks.items() for place in among]
    assert len(places) == min(number, 30)
    assert places == sorted(set(places))
    gaps = np.diff([-1, *places, 30])
    assert gaps.max() <= 30 // len(places) + 1
    assert all(place < counts[stem] for stem, among in picks.items() for place in among)


def test_nothing_is_picked_from_nothing() -> None:
    assert spread({"a": 0}, 5) == {}
    assert spread({}, 5) == {}
    assert spread({"a": 3}, 0) == {}


def test_only_parts_with_a_pick_are_read(output: Path) -> None:
    counts = image_counts(str(output), [*STEMS, "not-committed"])
    assert counts == {"s0": 45, "s1": 75}
    (output / "manifest/s0.parquet").unlink()
    ((metadata, rows),) = picked_rows(str(output), {"s1": [0, 74]})
    assert metadata["report"]["stem"] == "s1"
    assert [(row["source_key"], row["copy"]) for row in rows] == [("00015", 0), ("00039", 2)]


def test_picks_count_ok_rows_alone(tmp_path: Path) -> None:
    kinds_of_image(tmp_path / "s0.tar")
    augmented([tmp_path / "s0.tar"], tmp_path / "out")
    rows = [row for row in part(tmp_path / "out")[0] if row["status"] == "ok"]
    assert image_counts(str(tmp_path / "out"), ["s0"]) == {"s0": len(rows)}
    ((_, found),) = picked_rows(str(tmp_path / "out"), {"s0": range(len(rows))})
    assert list(found) == rows


def test_a_part_that_breaks_is_named(output: Path) -> None:
    (output / "manifest/s1.parquet").write_bytes(b"PAR1 no parquet PAR1")
    assert image_counts(str(output), STEMS) == {"s0": 45}
    with pytest.raises(diffaug.UncommittedError, match=r"s1\.parquet cannot be read"):
        list(picked_rows(str(output), {"s1": [0]}))


def test_a_sample_is_found_by_its_id_or_its_beginning(finished: Path) -> None:
    for stem, place in (("s0", 7), ("s1", 74)):
        row = part(finished, stem)[0][place]
        for id in (row["sample_id"], row["sample_id"][:8]):
            metadata, found = find_sample(str(finished), id)
            assert found == row
            assert metadata["report"]["stem"] == stem


def test_a_beginning_of_two_ids_is_refused(output: Path) -> None:
    rows, _ = part(output)
    rewrite(output, "s0", {}, sample_id="0123456789" + "a" * 22)
    rewrite(output, "s1", {}, sample_id="0123456789" + "b" * 22)
    with pytest.raises(diffaug.ConfigError, match="aaaa and 0123456789bbbb"):
        find_sample(str(output), "0123456789")
    _, row = find_sample(str(output), "0123456789" + "a" * 22)
    assert row["source_key"] == rows[0]["source_key"]


@pytest.mark.parametrize(
    ("id", "sentence"),
    [("0123456", "at least the first 8"), ("g" * 8, "has no image"), ("0" * 33, "all its 32")],
)
def test_no_such_sample_is_a_sentence(id: str, sentence: str, finished: Path) -> None:
    with pytest.raises(diffaug.ConfigError, match=sentence):
        find_sample(str(finished), id)


def test_a_sample_is_found_beside_a_broken_part(output: Path) -> None:
    here, gone = part(output)[0][0]["sample_id"], part(output, "s1")[0][0]["sample_id"]
    (output / "manifest/s1.parquet").write_bytes(b"")
    assert find_sample(str(output), here[:9])[1]["sample_id"] == here
    with pytest.raises(diffaug.UncommittedError, match=r"s1\.parquet cannot be read"):
        find_sample(str(output), gone)


# --- members by their place


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("order", [1, -1])
def test_members_are_read_in_any_order(stem: str, order: int, finished: Path) -> None:
    rows, _ = part(finished, stem)
    keys = {sample["__key__"].decode(): sample["png"] for sample in fashion(40)}
    with Members() as members:
        for row in rows[::order]:
            data = members.read(row["source_shard"], row["source_offset"])
            assert data == keys[row["source_key"]]


def test_members_of_an_object_store(finished: Path) -> None:
    (row, *_), _ = part(finished, "s1")
    url = "memory://replayed/s1.tar.gz"
    storage.replace(Path(row["source_shard"]).read_bytes(), url)
    with Members() as members:
        data = members.read(url, row["source_offset"])
        assert Image.open(io.BytesIO(data)).size == (28, 28)
        with pytest.raises(DefectError, match="has no member at 100"):
            members.read(url, 100)
        with pytest.raises(FileNotFoundError):
            members.read("memory://replayed/none.tar", 512)
        assert members.read(url, row["source_offset"]) == data


def test_a_tally_says_what_is_not_proven(finished: Path) -> None:
    tally = Verdicts()
    rows, metadata = part(finished)
    elsewhere = [rows[1] | {"device": "cpu/abacus"}, rows[2] | {"source_shard": "/nowhere"}]
    for replayed in replay_rows([rows[0], *elsewhere], metadata):
        tally.add(replayed)
    assert (tally.equal, tally.near, tally.differs) == (1, 1, 1)
    assert str(tally).startswith("3 replayed: 1 equal, 1 within tolerance but not proven equal (1 ")
    assert "cpu/abacus" in str(tally)


@pytest.mark.numerics
def test_rows_of_a_finished_run_are_equal(tmp_path: Path, cli: Cli, forked: Forks) -> None:
    """Images of 1 to 4 calls: this process makes them, another makes them again."""
    output = tmp_path / "out"
    flags = ["--model", GREY, "--strength", "0.05:0.8", "--copies", "2", "--steps", "5"]
    made = cli("augment", SHARDS[0], output, *flags)
    assert "80 planned = 80 made" in made.out, made
    verified = forked("verify", output, "--replay", "60")
    assert verified.returncode == 0, verified.stdout
    assert "60 replayed: 60 equal, 0 within tolerance, 0 differ" in verified.stdout

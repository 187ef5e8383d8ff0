"""A row that has left its output: its image made again from the JSON of it and a picture."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin

from tests.conftest import Cli
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import augmented, output_bytes

Record = dict[str, Any]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job with a class as its condition, and the pictures of its source."""
    folder = tmp_path_factory.mktemp("record")
    for number, sample in enumerate(fashion(2)):
        (folder / f"{number}.png").write_bytes(sample["png"])
    source = write_samples(folder / "s0.tar", fashion(2))
    augmented([source], folder / "out", copies=2, strength=(0.4, 0.6), condition="label")
    return folder


@pytest.fixture
def record(finished: Path) -> Record:
    """The first picture's second row, with its recipe, as pyarrow alone reads them."""
    part = pq.read_table(finished / "out/manifest/s0.parquet")
    metadata = part.schema.metadata
    row = part.to_pylist()[1]
    return {
        "row": row,
        "recipe": json.loads(metadata[b"diffaug.recipe"]),
        "environment": json.loads(metadata[b"diffaug.environment"]),
    }


@pytest.fixture
def picture(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(finished / "0.png", tmp_path / "boot.png"))


def image_of(finished: Path, record: Record) -> bytes:
    return output_bytes(finished / "out", pd.Series(record["row"]))


def written(record: Any, folder: Path) -> Path:
    path = folder / "row.json"
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    return path


def test_a_row_of_a_job_is_made_again_without_its_output(
    record: Record, picture: Path, finished: Path, tmp_path: Path, cli: Cli
) -> None:
    image = image_of(finished, record)
    record["row"] |= dict.fromkeys(("source_shard", "output_shard"), "/nowhere.tar")
    row = written(record, tmp_path)
    said = cli("replay", row, "--source", picture, "-o", tmp_path / "again.png")
    assert (said.code, said.out) == (
        0,
        f"wrote {tmp_path}/again.png\nequal: its bytes and pixels match the row\n",
    )
    assert (tmp_path / "again.png").read_bytes() == image


def test_the_picture_names_the_file_and_the_row_does_not(
    record: Record, picture: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record["row"] |= {"output_member": "../../.bashrc", "output_key": None}
    said = cli("replay", written(record, tmp_path), "--source", picture)
    assert said.out.startswith("wrote boot-a1.png\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "boot-a1.png",
        "boot.png",
        "row.json",
    ]


def test_another_file_with_the_same_pixels_will_do(
    record: Record, picture: Path, finished: Path, tmp_path: Path, cli: Cli
) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "another file")
    with Image.open(picture) as image:
        image.save(picture, pnginfo=text)
    said = cli("replay", written(record, tmp_path), "--source", picture, "-o", tmp_path / "a.png")
    assert said.code == 0
    assert f"{picture} is another file than the row's source, with the same pixels" in said.out
    assert (tmp_path / "a.png").read_bytes() == image_of(finished, record)


def test_the_environment_is_not_required(
    record: Record, picture: Path, tmp_path: Path, cli: Cli
) -> None:
    del record["environment"]
    said = cli("replay", written(record, tmp_path), "--source", picture, "-o", tmp_path / "a.png")
    assert (said.code, "equal: " in said.out) == (0, True)


def test_what_pandas_makes_of_a_row_will_do(
    record: Record, picture: Path, finished: Path, tmp_path: Path, cli: Cli
) -> None:
    frame = pd.read_parquet(finished / "out/manifest")
    row = json.loads(frame[frame.sample_id == record["row"]["sample_id"]].iloc[0].to_json())
    path = written(record | {"row": row | {"copy": 1.0}}, tmp_path)
    said = cli("replay", path, "--source", picture, "-o", tmp_path / "a.png")
    assert (said.code, "equal: " in said.out) == (0, True)


# --- made elsewhere


def test_made_elsewhere_and_the_same_is_near(
    record: Record, picture: Path, tmp_path: Path, cli: Cli
) -> None:
    record["environment"]["versions"]["numpy"] = "1.26.4"
    record["row"] |= {"device": "cpu/abacus", "torch_version": "2.0.0"}
    said = cli("replay", written(record, tmp_path), "--source", picture, "-o", tmp_path / "a.png")
    assert said.code == 0
    assert "near: " in said.out
    for what in (
        "cpu/abacus (",
        "torch 2.0.0 (",
        "numpy 1.26.4 (",
        "bytes and pixels are the same",
    ):
        assert what in said.out


def elsewhere(record: Record, image: bytes) -> Record:
    """As if another machine had made this image of it."""
    pixels = {"output_pixel_sha256": "0" * 64}
    row = record["row"] | {"device": "cpu/abacus", **pixels}
    row["output_sha256"] = hashlib.sha256(image).hexdigest()
    return record | {"row": row, "image": base64.b64encode(image).decode()}


@pytest.mark.parametrize(("off", "code", "word"), [(1, 0, "within"), (9, 1, "beyond")])
def test_the_image_next_to_the_row_is_what_a_distance_is_measured_from(
    off: int,
    code: int,
    word: str,
    record: Record,
    picture: Path,
    finished: Path,
    tmp_path: Path,
    cli: Cli,
) -> None:
    with Image.open(io.BytesIO(image_of(finished, record))) as image:
        other = io.BytesIO()
        image.point(lambda level: level + off if level < 128 else level - off).save(other, "PNG")
    path = written(elsewhere(record, other.getvalue()), tmp_path)
    said = cli("replay", path, "--source", picture, "-o", tmp_path / "a.png")
    assert said.code == code
    assert f"pixels are {off} of 255 levels apart" in said.out
    assert f"{word} the tolerance" in said.out


def test_without_that_image_what_differs_elsewhere_differs(
    record: Record, picture: Path, tmp_path: Path, cli: Cli
) -> None:
    other = elsewhere(record, b"none")
    del other["image"]
    said = cli("replay", written(other, tmp_path), "--source", picture, "-o", tmp_path / "a.png")
    assert said.code == 1
    assert "there is no image next to the row to compare it with" in said.out


# --- what differs, and mistakes

DIFFERS: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": 5}, "the row and its recipe disagree on seed"),
    "copy": ({"copy": 0}, "disagree on sample_id, strength"),
    "label": ({"label": 3}, "disagree on sample_id"),
    "no such label": ({"label": 10}, "class 10 is not one of the model's 10"),
    "bytes": ({"output_sha256": "0" * 64}, "pixels are the same, bytes differ"),
    "weights": ({"model_digest": "f" * 64}, "are not those of the row"),
    "no model": ({"model": "gone/"}, "no such model: gone/"),
    "recipe": ({"recipe_digest": "f" * 64}, "recipe_digest of the row is ffffffff"),
}


@pytest.mark.parametrize("what", DIFFERS)
def test_a_tampered_row_differs(
    what: str, record: Record, picture: Path, tmp_path: Path, cli: Cli
) -> None:
    columns, sentence = DIFFERS[what]
    record["row"] |= columns
    said = cli("replay", written(record, tmp_path), "--source", picture, "-o", tmp_path / "a.png")
    assert said.code == 1, said
    assert "differs: " in said.out
    assert sentence in said.out


def test_another_recipe_differs(record: Record, picture: Path, tmp_path: Path, cli: Cli) -> None:
    record["recipe"]["steps"] = 9
    said = cli("replay", written(record, tmp_path), "--source", picture)
    assert said.code == 1
    assert "the recipe recorded next to it has the digest" in said.out


def without(name: str) -> Callable[[Record], Any]:
    return lambda record: {key: value for key, value in record.items() if key != name}


def changed(**columns: Any) -> Callable[[Record], Any]:
    return lambda record: record | {"row": record["row"] | columns}


MISTAKES: dict[str, tuple[Callable[[Record], Any], str]] = {
    "not JSON": (lambda _: "{'row': 1}", "row.json is not JSON"),
    "not UTF-8": (lambda _: '"\\', "row.json is not JSON"),
    "a deep one": (lambda _: "[" * 100_000, "row.json is not JSON"),
    "a list": (lambda record: [record], "row.json is not an object, but list"),
    "a text": (lambda _: '"row"', "row.json is not an object, but str"),
    "a row alone": (lambda record: record["row"], "holds a row alone, without its recipe"),
    "no row": (without("row"), "has no row: give an object"),
    "nothing": (lambda _: {}, "has no row and no recipe"),
    "no recipe": (without("recipe"), "has no recipe"),
    "row is text": (lambda record: record | {"row": "x"}, "row is not an object, but str"),
    "no such field": (lambda record: record | {"recipe": {"magic": 1}}, "magic: no such field"),
    "versions": (lambda record: record | {"environment": {"noise": "x"}}, "versions is not"),
    "no noise": (lambda record: record | {"environment": {"versions": {}}}, "incomplete"),
    "image": (lambda record: record | {"image": "?"}, "image is not base64"),
    "no digest": (changed(output_sha256=None), "the row has no output_sha256"),
    "failed": (changed(status="failed", reason="torn"), "has no image: torn"),
    "copy is text": (changed(copy="first"), "the row's copy is 'first', not of type int32"),
    "copy is true": (changed(copy=True), "the row's copy is 'True', not of type int32"),
    "a huge copy": (changed(copy=2**31), "not of type int32"),
    "a huge strength": (changed(strength=10**400), "not of type double"),
    "a key": (changed(source_key="\ud800"), "not of type string"),
    "a model": (changed(model="a\0b"), "not of type string"),
    "batch size": (changed(batch_size=0), "batch_size must be at least 1"),
    "a mask": (
        lambda record: record | {"recipe": record["recipe"] | {"mask_key": "mask.png"}},
        "a picture alone has no mask",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistaken_record_is_told_in_words(
    what: str, record: Record, picture: Path, tmp_path: Path, cli: Cli
) -> None:
    change, sentence = MISTAKES[what]
    path = written(change(record), tmp_path)
    said = cli("replay", path, "--source", picture, "-o", tmp_path / "a.png")
    said.assert_mistake(sentence)
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("torn", [False, True])
def test_another_picture_is_refused(
    torn: bool, record: Record, finished: Path, tmp_path: Path, cli: Cli
) -> None:
    other = tmp_path / "other.png"
    other.write_bytes((finished / "1.png").read_bytes()[: 100 if torn else None])
    said = cli("replay", written(record, tmp_path), "--source", other, "-o", tmp_path / "a.png")
    said.assert_mistake("the picture is not the row's source: its sha256 is ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("out",), "SAMPLE_ID is missing"),
        (("row.json", "0" * 32, "--source", "boot.png"), "leave out 0000"),
        (("none.json", "--source", "boot.png"), "cannot read none.json: No such file"),
        (("row.json", "--source", "none.png"), "cannot read none.png: No such file"),
    ],
)
def test_mistaken_arguments_are_told_in_words(
    arguments: tuple[str, ...],
    sentence: str,
    record: Record,
    picture: Path,
    tmp_path: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    written(record, tmp_path)
    cli("replay", *arguments).assert_mistake(sentence)

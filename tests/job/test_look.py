"""What would ruin a new job's results is refused before it begins; if asked for, it is counted."""

from __future__ import annotations

import io
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import diffaug
from diffaug.models import Card, find_checkpoint
from diffaug.models.classes import Named, compare, described
from diffaug.pictures.fit import Fit
from diffaug.pictures.medium import IMAGE
from diffaug.shards.reading import Label
from tests.conftest import SHARDS, Cli
from tests.support.hostile import fashion, png, write_samples
from tests.support.jobs import BATCH, GREY, manifest, output_bytes, planned
from tests.support.packing import packed

FAST = ("--sampler=one-step", "--batch-size=4")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def photograph(
    key: str, size: tuple[int, int], mode: str = "RGB", **members: bytes
) -> dict[str, bytes]:
    shape = (size[1], size[0], 3) if mode == "RGB" else size[::-1]
    pixels = np.random.default_rng(len(key)).integers(0, 256, shape, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"__key__": key.encode(), "png": buffer.getvalue(), **members}


# --- colour and sharpness


@pytest.mark.parametrize(
    ("size", "shape", "fields", "lost"),
    [
        ((32, 32), (1, 32, 32), {}, ("colour",)),
        ((28, 28), (1, 32, 32), {}, ("colour",)),  # padded
        ((64, 64), (3, 32, 32), {}, ()),
        ((65, 64), (3, 32, 32), {}, ("sharpness",)),
        ((20, 96), (3, 32, 32), {}, ("sharpness",)),
        ((400, 533), (1, 32, 32), {}, ("colour", "sharpness")),
        ((400, 533), (1, 32, 32), {"result": "model"}, ("colour",)),
        ((400, 533), (1, 32, 32), {"detail": "keep"}, ()),
        ((400, 533), (3, 32, 32), {"detail": "keep", "result": "model"}, ()),
        ((64, 200), (3, 32, 32), {"fit": "fit"}, ()),  # a square of it
        ((400, 533), (3, 512, 512), {}, ()),
    ],
)
def test_what_is_lost(
    size: tuple[int, int], shape: tuple[int, int, int], fields: dict[str, str], lost: Any
) -> None:
    how = {"fit": "auto", "result": "source", "detail": "none"} | fields
    image = Image.new("RGB", size, "red")
    fit = IMAGE.fit(image, shape, how["fit"], how["result"], how["detail"])
    assert fit.losses(image) == lost
    grey = image.convert("L")
    assert "colour" not in Fit.of(grey, shape, how["fit"], how["result"]).losses(grey)


@pytest.mark.parametrize("also", [(), ("--dry-run",), ("--pilot", "2")])
def test_a_blur_is_refused_unless_model_and_detail_are_named(
    also: tuple[str, ...], tmp_path: Path, cli: Cli
) -> None:
    small, torn = photograph("a", (60, 60)), photograph("bb", (90, 90)) | {"png": png(1)[:60]}
    shard = write_samples(tmp_path / "s.tar", [small, torn, photograph("ccc", (65, 40))])
    asked = ("augment", shard, tmp_path / "out", *FAST, *also)
    cli(*asked, "--detail", "none").assert_mistake(
        "with detail=none, pictures (1 of the first 2) more than twice as large as model "
        "cifar10-32, of 32x32, become a blur: leave detail out, and they stay sharp"
    )
    assert not (tmp_path / "out").exists()
    assert cli(*asked, "--detail=none", "--model=cifar10-32", "--max-failed=1").code == 0


def test_greys_of_colour_pictures_are_refused_too(tmp_path: Path) -> None:
    """A recipe made in Python, from which the user left the model; a grey source loses nothing."""
    shutil.copytree(find_checkpoint(GREY).folder, tmp_path / "mine")
    shard = write_samples(tmp_path / "s.tar", [photograph("a", (32, 32))])
    recipe = diffaug.Recipe(model=str(tmp_path / "mine"), sampler="one-step")
    unnamed = recipe.model_copy(update={"detail": "none"})
    unnamed.model_fields_set.discard("detail")
    with pytest.raises(diffaug.ConfigError, match=r"\(1 of the first 1\) lose their colour.* grey"):
        diffaug.Job.plan([str(shard)], str(tmp_path / "out"), unnamed, batch_size=4)
    diffaug.Job.plan([str(SHARDS[0])], str(tmp_path / "out"), unnamed, batch_size=4)


def test_what_was_asked_for_is_said_and_counted_over_resumes_and_workers(
    tmp_path: Path, cli: Cli, caplog: pytest.LogCaptureFixture
) -> None:
    """As Pillow counts it in what came out."""
    model, output = tmp_path / "mine", tmp_path / "out"
    shutil.copytree(find_checkpoint(GREY).folder, model)
    colour = [photograph("a" * n, (100, 70)) for n in (1, 2, 3)]
    others = [photograph("b", (90, 90), "L"), photograph("cc", (40, 40)), *fashion(2)]
    torn = photograph("d", (80, 80)) | {"png": b"no picture"}
    sources = [
        write_samples(tmp_path / f"{name}.tar", samples)
        for name, samples in (("x", colour), ("y", others), ("z", [*colour[:1], torn]))
    ]
    fields: dict[str, Any] = {"model": str(model), "detail": "none", "filters": ("ssim >= 0.2",)}
    with caplog.at_level(logging.WARNING, "diffaug"):
        run = planned(sources, output, **fields, copies=2)
    said = [record.getMessage() for record in caplog.records]
    assert [("lose their colour" in one, "become a blur" in one) for one in said] == [
        (True, False),
        (False, True),
    ]
    for shards in (run.sources[2:], run.sources[:1], run.sources):  # as two workers, and a resume
        list(diffaug.augment_shards(shards, str(output), run=run))
    summary = diffaug.finish(run, str(output))
    made = manifest(output).query("status != 'failed'")
    files = [Image.open(io.BytesIO(output_bytes(output, row))) for row in made.itertuples()]
    assert {file.mode for file in files} == {"L"}
    keys = made["source_key"].str[0].isin(["a", "c"])
    assert summary.lost_colour == keys.sum() == 10
    assert summary.blurred == sum(max(file.size) > 64 for file in files) == 10
    assert summary.filtered > 0
    counted = "10 of 16 images lost their colour; 10 of 16 images were enlarged more than twice"
    assert counted in str(summary)
    assert cli("report", output).code == 0
    assert counted in (output / "report/index.html").read_text()


def test_a_job_that_loses_nothing_says_nothing(tmp_path: Path) -> None:
    shard = write_samples(tmp_path / "s.tar", [photograph("a", (100, 70)), *fashion(1)])
    run = planned([shard], tmp_path / "out")
    list(diffaug.augment_shards(run.sources, str(tmp_path / "out"), run=run))
    summary = diffaug.finish(run, str(tmp_path / "out"))
    assert (summary.lost_colour, summary.blurred, summary.losses) == (0, 0, [])


def test_a_loader_warns_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(find_checkpoint(GREY).folder, tmp_path / "mine")
    fields = {"model": str(tmp_path / "mine"), "sampler": "one-step", "strength": 0.2}
    picture = Image.new("RGB", (40, 40), "red")
    with caplog.at_level(logging.WARNING, "diffaug"):
        diffaug.Augment(fields)(picture)
        assert not caplog.records
        augment = diffaug.Augment(fields | {"detail": "none"})
        for _ in range(2):
            augment(picture)
    (record,) = caplog.records
    assert "colour pictures lose their colour, since model" in record.getMessage()


# --- classes


def card(*classes: str) -> Card:
    return Card(name="m", licence="", size="", classes=classes, null_class=None, suggested={})


def test_names_are_compared_by_number_case_hyphens_and_blanks_aside() -> None:
    names = {0: "T Shirt", 1: "ankle-boot", 2: "Sea_Lion", 3: "cat", 9: "no class of the model"}
    found = compare(card("t-shirt", "Ankle Boot", "sealion", "kitten", "dog"), names)
    assert (found.agree, found.differ) == (3, ((3, "cat", "kitten"),))
    assert not found.are_others
    assert compare(card("boot", "bag"), {0: "cat"}).are_others
    assert compare(card("boot", "bag"), {0: "bag", 1: "boot"}).are_others  # the wrong way round
    for unknown in (None, card(), card("0", "1")):
        assert not compare(unknown, {0: "cat", 1: "dog"}).differ


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        ([(0, "cat"), (1, "dog"), (0, "cat")], {0: "cat", 1: "dog"}),
        ([(0, "cat"), (1, "dog")], {}),  # each came once: captions, for all that is known
        ([(0, "cat"), (0, "a cat"), (1, "dog")], {}),
        ([(0, "cat"), (1, "cat"), (1, "cat")], {}),
        ([(0, "cat"), (None, "x"), (1, None), (0, "cat")], {0: "cat"}),
    ],
)
def test_texts_are_names_where_there_is_one_a_class(texts: Any, names: dict[int, str]) -> None:
    named = Named()
    for number, text in texts:
        named.add(Label(number, text))
    assert named.names == names


def test_the_description_of_a_packed_folder_names_the_classes(tmp_path: Path, cli: Cli) -> None:
    for place, name in enumerate(("Sneaker", "bag")):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / f"in/{name}/0.png").write_bytes(png(place))
    packed(tmp_path / "in", tmp_path / "out")
    shard, entry = tmp_path / "out/set-000000.tar", tmp_path / "out/set.yaml"
    assert described(str(shard)) == {0: "Sneaker", 1: "bag"}
    asked = ("augment", shard, tmp_path / "augmented", "--condition", "label", *FAST)
    cli(*asked).assert_mistake(
        f"condition: no class of {shard} is the model's of that number: 0 Sneaker, 1 bag there, "
        "and 0 airplane, 1 automobile, 2 bird"
    )
    assert not (tmp_path / "augmented").exists()
    assert cli(*asked, "--classes-as-numbered", "--dry-run").code == 0
    for hostile in (b"classes: [", b"- 1", b"\xff\xfe", b"name: set\nclasses: 9\n", b"[" * 9999):
        entry.write_bytes(hostile)
        assert described(str(shard)) == {}
    entry.write_text(yaml.safe_dump({"name": "other", "classes": ["cat", "dog"]}))
    assert described(str(shard)) == {}
    assert described(str(tmp_path / "none-000000.tar")) == described("s.tar") == {}


def test_clothes_are_no_airplanes(tmp_path: Path, cli: Cli) -> None:
    """By the texts of the first shard; a job that has begun goes on without the flag."""
    shard = write_samples(tmp_path / "s.tar", fashion(16))
    asked = ["augment", str(shard), str(tmp_path / "out"), "--condition", "label", *FAST]
    said = cli(*asked)
    said.assert_mistake(", 9 ankle boot there, and 0 airplane, 1 automobile, 2 bird")
    said.assert_mistake("8 ship, 9 truck in cifar10-32. Leave condition out")
    cli(*asked, "--pilot", "2").assert_mistake("no class of")
    assert not (tmp_path / "out").exists()
    assert "class" not in cli(*asked, "--model", GREY, "--dry-run").err
    assert cli(*asked, "--classes-as-numbered").code == cli(*asked).code == 0
    assert set(pd.read_parquet(tmp_path / "out/manifest")["status"]) == {"ok"}


def test_some_other_names_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["airplane", "car", *CLASSES[2:]]
    pictures = [
        sample | {"cls": str(n % 10).encode(), "txt": names[n % 10].encode()}
        for n, sample in enumerate(fashion(12))
    ]
    shard = write_samples(tmp_path / "s.tar", pictures)
    fields: dict[str, Any] = {"condition": "label", "sampler": "one-step", "strength": 0.2}
    with caplog.at_level(logging.WARNING, "diffaug"):
        diffaug.plan_run([str(shard)], str(tmp_path / "out"), fields, batch_size=BATCH)
    (record,) = caplog.records
    assert record.getMessage().endswith(": 1 is car there and automobile in the model")


def test_captions_are_no_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pictures = [sample | {"txt": b"a thing, %d" % n} for n, sample in enumerate(fashion(12))]
    shard = write_samples(tmp_path / "s.tar", pictures)
    fields: dict[str, Any] = {"condition": "label", "sampler": "one-step", "strength": 0.2}
    with caplog.at_level(logging.WARNING, "diffaug"):
        diffaug.plan_run([str(shard)], str(tmp_path / "out"), fields, batch_size=BATCH)
    assert not caplog.records


def test_a_loader_warns_of_other_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture = Image.new("L", (28, 28))
    stream = [
        {"__key__": str(n), "png": picture, "cls": n % 2, "txt": ("bag", "coat")[n % 2]}
        for n in range(120)
    ]
    fields = {"model": GREY, "condition": "label", "sampler": "one-step", "strength": 0.2}
    augmenter = diffaug.Augmenter(fields, batch_size=4, cache=tmp_path)  # few different pictures
    with caplog.at_level(logging.WARNING, "diffaug"):
        list(augmenter(stream))
    (record,) = caplog.records
    assert "0 is bag there and t-shirt/top in the model; 1 is coat there" in record.getMessage()

"""Whole jobs whose images are steered: by prompts, and by masks that keep a part of them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diffaug
from diffaug.audit.record import read_record
from diffaug.audit.replay import replay_parts
from diffaug.audit.verdicts import Verdicts
from diffaug.models import find_checkpoint
from diffaug.output.select import image_counts, picked_rows, spread
from tests.conftest import SHARDS
from tests.support import tiny
from tests.support.hostile import encoded, fashion, write_files, write_samples
from tests.support.hubs import COMMIT, OLDER, forget, serving
from tests.support.jobs import GREY, augmented, members, output_bytes, part, pixels, planned

UPPER = np.zeros((28, 28), np.uint8)
UPPER[:14] = 255


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images: two with a mask, one with a mask of another size, one with one that is broken."""
    folder = tmp_path_factory.mktemp("masked")
    samples = fashion(6)
    mask = encoded(Image.fromarray(UPPER), "PNG")
    samples[0]["mask.png"] = samples[3]["mask.png"] = mask
    samples[4]["mask.png"] = encoded(Image.new("L", (20, 28), 255), "PNG")
    samples[5]["mask.png"] = mask[:60]
    write_samples(folder / "masked.tar", samples)
    return folder


def job(folder: Path, output: Path, **fields: Any) -> Any:
    chosen = {"mask_key": "mask.png", "strength": 0.6, "sampler": "ddim", "steps": 5, **fields}
    return augmented([folder / "masked.tar"], output, **chosen)


def replayed(output: Path) -> Verdicts:
    """How every image of an output compares with itself rebuilt."""
    tally = Verdicts()
    (part,) = (output / "manifest").glob("*.parquet")
    picks = spread(image_counts(str(output), [part.stem]), 1000)
    for one in replay_parts(picked_rows(str(output), picks), str(output)):
        tally.add(one)
    return tally


def test_a_mask_member_keeps_its_part(masked: Path, tmp_path: Path) -> None:
    frame = job(masked, tmp_path / "out", copies=2)
    assert frame["status"].tolist() == ["ok"] * 8 + ["failed"] * 4
    for number, (_, row) in zip((0, 0, 1, 1, 2, 2, 3, 3), frame.iterrows(), strict=False):
        before = pixels(fashion(6)[number]["png"])
        after = pixels(output_bytes(tmp_path / "out", row))
        changed = before != after
        assert changed[:14].any()
        assert changed[14:].any() == (number in (1, 2))
    reasons = frame.set_index("source_key")["reason"]
    assert "the mask" in reasons["00004"].iloc[0]
    assert reasons["00005"].str.startswith("the mask: ").all()


def test_images_with_masks_are_rebuilt_from_their_rows(masked: Path, tmp_path: Path) -> None:
    job(masked, tmp_path / "out", copies=2)
    found = replayed(tmp_path / "out")
    assert (found.equal, found.near, found.differs) == (8, 0, 0)


def test_another_mask_is_another_image(masked: Path, tmp_path: Path) -> None:
    source = tmp_path / "masked.tar"
    source.write_bytes((masked / "masked.tar").read_bytes())
    with_mask = job(tmp_path, tmp_path / "out")
    lower = fashion(6)
    lower[0]["mask.png"] = encoded(Image.fromarray(255 - UPPER), "PNG")
    write_samples(source, lower)
    other = job(tmp_path, tmp_path / "other")
    without = augmented([source], tmp_path / "plain", strength=0.6, sampler="ddim", steps=5)
    ids = [frame["sample_id"][0] for frame in (with_mask, other, without)]
    assert len(set(ids)) == 3
    assert other["sample_id"][1] != without["sample_id"][1]  # mask_key is part of the recipe
    found = replayed(tmp_path / "out")
    assert (found.equal, found.differs) == (2, 2)  # two had a mask


def test_a_loader_makes_what_the_job_made(masked: Path, tmp_path: Path) -> None:
    frame = job(masked, tmp_path / "out")
    fields = {"mask_key": "mask.png", "strength": 0.6, "sampler": "ddim", "steps": 5}
    recipe = diffaug.Recipe.of(fields | {"model": GREY})
    mask = Image.fromarray(UPPER)
    samples = [
        {"__key__": f"{number:05}", "png": Image.open(io.BytesIO(sample["png"]))}
        for number, sample in enumerate(fashion(4))
    ]
    samples[0]["mask.png"] = samples[3]["mask.png"] = mask
    made = list(diffaug.Augmenter(recipe, batch_size=8)(samples))
    assert len(made) == 4
    for sample, (_, row) in zip(made, frame.iterrows(), strict=False):
        stored = pixels(output_bytes(tmp_path / "out", row))
        assert np.array_equal(np.asarray(sample["png"].convert("L")), stored)


# Prompts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("sd")))


def colour(names: Iterable[str | None]) -> list[tuple[str, bytes]]:
    files = []
    for number, name in enumerate(names):
        random = np.random.default_rng(number)
        picture = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        files.append((f"{number:02}.png", encoded(Image.fromarray(picture), "PNG")))
        if name is not None:
            files.append((f"{number:02}.txt", name.encode()))
    return files


def test_a_job_with_prompts(tmp_path: Path, model: str) -> None:
    source = write_files(tmp_path / "s.tar", colour(["cat", "dog", None]))
    frame = augmented(
        [source],
        tmp_path / "out",
        model=model,
        prompt=("a {label_text}", "{key}"),
        guidance=2.5,
        copies=2,
        sampler="ddim",
        steps=4,
    )
    assert frame["prompt"].tolist()[:4] == ["a cat", "00", "a dog", "01"]
    assert frame["guidance"].tolist()[:4] == [2.5] * 4
    assert frame["status"].tolist() == ["ok"] * 4 + ["failed", "ok"]
    assert frame["reason_code"].tolist()[4] == "no_label_text"
    assert frame["output_width"].tolist()[:4] == [32] * 4
    found = replayed(tmp_path / "out")
    assert found.equal == 5


def test_a_prompt_that_cannot_be_filled_fails_its_copies_alone(tmp_path: Path, model: str) -> None:
    source = write_files(tmp_path / "s.tar", colour([None]))
    prompts = ("a picture", "a {label_text}")
    frame = augmented([source], tmp_path / "out", model=model, prompt=prompts, copies=3)
    assert frame["status"].tolist() == ["ok", "failed", "ok"]


def test_an_image_taken_to_pure_noise_is_rebuilt(tmp_path: Path) -> None:
    """Flow matching ends without any signal: log_snr is minus infinity, and JSON has none."""
    flow = str(tiny.stable_diffusion_3(tmp_path / "sd3"))
    source = write_files(tmp_path / "s.tar", colour(["cat"]))
    frame = augmented([source], tmp_path / "out", model=flow, strength=1.0, steps=2)
    assert frame["log_snr"].tolist() == [-np.inf]
    assert replayed(tmp_path / "out").equal == 1
    (tar,) = (tmp_path / "out/shards").glob("*.tar")
    with tarfile.open(tar) as shard:
        lineage = shard.extractfile("00-a0.diffaug.json")
        assert lineage is not None
        said = json.loads(lineage.read(), parse_constant=pytest.fail)
    assert "log_snr" not in said
    (row,), metadata = part(tmp_path / "out", "s")
    left = {"row": row | {"log_snr": None}} | {
        key: metadata[key] for key in ("recipe", "environment")
    }
    (tmp_path / "row.json").write_text(json.dumps(left, allow_nan=False))
    picture = members(source)[row["source_member"]]
    assert read_record(tmp_path / "row.json").replay(picture).verdict == "equal"


def test_masks_that_are_nowhere_are_told_of(
    masked: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job(masked, tmp_path / "out", mask_key="masks.png")
    assert "has the member masks.png" in caplog.text
    caplog.clear()
    job(masked, tmp_path / "other")
    assert "has the member" not in caplog.text


def test_images_in_hand_have_no_mask() -> None:
    recipe = diffaug.Recipe(mask_key="mask.png")
    with pytest.raises(diffaug.ConfigError, match="mask_key: bare images have no members"):
        diffaug.augment(Image.new("L", (28, 28)), recipe)


def test_words_as_labels_make_what_the_job_made(tmp_path: Path, model: str) -> None:
    files = colour(["cat", "dog"])
    source = write_files(tmp_path / "s.tar", files)
    fields: dict[str, Any] = {"model": model, "prompt": ("a {label_text}",), "strength": 0.5}
    frame = augmented([source], tmp_path / "out", sampler="ddim", **fields)
    images = [Image.open(io.BytesIO(data)) for name, data in files if name.endswith("png")]
    recipe = diffaug.Recipe(sampler="ddim", **fields)
    made = diffaug.augment(images, recipe, labels=["cat", "dog"], batch_size=8)
    for image, (_, row) in zip(made, frame.iterrows(), strict=True):
        assert np.array_equal(np.asarray(image), pixels(output_bytes(tmp_path / "out", row)))


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"fit": "fit"}, (40, 20)),
        ({"fit": "fit", "detail": "none"}, (20, 20)),
        ({"fit": "fit", "result": "model"}, (32, 32)),
        ({"fit": "resize", "result": "model"}, (32, 32)),
        ({"fit": "resize"}, (40, 20)),
    ],
)
def test_the_size_of_a_result(
    tmp_path: Path, model: str, fields: dict[str, Any], size: tuple[int, int]
) -> None:
    wide = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    source = write_files(tmp_path / "s.tar", [("0.png", encoded(Image.fromarray(wide), "PNG"))])
    frame = augmented([source], tmp_path / "out", model=model, **fields)
    assert (frame["output_width"][0], frame["output_height"][0]) == size
    assert 0 < frame["score_ssim"][0] < 1
    assert replayed(tmp_path / "out").equal == 1


def test_exact_turns_other_sizes_away(tmp_path: Path, model: str) -> None:
    files = [
        *((f"{side}.png", encoded(Image.new("RGB", (side, side)), "PNG")) for side in (31, 32))
    ]
    source = write_files(tmp_path / "s.tar", files)
    frame = augmented([source], tmp_path / "out", model=model, fit="exact")
    assert frame["status"].tolist() == ["failed", "ok"]
    assert frame["reason_code"][0] == "not_exact_size"


def test_a_job_goes_on_after_the_branch_of_its_model_has_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the commit of its plan, however that is named."""
    shipped = find_checkpoint("fashion-mnist-32").folder
    files = {
        path.relative_to(shipped).as_posix(): path.read_bytes()
        for path in shipped.rglob("*")
        if path.is_file()
    }
    scheduler = json.loads(files["scheduler/scheduler_config.json"]) | {"clip_sample_range": 2.0}
    other = files | {"scheduler/scheduler_config.json": json.dumps(scheduler).encode()}
    with serving(monkeypatch, tmp_path / "cache") as hub:
        hub.add("org/name", files)
        hub.add("org/name", other, OLDER)
        run = planned(SHARDS[:1], tmp_path / "out", model="org/name")
        assert run.model.revision == COMMIT
        hub.main = OLDER
        forget()
        moved = find_checkpoint("org/name")
        assert moved.digest != run.model.digest
        frame = augmented(SHARDS[:1], tmp_path / "out", model="org/name")
        assert frame["model_digest"].unique().tolist() == [run.model.digest]
        planned(SHARDS[:1], tmp_path / "out", model=f"org/name@{COMMIT}")
        with pytest.raises(diffaug.ConfigError, match="model"):
            planned(SHARDS[:1], tmp_path / "out", model=f"org/name@{OLDER}")
        assert replayed(tmp_path / "out").equal == len(frame)


def test_a_changed_embedding_is_another_model(tmp_path: Path, model: str) -> None:
    """The digest of a model covers what is put on it, wherever it lies."""
    import torch
    from safetensors.torch import save_file

    from diffaug.models import checkpoint_of

    digests = []
    for name, seed in (("a", 0), ("b", 1), ("c", 0)):
        vector = torch.randn(32, generator=torch.Generator().manual_seed(seed))
        save_file({"<x>": vector}, tmp_path / f"{name}.safetensors")
        recipe = diffaug.Recipe(model=model, embeddings=(str(tmp_path / f"{name}.safetensors"),))
        digests.append(checkpoint_of(recipe).digest)
    assert digests[0] == digests[2] != digests[1]
    assert checkpoint_of(diffaug.Recipe(model=model)).digest not in digests

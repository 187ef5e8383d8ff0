"""Clips in a loader: the clips of a job, in the form in which they come; and an OUTPUT's, mixed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset as wds
from PIL import Image

import diffaug
from diffaug.errors import ConfigError, DefectError
from diffaug.online.clips import to_clip
from tests.support.clips import container, decoded, moving, npy, write_clips
from tests.support.jobs import GREY, augmented, output_bytes

FIELDS: dict[str, Any] = {
    "model": GREY, "strength": 0.4, "steps": 5, "sampler": "ddim", "medium": "clip", "copies": 2,
}  # fmt: skip
CLIPS = {"a": moving(4), "b": moving(6, (32, 32), seed=1)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clips = {key: container(frames) for key, frames in CLIPS.items()}
    return write_clips(tmp_path_factory.mktemp("clips") / "clips.tar", clips)


@pytest.fixture(scope="module")
def output(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "out"
    augmented([source], output, **FIELDS)
    return output


@pytest.fixture(scope="module")
def made(output: Path) -> dict[str, Any]:
    import pandas as pd

    rows = pd.read_parquet(output / "manifest").itertuples()
    return {str(row.output_key): decoded(output_bytes(output, row))[0] for row in rows}


def samples(form: str) -> list[dict[str, Any]]:
    forms: dict[str, Any] = {
        "bytes": lambda frames: container(frames),
        "tensor": lambda frames: torch.from_numpy(frames).permute(0, 3, 1, 2),
        "float": lambda frames: torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255,
        "array": lambda frames: frames,
        "pictures": lambda frames: list(map(Image.fromarray, frames)),
    }
    return [{"__key__": key, "mp4": forms[form](frames)} for key, frames in CLIPS.items()]


def as_frames(clip: Any) -> Any:
    if isinstance(clip, bytes):
        return decoded(clip)[0]
    if isinstance(clip, torch.Tensor):
        whole = clip * 255 if clip.is_floating_point() else clip
        return whole.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return clip if isinstance(clip, np.ndarray) else np.stack([np.asarray(one) for one in clip])


@pytest.mark.parametrize("form", ["bytes", "tensor", "float", "array", "pictures"])
def test_a_clip_comes_back_as_it_was_given(form: str, made: dict[str, Any]) -> None:
    given = samples(form)
    found = list(diffaug.Augmenter(FIELDS, batch_size=8)(given))
    assert [one["__key__"] for one in found] == ["a-a0", "a-a1", "b-a0", "b-a1"]
    for one in found:
        assert type(one["mp4"]) is type(given[0]["mp4"])
        np.testing.assert_array_equal(as_frames(one["mp4"]), made[one["__key__"]])


@pytest.mark.parametrize("form", ["bytes", "tensor", "float", "array", "pictures"])
def test_a_clip_without_a_sample(form: str, made: dict[str, Any]) -> None:
    clips = [one["mp4"] for one in samples(form)]
    for batch in (clips, tuple(clips)):
        found = diffaug.augment(batch, FIELDS, batch_size=8)
        for key, copies in zip(CLIPS, found, strict=True):
            for copy, clip in enumerate(copies):
                assert type(clip) is type(clips[0])
                np.testing.assert_array_equal(as_frames(clip), made[f"{key}-a{copy}"])
    first, _ = diffaug.augment(clips[0], FIELDS, batch_size=8)
    np.testing.assert_array_equal(as_frames(first), made["a-a0"])


@pytest.mark.parametrize("form", ["tensor", "float", "array"])
def test_clips_of_one_size_are_a_batch(form: str, made: dict[str, Any]) -> None:
    one = samples(form)[0]["mp4"]
    batch = np.stack([one] * 2) if isinstance(one, np.ndarray) else torch.stack([one] * 2)
    found = diffaug.augment(batch, FIELDS | {"copies": 1}, labels=[0, 1], batch_size=8)
    assert type(found) is type(batch)
    assert found.shape == batch.shape
    for clip in found:
        np.testing.assert_array_equal(as_frames(clip), made["a-a0"])
    assert diffaug.augment(batch[:0], FIELDS | {"copies": 1}).shape == batch[:0].shape


def test_webdataset_hands_over_the_bytes(source: Path, made: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        stream = wds.WebDataset(str(source), shardshuffle=False).decode("pil")
        found = list(stream.compose(diffaug.Augmenter(FIELDS, keep=True, batch_size=8)))
    assert [one["__key__"] for one in found] == ["a", "a-a0", "a-a1", "b", "b-a0", "b-a1"]
    for one in found[1:3]:
        np.testing.assert_array_equal(as_frames(one["mp4"]), made[one["__key__"]])
        assert one["cls"] == 0


def test_one_clip_at_a_time() -> None:
    recipe = FIELDS | {"copies": 1}
    augment = diffaug.Augment(recipe)
    given = samples("tensor")[0]
    found = augment(given)
    assert found["mp4"].shape == given["mp4"].shape
    assert not torch.equal(found["mp4"], given["mp4"])
    augment.set_epoch(1)
    assert not torch.equal(augment(given)["mp4"], found["mp4"])
    assert torch.equal(augment(given["mp4"]), augment(given)["mp4"])
    some = diffaug.Augment(recipe, p=0.5)
    changed = []
    for epoch in range(40):
        some.set_epoch(epoch)
        changed.append(some(given) is not given)
    assert set(changed) == {True, False}


def test_frames_that_are_taken(made: dict[str, Any]) -> None:
    (one, *_) = diffaug.Augmenter(FIELDS | {"frames": 2, "copies": 1})(samples("array")[:1])
    assert one["mp4"].shape == (2, 40, 48, 3)


@pytest.mark.parametrize(
    ("clip", "error", "said"),
    [
        (b"no clip", DefectError, r"sample 'a': .*no known format of clips"),
        (torch.zeros(3, 4, 4), TypeError, "a clip must be the bytes of a file, a tensor"),
        (np.zeros((2, 4, 4, 3)), ValueError, "must be uint8"),
        ("a.mp4", TypeError, "got str"),
        ([Image.new("L", (8, 8)), Image.new("L", (9, 8))], ValueError, "of one size"),
    ],
)
def test_what_is_no_clip(clip: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        list(diffaug.Augmenter(FIELDS)([{"__key__": "a", "mp4": clip}]))


def test_where_only_images_are_taken(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="medium=clip: a cache takes images only"):
        list(diffaug.Augmenter(FIELDS, cache=tmp_path)(samples("array")))


def test_what_is_transparent_is_seen_over_the_background() -> None:
    clear = [Image.new("RGBA", (32, 32), (255, 0, 0, 0))] * 2
    recipe = diffaug.Recipe(medium="clip", background="black")
    assert to_clip(clear, recipe).frames[0].convert("RGB").getpixel((5, 5)) == (0, 0, 0)


def test_fields_of_clips_are_refused_where_images_are() -> None:
    for given in ({"noise_time": "shared"}, {"fps": "5"}, {"format": "mp4"}):
        with pytest.raises(ConfigError, match="for clips"):
            diffaug.augment(Image.new("L", (8, 8)), {"model": GREY, **given})


def test_an_output_mixed_with_its_source(source: Path, output: Path, made: dict[str, Any]) -> None:
    dataset = diffaug.AugmentedDataset(output, real=source, train=False)
    found = {one["__key__"]: one for one in dataset}
    assert set(found) == {"a", "b", "a-a0", "a-a1", "b-a0", "b-a1"}
    for key, one in found.items():
        frames = made[key] if one["augmented"] else CLIPS[key]
        np.testing.assert_array_equal(as_frames(one["clip"]), frames)
        assert one["label"] in (0, 1)


def test_an_array_is_the_same_clip_as_a_file() -> None:
    both = [{"__key__": "a", "npy": npy(moving(4))}, {"__key__": "b", "mp4": container(moving(4))}]
    first, second = diffaug.Augmenter(FIELDS | {"copies": 1, "format": "apng"})(both)
    np.testing.assert_array_equal(as_frames(first["npy"]), as_frames(second["mp4"]))

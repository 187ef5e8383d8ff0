"""`augment` and `Augmenter`: the same pixels as a job, in the form of what was given."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset as wds
from PIL import Image

import diffaug
from tests.support.hostile import encoded, fashion, write_files, write_samples
from tests.support.jobs import BATCH, GREY, augmented, members, pixels, threads

RECIPE = diffaug.Recipe(model=GREY, strength="0.1:0.6", steps=5, copies=2, seed=5)
ONCE = RECIPE.model_copy(update={"copies": 1})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of two copies over six pictures, in `out`."""
    folder = tmp_path_factory.mktemp("online")
    write_samples(folder / "s.tar", fashion(6))
    fields = RECIPE.model_dump()
    augmented([folder / "s.tar"], folder / "out", **fields)
    return folder


@pytest.fixture(scope="module")
def made(folder: Path) -> dict[str, np.ndarray]:
    """The job's pictures by output key."""
    (tar,) = (folder / "out/shards").glob("*.tar")
    images = {name: data for name, data in members(tar).items() if name.endswith(".png")}
    return {name.removesuffix(".png"): pixels(data) for name, data in images.items()}


def _pictures(count: int = 6) -> list[Image.Image]:
    return [Image.fromarray(pixels(sample["png"])) for sample in fashion(count)]


def _augment(images: Any, recipe: Any = ONCE, **options: Any) -> Any:
    return diffaug.augment(images, recipe, batch_size=BATCH, **options)


def _same(image: Image.Image, array: np.ndarray) -> bool:
    return np.array_equal(np.asarray(image), array)


# --- augment


def test_pictures_come_out_as_a_job_makes_them(made: dict[str, np.ndarray]) -> None:
    results = _augment(_pictures())
    assert len(results) == 6
    for index, result in enumerate(results):
        assert (result.mode, result.size) == ("L", (28, 28))
        assert _same(result, made[f"{index:05d}-a0"])


@pytest.mark.parametrize("given", ["png", "pgm", "big-endian"])
def test_greys_of_16_bits_come_out_as_greys(given: str) -> None:
    values = (np.arange(784, dtype=np.uint16) * 80).reshape(28, 28)
    image = Image.fromarray(values.astype(">u2") if given == "big-endian" else values)
    if given != "big-endian":
        image = Image.open(io.BytesIO(encoded(image, "PNG" if given == "png" else "PPM")))
    expected = _augment(Image.fromarray(((values.astype(int) + 128) // 257).astype(np.uint8)))
    assert expected.mode == "L"
    assert _same(_augment(image), np.asarray(expected))


def test_a_single_picture_is_as_in_a_batch(made: dict[str, np.ndarray]) -> None:
    result = _augment(_pictures()[5])
    assert isinstance(result, Image.Image)
    assert _same(result, made["00005-a0"])


def test_neighbours_and_order_do_not_matter(made: dict[str, np.ndarray]) -> None:
    noise = Image.effect_noise((40, 20), 80)
    results = _augment([noise, *_pictures()[::-1]])
    for index, result in enumerate(results[:0:-1]):
        assert _same(result, made[f"{index:05d}-a0"])


def test_copies_come_as_a_list_for_each(made: dict[str, np.ndarray]) -> None:
    results = _augment(_pictures(3), RECIPE)
    assert [len(copies) for copies in results] == [2, 2, 2]
    for index, copies in enumerate(results):
        for copy, result in enumerate(copies):
            assert _same(result, made[f"{index:05d}-a{copy}"])
    single = _augment(_pictures(1)[0], RECIPE)
    assert [_same(a, np.asarray(b)) for a, b in zip(single, results[0], strict=True)] == [True] * 2


def _tensor(picture: Image.Image, channels: int, dtype: torch.dtype) -> torch.Tensor:
    data = torch.from_numpy(np.array(picture)).expand(channels, 28, 28)
    return data if dtype == torch.uint8 else (data.to(dtype) / 255)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("form", ["one", "batch", "list"])
def test_tensors_come_out_in_their_own_form(
    form: str, dtype: torch.dtype, channels: int, made: dict[str, np.ndarray]
) -> None:
    tensors = [_tensor(picture, channels, dtype) for picture in _pictures(3)]
    given: Any = {"one": tensors[0], "batch": torch.stack(tensors), "list": tensors}[form]
    result = _augment(given)
    if form == "batch":
        assert result.shape == (3, channels, 28, 28)
    results = [result] if form == "one" else list(result)
    for index, tensor in enumerate(results):
        assert (tensor.dtype, tensor.shape) == (dtype, (channels, 28, 28))
        scaled = tensor if dtype == torch.uint8 else (tensor * 255).round()
        for channel in scaled.to(torch.uint8):
            assert np.array_equal(channel.numpy(), made[f"{index:05d}-a0"])


def test_float16_keeps_its_dtype() -> None:
    result = _augment(_tensor(_pictures(1)[0], 1, torch.float16))
    assert result.dtype == torch.float16


def test_a_batch_of_none_is_none() -> None:
    assert _augment([]) == []
    assert _augment(torch.zeros(0, 1, 28, 28)).shape == (0, 1, 28, 28)


def test_what_was_given_is_left_alone() -> None:
    picture, tensor = _pictures(1)[0], _tensor(_pictures(1)[0], 3, torch.float32).clone()
    was = picture.tobytes(), tensor.clone()
    _augment([picture])
    _augment(tensor)
    assert (picture.tobytes(), torch.equal(tensor, was[1])) == (was[0], True)


def test_global_randomness_is_neither_used_nor_moved(made: dict[str, np.ndarray]) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state(), str(np.random.get_state())
    _augment(_pictures(1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state()) == before[1]


def test_a_class_conditions_as_in_a_job(folder: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "model": GREY,
        "condition": "label",
        "strength": 0.8,
        "steps": 2,
        "sampler": "ddim",
    }
    augmented([folder / "s.tar"], tmp_path / "out", **fields)
    (tar,) = (tmp_path / "out/shards").glob("*.tar")
    images = [pixels(data) for name, data in members(tar).items() if name.endswith(".png")]
    recipe = diffaug.Recipe(**fields)
    labels = [int(sample["cls"]) for sample in fashion(6)]
    for form in (labels, torch.tensor(labels), np.array(labels)):
        assert all(map(_same, _augment(_pictures(), recipe, labels=form), images))
    assert _same(_augment(_pictures()[4], recipe, labels=labels[4]), images[4])
    other = _augment(_pictures()[4], recipe, labels=(labels[4] + 1) % 10)
    assert not _same(other, images[4])


@pytest.mark.parametrize(
    ("images", "error", "said"),
    [
        ("a.png", TypeError, "PIL images or tensors, got str: open the file with PIL.Image.open"),
        (["a.png"], TypeError, "image 0: images must be .* got str: open the file"),
        (Path("a.png"), TypeError, "got PosixPath: open the file"),
        (b"bytes", TypeError, r'got bytes: let webdataset decode\("pil"\)'),
        (None, TypeError, "got NoneType: give an image"),
        (3, TypeError, "PIL images or tensors, got int$"),
        ({"png": None}, TypeError, r"got dict: samples \(dicts\) are for Augment and Augmenter"),
        (np.zeros((28, 28), np.uint8), TypeError, "got ndarray: PIL.Image.fromarray"),
        ([np.zeros((28, 28), np.uint8)], TypeError, "image 0: .* got ndarray: PIL.Image.fromarray"),
        ([(Image.new("L", (28, 28)), 3)], TypeError, "image 0: .* got tuple: give the image of"),
        (iter(()), TypeError, "got tuple_iterator: give a list"),
        (torch.zeros(28, 28), ValueError, r"must be \(1 or 3, H, W\)"),
        (torch.zeros(2, 28, 28), ValueError, r"must be \(1 or 3, H, W\)"),
        (torch.zeros(1, 28, 28, dtype=torch.int64), ValueError, "uint8 or floating"),
        (torch.full((1, 28, 28), 255.0), ValueError, r"\[0, 1\]"),
        (torch.full((1, 28, 28), -0.5), ValueError, r"\[0, 1\]"),
        (torch.full((1, 28, 28), torch.nan), ValueError, r"\[0, 1\]"),
        (Image.new("F", (28, 28)), diffaug.DefectError, "no fixed range"),
    ],
)
def test_what_is_no_image_is_refused(images: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        _augment(images)


@pytest.mark.parametrize(
    ("labels", "error", "said"),
    [
        (None, diffaug.DefectError, "no integer class"),
        ([1], ValueError, "2 images need 2 labels, got 1"),
        ([1, 10], diffaug.DefectError, "class 10 is not one of the model's 10"),
        ([1, -1], diffaug.DefectError, "class -1"),
        (1.5, TypeError, "labels must be a class or a list of them, got float"),
        ({"a": 1, "b": 2}, TypeError, "a list of them, got dict"),
        ({1, 2}, TypeError, "a list of them, got set"),
        ([1, 2.5], TypeError, r"labels must be whole numbers or words, got \[1, 2.5\]"),
        ([1, None], diffaug.DefectError, "image 1: condition is label"),
    ],
)
def test_a_label_that_is_none_is_refused(labels: Any, error: type[Exception], said: str) -> None:
    recipe = diffaug.Recipe(model=GREY, condition="label", sampler="one-step")
    with pytest.raises(error, match=said):
        _augment(_pictures(2), recipe, labels=labels)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(diffaug.ConfigError, match="no such model: nothing"):
        _augment(_pictures(1), diffaug.Recipe(model="nothing"))


@pytest.mark.parametrize(
    "use",
    [
        lambda recipe: _augment(_pictures(1), recipe),
        diffaug.Augment,
        diffaug.Augmenter,
        lambda recipe: diffaug.plan_run([], "out", recipe),
        lambda recipe: diffaug.Job.plan([], "out", recipe),
    ],
)
def test_a_recipe_is_a_recipe_or_a_dict(use: Any) -> None:
    for given, said in (
        (None, "the recipe must be a Recipe or a dict of its fields, got NoneType: for the fields"),
        ("recipe.yaml", r"got str: .* give Recipe.from_yaml\(path\)"),
        (diffaug.Recipe, "got ModelMetaclass"),
        ([("seed", 1)], "got list"),
        ({"strenght": 0.4}, "strenght: no such field"),
    ):
        with pytest.raises(diffaug.ConfigError, match=said):
            use(given)


def test_a_dict_of_fields_is_the_recipe_of_them() -> None:
    fields = {"model": GREY, "sampler": "one-step", "strength": 0.5, "seed": 3}
    (ours,) = _augment(_pictures(1), fields)
    (theirs,) = _augment(_pictures(1), diffaug.Recipe(**fields))
    assert _same(ours, np.asarray(theirs))
    assert diffaug.Augment(fields).recipe == diffaug.Recipe(**fields)
    assert diffaug.Augmenter(fields).recipe == diffaug.Recipe(**fields)


# --- Augmenter


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (None, "Augmenter takes a stream of samples \\(dicts\\), got NoneType"),
        ({"__key__": "a", "png": None}, "got dict: use Augment for one sample"),
        ("s.tar", "got str"),
        ([(Image.new("L", (28, 28)), 3)], "dict of members, .* got tuple: call Augmenter before"),
        ([Image.new("L", (28, 28))], "got Image: call Augmenter before to_tuple"),
        ([None], "got NoneType"),
        ([{"png": np.zeros((28, 28), np.uint8)}], "sample None: images must .* got ndarray"),
        ([{"__key__": "a", "png": b"\x89PNG"}], r"sample 'a': .* got bytes: let webdataset decode"),
        ([{"png": Image.new("L", (8, 8)), "cls": 1.5}], "its class, cls, must be .*, got float"),
    ],
)
def test_what_is_no_stream_of_samples(samples: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        list(_augmenter(RECIPE)(samples))


def _stream(path: Path, *stages: Any, decode: str = "pil") -> list[dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files open
        return list(wds.WebDataset(str(path), shardshuffle=False).decode(decode).compose(*stages))


def _augmenter(recipe: diffaug.Recipe, **options: Any) -> diffaug.Augmenter:
    return diffaug.Augmenter(recipe, batch_size=BATCH, **options)


def test_a_loader_gets_what_a_job_writes(folder: Path, made: dict[str, np.ndarray]) -> None:
    online = _stream(folder / "s.tar", _augmenter(RECIPE))
    (tar,) = (folder / "out/shards").glob("*.tar")
    offline = _stream(tar)
    assert [s["__key__"] for s in online] == [s["__key__"] for s in offline] == list(made)
    for ours, theirs in zip(online, offline, strict=True):
        assert ours["png"].mode == theirs["png"].mode == "RGB"  # as decode("pil") gives them
        assert _same(ours["png"], np.asarray(theirs["png"]))
        assert ours["cls"] == theirs["cls"]


def test_each_copy_is_a_sample_of_the_same_form(folder: Path) -> None:
    plain = _stream(folder / "s.tar")
    online = _stream(folder / "s.tar", _augmenter(RECIPE))
    for index, sample in enumerate(plain):
        for copy in range(2):
            result = online[2 * index + copy]
            assert result.keys() == sample.keys()
            assert result["__key__"] == f"{sample['__key__']}-a{copy}"
            assert (result["cls"], result["txt"]) == (sample["cls"], sample["txt"])
            assert type(result["png"]) is type(sample["png"])


def test_keep_yields_the_original_first(folder: Path, made: dict[str, np.ndarray]) -> None:
    online = _stream(folder / "s.tar", _augmenter(RECIPE, keep=True))
    keys = [f"{index:05d}{ending}" for index in range(6) for ending in ("", "-a0", "-a1")]
    assert [sample["__key__"] for sample in online] == keys
    for kept, plain in zip(online[::3], _stream(folder / "s.tar"), strict=True):
        assert _same(kept["png"], np.asarray(plain["png"]))


@pytest.mark.parametrize("epoch", [0, 1])
def test_an_epoch_takes_the_place_of_the_copy(
    epoch: int, folder: Path, made: dict[str, np.ndarray]
) -> None:
    augmenter = _augmenter(ONCE)
    augmenter.set_epoch(epoch)
    online = _stream(folder / "s.tar", augmenter)
    assert [s["__key__"] for s in online] == [f"{index:05d}-a{epoch}" for index in range(6)]
    for sample in online:
        assert _same(sample["png"].convert("L"), made[sample["__key__"]])


def test_epochs_of_several_copies_follow_each_other(folder: Path) -> None:
    augmenter = _augmenter(RECIPE, keep=True)
    augmenter.set_epoch(2)
    keys = [sample["__key__"] for sample in _stream(folder / "s.tar", augmenter)]
    assert keys[:3] == ["00000", "00000-a4", "00000-a5"]


def test_a_loader_of_tensors_gets_tensors(folder: Path, made: dict[str, np.ndarray]) -> None:
    for sample in _stream(folder / "s.tar", _augmenter(ONCE), decode="torchrgb"):
        assert (sample["png"].dtype, sample["png"].shape) == (torch.float32, (3, 28, 28))
        grey = (sample["png"] * 255).round().to(torch.uint8)[1].numpy()
        assert np.array_equal(grey, made[sample["__key__"]])


def test_shuffled_samples_are_the_same_images(folder: Path, made: dict[str, np.ndarray]) -> None:
    def backwards(samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        yield from list(samples)[::-1]

    online = _stream(folder / "s.tar", backwards, _augmenter(RECIPE))
    assert len(online) == 12
    assert all(_same(sample["png"].convert("L"), made[sample["__key__"]]) for sample in online)


def test_an_augmenter_survives_a_process_boundary(
    folder: Path, made: dict[str, np.ndarray]
) -> None:
    augmenter = _augmenter(ONCE)
    augmenter.set_epoch(1)
    twin = pickle.loads(pickle.dumps(augmenter))
    online = _stream(folder / "s.tar", twin)
    assert all(_same(sample["png"].convert("L"), made[sample["__key__"]]) for sample in online)


def test_an_augmenter_reads_little_ahead() -> None:
    read: list[int] = []

    def endless() -> Iterator[dict[str, Any]]:
        picture = _pictures(1)[0]
        while True:
            read.append(len(read))
            yield {"__key__": str(len(read)), "png": picture}

    stream = _augmenter(diffaug.Recipe(model=GREY, sampler="one-step"))(endless())
    with threads(2):
        for _ in range(6 * BATCH):
            next(stream)
    assert len(read) <= 10 * BATCH


def test_what_is_no_sample_is_passed_over_in_a_stream(caplog: pytest.LogCaptureFixture) -> None:
    """As webdataset yields the README.txt and the Thumbs.db of a tar."""
    (picture,) = _pictures(1)
    good: dict[str, Any] = {"__key__": "k", "__url__": "s.tar", "png": picture, "cls": 7}
    litter: list[dict[str, Any]] = [
        {"__key__": "README", "txt": "..."},
        {"__key__": "Thumbs", "db": b"..."},
    ]
    stage = _augmenter(diffaug.Recipe(model=GREY, steps=4, mask_key="mask.png", label_key=".cls"))
    (made,) = stage([litter[0], good, litter[1]])
    (alone,) = stage([good])
    assert made["__key__"] == "k-a0"
    assert _same(made["png"], np.asarray(alone["png"]))
    assert "2 passed over, without an image, class, mask or carried member: README" in caplog.text
    assert "no sample of the stream has the member mask.png" in caplog.text
    with pytest.raises(diffaug.DefectError, match=r"sample 'b': .* has 0\.png"):
        list(stage([{"__key__": "b", "0.png": picture}]))


@pytest.mark.parametrize("label", [7, "7", b"7", b" 7\n", np.int64(7), torch.tensor(7)])
def test_a_label_may_come_in_any_dress(label: Any) -> None:
    recipe = diffaug.Recipe(model=GREY, condition="label", strength=0.5, steps=4)
    picture = _pictures(1)[0]
    (sample,) = _augmenter(recipe)([{"__key__": "k", "png": picture, "cls": label}])
    assert _same(sample["png"], np.asarray(_augment(picture, recipe, labels=7)))


@pytest.mark.parametrize(
    ("fields", "sample", "said"),
    [
        ({}, {"__key__": "k", "npy": 0}, "sample 'k': the sample has no image member"),
        ({"condition": "label"}, {"__key__": "k", "png": None}, "no integer class"),
        ({"condition": "label"}, {"__key__": "k", "png": None, "cls": "+-3"}, "no integer class"),
        ({"condition": "label"}, {"__key__": "k", "png": None, "cls": b"shoe"}, "no integer class"),
        ({"condition": "label"}, {"__key__": "k", "png": None, "cls": 10}, "class 10"),
    ],
)
def test_a_sample_that_cannot_be_augmented_is_said(
    fields: dict[str, Any], sample: dict[str, Any], said: str
) -> None:
    if "png" in sample:
        sample = sample | {"png": _pictures(1)[0]}
    with pytest.raises(diffaug.DefectError, match=said):
        list(_augmenter(diffaug.Recipe(**fields))([sample]))


def test_colour_comes_back_as_the_job_makes_it(tmp_path: Path) -> None:
    bands = _pictures(3)
    colour = Image.merge("RGB", bands).resize((45, 30))
    source = write_files(tmp_path / "s.tar", [("a.png", encoded(colour, "PNG"))])
    fields = {"model": GREY, "strength": 0.4, "steps": 5, "sampler": RECIPE.sampler}
    augmented([source], tmp_path / "out", **fields)
    (tar,) = (tmp_path / "out/shards").glob("*.tar")
    result = _augment(colour, diffaug.Recipe.of(fields))
    assert (result.mode, result.size) == ("RGB", (45, 30))
    assert _same(result, pixels(members(tar)["a-a0.png"]))

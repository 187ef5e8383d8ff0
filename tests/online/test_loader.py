"""`Augment` as a transform and in webdataset's `map`, the epoch, and docs/loader.md.

torchvision cannot be installed beside this torch; a list of callables, called one after the other,
is all that its `Compose` is to a transform.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset as wds
from PIL import Image

import diffaug
from diffaug import Augment, Augmenter
from diffaug.epoch import Epoch
from diffaug.models import load_model
from tests.conftest import ROOT, Python, blocks, commands
from tests.support.forks import Forks
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import GREY, augmented, members, pixels
from tests.support.language_models import SENTENCES, bert
from tests.support.loading import COUNT, QUICK, Array, arrays, equal, pictures, samples
from tests.support.serving import serving

RECIPE = diffaug.Recipe(model=GREY, strength="0.1:0.6", steps=4, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of two copies, one image a call, over a few pictures, in `out`."""
    folder = tmp_path_factory.mktemp("loader")
    write_samples(folder / "s.tar", fashion(COUNT))
    fields = RECIPE.model_dump() | {"copies": 2, "batch_size": 1}
    augmented([folder / "s.tar"], folder / "out", **fields)
    return folder


@pytest.fixture(scope="module")
def made(folder: Path) -> list[list[Array]]:
    """The job's pictures as Python's tarfile finds them: of each copy, in order."""
    (tar,) = (folder / "out/shards").glob("*.tar")
    found = members(tar)
    return [
        [pixels(found[f"{index:05d}-a{copy}.png"]) for index in range(COUNT)] for copy in range(2)
    ]


@pytest.mark.parametrize("epoch", [0, 1])
def test_an_epoch_of_pictures_is_a_copy_of_a_job(epoch: int, made: list[list[Array]]) -> None:
    augment = Augment(RECIPE)
    augment.set_epoch(epoch)
    results = [augment(picture) for picture in pictures()]
    assert {(result.mode, result.size) for result in results} == {("L", (28, 28))}
    assert equal(arrays(results), made[epoch])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_tensors_come_out_as_tensors(dtype: torch.dtype, made: list[list[Array]]) -> None:
    augment = Augment(RECIPE)
    for picture, wanted in zip(pictures(2), made[0], strict=False):
        tensor = torch.from_numpy(np.array(picture)).expand(3, 28, 28)
        given = tensor if dtype == torch.uint8 else tensor / 255
        result = augment(given)
        assert (result.dtype, result.shape) == (dtype, (3, 28, 28))
        grey = result if dtype == torch.uint8 else (result * 255).round()
        assert equal(grey.to(torch.uint8).numpy(), [wanted] * 3)


def test_it_is_a_transform_among_others(made: list[list[Array]]) -> None:
    def mirror(image: Image.Image) -> Image.Image:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    def compose(image: Any, *transforms: Callable[[Any], Any]) -> Any:
        for transform in transforms:
            image = transform(image)
        return image

    composed = compose(pictures(1)[0], mirror, mirror, Augment(RECIPE), np.asarray)
    assert np.array_equal(composed, made[0][0])


def test_webdataset_maps_it(folder: Path, made: list[list[Array]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files open
        plain = wds.WebDataset(str(folder / "s.tar"), shardshuffle=False).decode("pil")
        samples = list(plain)
        mapped = list(plain.map(Augment(RECIPE)))
    for sample, result, wanted in zip(samples, mapped, made[0], strict=True):
        assert result["png"].mode == "RGB"  # as decode("pil") gives them
        assert np.array_equal(np.asarray(result["png"].convert("L")), wanted)
        same = {name for name in sample if name != "png"}
        assert {name: result[name] for name in same} == {name: sample[name] for name in same}


def test_a_sample_that_is_given_stays_as_it_was() -> None:
    sample = samples(1)[0]
    before = sample["png"].copy()
    assert Augment(QUICK)(sample) is not sample
    assert (sample["png"].tobytes(), sample["__key__"]) == (before.tobytes(), "00000")


def test_a_share_is_augmented_and_the_rest_left_alone() -> None:
    given = pictures(40)
    wanted = [np.asarray(Augment(QUICK)(picture)) for picture in given]
    chosen: dict[float, set[int]] = {}
    for p in (0.25, 0.5):
        augment = Augment(QUICK, p)
        results = [augment(picture) for picture in given]
        left = {i for i, (a, b) in enumerate(zip(given, results, strict=True)) if a is b}
        chosen[p] = set(range(40)) - left
        assert all(np.array_equal(np.asarray(results[i]), wanted[i]) for i in chosen[p])
        assert abs(len(chosen[p]) - 40 * p) < 10  # three standard deviations
    assert chosen[0.25] < chosen[0.5]
    half = Augment(QUICK, 0.5)
    half.set_epoch(1)
    again = {i for i, picture in enumerate(given) if half(picture) is not picture}
    assert again != chosen[0.5]


def test_none_are_augmented_without_a_model() -> None:
    load_model.cache_clear()
    sample = samples(1)[0]
    assert Augment(QUICK, 0)(sample) is sample
    assert load_model.cache_info().misses == 0


def test_lists_of_strengths_are_cycled_over_epochs() -> None:
    both = Augment(diffaug.Recipe(model=GREY, sampler="one-step", strength="0.2,0.8", copies=2))
    both.set_epoch(1)
    alone = Augment(diffaug.Recipe(model=GREY, sampler="one-step", strength=0.8))
    alone.set_epoch(1)
    # the strength is in the recipe's digest, not in the noise
    assert equal(*(arrays([augment(pictures(1)[0])]) for augment in (both, alone)))


def test_a_class_conditions_a_sample() -> None:
    recipe = diffaug.Recipe(model=GREY, condition="label", strength=0.8, steps=2, sampler="ddim")
    sample = samples(1)[0]
    wanted = diffaug.augment(sample["png"], recipe, labels=sample["cls"], batch_size=1)
    assert equal(arrays([Augment(recipe)(sample)["png"]]), arrays([wanted]))


@pytest.mark.parametrize(
    "fields", [{"condition": "label"}, {"prompt": ("a", "a {label}")}, {"mask_key": "mask.png"}]
)
def test_an_image_alone_has_no_members(fields: dict[str, Any]) -> None:
    with pytest.raises(
        diffaug.ConfigError, match=f"{next(iter(fields))}: .* a bare image has no members: pass"
    ):
        Augment(diffaug.Recipe(**fields))(pictures(1)[0])


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"__key__": "k", "npy": 0}, diffaug.DefectError, "sample 'k': the sample has no image"),
        (Image.new("F", (28, 28)), diffaug.DefectError, "the image: .* no fixed range"),
        ({"__key__": "k", "png": Image.new("F", (9, 9))}, diffaug.DefectError, "'k': .* no fixed"),
        (np.zeros((28, 28), np.uint8), TypeError, "PIL images or tensors"),
        ((Image.new("L", (28, 28)), 3), TypeError, r"got tuple: .* map_tuple\(Augment\(recipe\)\)"),
        (
            {"__key__": "k", "png": b"\x89PNG"},
            TypeError,
            "sample 'k': .* got bytes: let webdataset",
        ),
        ("a.png", TypeError, "the image: images must be .*, got str: open the file"),
        (torch.zeros(5, 1, 28, 28), ValueError, r"must be \(1 or 3, H, W\)"),
    ],
)
@pytest.mark.parametrize("p", [0.5, 1])
def test_what_is_no_image_is_refused(
    p: float, given: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        Augment(QUICK, p)(given)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), "0.5", None])
def test_a_share_is_between_none_and_all(p: Any) -> None:
    with pytest.raises(ValueError, match=r"p must be a probability in \[0, 1\]"):
        Augment(QUICK, p)


# --- the epoch


@pytest.mark.parametrize("made_by", [Augment, Augmenter])
def test_an_epoch_is_a_count(made_by: Any) -> None:
    with pytest.raises(ValueError, match="counted from 0, got -1"):
        made_by(QUICK).set_epoch(-1)
    with pytest.raises(TypeError):
        made_by(QUICK).set_epoch(0.5)


def test_a_copy_of_an_epoch_is_another_one() -> None:
    epoch = Epoch()
    epoch.set(3)
    twins = [pickle.loads(pickle.dumps(epoch)), copy.deepcopy(epoch)]
    epoch.set(4)
    assert [twin.get() for twin in twins] == [3, 3]


# --- docs/loader.md


@pytest.mark.pages
def test_the_python_of_the_page_runs(checkout: Path, python: Python, forked: Forks) -> None:
    """With the server that it says to start, at another address, and a small model of texts."""
    questions = [
        {"__key__": b"%d" % number, "txt": text.encode(), "cls": b"%d" % (number % 2)}
        for number, text in enumerate(SENTENCES)
    ]
    source = write_samples(checkout / "questions.tar", questions)
    language = str(bert(checkout / "bert"))
    fields: dict[str, Any] = {"model": language, "sampler": "random", "strength": 0.2}
    augmented([source], checkout / "questions-augmented", **fields)
    page = (ROOT / "docs/loader.md").read_text(encoding="utf-8")
    (typed,) = commands(page)
    assert typed[:2] + typed[-2:] == ["diffaug", "serve", "--port", "8321"]
    with serving(forked, *typed[2:-2]) as server:
        code = "\n".join(blocks(page, "python")).replace("http://127.0.0.1:8321", server.url)
        printed = python(code.replace("distilbert/distilbert-base-uncased", language))
    epochs = ["00000", "00000-a0", "00001", "00001-a0", "00000", "00000-a1", "00001", "00001-a1"]
    served = ["00000-a0", "(28, 28)"]
    texts = [
        "<class 'str'>",
        "[('q1-a0', 3), ('q2-a0', 5)]",
        "['__key__', 'augmented', 'label', 'text']",
    ]
    assert printed.splitlines() == ["00000-a0", "00000 (28, 28)", *texts, *epochs, *served]
    assert len(list((checkout / "augmented-cache").rglob("*.png"))) == 2

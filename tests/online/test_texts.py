"""Texts in a loader: those of a job, letter for letter, in the form in which they come."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import webdataset as wds
from PIL import Image
from torch.utils.data import DataLoader

import diffaug
from diffaug import Augment, Augmenter
from diffaug.errors import ConfigError, DefectError
from tests.support.hostile import write_samples
from tests.support.jobs import BATCH, GREY, augmented, output_bytes
from tests.support.language_models import SENTENCES, bert

TEXTS = {f"{number:03d}": text for number, text in enumerate(SENTENCES)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and shards of texts: as members, and as fields of JSON members."""
    folder = tmp_path_factory.mktemp("texts")
    bert(folder / "bert")
    plain = [{"txt": text.encode(), "cls": b"%d" % (len(text) % 2)} for text in TEXTS.values()]
    objects = [{"json": json.dumps({"id": key, "q": text}).encode()} for key, text in TEXTS.items()]
    for name, samples in (("plain", plain), ("json", objects)):
        keyed = [{"__key__": key.encode(), **one} for key, one in zip(TEXTS, samples, strict=True)]
        write_samples(folder / f"{name}.tar", keyed)
    return folder


@pytest.fixture(scope="module")
def recipe(folder: Path) -> dict[str, Any]:
    return {"model": str(folder / "bert"), "strength": 0.6, "steps": 4, "copies": 2, "seed": 7}


@pytest.fixture(scope="module")
def made(folder: Path, recipe: dict[str, Any]) -> dict[str, str]:
    """A job's texts by their keys."""
    return _made(folder / "plain.tar", folder / "out", sampler="random", **recipe)


@pytest.fixture(scope="module")
def made_alone(folder: Path, recipe: dict[str, Any]) -> dict[str, str]:
    """Those of a job whose batch shape is one text."""
    fields = recipe | {"batch_size": 1}
    return _made(folder / "plain.tar", folder / "alone", sampler="random", **fields)


def _made(source: Path, output: Path, **fields: Any) -> dict[str, str]:
    rows: pd.DataFrame = augmented([source], output, **fields)
    found = {str(row.output_key): output_bytes(output, row).decode() for row in rows.itertuples()}
    assert set(found) == {f"{key}-a{copy}" for key in TEXTS for copy in range(2)}
    assert found["000-a0"] not in (TEXTS["000"], found["000-a1"])
    return found


def test_a_text_without_a_sample(recipe: dict[str, Any], made: dict[str, str]) -> None:
    given = list(TEXTS.values())
    found = diffaug.augment(given, recipe, batch_size=BATCH)
    assert found == [[made[f"{key}-a{copy}"] for copy in range(2)] for key in TEXTS]
    assert diffaug.augment(given[3], recipe, batch_size=BATCH) == found[3]
    one = recipe | {"copies": 1}
    assert diffaug.augment(tuple(given[:2]), one, batch_size=BATCH) == [
        made["000-a0"],
        made["001-a0"],
    ]
    assert diffaug.augment(given[0].encode(), one, batch_size=BATCH) == made["000-a0"].encode()
    assert diffaug.augment([], one) == []


def test_a_class_in_words_stays(recipe: dict[str, Any]) -> None:
    strong = recipe | {"strength": 1.0, "copies": 1}
    text = "What is the capital of Yugoslavia ?"
    found = diffaug.augment([text, text], strong, labels=["capital", "what ?"])
    assert "capital" in found[0]
    assert found[1].startswith("What")
    assert found[1].endswith("?")
    with pytest.raises(ValueError, match="2 texts need 2 labels, got 1"):
        diffaug.augment([text, text], strong, labels=[1])
    with pytest.raises(ConfigError, match=r"condition: model .* takes no class"):
        diffaug.augment(text, strong | {"condition": "label"}, labels=1)


@pytest.mark.parametrize("decoded", [True, False])
def test_webdataset_hands_them_over(
    decoded: bool, folder: Path, recipe: dict[str, Any], made: dict[str, str]
) -> None:
    found = _streamed(folder / "plain.tar", Augmenter(recipe, keep=True, batch_size=BATCH), decoded)
    keys = [f"{key}{end}" for key in TEXTS for end in ("", "-a0", "-a1")]
    assert [one["__key__"] for one in found] == keys
    for one, key in zip(found, keys, strict=True):
        wanted = {**TEXTS, **made}[key]
        assert one["txt"] == (wanted if decoded else wanted.encode())
        label = len(TEXTS[key[:3]]) % 2
        assert one["cls"] == (label if decoded else b"%d" % label)


@pytest.mark.parametrize("decoded", [True, False])
def test_a_field_of_an_object_is_replaced(
    decoded: bool, folder: Path, recipe: dict[str, Any], made: dict[str, str]
) -> None:
    stage = Augmenter(recipe | {"text_key": "json:q"}, batch_size=BATCH)
    found = _streamed(folder / "json.tar", stage, decoded)
    for one, (key, text) in zip(found, made.items(), strict=True):
        held = one["json"] if decoded else json.loads(one["json"])
        assert (one["__key__"], held) == (key, {"id": key[:3], "q": text})


def _streamed(tar: Path, stage: Augmenter, decoded: bool) -> list[dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files open
        stream = wds.WebDataset(str(tar), shardshuffle=False)
        return list((stream.decode() if decoded else stream).compose(stage))


def test_one_text_at_a_time(recipe: dict[str, Any], made_alone: dict[str, str]) -> None:
    augment = Augment(recipe)
    for epoch in range(2):
        augment.set_epoch(epoch)
        for key, text in TEXTS.items():
            sample = {"__key__": key, "txt": text, "cls": 1}
            assert augment(sample) == {**sample, "txt": made_alone[f"{key}-a{epoch}"]}
            assert sample["txt"] == text
            assert augment(text) == made_alone[f"{key}-a{epoch}"]
            assert augment(text.encode()) == made_alone[f"{key}-a{epoch}"].encode()


def test_a_share_of_them(recipe: dict[str, Any], made_alone: dict[str, str]) -> None:
    some, drawn = Augment(recipe, p=0.5), []
    for epoch in range(2):
        some.set_epoch(epoch)
        for key, text in TEXTS.items():
            found = some(text)
            drawn.append(found is not text)
            assert found == (made_alone[f"{key}-a{epoch}"] if drawn[-1] else text)
    assert set(drawn) == {True, False}


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(
    workers: int, folder: Path, recipe: dict[str, Any], made_alone: dict[str, str]
) -> None:
    augment = Augment(recipe)
    given = [{"__key__": key, "txt": text} for key, text in TEXTS.items()]
    loader: DataLoader[Any] = DataLoader(
        _Mapped(given, augment),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="fork",
        persistent_workers=True,
    )
    for epoch in range(2):
        augment.set_epoch(epoch)
        found = {one["__key__"]: one["txt"] for one in loader}
        assert found == {key: made_alone[f"{key}-a{epoch}"] for key in TEXTS}


class _Mapped:
    def __init__(self, samples: list[dict[str, Any]], augment: Augment) -> None:
        self.samples, self.augment = samples, augment

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: int) -> Any:
        return self.augment(self.samples[place])


def test_a_stream_in_a_worker(folder: Path, recipe: dict[str, Any], made: dict[str, str]) -> None:
    stage = Augmenter(recipe, batch_size=BATCH)
    tar = str(folder / "plain.tar")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        stream = wds.WebDataset(tar, shardshuffle=False).decode().compose(stage)
    loader = wds.WebLoader(stream, batch_size=None, num_workers=1, multiprocessing_context="fork")
    assert {one["__key__"]: one["txt"] for one in loader} == made
    assert len(pickle.dumps(stage)) < 5000


def test_it_resumes(recipe: dict[str, Any], made: dict[str, str]) -> None:
    given = [{"__key__": key, "txt": text} for key, text in TEXTS.items()]
    stage = Augmenter(recipe, batch_size=BATCH)
    stream = stage(given)
    first = [next(stream)["txt"] for _ in range(3)]
    other = Augmenter(recipe, batch_size=BATCH)
    other.load_state_dict(stage.state_dict())
    assert first + [one["txt"] for one in other(given)] == list(made.values())


def test_letters_are_read_as_a_job_reads_them(recipe: dict[str, Any]) -> None:
    one = recipe | {"copies": 1}
    composed, decomposed = "Where is the caf\u00e9?", "\ufeffWhere is the cafe\u0301?"
    found = diffaug.augment([composed, decomposed], one)
    assert found[0] == found[1]
    assert diffaug.augment(decomposed.encode(), one) == found[0].encode()


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (b"\xff\xfe", DefectError, r"sample 'a': the text is not UTF-8"),
        ("half \ud83d", DefectError, r"sample 'a': the text holds half a letter"),
        ("", DefectError, r"sample 'a': the text has no words"),
        ("a " * 60_000, DefectError, r"sample 'a': the text has 120,000 characters"),
        (3, TypeError, r"sample 'a': a text must be a str or the bytes of its file, got int"),
        ({"q": "what"}, TypeError, r"got dict: text_key=json:FIELD names the field"),
    ],
)
def test_what_is_no_text(
    given: Any, error: type[Exception], said: str, recipe: dict[str, Any]
) -> None:
    with pytest.raises(error, match=said):
        list(Augmenter(recipe)([{"__key__": "a", "txt": given}]))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"other": "what"}, "the JSON member has no text in a field 'q'"),
        ({"q": 3}, "the JSON member has no text in a field 'q'"),
        ({"q": "half \ud83d"}, "the field 'q' holds half a letter"),
        (b"no JSON", "the member is not JSON"),
        (b"[]", "the JSON member has no text in a field 'q'"),
    ],
)
def test_what_is_no_object_of_a_text(given: Any, said: str, recipe: dict[str, Any]) -> None:
    with pytest.raises(DefectError, match=f"sample 'a': {said}"):
        list(Augmenter(recipe | {"text_key": "json:q"})([{"__key__": "a", "json": given}]))


def test_the_member_of_a_text_that_is_missing(recipe: dict[str, Any]) -> None:
    with pytest.raises(DefectError, match=r"looked for txt\): it has cls and text"):
        list(Augmenter(recipe)([{"__key__": "a", "cls": 1, "text": "what"}]))


def test_a_model_that_edits_other_things(recipe: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="it edits pictures, and medium=text requires a masked"):
        diffaug.augment("what", {"model": GREY, "medium": "text"})
    with pytest.raises(ConfigError, match="it is a language model, which edits texts"):
        diffaug.augment(Image.new("L", (8, 8)), recipe | {"medium": "image"})
    with pytest.raises(TypeError, match="a text must be a str or the bytes of its file, got Image"):
        diffaug.augment(Image.new("L", (8, 8)), recipe)
    with pytest.raises(TypeError, match=r"text 1: a text must be .*, got ndarray"):
        diffaug.augment(["what", np.zeros(3)], recipe)
    with pytest.raises(ConfigError, match="guidance does nothing to texts"):
        diffaug.augment("what", recipe | {"guidance": 3.0})


def test_where_texts_are_not_taken(tmp_path: Path, recipe: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="medium=text: a cache takes images only"):
        list(Augmenter(recipe, cache=tmp_path)([{"__key__": "a", "txt": "what"}]))
    for asked in (recipe, recipe | {"medium": "text"}):
        with pytest.raises(ConfigError, match="texts are not served: use Augmenter, or diffaug"):
            diffaug.RemoteAugmenter("http://127.0.0.1:1", asked)
        with pytest.raises(ConfigError, match="texts are not served: use Augmenter, or diffaug"):
            Augment(asked, url="http://127.0.0.1:1")


def test_a_text_alone_has_no_class(recipe: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="a bare text has no members"):
        Augment(recipe | {"condition": "label"})("what")

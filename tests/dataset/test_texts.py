"""Texts of an OUTPUT, mixed with their source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from torch.utils.data import DataLoader

import diffaug
from diffaug.errors import ConfigError
from tests.support.hostile import write_samples
from tests.support.jobs import augmented, members
from tests.support.language_models import SENTENCES, bert

TEXTS = {f"{number:03d}": text for number, text in enumerate(SENTENCES)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of two copies over two shards of texts, in `out`; one whose source is JSON, in `of`."""
    folder = tmp_path_factory.mktemp("texts")
    bert(folder / "bert")
    plain = [
        {"__key__": key.encode(), "txt": text.encode(), "cls": b"%d" % (number % 3)}
        for number, (key, text) in enumerate(TEXTS.items())
    ]
    write_samples(folder / "0.tar", plain[:5])
    write_samples(folder / "1.tar", plain[5:])
    objects = [
        {"__key__": one["__key__"], "json": json.dumps({"q": one["txt"].decode()}).encode()}
        for one in plain
    ]
    write_samples(folder / "objects.tar", objects)
    fields: dict[str, Any] = {"model": str(folder / "bert"), "sampler": "random", "steps": 4}
    augmented([folder / "0.tar", folder / "1.tar"], folder / "out", copies=2, **fields)
    augmented([folder / "objects.tar"], folder / "of", text_key="json:q", **fields)
    return folder


def made(output: Path) -> dict[str, str]:
    """What Python's tarfile finds."""
    found: dict[str, bytes] = {}
    for tar in sorted((output / "shards").glob("*.tar")):
        found |= members(tar)
    texts = {name: data for name, data in found.items() if name.endswith(".txt")}
    return {name.removesuffix(".txt"): data.decode() for name, data in texts.items()}


def test_every_text_once(folder: Path) -> None:
    dataset = diffaug.AugmentedDataset(folder / "out", real=f"{folder}/[01].tar", train=False)
    loader: DataLoader[Any] = DataLoader(dataset, batch_size=None, num_workers=2)
    found = {one["__key__"]: one for one in loader}
    wanted = TEXTS | made(folder / "out")
    assert len(wanted) == 24
    assert {key: one["text"] for key, one in found.items()} == wanted
    for key, one in found.items():
        assert set(one) == {"__key__", "text", "label", "augmented"}
        assert (one["label"], one["augmented"]) == (int(key[:3]) % 3, "-a" in key)


def test_those_that_are_close_to_their_source(folder: Path) -> None:
    rows = pd.read_parquet(folder / "out/manifest")
    limit = round(float(rows["score_edit"].median()), 2)
    near = rows[rows["score_edit"] < limit]
    dataset = diffaug.AugmentedDataset(folder / "out", where=f"score_edit < {limit}", train=False)
    texts = made(folder / "out")
    assert 0 < len(near) < len(rows)
    assert {one["__key__"]: one["text"] for one in dataset} == {
        key: texts[key] for key in near["output_key"]
    }


def test_an_epoch_of_both(folder: Path) -> None:
    dataset = diffaug.AugmentedDataset(
        folder / "out", real=f"{folder}/[01].tar", p=0.5, soft_labels=3, samples=60
    )
    epoch = list(dataset)
    assert len(epoch) == 60
    assert 15 < sum(one["augmented"] for one in epoch) < 45
    for one in epoch:
        assert one["strength"] == (pytest.approx(0.4) if one["augmented"] else 0)
        assert one["target"].shape == (3,)


def test_a_field_of_an_object_is_the_real_text(folder: Path) -> None:
    dataset = diffaug.AugmentedDataset(folder / "of", real=folder / "objects.tar", train=False)
    assert {one["__key__"]: one["text"] for one in dataset} == TEXTS | made(folder / "of")


def test_a_condition_that_no_text_meets(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"no text of .* is chosen where score_edit > 2"):
        diffaug.AugmentedDataset(folder / "out", where="score_edit > 2")

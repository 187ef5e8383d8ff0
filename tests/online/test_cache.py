"""Results that a loader keeps in a folder: made once, then read, and never a torn one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import diffaug
from diffaug import Augment, Augmenter
from diffaug.execution import Execution, versions
from diffaug.models import load_model
from diffaug.online import cache as cache_module
from diffaug.online.cache import Cache
from tests.support.hostile import fashion, write_samples
from tests.support.jobs import augmented
from tests.support.loading import (
    COUNT,
    QUICK,
    Array,
    Pictures,
    arrays,
    by_key,
    counted_calls,
    equal,
    picture_loader,
    pictures,
    samples,
)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _augmented(stage: Augmenter, samples: list[dict[str, Any]]) -> list[tuple[str, Array]]:
    return [(one["__key__"], np.asarray(one["png"])) for one in stage(samples)]


def _alike(ones: list[tuple[str, Array]], others: list[tuple[str, Array]]) -> bool:
    keys, arrays = zip(*ones, strict=True)
    return keys == tuple(key for key, _ in others) and equal(arrays, [one for _, one in others])


def test_what_was_made_is_read_and_the_model_left_alone(tmp_path: Path) -> None:
    stage = Augmenter(QUICK.model_copy(update={"copies": 2}), cache=tmp_path / "c", batch_size=4)
    with counted_calls() as calls:
        first = _augmented(stage, samples())
    assert len(calls) == 3
    assert len(_files(tmp_path)) == 12
    load_model.cache_clear()
    with counted_calls() as calls:
        assert _alike(_augmented(stage, samples()[::-1]), _reversed(first))
    assert (len(calls), load_model.cache_info().misses) == (0, 0)
    plain = Augmenter(stage.recipe, batch_size=4)
    assert _alike(_augmented(plain, samples()), first)


def _reversed(results: list[tuple[str, Array]]) -> list[tuple[str, Array]]:
    """Of two copies each: the samples backwards, their copies forwards."""
    pairs = [results[i : i + 2] for i in range(0, len(results), 2)]
    return [one for pair in pairs[::-1] for one in pair]


def test_augment_reads_what_it_made(tmp_path: Path) -> None:
    augment = Augment(QUICK, 0.5, cache=str(tmp_path))
    first = arrays(augment(picture) for picture in pictures(12))
    assert 0 < len(_files(tmp_path)) < 12
    with counted_calls() as calls:
        tensors = [torch.from_numpy(np.array(picture))[None] for picture in pictures(12)]
        assert equal([augment(tensor)[0].numpy() for tensor in tensors], first)
    assert not calls
    augment.set_epoch(1)
    with counted_calls() as calls:
        for picture in pictures(12):
            augment(picture)
    assert calls


def test_what_is_read_keeps_its_place(tmp_path: Path) -> None:
    wanted = _augmented(Augmenter(QUICK, batch_size=4), samples(9))
    stage = Augmenter(QUICK, cache=tmp_path, batch_size=4)
    _augmented(stage, samples(9)[1::3])
    assert _alike(_augmented(stage, samples(9)), wanted)
    assert len(_files(tmp_path)) == 9


def test_a_file_is_named_by_what_the_manifest_calls_the_image(tmp_path: Path) -> None:
    write_samples(tmp_path / "s.tar", fashion(3))
    recipe = QUICK.model_copy(update={"detail": "none"})  # the cache asks no model if it acts
    rows = augmented([tmp_path / "s.tar"], tmp_path / "out", **recipe.model_dump(), batch_size=4)
    _augmented(Augmenter(recipe, cache=tmp_path / "c", batch_size=4), samples(3))
    cache, execution = Cache(tmp_path / "c"), Execution.choose(4)
    keys = {cache.key(str(row.sample_id), execution): row for row in rows.itertuples()}
    assert {path.stem for path in _files(tmp_path / "c")} == set(keys)
    for key, row in keys.items():
        assert (tmp_path / "c" / key[:2] / key[2:4] / f"{key}.png").is_file()
        found = cache.read(key)
        assert found is not None
        assert diffaug.pictures.codec.pixel_sha256(found) == row.output_pixel_sha256


def _broken(data: bytes, other: bytes) -> dict[str, bytes]:
    return {
        "empty": b"",
        "cut short": data[:-40],
        "cut in its head": data[:20],
        "one bit": data[:-30] + bytes([data[-30] ^ 1]) + data[-29:],
        "no image": b"<html>",
        "another image": fashion(1)[0]["png"],
        "another of the cache": other,
    }


def test_a_torn_or_foreign_file_is_made_anew(tmp_path: Path) -> None:
    augment = Augment(QUICK, cache=tmp_path)
    augment(pictures(2)[1])
    (path,) = _files(tmp_path)
    other = path.read_bytes()
    path.unlink()
    picture = pictures(1)[0]
    wanted = augment(picture).tobytes()
    (path,) = _files(tmp_path)
    whole = path.read_bytes()
    for what, data in _broken(whole, other).items():
        path.write_bytes(data)
        with counted_calls() as calls:
            assert augment(picture).tobytes() == wanted, what
        assert len(calls) == 1, what
        assert path.read_bytes() == whole, what
        assert _files(tmp_path) == [path]


def test_workers_share_a_cache(tmp_path: Path) -> None:
    wanted = by_key(picture_loader(Augment(QUICK), 0))
    augment = Augment(QUICK, cache=tmp_path)
    both: Any = DataLoader(
        torch.utils.data.ConcatDataset([Pictures(augment), Pictures(augment)]),
        batch_size=None,
        num_workers=2,
        multiprocessing_context="fork",
    )
    assert by_key(both) == wanted
    files = _files(tmp_path)
    assert len(files) == COUNT
    assert all(path.suffix == ".png" for path in files)
    with counted_calls() as calls:
        assert by_key(picture_loader(augment, 0)) == wanted
    assert not calls


def test_a_result_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"a file where the folder should be")
    with pytest.raises(OSError, match="c"):
        Augment(QUICK, cache=tmp_path / "c")(pictures(1)[0])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_picture_comes_back_as_it_was_kept(mode: str, tmp_path: Path) -> None:
    """A model of colours can make a grey picture: it stays RGB."""
    cache, picture = Cache(tmp_path), pictures(1)[0].convert(mode)
    cache.write("ab" * 16, picture)
    found = cache.read("ab" * 16)
    assert found is not None
    assert (found.mode, found.size, found.tobytes()) == (mode, (28, 28), picture.tobytes())
    assert not found.info
    assert cache.read("cd" * 16) is None


def test_what_changes_pixels_changes_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, like = Cache("c"), {"dtype": "float32", "device": "cpu"}
    executions = [Execution.choose(1, **like), Execution.choose(2, **like)]
    executions.append(Execution.choose(1, "bfloat16", "cpu"))
    keys = [cache.key("ab" * 16, execution) for execution in executions]
    keys.append(cache.key("cd" * 16, executions[0]))
    here = versions()
    monkeypatch.setattr(cache_module, "versions", lambda: here | {"torch": "9"})
    keys.append(cache.key("ab" * 16, executions[0]))
    monkeypatch.setattr(cache_module, "versions", lambda: here | {"pyarrow": "9"})
    assert cache.key("ab" * 16, executions[0]) == keys[0]
    assert len(set(keys)) == 5

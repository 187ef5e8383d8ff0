"""Libraries that write files themselves: on a full disk all of them raise the system's error."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from diffaug import DiffusionModel
from diffaug.errors import os_error_number
from diffaug.online.cache import Cache
from diffaug.storage import writing
from tests.support.disk import REASON, full_disk


def by_torch(path: Path) -> None:
    with path.open("wb") as stream:
        torch.save({"a": torch.zeros(10_000)}, stream)


def by_safetensors(path: Path) -> None:
    save_file({"a": torch.zeros(10_000)}, path)


def by_pillow(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (99, 99), np.uint8)
    Image.fromarray(noise).save(path, "PNG")


WRITERS: list[Callable[[Path], None]] = [by_torch, by_safetensors, by_pillow]


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_an_error_of_the_system(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    with full_disk(1000), pytest.raises(OSError, match=REASON) as caught, writing(path):
        write(path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))


def test_numpy_gives_no_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with full_disk(1000), pytest.raises(OSError, match="is the disk full") as caught, writing(path):
        np.save(path, np.zeros(10_000))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("error", [TypeError("no such field"), ValueError("(os error x)")])
def test_other_errors_stay_as_they_are(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as caught, writing(tmp_path):
        raise error
    assert caught.value is error


def test_a_model_that_cannot_be_saved(tmp_path: Path) -> None:
    model = DiffusionModel.from_pretrained("fashion-mnist-32")
    with full_disk(100_000), pytest.raises(OSError, match=REASON):
        model.save_pretrained(tmp_path / "model")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        model.save_pretrained(tmp_path / "file")


def test_a_cache_that_cannot_be_written_keeps_nothing_torn(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, (99, 99), np.uint8)
    with full_disk(1000), pytest.raises(OSError, match=REASON):
        cache.write("0" * 32, Image.fromarray(noise))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 28),
        (RuntimeError("of another kind"), None),
        (OSError("without a number"), None),
        (None, None),
    ],
)
def test_the_number_behind_an_error(error: Any, number: int | None) -> None:
    assert os_error_number(error) == number
    outer = ValueError("outer")
    outer.__cause__ = error
    assert os_error_number(outer) == number

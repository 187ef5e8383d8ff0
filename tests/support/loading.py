"""What the tests of data loaders share: real pictures, loaders of them, and a count of calls."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.data import DataLoader, Dataset

import diffaug
from diffaug import Augment
from diffaug.diffusion.batched import at_once
from tests.support.hostile import fashion
from tests.support.jobs import GREY, pixels
from tests.support.memory import UNETS

COUNT = 6
QUICK = diffaug.Recipe(model=GREY, sampler="one-step", strength="0.3:0.6", seed=3)

Array = NDArray[np.uint8]


def pictures(count: int = COUNT) -> list[Image.Image]:
    return [Image.fromarray(pixels(sample["png"])) for sample in fashion(count)]


def samples(count: int = COUNT) -> list[dict[str, Any]]:
    return [
        {"__key__": sample["__key__"].decode(), "png": picture, "cls": int(sample["cls"])}
        for sample, picture in zip(fashion(count), pictures(count), strict=True)
    ]


def arrays(images: Any) -> list[Array]:
    return [np.asarray(image.convert("L")) for image in images]


def equal(ones: Any, others: Any) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(ones, others, strict=True))


@contextmanager
def counted_calls() -> Iterator[list[int]]:
    """The batch sizes with which a network is called meanwhile."""
    sizes: list[int] = []

    def note(module: Any, inputs: Any) -> None:
        if type(module).__name__ in UNETS:
            sizes.append(len(inputs[0]))

    handle = register_module_forward_pre_hook(note)
    try:
        yield sizes
    finally:
        handle.remove()


class Pictures(Dataset[tuple[str, torch.Tensor, int, str]]):
    """A dataset with an index, as torchvision's are: (key, image, threads, process)."""

    def __init__(self, augment: Augment, count: int = COUNT) -> None:
        self.pictures = pictures(count)
        self.augment = augment

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[str, torch.Tensor, int, str]:
        result = torch.from_numpy(np.array(self.augment(self.pictures[index])))[None]
        return str(index), result, at_once(torch.device("cpu")), str(os.getpid())


def by_key(loader: Any) -> dict[str, bytes]:
    """The images of a pass."""
    return {key: image.numpy().tobytes() for key, image, *_ in loader}


def picture_loader(augment: Augment, workers: int, **options: Any) -> Any:
    """Over a few pictures; two workers get them backwards."""
    order = list(range(COUNT))[:: -1 if workers == 2 else 1]
    return DataLoader(
        Pictures(augment), batch_size=None, sampler=order, num_workers=workers, **options
    )

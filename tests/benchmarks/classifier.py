"""A small classifier of 28x28 grey or 32x32 colour images, which has never seen a generated one.

It says whether an augmented image still looks like its class: pairs of 3x3 convolutions with batch
norm and pooling, two for grey and three, wider, for colour; then two dense layers; trained with
shifts and flips.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn

from diffaug.execution import Execution

__all__ = ["Images", "Labels", "new_classifier", "predict", "train_classifier"]

Images = NDArray[np.uint8]
"""(N, 28, 28), or of colours (N, 32, 32, 3)."""
Labels = NDArray[np.int64]

BATCH, PEAK = 128, 2e-3
GREY_EPOCHS, COLOUR_EPOCHS = 8, 20


def train_classifier(images: Images, labels: Labels, seed: int = 0) -> nn.Module:
    """Train on all of `images`, with AdamW and a one-cycle learning rate."""
    torch.manual_seed(seed)
    autocast = torch.autocast("cpu", enabled=Execution.choose(device="cpu").dtype == "bfloat16")
    epochs = GREY_EPOCHS if images.ndim == 3 else COLOUR_EPOCHS
    random, steps = np.random.default_rng(seed), epochs * (len(images) // BATCH)
    model = new_classifier(images)
    optimizer = torch.optim.AdamW(model.parameters(), PEAK, weight_decay=0.05)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps)
    for _ in track(range(epochs), description="classifier"):
        order = random.permutation(len(images))[: len(images) // BATCH * BATCH]
        for chosen in np.split(order, len(order) // BATCH):
            x, y = _moved(_tensor(images[chosen]), random), torch.from_numpy(labels[chosen])
            with autocast:
                logits = model(x)
            loss = nn.functional.cross_entropy(logits.float(), y, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            cycle.step()
    model.eval()
    return model


def predict(model: nn.Module, images: Images) -> Labels:
    """The class of each image."""
    with torch.inference_mode():
        begins = range(0, len(images), BATCH)
        parts = [model(_tensor(images[begin : begin + BATCH])).argmax(1) for begin in begins]
    return torch.cat(parts).numpy()


def new_classifier(images: Images) -> nn.Module:
    """An untrained one of such images: (N, C, H, W) in [-0.5, 0.5] to (N, 10)."""

    def pair(given: int, made: int) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for width in (given, made):
            layers += [nn.Conv2d(width, made, 3, padding=1), nn.BatchNorm2d(made), nn.ReLU()]
        return [*layers, nn.MaxPool2d(2), nn.Dropout(0.2)]

    widths = (1, 32, 64) if images.ndim == 3 else (3, 48, 96, 192)
    pairs = [layer for given, made in pairwise(widths) for layer in pair(given, made)]
    side = images.shape[1] >> (len(widths) - 1)
    head = [nn.Flatten(), nn.Linear(widths[-1] * side**2, 128), nn.ReLU(), nn.Dropout(0.4)]
    return nn.Sequential(*pairs, *head, nn.Linear(128, 10))


def _tensor(images: Images) -> Tensor:
    x = torch.from_numpy(images.astype(np.float32) / 255 - 0.5)
    return x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)


def _moved(x: Tensor, random: np.random.Generator) -> Tensor:
    """Shift the batch by up to two pixels, and flip half of it."""
    down, right = random.integers(-2, 3, 2).tolist()
    x = torch.roll(x, (down, right), (2, 3))
    flipped = torch.from_numpy(random.random(len(x)) < 0.5)
    x[flipped] = x[flipped].flip(3)
    return x.contiguous(memory_format=torch.channels_last)

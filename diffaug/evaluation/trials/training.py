"""Training of one classifier: the same arguments give the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffaug.evaluation.images.corruptions import Images
from diffaug.evaluation.settings import Evaluation
from diffaug.evaluation.trials.classifier import Task, new_classifier
from diffaug.evaluation.trials.variants import Variants, flips_and_crops
from diffaug.execution import Execution

__all__ = ["Lesson", "Trained", "train_classifier"]

_AT_ONCE = 100
_AHEAD = 8
"""Steps whose images are drawn and changed together, which costs less than one by one."""

_MIXUP = (0.2, 0.2)
"""Parameters of the beta distribution of mixing weights; Zhang et al. use 0.1 to 0.4."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one classifier trains on.

    Attributes:
        images: uint8 (N, H, W, C), the labelled images.
        targets: int64 (N,), their classes, from 0.
        classes: number of classes.
        variants: fills the rest of each batch; None fills all of it with labelled images.
        repeated: whether the rest of each batch repeats the labelled images in it.
        moved: whether each image is flipped and cropped at random.
        mixed: whether pairs are mixed, as in mixup.
        softened: how much of the label of an image from `variants` is spread over all classes.
    """

    images: Images
    targets: NDArray[np.int64]
    classes: int
    variants: Variants | None = None
    repeated: bool = False
    moved: bool = True
    mixed: bool = False
    softened: float = 0.0


class Trained:
    """A classifier on a device.

    Args:
        model: (B, C, H, W) in [0, 1] to logits (B, classes).
        execution: device and dtype that it runs with.
    """

    def __init__(self, model: nn.Module, execution: Execution) -> None:
        self.model = model.to(execution.device)
        self._device = torch.device(execution.device)
        self._autocast = torch.autocast(
            self._device.type, torch.bfloat16, enabled=execution.dtype == "bfloat16"
        )

    def logits(self, images: Images) -> Tensor:
        """Logits (B, classes) of uint8 images (B, H, W, C)."""
        x = torch.from_numpy(np.array(images.transpose(0, 3, 1, 2), order="C"))  # may be read-only
        with self._autocast:
            logits: Tensor = self.model(x.to(self._device).float() / 255)
        return logits.float()

    def confidences(self, images: Images) -> NDArray[np.float32]:
        """Class probabilities (N, classes) of uint8 images (N, H, W, C)."""
        with torch.inference_mode():
            begins = range(0, len(images), _AT_ONCE)
            parts = [self.logits(images[begin : begin + _AT_ONCE]) for begin in begins]
            return torch.cat(parts).softmax(dim=1).cpu().numpy()


def train_classifier(
    lesson: Lesson, settings: Evaluation, seed: int, execution: Execution
) -> Trained:
    """Train with AdamW and a one-cycle learning rate, for the number of steps in `settings`.

    Raises:
        ConfigError: the classifier cannot be loaded.
    """
    _, *sides, channels = lesson.images.shape
    task = Task(channels, lesson.classes, max(sides))
    trained = Trained(new_classifier(settings.classifier, task, seed), execution)
    model, rate, steps = trained.model, settings.rate, settings.train_steps
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.05, fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=max(steps, 2))
    model.train()
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for x, y, weights in _batches(lesson, settings, seed):
            targets, weights = y.to(execution.device), weights.to(execution.device)
            each = nn.functional.cross_entropy(trained.logits(x), targets, reduction="none")
            loss = (weights * each).sum() / weights.sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            cycle.step()
    model.eval()
    return trained


def _batches(
    lesson: Lesson, settings: Evaluation, seed: int
) -> Iterator[tuple[Images, Tensor, Tensor]]:
    """Batches of images, soft labels (B, classes), and weights in the loss (B,)."""
    size, steps = settings.train_batch, settings.train_steps
    kept = size - settings.augmented_per_batch
    random, shape = np.random.default_rng(seed), lesson.images.shape[1:]
    order = _endless(len(lesson.images), random)
    one_hot = np.eye(lesson.classes, dtype=np.float32)
    weights = np.ones(size, dtype=np.float32)
    if lesson.variants is not None:
        weights[kept:] = settings.weight
    for begin in range(0, steps, _AHEAD):
        count = min(_AHEAD, steps - begin)
        places = np.fromiter(order, np.int64, count * size).reshape(count, size)
        if lesson.repeated:
            places[:, kept:] = np.resize(places[:, :kept].T, (size - kept, count)).T
        images = lesson.images[places]
        if lesson.variants is not None:
            whose, drawn = lesson.variants.draw(places[:, kept:].ravel(), random)
            places[:, kept:] = whose.reshape(count, size - kept)
            images[:, kept:] = drawn.reshape(count, size - kept, *shape)
        if lesson.moved:
            images = flips_and_crops(images.reshape(-1, *shape), random)
        for batch, whose in zip(images.reshape(count, size, *shape), places, strict=True):
            x, y, w = batch, one_hot[lesson.targets[whose]], weights
            if lesson.variants is not None:
                y[kept:] += lesson.softened * (1 / lesson.classes - y[kept:])
            if lesson.mixed:
                x, y, w = _mixed(x, y, w, random)
            yield x, torch.from_numpy(y), torch.from_numpy(w)


def _mixed(
    images: Images,
    targets: NDArray[np.float32],
    weights: NDArray[np.float32],
    random: np.random.Generator,
) -> tuple[Images, NDArray[np.float32], NDArray[np.float32]]:
    """Pairs of images, with their targets and weights, all mixed alike."""
    part, other = np.float32(random.beta(*_MIXUP)), random.permutation(len(images))
    mixed = images + part * (images[other].astype(np.float32) - images)
    targets, weights = (one + part * (one[other] - one) for one in (targets, weights))
    return np.rint(mixed).astype(np.uint8), targets, weights


def _endless(count: int, random: np.random.Generator) -> Iterator[int]:
    """Endless passes over all places, each in a new random order."""
    while True:
        yield from random.permutation(count).tolist()

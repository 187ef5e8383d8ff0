"""Training of one classifier: the same arguments give the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffaug.evaluation.images.corruptions import Images
from diffaug.evaluation.images.pictures import Samples
from diffaug.evaluation.settings import Evaluation
from diffaug.evaluation.trials.classifier import Task, new_classifier
from diffaug.evaluation.trials.variants import Variants, flips_and_crops
from diffaug.evaluation.trials.words import numbered
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
        images: N labelled images, or texts.
        targets: int64 (N,), their classes, from 0.
        classes: number of classes.
        variants: fills the rest of each batch; None fills all of it with labelled images.
        repeated: whether the rest of each batch repeats the labelled images in it.
        moved: whether each image is flipped and cropped at random.
        mixed: whether pairs are mixed, as in mixup.
        softened: how much of the label of an image from `variants` is spread over all classes.
        unequal: what makes up for classes of unequal size, one of UNEQUAL; None: nothing does.
    """

    images: Samples
    targets: NDArray[np.int64]
    classes: int
    variants: Variants | None = None
    repeated: bool = False
    moved: bool = True
    mixed: bool = False
    softened: float = 0.0
    unequal: str | None = None

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """(classes,), the share of each class in the labelled images."""
        counts = np.bincount(self.targets, minlength=self.classes)
        shares: NDArray[np.float64] = counts / counts.sum()
        return shares


class Trained:
    """A classifier on a device.

    Args:
        model: (B, C, H, W) in [0, 1], or the numbers of words (B, L), to logits (B, classes).
        execution: device and dtype that it runs with.

    Attributes:
        bias: (classes,), added to the logits of `confidences`.
    """

    def __init__(self, model: nn.Module, execution: Execution) -> None:
        self.model = model.to(execution.device)
        self.bias: Tensor | float = 0.0
        self._device = torch.device(execution.device)
        self._autocast = torch.autocast(
            self._device.type, torch.bfloat16, enabled=execution.dtype == "bfloat16"
        )

    def logits(self, samples: Samples) -> Tensor:
        """Logits (B, classes) of samples."""
        with self._autocast:
            logits: Tensor = self.model(self._taken(samples))
        return logits.float()

    def _taken(self, samples: Samples) -> Tensor:
        """Samples as the classifier takes them."""
        if samples.dtype != np.uint8:
            return numbered(samples.tolist()).to(self._device)
        x = torch.from_numpy(np.array(samples.transpose(0, 3, 1, 2), order="C"))  # maybe read-only
        return x.to(self._device).float() / 255

    def confidences(self, images: Samples) -> NDArray[np.float32]:
        """Class probabilities (N, classes) of samples."""
        with torch.inference_mode():
            begins = range(0, len(images), _AT_ONCE)
            parts = [self.logits(images[begin : begin + _AT_ONCE]) for begin in begins]
            return (torch.cat(parts) + self.bias).softmax(dim=1).cpu().numpy()


def train_classifier(
    lesson: Lesson, settings: Evaluation, seed: int, execution: Execution, longer: float = 1.0
) -> Trained:
    """Train with AdamW and a one-cycle learning rate, for the number of steps in `settings`.

    Args:
        lesson: what it trains on.
        settings: of the evaluation.
        seed: of everything random.
        execution: device and dtype.
        longer: how many times as many steps.

    Raises:
        ConfigError: the classifier cannot be loaded.
    """
    _, *sides = lesson.images.shape
    task = Task(sides[-1], lesson.classes, max(sides[:-1])) if sides else Task(0, lesson.classes, 0)
    trained = Trained(new_classifier(settings.classifier, task, seed), execution)
    model, rate, steps = trained.model, settings.rate, round(longer * settings.train_steps)
    shares = torch.from_numpy(lesson.frequencies).float().to(execution.device)
    shift = shares.log() if lesson.unequal == "balanced-softmax" else 0.0
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.05, fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=max(steps, 2))
    model.train()
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for x, y, weights in _batches(lesson, settings, seed, steps):
            targets, weights = y.to(execution.device), weights.to(execution.device)
            if lesson.unequal == "class-weighted":
                weights = weights * (targets @ (1 / shares))
            logits = trained.logits(x) + shift
            each = nn.functional.cross_entropy(logits, targets, reduction="none")
            loss = (weights * each).sum() / weights.sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            cycle.step()
    model.eval()
    if lesson.unequal == "logit-adjusted":
        trained.bias = -shares.log()
    return trained


def _batches(
    lesson: Lesson, settings: Evaluation, seed: int, steps: int
) -> Iterator[tuple[Samples, Tensor, Tensor]]:
    """Batches of samples, soft labels (B, classes), and weights in the loss (B,)."""
    size = settings.train_batch
    kept = size - settings.augmented_per_batch
    random, shape = np.random.default_rng(seed), lesson.images.shape[1:]
    if lesson.unequal == "class-balanced":
        order = _endless_by_class(lesson.targets, random)
    else:
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
        targets = lesson.targets[places]
        if lesson.variants is not None:
            drawn = lesson.variants.draw(places[:, kept:].ravel(), random)
            classes = lesson.targets[drawn.places] if drawn.classes is None else drawn.classes
            targets[:, kept:] = classes.reshape(count, size - kept)
            images[:, kept:] = drawn.images.reshape(count, size - kept, *shape)
        if lesson.moved:
            images = flips_and_crops(images.reshape(-1, *shape), random)
        for batch, of in zip(images.reshape(count, size, *shape), targets, strict=True):
            x, y, w = batch, one_hot[of], weights
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


def _endless_by_class(targets: NDArray[np.int64], random: np.random.Generator) -> Iterator[int]:
    """Endless places, of each class as many; those of a class in endless passes."""
    of_class = [np.flatnonzero(targets == number) for number in np.unique(targets)]
    passes = [_endless(len(places), random) for places in of_class]
    while True:
        for number in random.permutation(len(of_class)):
            yield int(of_class[number][next(passes[number])])

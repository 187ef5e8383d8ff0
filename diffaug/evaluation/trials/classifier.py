"""Untrained classifiers: small networks, or a transformers model to fine-tune."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from diffaug import storage
from diffaug.errors import ConfigError, require_extra
from diffaug.evaluation.kinds import TEXTS
from diffaug.evaluation.trials.words import BagOfWords
from diffaug.models.quiet import quiet

__all__ = ["Task", "new_classifier"]


@dataclass(frozen=True, slots=True)
class Task:
    """The task of a classifier: images (B, channels, H, W) in [0, 1], or texts.

    Attributes:
        channels: 1 or 3; of texts 0.
        classes: how many.
        side: the longer of H and W; of texts 0.
    """

    channels: int
    classes: int
    side: int


def new_classifier(name: str, task: Task, seed: int) -> nn.Module:
    """An untrained classifier: (B, C, H, W) in [0, 1] to logits (B, classes); of texts
    `BagOfWords`.

    Args:
        name: `cnn`, `resnet`, `bag`, or a transformers image-classification model.
        task: what it classifies.
        seed: seed of randomly initialised weights.

    Raises:
        ConfigError: the model cannot be loaded.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        if name in TEXTS.classifiers:
            return BagOfWords(task.classes)
        if name not in _SMALL:
            return _Pretrained(name, task)
        return _SMALL[name](task).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class _Small(nn.Module):
    """Three 3x3 convolutions, each with max pooling and batch norm, then a linear layer."""

    def __init__(self, task: Task, widths: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for given, made in zip((task.channels, *widths), widths, strict=False):
            layers += [nn.Conv2d(given, made, 3, padding=1, bias=False)]
            layers += [nn.MaxPool2d(2, ceil_mode=True), nn.BatchNorm2d(made), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(4 * widths[-1], task.classes))

    def forward(self, x: Tensor) -> Tensor:
        x = (x - 0.5).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.head(self.features(x))
        return logits


class _Residual(nn.Module):
    """A residual network (He et al. 2015, https://arxiv.org/abs/1512.03385) of 0.3 M parameters.

    Strided convolutions until a side has at most 16 pixels, so that what it costs hardly depends on
    the size; then stages of 32, 64 and 96 channels at that size, half of it and a quarter of it.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        halvings = math.ceil(math.log2(max(task.side, _STAGE) / _STAGE))
        strides = [2] * halvings or [1]
        widths = [task.channels, *[16] * (len(strides) - 1), 32]
        layers: list[nn.Module] = []
        for (given, made), stride in zip(pairwise(widths), strides, strict=True):
            layers += [*_convolved(given, made, stride), nn.ReLU()]
        blocks = ((32, 1), (32, 1), (64, 2), (64, 1), (96, 2))
        for (given, _), (made, stride) in pairwise(((32, 1), *blocks)):
            layers.append(_Block(given, made, stride))
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(96, task.classes))

    def forward(self, x: Tensor) -> Tensor:
        x = (x - 0.5).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.head(self.features(x))
        return logits


class _Block(nn.Module):
    """Two 3x3 convolutions, added to what they are given."""

    def __init__(self, given: int, made: int, stride: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            *_convolved(given, made, stride), nn.ReLU(), *_convolved(made, made, 1)
        )
        same = given == made and stride == 1
        projected = nn.Conv2d(given, made, 1, stride, bias=False), nn.BatchNorm2d(made)
        self.kept = nn.Identity() if same else nn.Sequential(*projected)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.kept(x) + self.change(x))


def _convolved(given: int, made: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(given, made, 3, stride, padding=1, bias=False), nn.BatchNorm2d(made)


_STAGE = 16
"""The most pixels that a side has in the first stage."""

_SMALL: dict[str, Callable[[Task], nn.Module]] = {"cnn": _Small, "resnet": _Residual}


class _Pretrained(nn.Module):
    """A transformers model with a new head; images are preprocessed as its processor does."""

    def __init__(self, name: str, task: Task) -> None:
        super().__init__()
        folder = storage.local_path(name)
        on_disk = (str(folder), "", "")
        reference, _, revision = on_disk if folder.is_dir() else name.partition("@")
        require_extra(f"classifier {name}", "text", "transformers")
        from transformers import AutoModelForImageClassification

        options: dict[str, Any] = {"revision": revision} if revision else {}
        try:
            with quiet():
                self.model = AutoModelForImageClassification.from_pretrained(
                    reference,
                    num_labels=task.classes,
                    ignore_mismatched_sizes=True,
                    use_safetensors=True,
                    trust_remote_code=False,
                    **options,
                )
            mean, std, side = _preprocessing(reference, options)
        except (OSError, ValueError) as error:
            said = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"classifier {name}: transformers cannot load an image-classification model: {said}"
            ) from None
        self._side = side
        self._mean, self._std = (torch.tensor(each).view(1, -1, 1, 1) for each in (mean, std))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        x = nn.functional.interpolate(x, self._side, mode="bilinear", antialias=True)
        x = (x - self._mean.to(x.device)) / self._std.to(x.device)
        logits: Tensor = self.model(x).logits
        return logits


def _preprocessing(
    reference: str, options: dict[str, Any]
) -> tuple[list[float], list[float], tuple[int, int]]:
    """Channel means, channel deviations, and image size that a model's processor applies."""
    from transformers.image_processing_base import ImageProcessingMixin

    found, _ = ImageProcessingMixin.get_image_processor_dict(reference, **options)
    crop, size = found.get("crop_size") or {}, found.get("size", 224)
    size = {"height": size, "width": size} if isinstance(size, int) else size | crop
    edge = size.get("shortest_edge", 224)
    side = (int(size.get("height", edge)), int(size.get("width", edge)))
    return found.get("image_mean", [0.5] * 3), found.get("image_std", [0.5] * 3), side

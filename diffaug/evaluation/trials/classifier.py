"""Untrained classifiers: a small network, or a transformers model to fine-tune."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffaug import storage
from diffaug.errors import ConfigError, require_extra
from diffaug.models.quiet import quiet

__all__ = ["Task", "new_classifier"]


@dataclass(frozen=True, slots=True)
class Task:
    """The task of a classifier: images (B, channels, H, W) in [0, 1], `classes` classes."""

    channels: int
    classes: int


def new_classifier(name: str, task: Task, seed: int) -> nn.Module:
    """An untrained classifier: (B, C, H, W) in [0, 1] to logits (B, classes).

    Args:
        name: `cnn`, or a transformers image-classification model.
        task: what it classifies.
        seed: seed of randomly initialised weights.

    Raises:
        ConfigError: the model cannot be loaded.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        if name == "cnn":
            return _Small(task).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
        return _Pretrained(name, task)


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

"""Decoding samples for a training loop; unusable ones are counted and logged."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffaug import storage
from diffaug.clips.clip import Clip
from diffaug.dataset.sides import Raw
from diffaug.errors import ConfigError, DefectError
from diffaug.pictures.codec import decode
from diffaug.pictures.medium import IMAGE, Medium, Value
from diffaug.texts.text import Text

__all__ = ["Decoder", "Skips"]

_log = logging.getLogger(__name__)

_NAMED = 100
"""How many skipped samples a process logs; all of them are counted."""


class Skips:
    """Counts skipped samples over all worker processes of a loader."""

    _SLOTS = 1024

    def __init__(self) -> None:
        # shared memory, in which every worker has its own counter
        self._counts = torch.zeros(self._SLOTS, dtype=torch.int64)
        cast(Any, self._counts).share_memory_()

    def __int__(self) -> int:
        return int(self._counts.sum())

    def add(self, worker: int, raw: Raw, defect: DefectError) -> None:
        """Count a skipped sample, and log it."""
        self._counts[worker % self._SLOTS] += 1
        skipped = int(self._counts[worker % self._SLOTS])
        if skipped <= _NAMED:
            where = f"{storage.public_url(raw.shard)} {raw.key or '(the shard)'}"
            further = "; further ones are only counted" if skipped == _NAMED else ""
            _log.warning("a sample is skipped: %s: %s%s", where, defect.reason, further)


@dataclass(frozen=True)
class Decoder:
    """Decodes samples; unusable ones are skipped, counted and logged.

    Attributes:
        skips: counts them.
        mode: Pillow's mode of every image, `RGB` or `L`.
        max_pixels: the most pixels an image may have.
        background: the colour behind transparent pixels; None as in `codec.picture`.
        classes: the number of classes of soft labels; None for no soft labels.
        medium: of the samples.

    Raises:
        ConfigError: `mode` or `classes` is invalid.
    """

    skips: Skips
    mode: str
    max_pixels: int
    background: str | None
    classes: int | None
    medium: Medium[Value] = IMAGE

    def __post_init__(self) -> None:
        if self.classes is not None and (type(self.classes) is not int or self.classes < 2):
            raise ConfigError(f"soft_labels must be the number of classes, got {self.classes!r}")
        if self.mode not in ("RGB", "L"):
            raise ConfigError(f"mode must be RGB or L, got {self.mode!r}")

    def __call__(self, raws: Iterable[Raw], worker: int) -> Iterator[dict[str, Any]]:
        """Yield the usable samples.

        Raises:
            ConfigError: a class is not one of the soft labels' classes.
        """
        for raw in raws:
            try:
                if raw.defect is not None:
                    raise raw.defect
                shown = self._shown(raw)
                sample: dict[str, Any] = {
                    "__key__": raw.key,
                    **self._given(shown),
                    "label": raw.label,
                    "augmented": raw.augmented,
                }
                if self.classes is not None:
                    sample["strength"] = raw.strength
                    sample["target"] = _target(raw, self.classes)
            except DefectError as defect:
                self.skips.add(worker, raw, defect)
                continue
            yield sample

    def _shown(self, raw: Raw) -> Value:
        if self.medium.name == IMAGE.name:
            return decode(raw.image, self.max_pixels, self.background, whole=False).shown
        read = self.medium.read_back if raw.augmented else self._read
        return read(raw.image, self.max_pixels, self.background)

    def _read(self, data: bytes, max_pixels: int, background: str | None) -> Value:
        return self.medium.read(data, max_pixels, background).shown

    def _given(self, shown: Value) -> dict[str, Image.Image | Tensor | str]:
        """An image in the mode, a clip as uint8 (T, C, H, W), or a text."""
        if isinstance(shown, Text):
            return {"text": shown.text}
        if isinstance(shown, Clip):
            frames = torch.from_numpy(shown.array(self.mode))
            return {"clip": frames.permute(0, 3, 1, 2).contiguous()}
        return {"image": shown if shown.mode == self.mode else shown.convert(self.mode)}


def _target(raw: Raw, classes: int) -> Tensor:
    """The soft label: one-hot at strength 0, uniform at 1, and linear in between."""
    if not isinstance(raw.label, int):
        raise DefectError("no_label", "it has no integer class to soften")
    if not 0 <= raw.label < classes:
        raise ConfigError(
            f"soft_labels: {storage.public_url(raw.shard)} {raw.key} is of class {raw.label}, "
            f"which is not one of {classes} classes: give the number of classes"
        )
    target = np.full(classes, raw.strength / classes, np.float32)
    target[raw.label] += 1 - raw.strength
    return torch.from_numpy(target)

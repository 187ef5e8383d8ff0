"""The record of a training: OUTPUT/trials/seed-<seed>/<labels>-<arm>.json."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from diffaug import storage
from diffaug.evaluation.arms import Arm
from diffaug.output.evaluation import EvaluationOutput

__all__ = ["Hits", "Score", "Trial", "read_hits", "read_trial", "read_trials", "write_trial"]

Hits = NDArray[np.uint16]
"""(2, N): how often a classifier was right about each test image, clean and corrupted."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Score(_Record):
    """Number of images that a classifier classified correctly.

    Attributes:
        split: `test` or `validation`.
        corruption: `clean`, or the corruption of the images.
        severity: from 1 to 5; 0 for clean images.
        right: number classified correctly.
        images: number of images.
        right_by_class: the number classified correctly of each class, in the order of the classes.
        balanced: mean over classes of the share classified correctly, in percent.
        nll: mean negative log-likelihood of the right class, in nats.
        ece: expected calibration error in percent, with 15 bins of confidence (Guo et al. 2017).

    Records of earlier versions lack the last four.
    """

    split: str
    corruption: str
    severity: int
    right: int
    images: int
    right_by_class: tuple[int, ...] | None = None
    balanced: float | None = None
    nll: float | None = None
    ece: float | None = None


class Trial(_Record):
    """One training and its scores.

    Attributes:
        arm: how it was trained.
        labels: labelled images per class; ALL: as many as there are.
        seed: the draw of labelled images, and the seed of everything else.
        copies: number of augmented images to draw from; if 0, labelled images replace them. None
            if variants are drawn without limit, or if there are none.
        psnr: mean PSNR of the copies against their images, in dB.
        like: for a matched control, the name of the arm that it matches.
        like_psnr: mean PSNR of that arm's copies.
        steps: optimizer steps.
        seconds: how long they took.
        scores: one for each split, corruption and severity.
    """

    arm: Arm
    labels: int
    seed: int
    copies: int | None
    psnr: float | None
    like: str | None
    like_psnr: float | None
    steps: int
    seconds: float
    scores: tuple[Score, ...]


def read_trial(output: str, arm: Arm, labels: int, seed: int) -> Trial | None:
    """The record of a trial; None if it is not done."""
    path = EvaluationOutput(output).trial(seed, labels, arm.name)
    return Trial.model_validate_json(path.read_bytes()) if path.is_file() else None


def read_trials(output: str, arms: Iterable[Arm], labels: int, seeds: Iterable[int]) -> list[Trial]:
    """The records of all trials of one budget that are done."""
    found = [read_trial(output, arm, labels, seed) for seed in seeds for arm in arms]
    return [trial for trial in found if trial is not None]


def read_hits(output: str, arm: Arm, labels: int, seed: int) -> Hits | None:
    """What a trial was right about; None if it is of an earlier version, or there is no test."""
    path = _hits(EvaluationOutput(output).trial(seed, labels, arm.name))
    return np.load(path) if path.is_file() else None


def write_trial(trial: Trial, hits: Hits | None, output: str) -> None:
    """Write the record of a trial, after what it was right about."""
    path = EvaluationOutput(output).trial(trial.seed, trial.labels, trial.arm.name)
    if hits is not None:
        data = io.BytesIO()
        np.save(data, hits)
        storage.replace(data.getvalue(), str(_hits(path)))
    storage.replace(trial.model_dump_json(indent=1).encode(), str(path))


def _hits(record: Path) -> Path:
    return record.with_name(f"{record.stem}.npy")
